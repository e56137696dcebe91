"""Sizes that are known at run time only.

They come from `nonzero` and its like, from tensors that grow in loops, and from arguments.

Such a size is an unbacked symbol of torch's ShapeEnv. Its name stands in tensor types; in a region
its value is read off a tensor that has it, and on the host it is a number like any other.

Native code may rest on a relation between such sizes. What it takes for granted (two tensors that
are added are of one size) is asserted in the region; by what it decides, the program branches.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import (
    GuardOnDataDependentSymNode,
    ShapeEnv,
    _constrain_range_for_size,
)

from dyncc.frontend.builder import ASSERT, BlockBuilder
from dyncc.frontend.decisions import Unsupported
from dyncc.ir import hostops
from dyncc.ir.hcfg import Value
from dyncc.ir.types import FLOAT, INT, ScalarType, TensorType, scalar_type_of

#: What native code raises that decides something by such a size.
SizeDecides = GuardOnDataDependentSymNode

_RELATIONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
#: Expressions by whose parts torch reasons case by case.
_CHOICES = ("Max", "Min", "FloorDiv", "Mod", "PythonMod")
_SIGNS = {"+": "plus", "-": "minus", "*": "times", "/": "over"}


class Sizes(ShapeEnv):
    """The sizes of one capture.

    Attributes
    ----------
    require
        Called with a relation that native code takes for granted and that is not known to hold.
        Without it, relations were asserted before.
    decide
        Called with a relation by which native code decides; returns whether it holds. Without it,
        that is an error.
    origins
        By the name of a size: the widenings that made it one that is known at run time only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.require: Callable[[Any], None] | None = None
        self.decide: Callable[[Any], bool] | None = None
        self.origins: dict[str, frozenset[Any]] = {}

    def guard_or_defer_runtime_assert(  # type: ignore[override]  # a function, as torch calls it
        self, orig_expr: Any, msg: str, fx_node: torch.fx.Node | None = None
    ) -> bool:
        """What torch calls where code rests on a relation."""
        if self.require is not None and self._maybe_evaluate_static(orig_expr) is None:
            self.require(orig_expr)
        return bool(super().guard_or_defer_runtime_assert(orig_expr, msg, fx_node))

    def evaluate_expr(self, orig_expr: Any, *args: Any, **kwargs: Any) -> Any:
        """What torch calls where code decides by a relation."""
        try:
            return super().evaluate_expr(orig_expr, *args, **kwargs)
        except SizeDecides as error:
            relation = error.cond
            if self.decide is None or not isinstance(relation, sympy.core.relational.Relational):
                raise
            holds = self.decide(relation)
            # From here on torch knows.
            super().guard_or_defer_runtime_assert(relation if holds else ~relation, "decided")
            return super().evaluate_expr(orig_expr, *args, **kwargs)

    def least(self, expr: Any) -> int:
        """What a size is at least."""
        low = self.bound_sympy(expr).lower
        return int(low) if low.is_finite and low > 0 else 0

    def is_size(self, expr: Any) -> bool:
        """Whether a number cannot be negative."""
        return bool(self.bound_sympy(expr).lower >= 0)

    def truth(self, relation: Any) -> bool | None:
        """Whether a relation of sizes holds, if that is known."""
        known = self._maybe_evaluate_static(relation)
        return None if known is None else bool(known)

    def origins_of(self, expr: Any) -> frozenset[Any]:
        """The widenings that a size, or a relation of sizes, comes from."""
        found = (self.origins.get(str(symbol), frozenset()) for symbol in expr.free_symbols)
        return frozenset().union(*found)


def sizes_of(like: FakeTensorMode | torch.SymInt) -> Sizes:
    """The sizes that a mode or a size belongs to."""
    found = like.shape_env if isinstance(like, FakeTensorMode) else like.node.shape_env
    assert isinstance(found, Sizes)
    return found


def origins_of(value: Any) -> frozenset[Any]:
    """The widenings that sizes in the arguments of an operation come from."""
    found: frozenset[Any] = frozenset()
    for item in torch.utils._pytree.tree_leaves(value):
        for extent in item.shape if isinstance(item, torch.Tensor) else (item,):
            if isinstance(extent, torch.SymInt):
                found |= sizes_of(extent).origins_of(extent.node.expr)
    return found


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


def fresh_extent(like: FakeTensorMode | torch.SymInt, least: int = 0) -> torch.SymInt:
    """A size of which no more is known than how small it can be, beside others."""
    sizes = sizes_of(like)
    found: torch.SymInt = sizes.create_unbacked_symint()
    _constrain_range_for_size(found, min=least)
    sizes.origins[str(found.node.expr)] = frozenset()
    return found


def with_plain_sizes(mode: FakeTensorMode, out: Any) -> Any:
    """A result whose sizes are no involved expressions, which torch would reason about for long.

    ``x[-3:]`` has ``Max(0, n - Max(0, n - 3))`` rows; that becomes a size of its own.
    """
    if not isinstance(out, torch.Tensor) or not any(map(_is_involved, out.shape)):
        return out
    # torch's types leave sizes that are no numbers out.
    shape: tuple[Any, ...] = tuple(out.shape)
    sizes = [
        fresh_extent(mode, least=min(sizes_of(mode).least(extent.node.expr), 1))
        if _is_involved(extent)
        else extent
        for extent in shape
    ]
    with mode:
        return torch.empty_strided(sizes, out.stride(), dtype=out.dtype)


