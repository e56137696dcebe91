"""Schedule of reductions along rows: softmax, norms, means, sums and extrema of a last axis.

A reduction of floats may not be reordered by LLVM, so on its own it takes one element at a time.
Here each row is first reduced to a vector of partial results, and that to shorter ones; all that
is computed for a row is computed while it is in the cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import s_tir, tirx

from dyncc.backends.tvm.schedules.shapes import (
    PARALLEL_ELEMENTS,
    extent,
    largest_divisor,
    vector_divisor,
)
from dyncc.backends.tvm.target import Cpu

#: Vectors of partial results: enough to hide the latency of an addition.
_PARTIAL_VECTORS = 4


@dataclass(frozen=True)
class _Nest:
    """A block in loops of its own, one for each of its axes."""

    block: s_tir.schedule.SBlockRV
    spatial: tuple[int, ...]
    reduced: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """Spatial extents other than 1."""
        return tuple(size for size in self.spatial if size > 1)


def _nest(schedule: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> _Nest | None:
    loops = schedule.get_loops(block)
    kinds = [int(axis.iter_type) for axis in schedule.get(block).iter_vars]
    split = kinds.count(tirx.IterVar.DataPar)
    ordered = [tirx.IterVar.DataPar] * split + [tirx.IterVar.CommReduce] * (len(kinds) - split)
    if len(kinds) != len(loops) or kinds != ordered:
        return None
    sizes = tuple(extent(schedule, loop) for loop in loops)
    return _Nest(block, sizes[:split], sizes[split:])


def _along_rows(schedule: s_tir.Schedule, nest: _Nest) -> bool:
    """Whether neighbours in the reduction are neighbours in all that is read for it."""
    block = schedule.get(nest.block)
    axes = [axis.var for axis in block.iter_vars]
    spatial = {var for var, size in zip(axes, nest.spatial, strict=False) if size > 1}
    reduced = set(axes[len(nest.spatial) :])
    for read in block.reads:
        places = [set(tirx.analysis.undefined_vars(part.min)) for part in read.region]
        if not any(place & reduced for place in places):
            continue
        if axes[-1] not in places[-1] or places[-1] & spatial:
            return False
    return True


def _reaches_beyond(schedule: s_tir.Schedule, nest: _Nest) -> bool:
    """Whether it reduces more than rows have; there are conditions in what it reads, then."""
    block = schedule.get(nest.block)
    last = block.iter_vars[-1].var
    return any(
        last in tirx.analysis.undefined_vars(read.region[-1].min)
        and int(read.source.shape[-1]) < nest.reduced[-1]
        for read in block.reads
        if len(read.region) > 0
    )


def _holds_truths(schedule: s_tir.Schedule, nest: _Nest) -> bool:
    """Whether it reads or writes booleans, of which TVM stores no vectors."""
    block = schedule.get(nest.block)
    return any(str(part.source.dtype) == "bool" for part in (*block.reads, *block.writes))


def schedule_rows(function: tirx.PrimFunc, cpu: Cpu) -> s_tir.Schedule | None:
    """Schedule a function that reduces rows.

    Parameters
    ----------
    function
        The function.
    cpu
        The machine.

    Returns
    -------
    Schedule or None
        None if nothing is reduced, if something is reduced along other axes than the last, if the
        reductions do not share their rows, or if something is a boolean.
    """
    schedule = s_tir.Schedule(function)
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    nests = [nest for block in blocks if (nest := _nest(schedule, block)) is not None]
    reductions = [nest for nest in nests if nest.reduced]
    if len(nests) < len(blocks) or not reductions:
        return None
    rows = reductions[0].rows
    if any(nest.rows[: len(rows)] != rows for nest in nests):
        return None
    if any(nest.rows != rows or not _along_rows(schedule, nest) for nest in reductions):
        return None
    if any(_holds_truths(schedule, nest) for nest in nests):
        return None

    work = math.prod(rows) * max(math.prod(nest.reduced) for nest in reductions)
    partial: list[s_tir.schedule.SBlockRV] = []
    beyond: list[s_tir.schedule.SBlockRV] = []
    stages: list[s_tir.schedule.SBlockRV] = []
    for nest in nests:
        if nest.reduced:
            padded = _reaches_beyond(schedule, nest)
            found = _partial(schedule, nest, cpu)
            partial += found
            beyond += found[:1] if padded else []
            stages += found
        stages.append(nest.block)
    if rows:
        row = _share_rows(schedule, stages, math.prod(rows))
        if work >= PARALLEL_ELEMENTS and cpu.threads > 1:
            schedule.parallel(row)
    for block in stages:
        is_partial, is_beyond = (any(block is one for one in some) for some in (partial, beyond))
        _vectorise(schedule, block, bool(rows), cpu, partial=is_partial, reaches_beyond=is_beyond)
    return schedule


def _partial(schedule: s_tir.Schedule, nest: _Nest, cpu: Cpu) -> list[s_tir.schedule.SBlockRV]:
    """Put partial results before a reduction, before these again some, and so on."""
    loops = schedule.get_loops(nest.block)[len(nest.spatial) :]
    loop = schedule.fuse(*loops) if len(loops) > 1 else loops[0]
    count = math.prod(nest.reduced)
    lanes = vector_divisor(
        count, cpu.lanes, max(1, min(_PARTIAL_VECTORS, count // (2 * cpu.lanes)))
    )
    stages = []
    while 4 <= lanes < count:
        _, lane = schedule.split(loop, [None, lanes])
        stages.append(schedule.rfactor(lane, len(nest.spatial)))
        loop = schedule.get_loops(nest.block)[-1]
        count, lanes = lanes, largest_divisor(lanes, lanes // 4)
    return stages


def _share_rows(
    schedule: s_tir.Schedule, stages: list[s_tir.schedule.SBlockRV], rows: int
) -> s_tir.schedule.LoopRV:
    """Compute all stages of a row together; return the loop over rows."""
    outer: list[s_tir.schedule.LoopRV] = []
    for loop in schedule.get_loops(stages[-1]):
        if math.prod(extent(schedule, one) for one in outer) == rows:
            break
        outer.append(loop)
    row = schedule.fuse(*outer) if len(outer) > 1 else outer[0]
    for block in reversed(stages[:-1]):
        schedule.compute_at(block, row, preserve_unit_loops=True)
    return row


def _vectorise(
    schedule: s_tir.Schedule,
    block: s_tir.schedule.SBlockRV,
    shared: bool,
    cpu: Cpu,
    *,
    partial: bool,
    reaches_beyond: bool,
) -> None:
    """Vectorise what a block computes for a row.

    Parameters
    ----------
    shared
        Whether it is inside of the loop over rows.
    partial
        Whether it makes partial results.
    reaches_beyond
        Whether some of these are made from what lies behind the end of a row: LLVM masks that,
        TVM would take lane by lane.
    """
    kinds = [int(axis.iter_type) for axis in schedule.get(block).iter_vars]
    loops = schedule.get_loops(block)[1 if shared else 0 :]
    if tirx.IterVar.CommReduce not in kinds:
        lanes = vector_divisor(extent(schedule, loops[-1]), cpu.lanes, 2) if loops else 1
        if lanes > 1:
            schedule.vectorize(schedule.split(loops[-1], [None, lanes])[1])
    elif partial:
        # The lane is the first axis of the block, and its last loop until rows are shared.
        lane, step = (loops[0], loops[-1]) if shared else (loops[-1], loops[-2])
        schedule.reorder(step, lane)
        if not reaches_beyond:
            schedule.vectorize(lane)
        schedule.decompose_reduction(block, step)
    else:
        first = (
            kinds.index(tirx.IterVar.CommReduce)
            if shared
            else -kinds.count(tirx.IterVar.CommReduce)
        )
        schedule.decompose_reduction(block, loops[first])
