"""Moves tensor operations that give the same in all turns of a loop before it, when it pays.

A decoder that attends to an image maps the image anew at each word. In the program that is a part
of a region: operations that depend on nothing but weights and on block parameters that every turn
passes on unchanged. The region is split: that part becomes a region of its own, called by a block
that is put before the loop's head, and its results go around the loop as block parameters.

Views, and numbers made of nothing, cost nothing and stay; where both parts need one, both have it.
So do operations on weights alone, which back ends do when an artifact is loaded.

What is moved runs even where no turn would have come to it. So only operations are moved that
cannot fail and act on nothing (`splitting.is_total`): an index out of range is still found where it
was. They come from blocks that every full turn runs through, so that nothing is computed for a side
that is seldom taken; a loop that ends before its first turn is through may compute in vain, once.

It pays if the operations take as long as the call that is added, some microseconds, and if they
compute so much for each number they give that it is faster to read than to compute it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from dyncc.ir.cost import op_flops
from dyncc.ir.hcfg import (
    Block,
    BlockOp,
    Hcfg,
    Jump,
    Region,
    RegionCall,
    Value,
    map_jumps,
    used_by,
)
from dyncc.ir.parts import Part, part_of
from dyncc.ir.types import TensorType
from dyncc.passes.loops import Loop, invariants, loops_of
from dyncc.passes.renaming import fresh_values, renamed_op, renamed_terminator
from dyncc.passes.splitting import is_plain, is_total, region_call

#: Floating-point operations that have to be moved at least: one or two microseconds of them.
LEAST = 20_000
#: Floating-point operations that have to be moved for each number that is kept instead.
REUSE = 8


def hoist_invariants(program: Hcfg) -> Hcfg:
    """`program` with what does not change in a loop before it, also out of several loops."""
    while (after := _hoist(program)) is not program:
        program = after
    return program


def _hoist(program: Hcfg) -> Hcfg:
    for loop in loops_of(program.blocks):
        if loop.head == program.entry.name:
            continue
        steady = invariants(program.blocks, loop)
        for name in loop.blocks:
            block = program.blocks[name]
            call = region_call(block)
            if call is None or name not in loop.always:
                continue
            region = program.regions[call.region]
            given = zip(region.params, call.args, strict=True)
            split = _split(region, {param for param, arg in given if arg in steady})
            if split is not None:
                return _Move(program, loop, block, call, split).done(steady)
    return program


@dataclass(frozen=True)
class _Split:
    """A region in two parts; the second is None if there is nothing left to do."""

    moved: Part
    rest: Part | None


def _split(region: Region, steady: Collection[Value]) -> _Split | None:
    """What to move out of a region of which some parameters do not change; None if not to."""
    if not is_plain(region):
        return None
    known, active = {*steady, *region.weights}, set(steady)
    still: set[int] = set()
    costly: set[int] = set()
    for index, op in enumerate(region.ops):
        used = set(used_by(op))
        if used <= known and is_total(op):
            results = {value for value in op.results if value is not None}
            still.add(index)
            known |= results
            if not used.isdisjoint(active):
                active |= results
                if op_flops(op):
                    costly.add(index)
    needed, rest = set(region.results), []
    for index in reversed(range(len(region.ops))):
        op = region.ops[index]
        if index not in costly and (not op.results or not needed.isdisjoint(op.results)):
            rest.append(index)
            needed.update(used_by(op))
    whole = still.issuperset(rest)
    given = (
        region.results
        if whole
        else tuple(v for i in sorted(costly) for v in region.ops[i].results if v and v in needed)
    )
    flops = sum(op_flops(region.ops[index]) for index in costly)
    if flops < max(LEAST, REUSE * sum(map(_size, given))):
        return None
    weights = set(region.weights)
    moved = part_of([region.ops[index] for index in sorted(still)], weights, given)
    if whole:
        return _Split(moved, None)
    left = tuple(value for value in region.results if value not in given)
    return _Split(moved, part_of([region.ops[index] for index in sorted(rest)], weights, left))


def _size(value: Value) -> int:
    kind = value.type
    assert isinstance(kind, TensorType)
    return math.prod(int(extent) for extent in kind.shape)


class _Move:
    """A part of a call on its way out of a loop."""

    def __init__(
        self, program: Hcfg, loop: Loop, block: Block, call: RegionCall, split: _Split
    ) -> None:
        self._program, self._loop, self._block = program, loop, block
        self._call, self._split = call, split
        region = program.regions[call.region]
        self._weights = dict(zip(region.weights, call.weights, strict=True))
        self._args = dict(zip(region.params, call.args, strict=True))
        self._results = dict(zip(region.results, call.results, strict=True))
        self._regions = dict(program.regions)

    def done(self, steady: dict[Value, Value]) -> Hcfg:
        """The program afterwards; `steady` as `invariants` gives it."""
        fresh = fresh_values(self._program)
        before = self._before(fresh, steady)
        kept = {name: self._values(fresh) for name in self._loop.blocks}
        blocks: dict[str, Block] = {}
        for name, block in self._program.blocks.items():
            if name == self._loop.head:
                blocks[before.name] = before
            blocks[name] = self._block_after(block, before.name, kept)
        return replace(self._program, blocks=blocks, regions=self._regions)

    def _values(self, fresh: Callable[[Value], Value]) -> tuple[Value, ...]:
        """New values for what is moved."""
        return tuple(
            fresh(self._results.get(value, Value("steady", value.type)))
            for value in self._split.moved.results
        )

    def _before(self, fresh: Callable[[Value], Value], steady: dict[Value, Value]) -> Block:
        """The block before the loop."""
        head = self._program.blocks[self._loop.head]
        params = {param: fresh(param) for param in head.params}
        given = {p: params[steady[a]] for p, a in self._args.items() if a in steady}
        results = self._values(fresh)
        call = self._split.moved.call(self._regions, given, self._weights, results)
        number = 0
        while (name := f"{head.name}.{number}") in self._program.blocks:
            number += 1
        onward = Jump(head.name, (*params.values(), *results))
        return Block(name, tuple(params.values()), (call,), onward, head.loc)

    def _block_after(self, block: Block, before: str, kept: dict[str, tuple[Value, ...]]) -> Block:
        head, own = self._loop.head, kept.get(block.name, ())

        def lead(jump: Jump) -> Jump:
            if own and jump.target in kept:
                return replace(jump, args=(*jump.args, *own))
            return replace(jump, target=before) if jump.target == head else jump

        if block is self._block:
            block = self._without(block, dict(zip(self._split.moved.results, own, strict=True)))
        return replace(
            block,
            params=(*block.params, *own),
            terminator=map_jumps(block.terminator, lead),
        )

    def _without(self, block: Block, own: dict[Value, Value]) -> Block:
        """The block that called the region, with what is left of the call."""
        taken = {
            self._results[value]: given for value, given in own.items() if value in self._results
        }
        ops: list[BlockOp] = []
        for op in block.ops:
            if op is not self._call:
                ops.append(renamed_op(op, taken))
            elif self._split.rest is not None:
                rest = self._split.rest
                results = [self._results[value] for value in rest.results]
                ops.append(rest.call(self._regions, self._args | own, self._weights, results))
        return replace(
            block, ops=tuple(ops), terminator=renamed_terminator(block.terminator, taken)
        )
