"""Builds one HCFG block: host operations before and after at most one region.

A tensor operation may only use values that exist before the region runs. Where one needs a host
value computed from this block's own region, `Late` asks the machine to start a new block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dyncc.frontend.code import Instr
from dyncc.ir.hcfg import (
    ASSERTIONS,
    Block,
    BlockOp,
    HostOp,
    Loc,
    Operand,
    Region,
    RegionCall,
    TensorOp,
    Terminator,
    Value,
    operand_values,
    terminator_values,
)
from dyncc.ir.hostops import EFFECTS
from dyncc.ir.parts import part_of
from dyncc.ir.text import region_body
from dyncc.ir.types import TensorType, Type

#: Asserts, in a region, that a relation of sizes holds; it has no result, and is never left out.
ASSERT = "aten._assert_scalar.default"


class Late(Exception):
    """A tensor operation needs a host value that this block computes after its region."""


class Regions:
    """Regions by structure: equal ones are kept once."""

    def __init__(self) -> None:
        self.by_name: dict[str, Region] = {}
        self._by_body: dict[str, str] = {}

    def intern(self, region: Region) -> str:
        """Name of `region`, or of the equal one that is already there."""
        body = region_body(region)
        found = self._by_body.get(body)
        if found is None:
            found = f"r{len(self.by_name)}"
            self._by_body[body] = found
            self.by_name[found] = Region(
                found, region.params, region.weights, region.ops, region.results
            )
        return found


class BlockBuilder:
    """A block under construction.

    Parameters
    ----------
    name
        Name of the block.
    params
        Its parameters.
    fresh
        Makes a value with a new name.
    """

    def __init__(
        self, name: str, params: tuple[Value, ...], fresh: Callable[[Type], Value], loc: Loc
    ) -> None:
        self.name = name
        self.params = params
        self.fresh = fresh
        self.loc = loc
        self._early: list[HostOp] = []
        self._late: list[HostOp] = []
        self._tensor_ops: list[TensorOp] = []
        self._after_region: set[Value] = set()
        self._in_region: set[Value] = set()
        #: Decisions whose outcome is known now: the instructions, with their places.
        self.passed: list[tuple[Loc, Instr]] = []
        self.weight_values: dict[str, Value] = {}
        self.views: dict[Any, Value] = {}
        #: Where a size that is known at run time only can be read: a tensor and its dimension, or
        #: a tensor that holds it, and -1.
        self.extents: dict[str, tuple[Value, int]] = {}
        #: Numbers that are known at run time only, as native code knows them.
        self.numbers: dict[Value, Any] = {}
        self._in_torch: bool | None = None
        self._begun = False
        for value in params:
            self._note_extents(value)

    # -- adding --------------------------------------------------------------------------------

    def weight(self, name: str, kind: TensorType) -> Value:
        """The value that stands for a weight inside the region."""
        if name not in self.weight_values:
            self.weight_values[name] = self.fresh(kind)
        return self.weight_values[name]

    def host(
        self, op: str, args: tuple[Operand, ...], types: Iterable[Type], loc: Loc | None = None
    ) -> tuple[Value, ...]:
        """Append a host operation and return its results."""
        results = tuple(self.fresh(kind) for kind in types)
        for arg in args:
            if isinstance(arg, Value) and arg in self.weight_values.values():
                raise Late
        late = any(
            arg in self._after_region or arg in self._in_region
            for arg in args
            if isinstance(arg, Value)
        )
        # What acts on the world stays in order with all that comes after it and may raise.
        late = late or op in EFFECTS or any(done.op in EFFECTS for done in self._late)
        (self._late if late else self._early).append(HostOp(op, args, results, loc))
        if late:
            self._after_region.update(results)
        for made in results:
            self._note_extents(made)
        return results

    def _note_extents(self, value: Value | None) -> None:
        if value is not None and isinstance(value.type, TensorType):
            for axis, extent in enumerate(value.type.shape):
                if isinstance(extent, str):
                    self.extents.setdefault(extent, (value, axis))

    def separate(self, in_torch: bool) -> None:
        """Keep operations that PyTorch runs out of the regions of all others.

        Parameters
        ----------
        in_torch
            Whether it runs the operation to come; see `dyncc.ir.hcfg.only_torch`.
        """
        if self._in_torch is not None and self._in_torch != in_torch and self._begun:
            raise Late
        self._in_torch = in_torch

    def begin(self) -> None:
        """Note that another instruction begins."""
        self._begun = bool(self._tensor_ops)
        if not self._begun:
            self._in_torch = None

    def tensor(
        self,
        target: str,
        args: tuple[Operand, ...],
        kwargs: tuple[tuple[str, Operand], ...],
        types: Iterable[Type | None],
    ) -> tuple[Value | None, ...]:
        """Append a tensor operation to the region and return its results."""
        for value in operand_values(args):
            if value in self._after_region:
                raise Late
        for _, arg in kwargs:
            if any(value in self._after_region for value in operand_values(arg)):
                raise Late
        results = tuple(None if kind is None else self.fresh(kind) for kind in types)
        self._tensor_ops.append(TensorOp(target, args, kwargs, results))
        self._in_region.update(value for value in results if value is not None)
        for made in results:
            self._note_extents(made)
        return results

    def materialised(self, value: Value) -> Value:
        """`value`, or a copy made by the region where it stands for a weight."""
        if value not in self.weight_values.values():
            return value
        (copy,) = self.tensor("aten.clone.default", (value,), (), (value.type,))
        assert copy is not None
        return copy

    def mark(self) -> tuple[int, int, int]:
        """A point to roll back to."""
        return len(self._early), len(self._late), len(self._tensor_ops)

    def targets_since(self, mark: tuple[int, int, int]) -> list[str]:
        """The tensor operations that were appended since `mark`."""
        return [op.target for op in self._tensor_ops[mark[2] :]]

    def rollback(self, mark: tuple[int, int, int]) -> None:
        """Forget what was appended since `mark`."""
        del self._early[mark[0] :], self._late[mark[1] :], self._tensor_ops[mark[2] :]
        self.views.clear()
        known = {value for op in (*self._early, *self._late) for value in op.results}
        known.update(self.params)
        known.update(value for op in self._tensor_ops for value in op.results if value is not None)
        self.extents = {name: at for name, at in self.extents.items() if at[0] in known}
        self.numbers = {
            value: number
            for value, number in self.numbers.items()
            if str(number.node.expr) in self.extents
        }

    # -- finishing -----------------------------------------------------------------------------

    def finish(self, terminator: Terminator, regions: Regions) -> Block:
        """The block; its region goes to `regions`."""
        late = self._late
        wanted = dict.fromkeys(value for op in late for value in operand_values(op.args))
        wanted |= dict.fromkeys(terminator_values(terminator))
        results = tuple(value for value in wanted if value in self._in_region)
        ops: list[BlockOp] = list(self._early)
        if results or any(op.target in ASSERTIONS for op in self._tensor_ops):
            ops.append(self._region(results, regions))
        ops += late
        return Block(self.name, self.params, tuple(ops), terminator, self.loc)

    def _region(self, results: tuple[Value, ...], regions: Regions) -> RegionCall:
        weights = {value: name for name, value in self.weight_values.items()}
        part = part_of(self._tensor_ops, weights, results)
        name = regions.intern(part.region)
        return RegionCall(name, part.params, tuple(weights[v] for v in part.weights), results)
