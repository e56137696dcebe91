"""Calls: submodules, helpers and methods that branch, arguments of every kind, closures."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from frontend.differential import check, linear, network, rows
from torch import Tensor, nn

import dyncc
from dyncc.core.errors import InputError, UnsupportedError


def halve(x: Tensor, limit: float = 1.0) -> Tensor:
    """Branches on data, and calls itself no more than twice."""
    if x.abs().max() > limit:
        return x / 2
    return x


class Gated(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.layer = linear(seed=seed)
        self.gate = linear(outer=1, seed=seed + 50)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        if torch.sigmoid(self.gate(x)) > 0.5:
            x = x + self.layer(x) * scale
        return x


def test_submodules_that_branch() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, scale=0.5)
        return self.blocks[0](x)

    blocks = nn.ModuleList([Gated(1), Gated(2)])
    check(network(forward, blocks=blocks), rows(400))


def test_sequential_of_modules_that_branch() -> None:
    check(nn.Sequential(Gated(1), nn.ReLU(), Gated(3)), rows(80))


def test_the_call_of_a_module_as_a_function() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.other = Gated(1), Gated(2)

        def forward(self, x: Tensor) -> Tensor:
            step = self.inner.__call__
            return step(x) + nn.Module.__call__(self.other, x=x)

    check(Outer(), rows(400))


def test_helper_functions_that_branch() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = halve(x)
        x = halve(x, limit=0.5)
        return halve(limit=4.0, x=x)

    check(network(forward), rows(60))


def test_methods_static_methods_and_properties() -> None:
    class Net(nn.Module):
        factor = 3.0

        @property
        def twice(self) -> float:
            return self.factor * 2

        @staticmethod
        def shift(x: Tensor, by: float) -> Tensor:
            return x + by if x.sum() > 0 else x - by

        @classmethod
        def scale(cls, x: Tensor) -> Tensor:
            return x * cls.factor

        def both(self, x: Tensor, /, *parts: float, key: float = 1.0, **rest: float) -> Tensor:
            for part in parts:
                x = x + part
            return x * key + rest["last"]

        def forward(self, x: Tensor) -> Tensor:
            x = self.shift(x, self.twice)
            return self.both(self.scale(x), 1.0, 2.0, key=0.5, last=4.0)

    check(Net())


def test_super_and_inherited_forward() -> None:
    class Child(Gated):
        def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
            return super().forward(x, scale) - 1

    check(Child(4), rows(40))


def test_star_arguments() -> None:
    def forward(self: Any, *tensors: Tensor) -> Tensor:
        total = tensors[0]
        for tensor in tensors[1:]:
            total = total + tensor
        return total

    program = check(network(forward), [(x, x + 1, x * 2) for (x,) in rows(3)])
    with pytest.raises(InputError, match="expected a tuple of 3"):
        program(torch.ones(1, 4))


def test_star_keywords() -> None:
    def forward(self: Any, x: Tensor, **rest: Tensor) -> Tensor:
        for name, tensor in rest.items():
            x = x + tensor * len(name)
        return x

    check(network(forward), [{"x": x, "by": x * 2, "other": x + 1} for (x,) in rows(3)])


def test_wrong_arguments_of_a_program() -> None:
    def forward(self: Any, x: Tensor, n: int = 2, *, mode: str = "up") -> Tensor:
        return x * n if mode == "up" else x / n

    program = check(network(forward))
    x = torch.ones(1, 4)
    for args, kwargs, message in [
        ((), {}, "missing a required argument: 'x'"),
        ((x, 2, "up", 4), {}, "too many positional arguments"),
        ((x,), {"y": 1}, "unexpected keyword argument 'y'"),
        ((x,), {"x": x}, "multiple values for argument 'x'"),
        ((x,), {"mode": "down"}, "expected 'up', which the network was compiled for, got 'down'"),
        ((torch.ones(2, 4),), {}, "x: expected float32\\[1,4\\], got float32\\[2,4\\]"),
        ((x.double(),), {}, "x: expected float32\\[1,4\\], got float64\\[1,4\\]"),
        (([1.0],), {}, "got a list"),
    ]:
        with pytest.raises(InputError, match=message):
            program(*args, **kwargs)


def test_keyword_and_default_arguments() -> None:
    def forward(self: Any, x: Tensor, scale: float = 2.0, *, flip: bool = False) -> Tensor:
        x = x * scale
        return x.flip(-1) if flip else x

    module = network(forward)
    check(module)
    program = check(module, [{"x": x, "scale": 3.0, "flip": bool(i % 2)} for i, (x,) in
                             enumerate(rows(6))])  # fmt: skip
    x = torch.ones(1, 4)
    assert program(x, flip=True, scale=5.0).equal(module(x, 5.0, flip=True))


def test_recursion_on_static_values() -> None:
    def power(x: Tensor, n: int) -> Tensor:
        return x if n == 0 else power(x * 2, n - 1)

    def forward(self: Any, x: Tensor) -> Tensor:
        return power(x, 3)

    check(network(forward))


def test_functional_and_numbers() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        n = x.shape[-1]
        x = F.layer_norm(x, (n,)) * math.sqrt(n) + numpy.float32(0.5).item()
        x = F.softmax(x, dim=-1)
        return F.pad(x, (0, 1)).max(dim=-1).values

    check(network(forward))


def test_builtins_on_numbers_from_data() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        n, m = int(x[0, 0]), float(x[0, 1])
        return min(n, 2), max(n, 1, 0), round(m), math.exp(min(m, 2.0)), n**2, n // 3, divmod(n, 4)

    check(network(forward))


def test_no_grad_and_autocast_off() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            if x.sum() > 0:
                x = x + 1
        return x

    check(network(forward))


def test_dropout_and_batch_norm_in_evaluation_mode() -> None:
    module = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4))
    assert len(check(module).hcfg.blocks) == 1


def test_forward_hooks_are_refused() -> None:
    module = network(lambda self, x: self.layer(x), layer=linear())
    module.layer.register_forward_hook(lambda part, args, output: output + 1)
    with pytest.raises(UnsupportedError, match="forward hooks"):
        check(module)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(kind: type[nn.Module]) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        return y[:, -1] if y[0, 0, 0] > 0 else y[:, 0]

    torch.manual_seed(0)
    inputs = [(torch.randn(1, 3, 4) * 2,) for _ in range(12)]
    check(network(forward, rnn=kind(4, 5, batch_first=True)), inputs)


def test_attention() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y, weights = self.attention(x, x, x)
        if weights.max() > 0.5:
            return y
        return x

    torch.manual_seed(0)
    inputs = [(torch.randn(1, 3, 4) * scale,) for scale in (0.1, 1, 4, 8, 20, 60)]
    check(network(forward, attention=nn.MultiheadAttention(4, 2, batch_first=True)), inputs)


class Clipped(torch.autograd.Function):
    """Branches on data, and keeps what a backward would need."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float) -> Tensor:
        ctx.limit = limit
        ctx.save_for_backward(x)
        return x.clamp(-limit, limit) if x.abs().max() > ctx.limit else x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError


