"""Moves what both sides of a branch begin with before the branch, when it pays.

Only blocks to which nothing but the branch leads give operations away, and only from their start,
so that every path runs the same operations in the same order as before, with the same effects and
exceptions. A region call is moved only into a block that calls none: more would be one block more
on every path.

By itself that saves nothing at run time, since each path ran the operations once before, and their
results become arguments of an edge. It pays when a block disappears: when a side is left with
nothing but a jump, which `forward_jumps` then bypasses, or when both sides are the same from start
to end, and the branch is idle. Each block entered costs about a microsecond, and a condition that
nobody needs may have a region, which costs ten. So operations are moved in these two cases alone.
Operations within regions stay where they are: a common start of two regions would be a third region
to compile, and one call more on both paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from dyncc.ir.hcfg import Block, Branch, Hcfg, Jump, RegionCall, Value, jumps
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
        block, then, orelse = sides.hoisted(fresh)
        blocks |= {name: block, then.name: then}
        if orelse is None:
            del blocks[sides.orelse.name]
            ways_in[then.name] += 1
        else:
            blocks[orelse.name] = orelse
    return replace(program, blocks=blocks)


class _Sides:
    """The two blocks that a branch alone leads to, as far as they do the same.

    Attributes
    ----------
    block, branch
        What branches.
    then, orelse
        The sides.
    common
        How many operations of both are the same.
    same
        Whether nothing else is in them.
    """

    def __init__(self, blocks: dict[str, Block], block: Block, branch: Branch) -> None:
        self.block, self.branch = block, branch
        self.then, self.orelse = blocks[branch.then.target], blocks[branch.orelse.target]
        # Both in terms of the block that branches, and of what the first side computes.
        self._here = dict(zip(self.then.params, branch.then.args, strict=True))
        there = dict(zip(self.orelse.params, branch.orelse.args, strict=True))
        full = _calls(block)
        self.common = 0
        for left, right in zip(self.then.ops, self.orelse.ops, strict=False):
            if op_identity(left, self._here) != op_identity(right, there):
                break
            if (full and isinstance(left, RegionCall)) or not all(
                _is_static(value.type) for value in left.results
            ):
                break
            there |= zip(right.results, left.results, strict=True)
            self.common += 1
        ends = self.then.terminator, self.orelse.terminator
        self.same = (
            self.common == len(self.then.ops) == len(self.orelse.ops)
            and terminator_identity(ends[0], self._here) == terminator_identity(ends[1], there)
            and [jump.target for jump in jumps(ends[0])] == [jump.target for jump in jumps(ends[1])]
        )

    def pays(self) -> bool:
        """Whether a block disappears."""
        return self.same or (
            self.common > 0
            and any(
                self.common == len(side.ops) and isinstance(side.terminator, Jump)
                for side in (self.then, self.orelse)
            )
        )

    def hoisted(self, fresh: Callable[[Value], Value]) -> tuple[Block, Block, Block | None]:
        """The block that branches and the sides after it; None for one like the other."""
        moved = tuple(renamed_op(op, self._here) for op in self.then.ops[: self.common])
        results = tuple(value for op in moved for value in op.results)
        ways = [replace(jump, args=(*jump.args, *results)) for jump in jumps(self.branch)]
        if self.same:
            ways[1] = ways[0]
        block = replace(
            self.block,
            ops=(*self.block.ops, *moved),
            terminator=replace(self.branch, then=ways[0], orelse=ways[1]),
        )
        # The names of the first side's results have moved with them.
        then = self._rest(self.then, {value: fresh(value) for value in results})
        if self.same:
            return block, then, None
        own = [value for op in self.orelse.ops[: self.common] for value in op.results]
        return block, then, self._rest(self.orelse, {value: value for value in own})

    def _rest(self, side: Block, given: dict[Value, Value]) -> Block:
        """A side that is given what it computed."""
        return replace(
            side,
            params=(*side.params, *given.values()),
            ops=tuple(renamed_op(op, given) for op in side.ops[self.common :]),
            terminator=renamed_terminator(side.terminator, given),
        )


def _calls(block: Block) -> bool:
    return any(isinstance(op, RegionCall) for op in block.ops)


def _is_static(kind: Type) -> bool:
    """Whether no size of it has a name, which would mean another in another block."""
    if isinstance(kind, ListType):
        return _is_static(kind.element)
    return not isinstance(kind, TensorType) or kind.is_static
