"""dyncc's own schedules for convolutions and products, on awkward sizes."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from backends.differential import Case, compare
from backends.tracing import trace
from torch import Tensor
from tvm import tirx

from dyncc.backends.tvm import packing, winograd
from dyncc.backends.tvm.build import import_for_tvm, lowered
from dyncc.backends.tvm.lowering import Care
from dyncc.backends.tvm.schedules.generic import neighbours
from dyncc.backends.tvm.target import Cpu

#: (height, width), kernel, stride, padding: along rows, along channels, and neither fits.
GEOMETRIES = (
    ((7, 7), 3, 1, 1),
    ((8, 8), 3, 1, 1),
    ((9, 5), 3, 2, 1),
    ((8, 8), 1, 2, 0),
    ((16, 16), 3, 1, 1),
    ((6, 32), 3, 1, 1),
    ((9, 5), 1, 1, 0),
)
#: (input channels, output channels).
CHANNELS = ((3, 16), (7, 5), (16, 24))
EPILOGUES = ("bare", "bias", "norm", "residual", "gated")


def convolution(geometry: int, channels: tuple[int, int], epilogue: str) -> Case:
    """A convolution and what follows it, batch 1 or 2."""
    (height, width), kernel, stride, padding = GEOMETRIES[geometry]
    inputs, outputs = channels
    image = torch.randn(1 + geometry % 2, inputs, height, width)
    weight = torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel * kernel) ** 0.5
    shape = F.conv2d(image, weight, None, stride, padding).shape
    vectors = [torch.rand(outputs) + 0.5 for _ in range(4)]

    def run(
        x: Tensor, shortcut: Tensor, w: Tensor, a: Tensor, b: Tensor, m: Tensor, v: Tensor
    ) -> Tensor:
        y = F.conv2d(x, w, a if epilogue == "bias" else None, stride, padding)
        if epilogue in ("norm", "residual"):
            y = F.batch_norm(y, m, v, a, b)
        if epilogue == "residual":
            y = y + shortcut
        if epilogue == "gated":
            y = y * torch.sigmoid(y)
        return y if epilogue == "bare" else F.relu(y)

    return Case(run, [image, torch.randn(shape)], [weight, *vectors])


@pytest.mark.parametrize("channels", CHANNELS, ids=str)
def test_convolutions(channels: tuple[int, int], tmp_path: Path) -> None:
    torch.manual_seed(1)
    cases = {
        f"{epilogue}{geometry}": convolution(geometry, channels, epilogue)
        for geometry in range(len(GEOMETRIES))
        for place, epilogue in enumerate(EPILOGUES)
        if (geometry + place) % 2 == 0
    }
    report = compare(cases, tmp_path, rtol=1e-4, atol=1e-5)
    assert report["schedules"] == "trust"


def separately(stride: Any, padding: Any) -> Callable[..., Tensor]:
    """A depthwise convolution and what follows it."""

    def run(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.relu(F.conv2d(x, w, b, stride, padding, 1, w.shape[0]) * 2)

    return run


def test_depthwise_convolutions(tmp_path: Path) -> None:
    torch.manual_seed(4)
    cases = {}
    for (height, width), kernel, stride, padding, channels in (
        ((16, 16), 3, 1, 1, 20),
        ((8, 8), 3, 2, 1, 6),
        ((2, 2), 3, 1, 1, 33),
        ((1, 1), 3, 1, 1, 4),
        ((9, 5), 5, 2, 2, 3),
        ((7, 11), 3, 1, 0, 5),
        ((12, 9), (3, 1), (1, 3), (1, 0), 7),
        ((6, 6), 1, 2, 0, 2),
        ((13, 32), 3, 1, 1, 5),
        ((8, 47), 5, 1, 2, 3),
        ((33, 64), 3, 2, 1, 4),
        ((64, 112), 7, 1, 3, 2),
        ((10, 66), (3, 2), (1, 2), (0, 1), 3),
    ):  # fmt: skip
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        label = f"{height}x{width}k{kernel}s{stride}"
        cases[label] = Case(
            separately(stride, padding),
            [torch.randn(1 + channels % 2, channels, height, width)],
            [torch.randn(channels, 1, *size), torch.randn(channels)],
        )
    cases["stem"] = Case(
        lambda x, w: F.conv2d(x, w, None, 2, 3),
        [torch.randn(2, 3, 64, 63)],
        [torch.randn(8, 3, 7, 7)],
    )
    report = compare(cases, tmp_path, rtol=1e-4, atol=1e-5)
    assert report["schedules"] == "trust"


def with_shortcut(padding: Any) -> Callable[..., Tensor]:
    """A convolution as in a residual block."""

    def run(x: Tensor, shortcut: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.relu(F.conv2d(x, w, b, 1, padding) + shortcut)

    return run


@pytest.mark.parametrize("size", [2, 4])
def test_convolutions_by_winograd(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles that fit the image, that stick out, that fill vectors and that do not."""
    torch.manual_seed(6)
    monkeypatch.setattr(packing, "tile_size", lambda conv, cpu: size)
    cases = {}
    for batch, inputs, outputs, height, width, padding in (
        (1, 16, 32, 16, 16, 1),
        (2, 5, 24, 7, 7, 1),
        (1, 8, 7, 9, 35, 0),
        (3, 16, 16, 3, 40, (2, 0)),
        (1, 3, 4, 1, 1, 1),
    ):  # fmt: skip
        image = torch.randn(batch, inputs, height, width)
        weights = [torch.randn(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5, torch.randn(outputs)]
        shortcut = F.conv2d(image, weights[0], None, 1, padding)
        label = f"{inputs}x{height}x{width}"
        cases[label] = Case(with_shortcut(padding), [image, torch.randn_like(shortcut)], weights)
    weight = torch.randn(5, 6, 3, 3) / 8
    cases["bare"] = Case(lambda x, w: F.conv2d(x, w), [torch.randn(1, 6, 8, 8)], [weight])
    # Results are near 1; those near 0 are differences of such.
    report = compare(cases, tmp_path, rtol=1e-5, atol=1e-5)
    assert report["schedules"] == "trust"


def test_transforms_of_winograd_are_exact() -> None:
    generator = numpy.random.default_rng(7)
    for size in (2, 4):
        back, weights, image = winograd.matrices(size)
        signal, window = generator.standard_normal(size + 2), generator.standard_normal(3)
        found = back @ ((weights @ window) * (image @ signal))
        numpy.testing.assert_allclose(found, numpy.correlate(signal, window), rtol=1e-12)


def test_products(tmp_path: Path) -> None:
    torch.manual_seed(2)
    cases = {}
    for rows, inner, columns in (
        (1, 16, 10), (3, 7, 5), (1, 576, 1536), (5, 8, 40), (12, 33, 64), (64, 64, 100), (7, 5, 17),
        (13, 20, 70), (9, 33, 128), (29, 8, 9),
    ):  # fmt: skip
        weights = [torch.randn(columns, inner) / inner**0.5, torch.randn(columns)]
        cases[f"p{rows}x{inner}x{columns}"] = Case(F.linear, [torch.randn(rows, inner)], weights)
        cases[f"r{rows}x{inner}x{columns}"] = Case(
            lambda x, w, b: F.relu(F.linear(x, w, b)) + 1, [torch.randn(rows, inner)], weights
        )
    cases["three"] = Case(F.linear, [torch.randn(2, 3, 8)], [torch.randn(5, 8), torch.randn(5)])
    report = compare(cases, tmp_path, rtol=1e-4, atol=1e-5)
    assert report["schedules"] == "trust"


def test_exponentials_keep_the_special_values(tmp_path: Path) -> None:
    edges = torch.tensor([0.0, -0.0, 1e-30, -1e-6, 0.6249, 0.6251, 87.0, 88.7, 89.0, -87.0, -90.0,
                          float("inf"), -float("inf"), float("nan")])  # fmt: skip
    sweep = torch.cat([edges, torch.linspace(-88, 88, 4082)])
    cases = {
        "all": Case(lambda x: (x.exp(), x.tanh(), x.sigmoid(), F.silu(x)), [sweep]),
        "masked": Case(lambda x: x.softmax(-1), [torch.tensor([[1.0, -float("inf"), 2.0, 100.0]])]),
    }
    compare(cases, tmp_path, rtol=2e-6, atol=1e-37)


def test_products_of_activations(tmp_path: Path) -> None:
    torch.manual_seed(5)

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.transpose(-1, -2) * 0.125).softmax(-1) @ v

    cases = {}
    for heads, queries, keys, width in (
        ((8,), 32, 48, 16), ((2, 3), 9, 32, 64), ((), 12, 16, 32), ((2,), 3, 16, 16),
        ((2,), 11, 20, 7), ((1, 4), 1, 37, 64), ((3, 2), 13, 77, 24), ((2,), 5, 1, 3),
        ((1, 2), 33, 17, 16),
    ):  # fmt: skip
        label = f"{len(heads)}x{queries}x{keys}x{width}"
        sizes = ((queries, width), (keys, width), (keys, width))
        cases[label] = Case(attention, [torch.randn(*heads, *size) for size in sizes])
    # What another broadcasts, and what is reshaped between products.
    cases["shared"] = Case(attention, [torch.randn(2, 3, 9, 16), *torch.randn(2, 1, 3, 20, 16)])
    cases["merged"] = Case(
        lambda x, y: (x @ y.transpose(-1, -2)).reshape(6, -1).relu() @ y.reshape(6, -1)[:, :64].T,
        [torch.randn(2, 3, 8, 16), torch.randn(2, 3, 8, 16)],
    )
    cases["broadcast"] = Case(torch.matmul, [torch.randn(2, 9, 5), torch.randn(5, 32)])
    report = compare(cases, tmp_path, rtol=1e-4, atol=1e-5)
    assert report["schedules"] == "trust"


