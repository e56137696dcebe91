"""What a region costs: floating-point operations and bytes moved, by the shapes alone.

A multiply-add counts as two operations; an elementwise operation or a reduction counts one for
each element it reads or makes, whichever are more; views cost nothing. Bytes are those of
parameters, weights and results, each once: the least that any implementation moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dyncc.ir.hcfg import Operand, Region, TensorOp, Value
from dyncc.ir.types import ITEMSIZE, TensorType

_FREE = {
    "view", "reshape", "t", "transpose", "permute", "expand", "squeeze", "unsqueeze", "select",
    "slice", "unbind", "split", "split_with_sizes", "unsafe_split", "alias", "detach", "flatten",
    "zeros", "ones", "full", "empty", "arange", "_unsafe_view", "as_strided", "diagonal",
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Cost of a region: `flops` operations, `bytes` bytes."""

    flops: int
    bytes: int


def region_cost(region: Region) -> Cost:
    """Cost of one call of a region; unknown extents count as one."""
    moved = sum(_bytes(value) for value in (*region.params, *region.weights, *region.results))
    return Cost(sum(op_flops(op) for op in region.ops), moved)


def _bytes(value: Value) -> int:
    kind = value.type
    return ITEMSIZE[kind.dtype] * _size(value) if isinstance(kind, TensorType) else 0


def _shape(operand: Operand) -> tuple[int, ...]:
    if isinstance(operand, Value) and isinstance(operand.type, TensorType):
        return tuple(extent if isinstance(extent, int) else 1 for extent in operand.type.shape)
    return ()


def _size(operand: Operand) -> int:
    return math.prod(_shape(operand)) if isinstance(operand, Value) else 0


def op_flops(op: TensorOp) -> int:
    """Operations of one tensor operation; 0 for a view, or for numbers that are made up."""
    name = op.target.split(".")[1]
    if name in _FREE:
        return 0
    made = sum(_size(value) for value in op.results if value is not None)
    if name in ("mm", "bmm", "matmul"):
        return 2 * made * _shape(op.args[0])[-1]
    if name in ("addmm", "baddbmm"):
        return 2 * made * _shape(op.args[1])[-1] + made
    if name == "linear":
        return 2 * made * _shape(op.args[0])[-1]
    if name in ("convolution", "conv2d", "conv1d"):
        per_output = math.prod(_shape(op.args[1])[1:])
        return 2 * made * per_output + (made if op.args[2] is not None else 0)
    read = max((_size(arg) for arg in op.args), default=0)
    return max(made, read)
