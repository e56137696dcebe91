"""Runs the region of the block that comes next together with that of the block before, by profile.

A call of a region costs some time whatever the region does. Where a block calls one, and a block to
which only it leads calls another, both can be one region: along a jump nothing is lost but a
boundary at which `dyncc verify` compares. Along a way of a branch the second part is then also run
where the branch goes the other way, in vain. Both sides of a branch may be taken in like this: then
what is left of the branch chooses between results that are there, which costs next to nothing.

It pays if calls saved outweigh work done in vain, which is for a profile to say. The chance of a
way is taken as (n + 1) / (m + 2) where it was gone n of m times, the rule of succession: that a few
inputs never went the other way does not make a costly region free.

The branch stays, with its condition, so that a proof forces it both ways as before. What is run in
vain may neither fail nor act (`splitting.is_total`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dyncc.ir.hcfg import (
    BlockOp,
    Hcfg,
    Jump,
    Region,
    RegionCall,
    TensorOp,
    Value,
    jumps,
    map_jumps,
    operand_values,
    terminator_values,
)
from dyncc.ir.parts import part_of
from dyncc.ir.profile import Profile
from dyncc.passes.drop_dead_values import drop_dead_values
from dyncc.passes.renaming import fresh_values, renamed_operand
from dyncc.passes.splitting import is_plain, is_total, region_call

#: Seconds that a call of a region takes whatever it does; see docs/host-overhead.md.
CALL = 1.4e-6


def fuse_paths(
    program: Hcfg, profile: Profile, kept: frozenset[str] = frozenset()
) -> tuple[Hcfg, dict[str, float]]:
    """Fuse each block with at most one other, where it pays.

    Parameters
    ----------
    program
        A program.
    profile
        How often its edges are taken, and how long its regions take.
    kept
        Regions that stay as they are.

    Returns
    -------
    Hcfg
        The program afterwards; the same object if nothing pays.
    dict
        Seconds that each of its regions will take, as far as can be said.
    """
    seconds = dict(profile.seconds)
    ways_in = Counter(jump.target for _, _, jump in program.edges())
    entered = profile.entered(program)
    done: set[str] = set()
    for name, way, jump in list(program.edges()):
        if ways_in[jump.target] != 1 or jump.target == program.entry.name:
            continue
        if name in done or jump.target in done or jump.target == name:
            continue
        pair = _Pair(program, name, way)
        if not pair.fits() or not kept.isdisjoint(pair.regions()):
            continue
        first, second = pair.regions()
        if second not in seconds or first not in seconds or not entered[name]:
            continue
        chance = 1.0
        if len(jumps(program.blocks[name].terminator)) == 2:
            chance = (profile.edges.get((name, way), 0) + 1) / (entered[name] + 2)
        if (1 - chance) * seconds[second] < CALL:
            program, new = pair.fused()
            if new is not None:
                seconds.setdefault(new, max(seconds[first] + seconds[second] - CALL, CALL))
            done |= {name, jump.target}
    return program, seconds


@dataclass(frozen=True)
class _Spelled:
    """A call with its operations written out, in values of the block that is to run them."""

    ops: tuple[TensorOp, ...]
    weights: dict[Value, str]


class _Pair:
    """Two blocks of which the second is reached from the first alone."""

    def __init__(self, program: Hcfg, name: str, way: int) -> None:
        self._program, self._way = program, way
        self._block = program.blocks[name]
        self._jump = jumps(self._block.terminator)[way]
        self._after = program.blocks[self._jump.target]
        self._first, self._second = region_call(self._block), region_call(self._after)

    def regions(self) -> tuple[str, str]:
        """The two regions."""
        assert self._first is not None
        assert self._second is not None
        return self._first.region, self._second.region

    def fits(self) -> bool:
        """Whether both call regions, and the second can run where the first does."""
        if self._first is None or self._second is None:
            return False
        regions = [self._program.regions[name] for name in self.regions()]
        if not all(is_plain(region) for region in regions):
            return False
        if not all(map(is_total, regions[1].ops)):
            return False
        there = {*self._block.params}
        for op in self._block.ops:
            there.update(op.results)
            if op is self._first:
                break
        given = self._given()
        return all(given.get(arg) in there for arg in self._second.args)

    def _given(self) -> dict[Value, Value]:
        return dict(zip(self._after.params, self._jump.args, strict=True))

    def fused(self) -> tuple[Hcfg, str | None]:
        """The program with both in one region, and its name; None if nobody needs what it gives."""
        first, second, given = self._first, self._second, self._given()
        assert first is not None
        assert second is not None
        fresh = fresh_values(self._program)
        results = tuple(map(fresh, second.results))
        moved = replace(second, args=tuple(given[arg] for arg in second.args), results=results)
        # What becomes of the results is known when values that nobody needs any more are gone.
        both = RegionCall("", (*first.args, *moved.args), (), (*first.results, *results))
        program = drop_dead_values(self._with(both, second, results))
        block = program.blocks[self._block.name]
        used = set(terminator_values(block.terminator))
        for op in block.ops:
            if op is not both:
                used.update(operand_values(op.args))
        wanted = tuple(value for value in both.results if value in used)
        regions = dict(program.regions)
        ops: list[BlockOp] = []
        name = None
        for op in block.ops:
            if not isinstance(op, RegionCall):
                ops.append(op)
            elif wanted:
                call = self._one(first, moved, wanted, regions)
                name = call.region
                ops.append(call)
        blocks = {**program.blocks, block.name: replace(block, ops=tuple(ops))}
        return replace(program, blocks=blocks, regions=regions), name

    def _with(self, both: RegionCall, second: RegionCall, results: tuple[Value, ...]) -> Hcfg:
        """The program with one call in the first block, whose results go on to the second."""

        def lead(jump: Jump) -> Jump:
            if jump.target != self._after.name:
                return jump
            return replace(jump, args=(*jump.args, *results))

        block = replace(
            self._block,
            ops=tuple(both if op is self._first else op for op in self._block.ops),
            terminator=map_jumps(self._block.terminator, lead),
        )
        after = replace(
            self._after,
            params=(*self._after.params, *second.results),
            ops=tuple(op for op in self._after.ops if op is not second),
        )
        blocks = {**self._program.blocks, block.name: block, after.name: after}
        return replace(self._program, blocks=blocks)

    def _one(
        self,
        first: RegionCall,
        second: RegionCall,
        wanted: Sequence[Value],
        regions: dict[str, Region],
    ) -> RegionCall:
        parts = [
            _spelled(self._program.regions[call.region], call, f"{number}.")
            for number, call in enumerate((first, second))
        ]
        weights = parts[0].weights | parts[1].weights
        part = part_of((*parts[0].ops, *parts[1].ops), weights, wanted)
        same = {value: value for value in part.params}
        return part.call(regions, same, weights, wanted)


def _spelled(region: Region, call: RegionCall, prefix: str) -> _Spelled:
    values = dict(zip(region.params, call.args, strict=True))
    weights: dict[Value, str] = {}
    for value, name in zip(region.weights, call.weights, strict=True):
        values[value] = Value(f"weight {name}", value.type)
        weights[values[value]] = name
    values |= zip(region.results, call.results, strict=True)
    for made in (value for op in region.ops for value in op.results if value is not None):
        values.setdefault(made, Value(f"{prefix}{made.name}", made.type))
    ops = []
    for op in region.ops:
        args = tuple(renamed_operand(arg, values) for arg in op.args)
        kwargs = tuple((name, renamed_operand(arg, values)) for name, arg in op.kwargs)
        results = tuple(None if value is None else values[value] for value in op.results)
        ops.append(TensorOp(op.target, args, kwargs, results))
    return _Spelled(tuple(ops), weights)