def function_of(function: Callable[..., Tensor], *how: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x, *how)


def pooled(function: Callable[..., Tensor], *how: Any) -> Callable[..., Tensor]:
    """A pooling, and what follows it in a network."""
    return lambda x, a: F.relu(function(x, *how) * a - 0.5)


def test_pooling(tmp_path: Path) -> None:
    """Windows across borders on each side, rows that fill vectors and that do not."""
    torch.manual_seed(9)
    cases = {}
    for place, (shape, *how) in enumerate(
        (
            ((1, 3, 32, 32), 2, 2), ((2, 5, 9, 33), 3, 2, 1), ((1, 4, 112, 16), 3, 2, 1),
            ((1, 2, 7, 7), 3, 1, 1), ((2, 3, 13, 10), (3, 2), (2, 1), (1, 0)),
            ((1, 2, 1, 1), 3, 1, 1), ((1, 2, 6, 5), 5, 1, 2), ((1, 3, 7, 7), 7, 7),
            ((1, 2, 9, 16), 1, 2), ((1, 2, 20, 12), 9, 9),
            ((1, 2, 6, 9), 2, 3),
        )
    ):  # fmt: skip
        x = torch.randn(shape)
        for name, function in (("max", F.max_pool2d), ("mean", F.avg_pool2d)):
            cases[f"{name}{place}"] = Case(function_of(function, *how), [x])
            cases[f"{name}{place}then"] = Case(pooled(function, *how), [x], [torch.randn(1)])
        rounded_up = functools.partial(F.max_pool2d, ceil_mode=True)
        cases[f"up{place}"] = Case(function_of(rounded_up, *how), [x])
    x = torch.randn(1, 3, 8, 9)
    cases["dilated"] = Case(lambda x: F.max_pool2d(x, 3, 1, 1, 2), [x])
    cases["inside"] = Case(lambda x: F.avg_pool2d(x, 3, 2, 1, False, False), [x])
    cases["no stride"] = Case(lambda x: F.max_pool2d(x, 2, ceil_mode=True), [x])
    cases["up"] = Case(lambda x: F.avg_pool2d(x, 3, 2, 1, True), [x])
    report = compare(cases, tmp_path, rtol=1e-5, atol=1e-6)
    assert report["schedules"] == "trust"


