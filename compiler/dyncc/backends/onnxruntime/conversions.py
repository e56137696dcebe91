"""Conversions of ATen operations to ONNX that torch's exporter lacks or mistakes.

Each takes the operation's arguments, tensors as values of the graph under construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import ir, opset20
from torch._ops import OpOverload

#: Its types speak of tensors of values, not of what a conversion handles, the graph's values.
op: Any = opset20


def _add(self: Any, other: Any, alpha: Any = 1) -> Any:
    if self.dtype == ir.DataType.BOOL:
        return op.Or(self, op.CastLike(other, self)) if alpha else op.Identity(self)
    other = op.CastLike(other, self)
    return op.Add(self, other if alpha == 1 else op.Mul(other, op.CastLike(alpha, self)))


def _reversed_subtract(self: Any, other: Any, alpha: Any = 1) -> Any:
    if isinstance(other, float) and not self.dtype.is_floating_point():
        self = op.Cast(self, to=ir.DataType.FLOAT)
    scaled = self if alpha == 1 else op.Mul(self, op.CastLike(alpha, self))
    return op.Sub(op.CastLike(other, self), scaled)


def _hypot(self: Any, other: Any) -> Any:
    if self.dtype != ir.DataType.FLOAT:
        raise NotImplementedError("hypot of another type than float32 may overflow")
    wide = [op.Cast(side, to=ir.DataType.DOUBLE) for side in (self, other)]
    return op.Cast(op.Sqrt(op.Add(*(op.Mul(side, side) for side in wide))), to=ir.DataType.FLOAT)


def _mean(
    self: Any, dim: Sequence[int] | None = None, keepdim: bool = False, dtype: int = -1
) -> Any:
    if dtype >= 0:
        self = op.Cast(self, to=dtype)
    if not self.shape:
        return op.Identity(self)
    dims = [op.Constant(value_ints=list(dim))] if dim else []
    if self.shape.is_static():
        return op.ReduceMean(self, *dims, keepdims=int(keepdim))
    # ONNX Runtime's mean of no elements is 0, not NaN.
    total = op.ReduceSum(self, *dims, keepdims=int(keepdim))
    counts = [op.Cast(op.Size(value), to=ir.DataType.DOUBLE) for value in (self, total)]
    return op.Div(total, op.CastLike(op.Div(*counts), total))


def _product(self: Any, dims: Sequence[int] | None = None, output_dtype: int = -1) -> Any:
    if output_dtype >= 0:
        self = op.Cast(self, to=output_dtype)
    if dims is None:
        return op.ReduceProd(self, keepdims=0)
    return op.ReduceProd(self, op.Constant(value_ints=list(dims)), keepdims=0)


def _stable_sort(
    self: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> Any:
    del stable  # TopK puts the first of equal elements first
    if not self.shape:
        return op.Identity(self), op.Constant(value_int=0)
    length = op.Constant(value_ints=[self.shape[dim]])
    return op.TopK(self, length, axis=dim, largest=int(descending), sorted=1)


def _where(condition: Any, self: Any, other: Any) -> Any:
    # ONNX has Where for bool; ONNX Runtime has no code for it.
    if self.dtype != ir.DataType.BOOL:
        return op.Where(condition, self, other)
    return op.Or(op.And(condition, self), op.And(op.Not(condition), other))


#: By ATen operation.
CONVERSIONS: dict[OpOverload, Callable[..., Any]] = {
    torch.ops.aten.add.Tensor: _add,
    torch.ops.aten.mean.default: lambda self, *, dtype=-1: _mean(self, dtype=dtype),
    torch.ops.aten.mean.dim: _mean,
    torch.ops.aten.rsub.Scalar: _reversed_subtract,
    torch.ops.aten.sort.stable: _stable_sort,
    torch.ops.aten.where.self: _where,
    torch.ops.prims.hypot.default: _hypot,
    torch.ops.prims.prod.default: _product,
}
