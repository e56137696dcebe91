"""Operations that networks are made of, at the sizes at which they meet them.

Convolutions carry a batch normalisation and ReLU, as they do in networks; activations are the
inputs, weights belong to the module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyncc.core.errors import ConfigError


@dataclass(frozen=True)
class Operator:
    """An operation.

    Attributes
    ----------
    name
        Kind and sizes, without blanks.
    make
        Makes the module.
    shapes
        Of its arguments, float32.
    """

    name: str
    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]

    def build(self) -> nn.Module:
        """The module, with the same random weights each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make()

    def inputs(self) -> tuple[Tensor, ...]:
        """Random arguments, the same each time."""
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randn(shape, generator=generator) for shape in self.shapes)


class _Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *tensors: Tensor) -> Tensor:
        return self._function(*tensors)


class _Unary(_Of):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self._function(x)


class _Binary(_Of):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return self._function(x, y)


class _Ternary(_Of):
    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:  # type: ignore[override]
        return self._function(x, y, z)


def _convolution(
    name: str, channels: int, outputs: int, size: int, kernel: int, stride: int = 1,
    groups: int = 1, batch: int = 1,
) -> Operator:  # fmt: skip
    def make() -> nn.Module:
        conv = nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        norm = nn.BatchNorm2d(outputs)
        nn.init.uniform_(norm.running_mean)  # type: ignore[arg-type]
        nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
        return nn.Sequential(conv, norm, nn.ReLU())

    sizes = f"{batch}x{channels}x{size}x{size}-{outputs}"
    return Operator(f"{name}/{sizes}", make, ((batch, channels, size, size),))


def _linear(rows: int, inputs: int, outputs: int) -> Operator:
    kind = "gemv" if rows == 1 else "linear"
    return Operator(
        f"{kind}/{rows}x{inputs}-{outputs}", lambda: nn.Linear(inputs, outputs), ((rows, inputs),)
    )


def _one(name: str, shape: tuple[int, ...], function: Callable[[Tensor], Tensor]) -> Operator:
    return Operator(f"{name}/{'x'.join(map(str, shape))}", lambda: _Unary(function), (shape,))


def _gelu_chain(x: Tensor) -> Tensor:
    result: Tensor = x * 0.5 * (1.0 + torch.tanh(0.79788 * (x + 0.044715 * x * x * x)))
    return result


def _gates(x: Tensor, y: Tensor) -> Tensor:
    """What an LSTM does between its matrix products."""
    i, f, g, o = x.chunk(4, 1)
    cell = torch.sigmoid(f) * y + torch.sigmoid(i) * torch.tanh(g)
    state: Tensor = torch.sigmoid(o) * torch.tanh(cell)
    return state


def _attention(heads: int, queries: int, keys: int, width: int) -> Operator:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q @ k.transpose(-1, -2)) * width**-0.5
        result: Tensor = scores.softmax(-1) @ v
        return result

    return Operator(
        f"attention/{heads}x{queries}x{keys}x{width}",
        lambda: _Ternary(attend),
        ((1, heads, queries, width), (1, heads, keys, width), (1, heads, keys, width)),
    )


#: In the order of tables: those that issue 7 calls weak spots first.
OPERATORS: tuple[Operator, ...] = (
    *(
        _convolution("depthwise3x3", channels, channels, size, 3, stride, channels)
        for channels, size, stride in (
            (32, 112, 1), (64, 32, 2), (128, 56, 1), (256, 16, 2), (512, 14, 1), (512, 4, 1),
            (1024, 7, 1),
        )
    ),
    _convolution("conv3x3", 512, 512, 7, 3),
    _convolution("conv1x1", 512, 512, 7, 1),
    _convolution("conv1x1", 1024, 1024, 7, 1),
    _convolution("stem7x7s2", 3, 64, 224, 7, 2),
    _convolution("stem3x3s2", 3, 32, 224, 3, 2),
    _convolution("stem3x3", 3, 16, 32, 3),
    _convolution("conv3x3s2", 64, 128, 56, 3, 2),
    _convolution("conv1x1s2", 64, 128, 56, 1, 2),
    _one("chain-gelu", (1, 128, 768), _gelu_chain),
    _one("chain-relu6", (1, 64, 56, 56), lambda x: F.relu6(x + 3.0) * x / 6.0),
    Operator("chain-lstm/1x2048", lambda: _Binary(_gates), ((1, 2048), (1, 512))),
    Operator(
        "chain-residual/1x64x32x32",
        lambda: _Binary(lambda x, y: F.relu(x * 1.5 + y - 0.5)),
        ((1, 64, 32, 32), (1, 64, 32, 32)),
    ),
    _attention(12, 128, 128, 64),
    _attention(8, 1, 256, 64),
    _attention(4, 32, 32, 32),
    *(
        _convolution("conv3x3", channels, outputs, size, 3)
        for channels, outputs, size in (
            (64, 64, 56), (128, 128, 28), (256, 256, 14), (16, 16, 32), (32, 32, 16), (64, 64, 8),
            (512, 512, 2),
        )
    ),
    _convolution("conv3x3", 64, 64, 32, 3, batch=8),
    *(
        _convolution("conv1x1", channels, outputs, size, 1)
        for channels, outputs, size in (
            (32, 64, 112), (64, 256, 56), (256, 64, 56), (128, 256, 28), (512, 512, 4),
        )
    ),
    *(_linear(1, *sizes) for sizes in ((512, 2048), (512, 10_000), (1024, 1000), (64, 10))),
    *(_linear(8, *sizes) for sizes in ((512, 2048), (1024, 1000))),
    _linear(128, 768, 768),
    _one("softmax", (1, 10_000), lambda x: x.softmax(-1)),
    _one("softmax", (12, 128, 128), lambda x: x.softmax(-1)),
    Operator("layernorm/128x768", lambda: nn.LayerNorm(768), ((128, 768),)),
    _one("maxpool2", (1, 64, 32, 32), lambda x: F.max_pool2d(x, 2)),
    _one("maxpool3s2", (1, 64, 112, 112), lambda x: F.max_pool2d(x, 3, 2, 1)),
    _one("avgpool-global", (1, 512, 7, 7), lambda x: F.adaptive_avg_pool2d(x, 1)),
    _one("avgpool2", (1, 64, 32, 32), lambda x: F.avg_pool2d(x, 2)),
)  # fmt: skip


def find(name: str) -> Operator:
    """The operator of a name; raises ConfigError if there is none."""
    return matching([name])[0]


def matching(patterns: list[str]) -> list[Operator]:
    """The operators whose names match one of some shell patterns, all without patterns.

    Raises
    ------
    ConfigError
        If a pattern matches nothing.
    """
    for pattern in patterns:
        if not any(fnmatchcase(each.name, pattern) for each in OPERATORS):
            kinds = sorted({each.name.partition("/")[0] for each in OPERATORS})
            raise ConfigError(
                f"no operator is called {pattern!r}",
                hint=f"Give a pattern such as 'conv3x3/*'; there are {', '.join(kinds)}.",
            )
    return [
        each
        for each in OPERATORS
        if not patterns or any(fnmatchcase(each.name, pattern) for pattern in patterns)
    ]
