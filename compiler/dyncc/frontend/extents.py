"""Sizes that are known at run time only: of tensors that `nonzero` and its like make.

Such a size is an unbacked symbol of torch's ShapeEnv. Its name stands in tensor types; in a region
its value is read off a tensor that has it, and on the host it is a number like any other.
"""

from __future__ import annotations

import re
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import (
    GuardOnDataDependentSymNode,
    _constrain_range_for_size,
)

from dyncc.frontend.builder import BlockBuilder
from dyncc.ir.hcfg import Value
from dyncc.ir.types import INT

#: What native code raises that decides something by such a size.
SizeDecides = GuardOnDataDependentSymNode

_SIGNS = {"+": "plus", "-": "minus", "*": "times", "/": "over"}


def extent_name(extent: int | torch.SymInt) -> int | str:
    """An extent as it stands in a type."""
    if isinstance(extent, int):
        return extent
    return _name(extent.node.expr)


def _name(expr: Any) -> int | str:
    if expr.is_Integer:
        return int(expr)
    text = str(expr)
    for sign, word in _SIGNS.items():
        text = text.replace(sign, f"_{word}_")
    text = re.sub(r"\W+", "_", text)
    return text if text.isidentifier() else f"e_{text}"


def is_symbol(extent: Any) -> bool:
    """Whether an extent is a size of its own, not computed from others."""
    return isinstance(extent, torch.SymInt) and bool(extent.node.expr.is_Symbol)


def fresh_extent(like: FakeTensorMode | torch.SymInt) -> torch.SymInt:
    """A size of which nothing is known, in the ShapeEnv of a mode or of another size."""
    shape_env = like.shape_env if isinstance(like, FakeTensorMode) else like.node.shape_env
    assert shape_env is not None
    found: torch.SymInt = shape_env.create_unbacked_symint()
    _constrain_range_for_size(found)
    return found


def has_symbols(value: Any) -> bool:
    """Whether there is a size that is known at run time only in the arguments of an operation."""
    if isinstance(value, torch.Tensor):
        return not all(isinstance(extent, int) for extent in value.shape)
    if isinstance(value, dict):
        return any(map(has_symbols, value.values()))
    if isinstance(value, tuple | list):
        return any(map(has_symbols, value))
    return isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool)


def region_size(builder: BlockBuilder, extent: torch.SymInt) -> Any:
    """A size as an operand of an operation in a region."""

    def apply(op: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            return left + right if op == "add" else left * right
        (value,) = builder.tensor(f"aten.{op}.int", (left, right), (), (INT,))
        return value

    def read(place: tuple[Value, int]) -> Any:
        (value,) = builder.tensor("aten.sym_size.int", place, (), (INT,))
        return value

    return _evaluate(builder, extent.node.expr, apply, read)


def host_size(builder: BlockBuilder, extent: torch.SymInt) -> Value:
    """A size as a number on the host."""

    def apply(op: str, left: Any, right: Any) -> Any:
        return builder.host(op, (left, right), (INT,))[0]

    def read(place: tuple[Value, int]) -> Any:
        return builder.host("dim", place, (INT,))[0]

    found: Value = _evaluate(builder, extent.node.expr, apply, read)
    return found


def _evaluate(builder: BlockBuilder, expr: Any, apply: Any, read: Any) -> Any:
    if expr.is_Integer:
        return int(expr)
    place = builder.extents.get(str(_name(expr)))
    if place is not None:
        return read(place)
    if isinstance(expr, sympy.Add | sympy.Mul):
        op = "add" if isinstance(expr, sympy.Add) else "mul"
        first, *rest = (_evaluate(builder, part, apply, read) for part in expr.args)
        for part in rest:
            first = apply(op, first, part)
        return first
    from dyncc.frontend.decisions import Unsupported

    raise Unsupported(
        "a size that depends on data",
        f"it is computed as {expr} from sizes that no tensor here has",
        "Take it from the shape of a tensor where it is used.",
    )
