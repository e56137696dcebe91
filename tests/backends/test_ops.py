"""Regions of many ATen operations, compiled by each back end and compared with eager torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from backends.differential import Case, compare
from torch import Tensor


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape)


def integers(*shape: int, low: int = -5, high: int = 6) -> Tensor:
    return torch.randint(low, high, shape)


def booleans(*shape: int) -> Tensor:
    return torch.rand(*shape) > 0.5


def positive(*shape: int) -> Tensor:
    return torch.rand(*shape) + 0.1


@pytest.fixture(params=["tvm", "onnxruntime"])
def backend(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if found == "onnxruntime":
        pytest.importorskip("onnxruntime")
    return found


def check(cases: Mapping[str, Case], directory: Path, backend: str) -> None:
    report = compare(cases, directory, backend=backend)
    assert list(report["regions"]) == list(cases)
    assert report.get("schedules", "trust") == "trust"


def lstm_gates(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    i, f, o, g = gates.chunk(4, 1)
    return torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g), torch.sigmoid(o)


def test_elementwise(tmp_path: Path, backend: str) -> None:
    torch.manual_seed(0)
    cases = {
        "full": Case(lambda x: torch.full((3, 4), 7) + x, [integers(3, 4)]),
        "full_bool": Case(lambda x: torch.full((3, 4), True) & x, [booleans(3, 4)]),
        "full_like": Case(lambda x: torch.full_like(x, 2.5) + x, [numbers(3, 4)]),
        "zeros_like": Case(lambda x: torch.zeros_like(x) + torch.ones_like(x) + x, [numbers(3, 4)]),
        "cmp": Case(
            lambda a, b: (a < b, a <= b, a == b, a != b, a > b, a >= b, a > 0, a == 1.0),
            [numbers(3, 4), numbers(3, 4)],
        ),
        "cmp_int": Case(
            lambda a, b: (a < b, a == b, a != 2, a >= 1, a > 0.5), [integers(3, 4), integers(3, 4)]
        ),
        "boolops": Case(
            lambda a, b: (
                a & b,
                a | b,
                a ^ b,
                ~a,
                torch.logical_and(a, b),
                torch.logical_or(a, b),
                torch.logical_not(a),
                torch.logical_xor(a, b),
                a == b,
                a != b,
            ),
            [booleans(3, 4), booleans(3, 4)],
        ),
        "logical_num": Case(
            lambda a, b: (torch.logical_and(a, b), torch.logical_not(a)),
            [integers(3, 4, low=0, high=2), numbers(3, 4)],
        ),
        "bitint": Case(
            lambda a, b: (a & b, a | b, a ^ b, ~a, a << 2, a >> 1), [integers(3, 4), integers(3, 4)]
        ),
        "zero_d": Case(
            lambda a, b: (a + b, a * 2, a - b, a / b, a < b, a.neg()),
            [torch.randn(()), torch.randn(())],
        ),
        "zero_d_int": Case(
            lambda a, b: (a + b, a * 2, a - b, a // b, a % b, a < b),
            [torch.tensor(-7), torch.tensor(3)],
        ),
        "int64": Case(
            lambda a, b: (a + b, a * b, a - b, a * 3, a + 1, 1 - a, -a, a.abs()),
            [integers(3, 4), integers(3, 4)],
        ),
        "mixed": Case(
            lambda a, b: (a + b, a * b, a / b, a - b, a + True), [integers(3, 4), numbers(3, 4)]
        ),
        "mixed_bool": Case(
            lambda a, b: (a * b, a + b.float(), b + b), [numbers(3, 4), booleans(3, 4)]
        ),
        "int_float_scalar": Case(
            lambda a: (a * 0.5, a + 1.5, a / 4, a - 0.5, 1.5 - a, a**2), [integers(3, 4)]
        ),
        "f64": Case(
            lambda a, b: (a + b, a * b, a @ b.t(), a.sum()),
            [numbers(3, 4).double(), numbers(3, 4).double()],
        ),
        "mixdt": Case(lambda a, b: (a + b,), [numbers(3, 4).double(), numbers(3, 4)]),
        "unary_pos": Case(
            lambda x: (
                x.sqrt(),
                x.rsqrt(),
                x.log(),
                x.log2(),
                x.log10(),
                x.log1p(),
                x.reciprocal(),
                x.pow(2),
                x.pow(0.5),
                x.pow(3),
                x.pow(-1),
                2**x,
                x**x,
            ),
            [torch.rand(3, 4) + 0.1],
        ),
        "round_tie": Case(
            lambda x: (x.round(), x.round(decimals=1)),
            [torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 0.25])],
        ),
        "acts": Case(
            lambda x: (
                F.gelu(x),
                F.gelu(x, approximate="tanh"),
                F.silu(x),
                F.elu(x),
                F.leaky_relu(x, 0.1),
                F.hardtanh(x),
                F.relu6(x),
                F.hardswish(x),
                F.hardsigmoid(x),
                F.softplus(x),
                F.mish(x),
                F.selu(x),
                F.celu(x),
                F.softsign(x),
                F.logsigmoid(x),
                F.tanhshrink(x),
                F.softshrink(x),
                F.hardshrink(x),
                F.threshold(x, 0.1, 2.0),
            ),
            [numbers(3, 40) * 3],
        ),
        "prelu": Case(lambda x, w: F.prelu(x, w), [numbers(2, 3, 4), numbers(3)]),
        "glu": Case(lambda x: F.glu(x, 1), [numbers(3, 4)]),
        "clamp": Case(
            lambda x, y: (
                x.clamp(-1, 1),
                x.clamp(min=0),
                x.clamp(max=0.5),
                x.clamp(y, y + 1),
                torch.maximum(x, y),
                torch.minimum(x, y),
            ),
            [numbers(3, 4), numbers(3, 4)],
        ),
        "clampint": Case(lambda x: (x.clamp(-1, 1), x.clamp(min=0)), [integers(3, 4)]),
        "lerp": Case(
            lambda a, b: (
                torch.lerp(a, b, 0.3),
                torch.addcmul(a, a, b, value=0.5),
                torch.addcdiv(a, a, b.abs() + 1),
                torch.add(a, b, alpha=2),
                torch.sub(a, b, alpha=3),
            ),
            [numbers(3, 4), numbers(3, 4)],
        ),
        "atan2": Case(
            lambda a, b: (torch.atan2(a, b), torch.hypot(a, b)), [numbers(3, 4), numbers(3, 4)]
        ),
        "isnan": Case(
            lambda x: (x.isnan(), x.isinf(), x.isfinite(), torch.nan_to_num(x)),
            [torch.tensor([1.0, float("nan"), float("inf"), -float("inf")])],
        ),
        "where": Case(
            lambda m, a, b: (torch.where(m, a, b), torch.where(m, a, 0.0), torch.where(m, 1.0, b)),
            [booleans(3, 4), numbers(3, 4), numbers(4)],
        ),
        "masked_fill": Case(
            lambda x, m: x.masked_fill(m, -float("inf")), [numbers(3, 4), booleans(3, 4)]
        ),
        "masked_fill_t": Case(
            lambda x, m, v: x.masked_fill(m, v), [numbers(3, 4), booleans(4), torch.randn(())]
        ),
        "identity": Case(lambda x: x, [numbers(3, 4)]),
        "two_same": Case(lambda x: (x + 1, x, x + 1), [numbers(3, 4)]),
        "clone": Case(lambda x: x.clone(), [numbers(3, 4)]),
    }
    check(cases, tmp_path, backend)


def test_integers(tmp_path: Path, backend: str) -> None:
    torch.manual_seed(0)
    cases = {
        "intdiv": Case(
            lambda a, b: (
                a // b,
                a % b,
                torch.div(a, b),
                torch.div(a, b, rounding_mode="trunc"),
                torch.div(a, b, rounding_mode="floor"),
                a / 2,
                a // 2,
                a % 3,
            ),
            [integers(3, 4), integers(3, 4, low=1)],
        ),
        "intdivneg": Case(
            lambda a, b: (a // b, a % b, torch.div(a, b, rounding_mode="trunc"), torch.fmod(a, b)),
            [integers(3, 4), -integers(3, 4, low=1)],
        ),
        "fdiv": Case(
            lambda a, b: (
                a // b,
                a % b,
                torch.fmod(a, b),
                torch.div(a, b, rounding_mode="trunc"),
                torch.div(a, b, rounding_mode="floor"),
            ),
            [numbers(3, 4) * 5, numbers(3, 4)],
        ),
        "to_int": Case(
            lambda x: (x.to(torch.int64), x.int(), x.bool(), x.double()), [numbers(3, 4) * 3]
        ),
        "to_float": Case(
            lambda x: (x.float(), x.to(torch.int32), x.bool(), x.to(torch.uint8)),
            [integers(3, 4, low=0)],
        ),
        "bool_to": Case(lambda x: (x.float(), x.long(), x.int()), [booleans(3, 4)]),
        "arange": Case(
            lambda x: (torch.arange(4) * x, torch.arange(1, 9, 2), torch.arange(0, 1, 0.25)),
            [integers(3, 4)],
        ),
        "nonneg_ints": Case(lambda x: (x.eq(3).long(), x.ne(3).sum()), [integers(6)]),
    }
    check(cases, tmp_path, backend)


def test_reductions(tmp_path: Path, backend: str) -> None:
    torch.manual_seed(0)
    cases = {
        "argmax": Case(
            lambda x: (x.argmax(1), x.argmax(), x.argmin(0), x.argmax(1, True)), [numbers(3, 4)]
        ),
        "argmax_tie": Case(lambda x: (x.argmax(1), x.argmin(1)), [torch.ones(3, 4)]),
        "any": Case(
            lambda x: (x.any(), x.any(1), x.all(), x.all(1), x.all(0, True)), [booleans(3, 4)]
        ),
        "all_of_a_column": Case(lambda x: (x.t()[0].all(), x.t() & True), [booleans(3, 4)]),
        "any_f": Case(lambda x: ((x > 0).any(), (x > 9).all()), [numbers(3, 4)]),
        "topk": Case(lambda x: x.topk(3, 1), [numbers(4, 9)]),
        "topk2": Case(lambda x: x.topk(2, 0, False), [numbers(4, 9)]),
        "sort": Case(lambda x: x.sort(1, True), [numbers(4, 9)]),
        "stable sort": Case(
            lambda x: torch.sort(x.round(), stable=True, dim=1, descending=True), [numbers(4, 30)]
        ),
        "argsort": Case(lambda x: x.argsort(1), [numbers(4, 9)]),
        "reduce": Case(
            lambda x: (
                x.sum(),
                x.sum(1),
                x.mean(),
                x.mean((0, 1), True),
                x.max(),
                x.min(),
                x.amax(1),
                x.amin(0),
                x.prod(),
                x.prod(1),
            ),
            [numbers(3, 4)],
        ),
        "maxdim": Case(lambda x: (*x.max(1), *x.min(0)), [numbers(3, 4)]),
        "var": Case(
            lambda x: (
                x.var(1),
                x.std(),
                x.var(0, unbiased=False),
                x.norm(),
                x.norm(dim=1),
                *torch.var_mean(x, 1),
            ),
            [numbers(3, 4)],
        ),
        "int_reduce": Case(
            lambda x: (x.sum(), x.sum(1), x.max(), x.prod(1), x.cumsum(1)), [integers(3, 4)]
        ),
        "bool_sum": Case(lambda x: (x.sum(), x.sum(1), x.float().mean()), [booleans(3, 4)]),
        "cumsum": Case(lambda x: (x.cumsum(0), x.cumsum(1), x.cumprod(1)), [numbers(3, 4)]),
        "cumsum_bool": Case(lambda x: (x.cumsum(-1), (~x).cumsum(0)), [booleans(3, 4)]),
        "softmax": Case(
            lambda x: (x.softmax(-1), x.softmax(0), x.log_softmax(1)), [numbers(3, 40) * 4]
        ),
        "logsumexp": Case(lambda x: x.logsumexp(1), [numbers(3, 4)]),
        "layernorm": Case(
            lambda x, w, b: F.layer_norm(x, (6,), w, b), [numbers(3, 6), numbers(6), numbers(6)]
        ),
        "groupnorm": Case(
            lambda x, w, b: F.group_norm(x, 2, w, b), [numbers(2, 6, 3, 3), numbers(6), numbers(6)]
        ),
        "instnorm": Case(lambda x: F.instance_norm(x), [numbers(2, 6, 3, 3)]),
        "rms": Case(lambda x, w: F.rms_norm(x, (6,), w), [numbers(3, 6), numbers(6)]),
    }
    check(cases, tmp_path, backend)


def test_views(tmp_path: Path, backend: str) -> None:
    torch.manual_seed(0)
    cases = {
        "views": Case(
            lambda x: (
                x.view(4, 6),
                x.permute(2, 0, 1) + 0,
                x.expand(5, 2, 3, 4) + 0,
                x[:, 1],
                x[:, :, 1:4:2],
                x[..., -1],
                x.transpose(0, 1),
            ),
            [numbers(2, 3, 4)],
        ),
        "negslice": Case(lambda x: (x[:-1], x[-2:], x[:, -3:-1]), [numbers(4, 5)]),
        "cat": Case(
            lambda a, b: (torch.cat([a, b], 1), torch.stack([a, a])), [numbers(2, 3), numbers(2, 4)]
        ),
        "squeeze": Case(
            lambda x: (x.squeeze(0), x.unsqueeze(1), x.squeeze(), x.flatten()),
            [numbers(1, 3, 1, 4)],
        ),
        "repeat": Case(
            lambda x: (x.repeat(2, 1), x.repeat_interleave(2, 1), torch.tile(x, (1, 2))),
            [numbers(3, 4)],
        ),
        "flip": Case(
            lambda x: (x.flip(0), x.roll(1, 0), torch.tril(x), torch.triu(x, 1)), [numbers(3, 4)]
        ),
        "diff": Case(
            lambda x: (x.diff(), x.diagonal(), torch.linspace(0, 1, 5) + x[0, 0]), [numbers(4, 4)]
        ),
        "select_scatter": Case(
            lambda x, y: torch.select_scatter(x, y, 1, 2), [numbers(3, 4), numbers(3)]
        ),
        "slice_scatter": Case(
            lambda x, y: torch.slice_scatter(x, y, 1, 1, 4, 2), [numbers(3, 5), numbers(3, 2)]
        ),
        "slice_scatter2": Case(
            lambda x, y: torch.slice_scatter(x, y, 0, -2), [numbers(5, 3), numbers(2, 3)]
        ),
        "split": Case(lambda x: x.split(3, 1), [numbers(2, 8)]),
        "split_sizes": Case(lambda x: x.split([1, 5, 2], 1), [numbers(2, 8)]),
        "unbind": Case(lambda x: x.unbind(1), [numbers(2, 3, 4)]),
        "pad": Case(
            lambda x: (F.pad(x, (1, 2)), F.pad(x, (1, 1, 2, 0), value=3.0)), [numbers(2, 3, 4)]
        ),
        "pixshuf": Case(lambda x: F.pixel_shuffle(x, 2), [numbers(1, 8, 3, 3)]),
    }
    check(cases, tmp_path, backend)


def test_indexing(tmp_path: Path, backend: str) -> None:
    torch.manual_seed(0)
    cases = {
        "index_select": Case(
            lambda x, i: x.index_select(1, i), [numbers(3, 4), torch.tensor([3, 0, 1])]
        ),
        "index": Case(lambda x, i: x[i], [numbers(5, 4), torch.tensor([-1, 0, 2])]),
        "index2": Case(lambda x, i: x[:, i], [numbers(5, 4), torch.tensor([3, 0, 2])]),
        "index3": Case(
            lambda x, i, j: x[i, j],
            [numbers(5, 4), torch.tensor([3, 0, 2]), torch.tensor([1, -1, 2])],
        ),
        "index_put": Case(
            lambda x, i, v: x.index_put((i,), v),
            [numbers(5, 4), torch.tensor([3, 0]), numbers(2, 4)],
        ),
        "gather": Case(lambda x, i: x.gather(1, i), [numbers(3, 4), integers(3, 2, low=0, high=4)]),
        "scatter": Case(
            lambda x, i, s: x.scatter(1, i, s),
            [numbers(3, 4), torch.tensor([[0, 1], [2, 3], [1, 0]]), numbers(3, 2)],
        ),
        "scatter_v": Case(
            lambda x, i: x.scatter(1, i, 1.5),
            [numbers(3, 4), torch.tensor([[0, 1], [2, 3], [1, 0]])],
        ),
        "scatter_add": Case(
            lambda x, i, s: x.scatter_add(1, i, s),
            [numbers(3, 4), torch.tensor([[0, 0], [2, 3], [1, 1]]), numbers(3, 2)],
        ),
        "embedding": Case(
            lambda i, w: F.embedding(i, w), [integers(2, 3, low=0, high=7), numbers(7, 5)]
        ),
        "embedding0": Case(lambda i, w: F.embedding(i, w), [torch.tensor(3), numbers(7, 5)]),
        "tensor0_index": Case(
            lambda x, i: x.index_select(0, i.reshape(1)), [numbers(5, 3), torch.tensor(2)]
        ),
    }
    check(cases, tmp_path, backend)


def test_writes_under_masks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    cases = {
        "mask": Case(
            lambda x, v: (
                x.index_put((x > 0.3,), v),
                x.index_put((x[:, 0] > 0,), v),
                x.index_put((x[:, 0] > 0,), x[:1] * 2, accumulate=True),
                torch.ops.aten.index_put(x, [None, x[0] > 0], x[:, :1]),
                x.index_put((x > 9,), v),
            ),
            [numbers(5, 4), torch.tensor(0.5)],
        ),
    }
    check(cases, tmp_path, "tvm")


def test_networks(tmp_path: Path, backend: str) -> None:
    torch.manual_seed(0)
    cases = {
        "lstm_style": Case(lstm_gates, [numbers(1, 32), numbers(1, 8)]),
        "gru": Case(
            lambda x, h, a, b, d, e: torch.gru_cell(x, h, a, b, d, e),
            [
                numbers(2, 5),
                numbers(2, 4),
                numbers(12, 5),
                numbers(12, 4),
                numbers(12),
                numbers(12),
            ],
        ),
        "lstm": Case(
            lambda x, h, cc, a, b, d, e: torch.lstm_cell(x, (h, cc), a, b, d, e),
            [
                numbers(2, 5),
                numbers(2, 4),
                numbers(2, 4),
                numbers(16, 5),
                numbers(16, 4),
                numbers(16),
                numbers(16),
            ],
        ),
        "sdpa": Case(
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
            [numbers(1, 2, 5, 8), numbers(1, 2, 7, 8), numbers(1, 2, 7, 8)],
        ),
        "sdpa_causal": Case(
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            [numbers(1, 2, 5, 8), numbers(1, 2, 5, 8), numbers(1, 2, 5, 8)],
        ),
        "sdpa_mask": Case(
            lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m),
            [
                numbers(1, 2, 5, 8),
                numbers(1, 2, 7, 8),
                numbers(1, 2, 7, 8),
                booleans(5, 7) | torch.eye(5, 7).bool(),
            ],
        ),
        "bn": Case(
            lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b),
            [numbers(2, 3, 4, 4), *(positive(3) for _ in range(4))],
        ),
        "bn_noaff": Case(
            lambda x, m, v: F.batch_norm(x, m, v),
            [numbers(2, 3, 4, 4), *(positive(3) for _ in range(2))],
        ),
        "bn1d": Case(
            lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b),
            [numbers(5, 3), *(positive(3) for _ in range(4))],
        ),
        "bn_train": Case(
            lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
            [numbers(5, 3, 4, 4), *(positive(3) for _ in range(2))],
        ),
        "maxpool": Case(lambda x: F.max_pool2d(x, 2), [numbers(1, 3, 8, 9)]),
        "maxpool3": Case(lambda x: F.max_pool2d(x, 3, 2, 1), [numbers(1, 3, 8, 9)]),
        "maxpool_ceil": Case(
            lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), [numbers(1, 3, 8, 9)]
        ),
        "avgpool": Case(lambda x: F.avg_pool2d(x, 3, 2, 1), [numbers(1, 3, 8, 9)]),
        "avgpool_excl": Case(
            lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), [numbers(1, 3, 8, 9)]
        ),
        "avgpool_ceil": Case(
            lambda x: F.avg_pool2d(x, 3, 2, 0, ceil_mode=True), [numbers(1, 3, 8, 8)]
        ),
        "adapt1": Case(lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1), [numbers(1, 3, 8, 9)]),
        "adapt2": Case(lambda x: F.adaptive_avg_pool2d(x, (3, 2)), [numbers(1, 3, 8, 9)]),
        "matmuls": Case(lambda a, b, v: (a @ b, v @ b), [numbers(3, 4), numbers(4, 5), numbers(4)]),
        "bmm": Case(
            lambda a, b: (torch.bmm(a, b), torch.baddbmm(torch.zeros(2, 3, 5), a, b)),
            [numbers(2, 3, 4), numbers(2, 4, 5)],
        ),
        "mv": Case(
            lambda a, v: (torch.mv(a, v), torch.dot(v, v), torch.outer(v, v)),
            [numbers(3, 4), numbers(4)],
        ),
        "addmm": Case(
            lambda i, a, b: (torch.addmm(i, a, b), torch.addmm(i, a, b, beta=0.5, alpha=2.0)),
            [numbers(5), numbers(3, 4), numbers(4, 5)],
        ),
        "linear3": Case(
            lambda x, w, b: F.linear(x, w, b), [numbers(2, 3, 4), numbers(5, 4), numbers(5)]
        ),
        "linear1": Case(lambda x, w, b: F.linear(x, w, b), [numbers(4), numbers(5, 4), numbers(5)]),
        "immul": Case(lambda a, b: a @ b, [integers(3, 4), integers(4, 5)]),
        "einsum": Case(
            lambda a, b: torch.einsum("bij,bjk->bik", a, b), [numbers(2, 3, 4), numbers(2, 4, 5)]
        ),
        "conv1d": Case(
            lambda x, w, b: F.conv1d(x, w, b, padding=1),
            [numbers(1, 3, 9), numbers(4, 3, 3), numbers(4)],
        ),
        "conv2d_g": Case(
            lambda x, w: F.conv2d(x, w, groups=2, padding=1),
            [numbers(1, 4, 7, 7), numbers(6, 2, 3, 3)],
        ),
        "conv2d_dw": Case(
            lambda x, w: F.conv2d(x, w, groups=8, padding=1),
            [numbers(1, 8, 7, 7), numbers(8, 1, 3, 3)],
        ),
        "conv2d_dil": Case(
            lambda x, w: F.conv2d(x, w, dilation=2, padding=(1, 2)),
            [numbers(1, 4, 7, 9), numbers(6, 4, 3, 3)],
        ),
        "convT": Case(
            lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1),
            [numbers(1, 4, 7, 9), numbers(4, 6, 3, 3), numbers(6)],
        ),
        "conv_unb": Case(lambda x, w: F.conv2d(x, w), [numbers(3, 7, 7), numbers(4, 3, 3, 3)]),
    }
    check(cases, tmp_path, backend)