def test_rows(tmp_path: Path) -> None:
    """Reductions of last axes that are a few, many, no multiple and no sum of vectors long."""
    torch.manual_seed(3)
    cases = {}
    for shape in (
        (1, 196),
        (3, 1000),
        (2, 5, 64),
        (1, 7),
        (4, 96, 1),
        (2, 197),
        (3, 2, 77),
        (5, 33),
    ):
        x = torch.randn(shape)
        label = "x".join(map(str, shape))
        vectors = [torch.randn(shape[-1]), torch.randn(shape[-1])]
        cases |= {
            f"softmax{label}": Case(lambda x: x.softmax(-1), [x]),
            f"logarithm{label}": Case(lambda x: x.log_softmax(-1), [x]),
            f"first{label}": Case(lambda x: x.softmax(0), [x]),
            f"norm{label}": Case(lambda x, a, b: F.layer_norm(x, a.shape, a, b), [x + 3], vectors),
            f"mean{label}": Case(lambda x: (x.mean(-1), x.sum(), x.amax(-1)), [x]),
            f"place{label}": Case(lambda x: (x.argmax(-1), *x.max(-1)), [x.round()]),
        }
    cases["pooled"] = Case(lambda x: F.adaptive_avg_pool2d(x, 1), [torch.randn(2, 9, 8, 12)])
    # A mean of a thousand numbers near 3 may be off by a dozen units in its last place.
    report = compare(cases, tmp_path, rtol=2e-5, atol=1e-5)
    assert report["schedules"] == "trust"