class Split(torch.autograd.Function):
    """The newer form, without a context in forward; a class method, as some write it."""

    @classmethod
    def forward(cls, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x, -x) if x.sum() > 0 else (-x, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.shape = inputs[0].shape


def test_functions_with_gradients_of_their_own() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, ...]:
        clipped = Clipped.apply(x, 1.0)
        up, down = Split.apply(clipped * 2)
        up += 1
        return clipped, up, down

    check(network(forward))


class Scaled(nn.Module):
    """A module that forward makes around another."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        result: Tensor = self.inner(x) * self.scale
        return result


def test_modules_that_forward_makes() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        scaled, other = Scaled(self.inner), Scaled(self.inner)
        scaled.calls = other.calls = 0
        if x.sum() > 0:
            scaled.scale = 2.0
        for _ in range(3):
            if x.max() > 4:
                scaled.scale = scaled.scale + 1
            x = scaled(x)
        return other(x), scaled.calls + other.calls

    check(network(forward, inner=linear()))


def test_a_module_that_forward_makes_with_random_weights_is_refused() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        result: Tensor = Scaled(Random())(x)
        return result

    before = torch.get_rng_state()
    with pytest.raises(UnsupportedError, match="it draws random numbers") as caught:
        dyncc.compile(network(forward), (torch.ones(1, 4),), backend="eager")
    assert caught.value.diagnostics[0].code == "DY601"
    assert torch.equal(torch.get_rng_state(), before)


class Random(nn.Module):
    """A module with a weight that is drawn when it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Base:
    """Says what it is called with."""

    def __init__(self, start: Tensor, **options: float) -> None:
        self.start, self.options = start, options

    @classmethod
    def names(cls) -> set[str]:
        return {"base"}


class Derived(Base):
    """Calls its base as was usual in Python 2."""

    def __init__(self, start: Tensor, **options: float) -> None:
        super(Derived, self).__init__(start + 1, **options)  # noqa: UP008

    @classmethod
    def names(cls) -> set[str]:
        return super(Derived, cls).names() | {"derived"}  # noqa: UP008


def test_super_with_arguments() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        made = Derived(x, scale=2.0)
        if x.sum() > 0 and "derived" in made.names():
            return made.start * made.options["scale"]
        return made.start * len(Derived.names())

    check(network(forward))


def test_a_tensor_of_one_integer_is_a_number_where_one_is_wanted() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        count = (x > 0).sum()
        return torch.topk(x, count).values, x.repeat(count, 1)

    check(network(forward))
