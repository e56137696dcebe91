"""Sizes that are known at run time only.

They come from `nonzero` and its like, from tensors that grow in loops, and from arguments.

Such a size is an unbacked symbol of torch's ShapeEnv. Its name stands in tensor types; in a region
its value is read off a tensor that has it, and on the host it is a number like any other.

Native code may rest on a relation between such sizes. That it takes for granted (two tensors that
are added are of one size) is asserted in the region.
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
from dyncc.ir.types import INT

#: What native code raises that decides something by such a size.
SizeDecides = GuardOnDataDependentSymNode

_RELATIONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_SIGNS = {"+": "plus", "-": "minus", "*": "times", "/": "over"}


class Sizes(ShapeEnv):
    """The sizes of one capture.

    Attributes
    ----------
    require
        Called with a relation that native code takes for granted and that is not known to hold.
        Without it, relations were asserted before.
    origins
        By the name of a size: the widenings that made it one that is known at run time only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.require: Callable[[Any], None] | None = None
        self.origins: dict[str, frozenset[Any]] = {}

    def guard_or_defer_runtime_assert(  # type: ignore[override]  # a function, as torch calls it
        self, orig_expr: Any, msg: str, fx_node: torch.fx.Node | None = None
    ) -> bool:
        """What torch calls where code rests on a relation."""
        if self.require is not None and self._maybe_evaluate_static(orig_expr) is None:
            self.require(orig_expr)
        return bool(super().guard_or_defer_runtime_assert(orig_expr, msg, fx_node))

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


def fresh_extent(
    like: FakeTensorMode | torch.SymInt, origins: frozenset[Any] = frozenset()
) -> torch.SymInt:
    """A size of which nothing is known, beside those of a mode or of another size."""
    sizes = sizes_of(like)
    found: torch.SymInt = sizes.create_unbacked_symint()
    _constrain_range_for_size(found)
    sizes.origins[str(found.node.expr)] = origins
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


#: Operations on sizes: what they are in a region, and in Python.
_OPERATIONS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "add": ("aten.add.int", operator.add),
    "mul": ("aten.mul.int", operator.mul),
    "floordiv": ("aten.floordiv.int", operator.floordiv),
    "mod": ("aten.remainder.int", operator.mod),
    "min": ("prim.min.int", min),
    "max": ("prim.max.int", max),
    **{
        name: (f"aten.{name}.int", getattr(operator, name))
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
    },
}


def region_size(builder: BlockBuilder, extent: torch.SymInt) -> Any:
    """A size as an operand of an operation in a region."""
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
        (value,) = builder.tensor(_OPERATIONS[op][0], (left, right), (), (INT,))
        return value

    def read(place: tuple[Value, int]) -> Any:
        (value,) = builder.tensor("aten.sym_size.int", place, (), (INT,))
        return value

    return apply, read


def host_size(builder: BlockBuilder, extent: torch.SymInt) -> Any:
    """A size as a number on the host."""

    def apply(op: str, left: Any, right: Any) -> Any:
        (kind,) = hostops.result_types(op, (left, right)) or ()
        return builder.host(op, (left, right), (kind,))[0]

    def read(place: tuple[Value, int]) -> Any:
        return builder.host("dim", place, (INT,))[0]

    return _evaluate(builder, extent.node.expr, apply, read)


def _evaluate(builder: BlockBuilder, expr: Any, apply: Any, read: Any) -> Any:
    if expr.is_Integer:
        return int(expr)
    place = builder.extents.get(str(_name(expr)))
    if place is not None:
        return read(place)
    parts = _parts(expr)
    if parts is None:
        raise Unsupported(
            "a size that depends on data",
            f"it is computed as {expr} from sizes that no tensor here has",
            "Take it from the shape of a tensor where it is used.",
        )
    op, args = parts
    first, *rest = (_evaluate(builder, part, apply, read) for part in args)
    for part in rest:
        if isinstance(first, int) and isinstance(part, int):
            first = _OPERATIONS[op][1](first, part)
        else:
            first = apply(op, first, part)
    return first


def _parts(expr: Any) -> tuple[str, tuple[Any, ...]] | None:
    """An operation, and what it combines; None for a size that stands for itself."""
    if isinstance(expr, sympy.core.relational.Relational):
        return _RELATIONS[expr.rel_op], expr.args
    name = type(expr).__name__
    op = {"Add": "add", "Mul": "mul", "Max": "max", "Min": "min", "FloorDiv": "floordiv"}.get(name)
    if name in ("Mod", "PythonMod"):
        op = "mod"
    return None if op is None else (op, expr.args)
