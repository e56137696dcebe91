"""Moves what both sides of a branch begin with before the branch, when it pays.

Only blocks to which nothing but the branch leads give operations away, and only from their start,
so that every path runs the same operations in the same order as before, with the same effects and
exceptions. A region call is moved only into a block that calls none: more would be one block more
on every path. Where both sides are the same from start to end, nothing has to be moved: both ways
lead to the first.

By itself that saves nothing at run time, since each path ran the operations once before, and their
results become arguments of an edge. It pays when a block disappears: when a side is left with
nothing but a jump, which `forward_jumps` then bypasses, or when both sides are the same, so that
the branch is idle and `drop_idle_branches` takes it. Each block entered costs about a microsecond,
and a condition that nobody needs may have a region, which costs ten. So operations are moved in
these two cases alone. A side that makes a constant is never left with nothing: `fold_predicates`
would put the constant back where it is needed, and both passes would go on for ever.

Operations within regions stay where they are: a common start of two regions would be a third region
to compile, and one call more on both paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

from dyncc.ir.hcfg import Block, BlockOp, Branch, Hcfg, HostOp, Jump, RegionCall, Value, jumps
from dyncc.ir.types import ListType, TensorType, Type
from dyncc.passes.renaming import (
    fresh_values,
    op_identity,
    renamed_op,
    renamed_terminator,
    terminator_identity,
)


def hoist_common_code(program: Hcfg) -> Hcfg:
    """`program` with common starts of sides before their branch, where that removes a block."""
    while (after := _hoist(program)) != program:
        program = after
    return program


def _hoist(program: Hcfg) -> Hcfg:
    blocks = dict(program.blocks)
    fresh = fresh_values(program)
    ways_in = Counter(jump.target for _, _, jump in program.edges())
    ways_in[program.entry.name] += 1
    for name in program.blocks:
        block = blocks.get(name)
        if block is None or not isinstance(block.terminator, Branch):
            continue
        if any(ways_in[jump.target] != 1 for jump in jumps(block.terminator)):
            continue
        sides = _Sides(blocks, block, block.terminator)
        if not sides.pays():
            continue
        if sides.same:
            del blocks[sides.orelse.name]
            ways_in[sides.then.name] += 1
        blocks |= {changed.name: changed for changed in sides.hoisted(fresh)}
    return replace(program, blocks=blocks)


class _Sides:
    """The two blocks that a branch alone leads to, as far as they do the same.

    Attributes
    ----------
    block, branch
        What branches.
    then, orelse
        The sides.
    same
        Whether they are the same from start to end.
    common
        How many operations at the start of both may be moved before the branch.
    """

    def __init__(self, blocks: dict[str, Block], block: Block, branch: Branch) -> None:
        self.block, self.branch = block, branch
        self.then, self.orelse = blocks[branch.then.target], blocks[branch.orelse.target]
        # Both in terms of the block that branches, and of what the first side computes.
        self._here = dict(zip(self.then.params, branch.then.args, strict=True))
        there = dict(zip(self.orelse.params, branch.orelse.args, strict=True))
        equal = 0
        for left, right in zip(self.then.ops, self.orelse.ops, strict=False):
            if op_identity(left, self._here) != op_identity(right, there):
                break
            there |= zip(right.results, left.results, strict=True)
            equal += 1
        ends = self.then.terminator, self.orelse.terminator
        self.same = (
            equal == len(self.then.ops) == len(self.orelse.ops)
            and terminator_identity(ends[0], self._here) == terminator_identity(ends[1], there)
            and [jump.target for jump in jumps(ends[0])] == [jump.target for jump in jumps(ends[1])]
        )
        full = any(isinstance(op, RegionCall) for op in block.ops)
        self.common = len(list(takewhile(lambda op: _may_move(op, full), self.then.ops[:equal])))

    def pays(self) -> bool:
        """Whether a block disappears."""
        return self.same or (
            self.common > 0
            and any(
                self.common == len(side.ops)
                and isinstance(side.terminator, Jump)
                and not any(isinstance(op, HostOp) and op.op == "const" for op in side.ops)
                for side in (self.then, self.orelse)
            )
        )

    def hoisted(self, fresh: Callable[[Value], Value]) -> tuple[Block, ...]:
        """The block that branches and the sides after it, of which one is left if they are one."""
        if self.same:
            idle = replace(self.branch, orelse=self.branch.then)
            return replace(self.block, terminator=idle), self.then
        moved = tuple(renamed_op(op, self._here) for op in self.then.ops[: self.common])
        results = tuple(value for op in moved for value in op.results)
        then, orelse = (replace(jump, args=(*jump.args, *results)) for jump in jumps(self.branch))
        block = replace(
            self.block,
            ops=(*self.block.ops, *moved),
            terminator=replace(self.branch, then=then, orelse=orelse),
        )
        # The names of the first side's results have moved with them.
        own = [value for op in self.orelse.ops[: self.common] for value in op.results]
        return (
            block,
            self._rest(self.then, {value: fresh(value) for value in results}),
            self._rest(self.orelse, {value: value for value in own}),
        )

    def _rest(self, side: Block, given: dict[Value, Value]) -> Block:
        """A side that is given what it computed."""
        return replace(
            side,
            params=(*side.params, *given.values()),
            ops=tuple(renamed_op(op, given) for op in side.ops[self.common :]),
            terminator=renamed_terminator(side.terminator, given),
        )


def _may_move(op: BlockOp, full: bool) -> bool:
    """Whether an operation fits into a block; a `full` one calls a region."""
    if full and isinstance(op, RegionCall):
        return False
    return all(_is_static(value.type) for value in op.results)


def _is_static(kind: Type) -> bool:
    """Whether no size of it has a name, which would mean another in another block."""
    if isinstance(kind, ListType):
        return _is_static(kind.element)
    return not isinstance(kind, TensorType) or kind.is_static
