"""Schedule of pooling: the rows that a row of results needs, then that row."""

from __future__ import annotations

import math

from tvm import s_tir

from dyncc.backends.tvm.schedules.fusion import inline_side_inputs, last_consumer
from dyncc.backends.tvm.schedules.shapes import (
    PAD,
    PARALLEL_ELEMENTS,
    POOL,
    POOL_COLUMNS,
    extent,
)
from dyncc.backends.tvm.target import Cpu

#: How many elements of an image take as long as one of a function that computes something.
_CHEAP = 4


def schedule_pooling(schedule: s_tir.Schedule, names: set[str], cpu: Cpu) -> s_tir.Schedule:
    """Schedule a fused function around a pooling.

    Parameters
    ----------
    schedule
        Of the function.
    names
        Its blocks.
    cpu
        The machine.
    """
    block = schedule.get_sblock(POOL)
    if schedule.get_consumers(block):
        epilogue = last_consumer(schedule, block)
        inline_side_inputs(schedule, epilogue, block)
        schedule.compute_inline(block)
        block = epilogue
    columns = schedule.get_sblock(POOL_COLUMNS)
    work = math.prod(extent(schedule, loop) for loop in schedule.get_loops(columns))
    n, c, h, _ = schedule.get_loops(block)
    if PAD in names:
        pad = schedule.get_sblock(PAD)
        schedule.compute_at(pad, h, preserve_unit_loops=True)
        # The border everywhere, then the image: neither has a condition inside.
        schedule.decompose_padding(pad, schedule.get_loops(pad)[-1])
        schedule.compute_inline(columns)
        columns = pad
    else:
        schedule.compute_at(columns, h, preserve_unit_loops=True)
    x = schedule.get_loops(columns)[-1]
    if extent(schedule, x) % cpu.lanes == 0:
        schedule.vectorize(schedule.split(x, [None, cpu.lanes])[1])
    # The step along the row has strides: LLVM makes shuffles of it, which TVM's vectors hide.
    outer = schedule.fuse(n, c)
    if work >= _CHEAP * PARALLEL_ELEMENTS and cpu.threads > 1:
        schedule.parallel(outer)
    return schedule