def _is_involved(extent: Any) -> bool:
    if not isinstance(extent, torch.SymInt):
        return False
    parts = sympy.preorder_traversal(extent.node.expr)
    return sum(type(part).__name__ in _CHOICES for part in parts) > 1


def fresh_number(like: FakeTensorMode, kind: ScalarType) -> torch.SymInt | torch.SymFloat:
    """A number of which nothing is known, beside the sizes of a mode."""
    sizes = sizes_of(like)
    found: torch.SymInt | torch.SymFloat
    found = sizes.create_unbacked_symint() if kind == INT else sizes.create_unbacked_symfloat()
    sizes.origins[str(found.node.expr)] = frozenset()
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


#: Operations on sizes, in Python.
_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "min": min,
    "max": max,
    **{
        name: getattr(operator, name)
        for name in ("add", "mul", "floordiv", "mod", "eq", "ne", "lt", "le", "gt", "ge")
    },
    "and": operator.and_,
    "or": operator.or_,
}
#: Those that regions know by another name than ``aten.NAME.TYPE``.
_IN_REGIONS = {
    "mod": "aten.remainder.int", "min": "prim.min.int", "max": "prim.max.int",
    "and": "aten.__and__.bool", "or": "aten.__or__.bool",
}  # fmt: skip


def region_size(builder: BlockBuilder, extent: torch.SymInt | torch.SymFloat) -> Any:
    """A size, or another number, as an operand of an operation in a region."""
    return _evaluate(builder, extent.node.expr, *_in_region(builder))


def assert_in_region(builder: BlockBuilder, relation: Any) -> None:
    """Let a region fail where a relation of sizes does not hold."""
    if isinstance(relation, sympy.And):
        for part in relation.args:
            assert_in_region(builder, part)
        return
    truth = _evaluate(builder, relation, *_in_region(builder))
    text = "sizes that are known at run time only do not fit each other"
    builder.tensor(ASSERT, (truth, text), (), ())


def _in_region(builder: BlockBuilder) -> tuple[Any, Any]:
    def apply(op: str, left: Any, right: Any) -> Any:
        kinds = {
            "float" if hostops.operand_type(item) == FLOAT else "int" for item in (left, right)
        }
        target = _IN_REGIONS.get(op) or f"aten.{op}.{'_'.join(sorted(kinds))}"
        (value,) = builder.tensor(target, (left, right), (), (INT,))
        return value

    def read(place: tuple[Value, int]) -> Any:
        tensor, axis = place
        if axis < 0:
            assert isinstance(tensor.type, TensorType)
            kind = scalar_type_of(tensor.type.dtype)
            return builder.tensor("aten.item.default", (tensor,), (), (kind,))[0]
        return builder.tensor("aten.sym_size.int", place, (), (INT,))[0]

    return apply, read


def host_size(builder: BlockBuilder, extent: torch.SymInt) -> Any:
    """A size as a number on the host."""
    return on_host(builder, extent.node.expr)


def on_host(builder: BlockBuilder, expr: Any) -> Any:
    """A size, or the truth of a relation of sizes, on the host."""

    def apply(op: str, left: Any, right: Any) -> Any:
        (kind,) = hostops.result_types(op, (left, right)) or ()
        return builder.host(op, (left, right), (kind,))[0]

    def read(place: tuple[Value, int]) -> Any:
        op, args = ("dim", place) if place[1] >= 0 else ("item", place[:1])
        return builder.host(op, args, hostops.result_types(op, args) or ())[0]

    return _evaluate(builder, expr, apply, read)


def _evaluate(builder: BlockBuilder, expr: Any, apply: Any, read: Any) -> Any:
    if expr.is_Integer or expr.is_Float:
        return int(expr) if expr.is_Integer else float(expr)
    place = builder.extents.get(str(_name(expr)))
    if place is not None:
        return read(place)
    parts = _parts(expr)
    if parts is None:
        raise Unsupported(
            "DY208",
            "a size that depends on data",
            f"it is computed as {expr} from sizes that no tensor here has",
            "Take it from the shape of a tensor where it is used.",
        )
    op, args = parts
    first, *rest = (_evaluate(builder, part, apply, read) for part in args)
    for part in rest:
        if isinstance(first, int) and isinstance(part, int):
            first = _OPERATIONS[op](first, part)
        else:
            first = apply(op, first, part)
    return first


def _parts(expr: Any) -> tuple[str, tuple[Any, ...]] | None:
    """An operation, and what it combines; None for a size that stands for itself."""
    if isinstance(expr, sympy.core.relational.Relational):
        return _RELATIONS[expr.rel_op], expr.args
    if expr.is_Pow and expr.exp.is_Integer and expr.exp > 1:
        return "mul", (expr.base,) * int(expr.exp)
    name = type(expr).__name__
    op = {"Add": "add", "Mul": "mul", "Max": "max", "Min": "min", "FloorDiv": "floordiv",
          "And": "and", "Or": "or"}.get(name)  # fmt: skip
    if name in ("Mod", "PythonMod"):
        op = "mod"
    return None if op is None else (op, expr.args)