def test_elementwise(tmp_path: Path) -> None:
    """Rows that are a few vectors long, a part of one, or none."""
    torch.manual_seed(8)
    cases = {}
    for shape in ((2, 3, 7, 7), (1, 5, 56, 56), (3, 5, 7), (4, 2, 2), (1,), (2, 13), (97,)):
        x, y = torch.randn(shape), torch.randn(shape)
        label = "x".join(map(str, shape))
        cases[label] = Case(lambda x, y: F.relu6(x + 3) * y / 6, [x, y])
        cases[f"scaled{label}"] = Case(lambda x, a: x * a + 1, [x], [torch.randn(shape[-1])])
    report = compare(cases, tmp_path)
    assert report["schedules"] == "trust"


def test_neighbours_are_parts_of_rows_or_whole_rows() -> None:
    for sizes in itertools.product((1, 2, 3, 7, 8, 14, 56), repeat=3):
        for lanes in (4, 8, 16):
            found = neighbours(sizes, lanes)
            inner = next(
                inner
                for axis in (2, 1, 0)
                if (inner := math.prod(sizes[axis + 1 :])) * sizes[axis] >= found
            )
            assert found <= 4 * lanes
            assert found % inner == 0
            assert math.prod(sizes) % found == 0


def test_units_in_the_last_place(tmp_path: Path) -> None:
    """The bounds that `mathematics` states; one unit more, which may be torch's."""
    x = torch.cat([torch.linspace(-10, 10, 40_001), torch.randn(20_000) * 1e-3])
    cases = {"all": Case(lambda x: (x.exp(), x.tanh(), x.erf(), x.sigmoid()), [x])}
    compare(cases, tmp_path, rtol=5 * 2**-23, atol=0)


def test_each_kind_of_function_gets_a_schedule() -> None:
    """Code without a schedule is right as well, so that only this shows a rule that never fits."""
    x, image = torch.randn(3, 64), torch.randn(1, 16, 8, 16)
    cases = {
        "softmax": Case(lambda x: x.softmax(-1), [x]),
        "norm": Case(lambda x, a: F.layer_norm(x, a.shape, a, a), [x], [torch.randn(64)]),
        "mean": Case(lambda x: x.mean((-1, -2)), [image]),
        "greatest": Case(lambda x: x.max(-1), [x]),
        "chain": Case(lambda x: F.relu6(x + 3) * x / 6, [image]),
        "pool": Case(lambda x: F.max_pool2d(x, 2), [torch.randn(1, 16, 8, 32)]),
        "window": Case(lambda x: F.max_pool2d(x, 9), [torch.randn(1, 16, 9, 288)]),
        "linear": Case(F.linear, [x], [torch.randn(32, 64)]),
        "rows": Case(lambda x, w: F.conv2d(x, w), [image], [torch.randn(16, 16, 1, 1)]),
        "channels": Case(
            lambda x, w: F.conv2d(x, w, None, 2), [image], [torch.randn(16, 16, 3, 3)]
        ),
        "tiles": Case(
            lambda x, w: F.conv2d(x, w, None, 1, 1),
            [torch.randn(1, 64, 32, 32)],
            [torch.randn(64, 64, 3, 3)],
        ),
        "depthwise": Case(
            lambda x, w: F.conv2d(x, w, None, 1, 1, 1, 16), [image], [torch.randn(16, 1, 3, 3)]
        ),
    }
    for name, case in cases.items():
        region = trace(name, case.function, case.params, case.weights)
        module, _ = lowered([import_for_tvm(region, "entry")], Cpu.host(), Care.TRUST)
        plain = [
            found.name_hint
            for found, function in module.functions_items()
            if isinstance(function, tirx.PrimFunc)
            and not (function.attrs and function.attrs.get("tirx.is_scheduled"))
        ]
        assert not plain, name
