"""The batched variant of a region gives for each sample what the region gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from backends.tracing import trace
from torch import Tensor

from dyncc.backends.aten import run_region
from dyncc.backends.batching import batched
from dyncc.runtime.stacks import is_joined

aten = torch.ops.aten
SIZE = 3


@dataclass(frozen=True)
class Case:
    """A function of activations and weights; the operations that its variant has to keep."""

    function: Callable[..., Any]
    params: tuple[Any, ...]
    weights: tuple[Tensor, ...] = ()
    kept: tuple[str, ...] = ()


def images(channels: int = 4) -> tuple[int, ...]:
    return (1, channels, 6, 6)


MATRIX, ROW = torch.randn(4, 5), torch.randn(5)
KERNEL, DEEP, WIDE = torch.randn(2, 4, 3, 3), torch.randn(4, 1, 3, 3), torch.randn(4, 2, 2, 2)
NORM = (torch.rand(4), torch.rand(4), torch.rand(4), torch.rand(4) + 0.5)
TABLE = torch.randn(7, 3)

CASES: dict[str, Case] = {
    "convolution": Case(
        lambda x, w: F.conv2d(x, w, padding=1), (images(),), (KERNEL,), ("convolution.default",)
    ),
    "depthwise": Case(
        lambda x, w: F.conv2d(x, w, groups=4), (images(),), (DEEP,), ("convolution.default",)
    ),
    "transposed": Case(F.conv_transpose2d, (images(),), (WIDE,), ("convolution.default",)),
    "image without a batch": Case(F.conv2d, ((4, 6, 6),), (KERNEL,)),
    "image of one channel without a batch": Case(
        lambda x, w: F.conv2d(x, w[:, :1]), ((1, 6, 6),), (KERNEL,)
    ),
    "kernel from data": Case(F.conv2d, (images(), (2, 4, 3, 3))),
    "batch_norm": Case(
        lambda x, a, b, m, v: F.batch_norm(x, m, v, a, b), (images(),), NORM,
        ("native_batch_norm.default",),
    ),
    "pools": Case(
        lambda x: (F.max_pool2d(x, 2), F.avg_pool2d(x, 3), F.adaptive_avg_pool2d(x, 2)),
        (images(),), (), ("max_pool2d_with_indices.default", "avg_pool2d.default"),
    ),
    "pool over channels": Case(lambda x: F.max_pool2d(x, 2), ((4, 6, 6),)),
    "linear": Case(
        lambda x, w, b: aten.addmm(b, x, w), ((1, 4),), (MATRIX, ROW), ("addmm.default",)
    ),
    "linear with a bias of data": Case(
        lambda b, x, w: aten.addmm(b, x, w), ((1, 5), (1, 4)), (MATRIX,), ("addmm.default",)
    ),
    "linear with a row of data": Case(
        lambda b, x, w: aten.addmm(b, x, w), ((5,), (1, 4)), (MATRIX,)
    ),
    "linear of several rows": Case(lambda x, w: x @ w, ((2, 4),), (MATRIX,)),
    "matrix of data": Case(lambda x, y: x @ y, ((1, 4), (4, 2))),
    "vectors": Case(lambda x, y: x.dot(y), ((4,), (4,))),
    "batched product": Case(torch.bmm, ((1, 2, 4), (1, 4, 3)), (), ("bmm.default",)),
    "batched product of several": Case(torch.bmm, ((2, 2, 4), (2, 4, 3))),
    "broadcasting": Case(lambda x, y: x * y + 1, ((1, 4), (4,))),
    "broadcasting over samples": Case(lambda x, y: x * y, ((1, 4), (3, 4))),
    "broadcasting a weight over samples": Case(torch.add, ((1, 5),), (MATRIX,)),
    "a number and a row": Case(lambda x, y: x + y, ((), (1, 4))),
    "numbers": Case(lambda x, y: (x + y, x > y, torch.where(x > y, x, y)), ((), ())),
    "a wide number": Case(lambda x, w: x + w, ((),), (torch.tensor(2.5, dtype=torch.float64),)),
    "a wide number and a row": Case(
        lambda x, w: x + w, ((1, 4),), (torch.tensor(2.5, dtype=torch.float64),)
    ),
    "softmax": Case(
        lambda x: (x.softmax(1), x.softmax(0), x.log_softmax(-1)), ((1, 4),), (),
        ("_softmax.default",),
    ),
    "softmax of a row": Case(lambda x: F.softmax(x[0], dim=0).max(), ((1, 4),)),
    "reductions": Case(
        lambda x: (x.mean((2, 3)), x.sum(0), x.amax(1, keepdim=True), x.argmax(1), x.sum(),
                   x.argmax(), x.mean(dim=(0, 1)), x.max(2)[0], x.var(1)),
        (images(),), (), ("mean.dim",),
    ),
    "reductions of rows": Case(lambda x: (x.sum(0), x.cumsum(-1), x.norm()), ((3, 4),)),
    "shapes": Case(
        lambda x: (x.reshape(4, 36), x.flatten(1), x.unsqueeze(0), x.squeeze(0), x[0, 1],
                   x.transpose(1, 2).reshape(1, -1), x.permute(1, 0, 2, 3), x.permute(0, 3, 1, 2)),
        (images(),),
    ),
    "shapes of rows": Case(
        lambda x: (x.t(), x[1], x[:, 1], x[0:1], x[1:, ::2], x.unsqueeze(0), x.unsqueeze(2),
                   x.reshape(1, -1), x.reshape(2, 6)), ((3, 4),),
    ),
    "joining": Case(
        lambda x, y: (torch.cat([x, y]), torch.cat([x, y], 1), torch.stack([x, y]),
                      torch.cat([x[0], y[0]])), ((1, 4), (1, 4)),
    ),
    "joining with a weight": Case(
        lambda x, w: torch.cat([x, w], 1), ((1, 5),), (torch.ones(1, 2),)
    ),
    "splitting": Case(lambda x: (*x.split(2, 1), *x.unbind(1), *x.chunk(2, -1)), ((1, 4),)),
    "expanding": Case(
        lambda x: (x.expand(1, 5), x.expand(3, 5), x.expand(2, 1, 5).clone()), ((1, 1),)
    ),
    "padding": Case(lambda x: F.pad(x, (1, 2)), ((1, 4),)),
    "padding samples": Case(lambda x: F.pad(x, (1, 0, 2, 0)), ((1, 4),)),
    "ranks": Case(lambda x: (*x.topk(2, 1), x.logsumexp(1), x.argmin(1), x.amin(0)), ((1, 4),)),
    "upsampling": Case(
        lambda x: (
            F.interpolate(x, scale_factor=2.0), F.interpolate(x, size=9, mode="bilinear")
        ),
        (images(),),
    ),
    "flipping": Case(lambda x: (x.flip(1), x.flip(0)), ((1, 4),)),
    "layer_norm": Case(
        lambda x, w: F.layer_norm(x, (5,), w), ((1, 2, 5),), (ROW,), ("native_layer_norm.default",)
    ),
    "layer_norm over samples": Case(lambda x: F.layer_norm(x, (1, 5)), ((1, 5),)),
    "group_norm": Case(
        lambda x: F.group_norm(x, 2), (images(),), (), ("native_group_norm.default",)
    ),
    "attention": Case(
        F.scaled_dot_product_attention, ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)),
    ),
    "masked attention": Case(
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m),
        ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)), (torch.randn(3, 3),),
    ),
    "embedding": Case(
        lambda i, w: F.embedding(i, w), (torch.tensor([[1, 4]]),), (TABLE,), ("embedding.default",)
    ),
    "embedding of a number": Case(lambda i, w: F.embedding(i, w), (torch.tensor(3),), (TABLE,)),
    "choice by data": Case(lambda x, i: x.index_select(1, i), ((1, 4), torch.tensor([2, 0]))),
    "no sample's": Case(lambda x, w: (w * 2, x + 1, w.sum()), ((1, 4),), (ROW,)),
    "types": Case(lambda x: (x.double(), x.int(), x > 0, torch.zeros_like(x)), ((1, 4),)),
}  # fmt: skip


def _sample(given: Any, seed: int) -> Tensor:
    if isinstance(given, Tensor):
        return (given + seed) % (int(given.max()) + 1)
    return torch.randn(given, generator=torch.Generator().manual_seed(seed))


def _stack(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if is_joined(parts[0].shape) else torch.stack(parts)


@pytest.mark.parametrize("name", CASES)
def test_each_sample_gets_its_own(name: str) -> None:
    case = CASES[name]
    samples = [
        [_sample(given, 10 * number + place) for place, given in enumerate(case.params)]
        for number in range(SIZE)
    ]
    region = trace("r", case.function, samples[0], case.weights)
    variant = batched(region, SIZE, "rx3")
    stacks = [_stack(list(column)) for column in zip(*samples, strict=True)]
    found = run_region(variant, stacks, case.weights, {})
    alone = [run_region(region, sample, case.weights) for sample in samples]
    for place, tensor in enumerate(found):
        expected = _stack([results[place] for results in alone])
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-5)
    targets = [op.target.removeprefix("aten.") for op in variant.ops]
    for operation in case.kept:
        assert operation in targets, targets


def test_what_stays_is_not_taken_apart() -> None:
    """A layer of a network in the terms in which back ends know it."""
    region = trace(
        "r",
        lambda x, w, a, b, m, v: F.relu(F.batch_norm(F.conv2d(x, w), m, v, a, b)).mean((2, 3)),
        [torch.randn(images())],
        [torch.randn(4, 4, 3, 3), *NORM],
    )
    kept = [op.target for op in batched(region, 8, "v").ops]
    assert kept == [op.target for op in region.ops if "empty" not in op.target]
