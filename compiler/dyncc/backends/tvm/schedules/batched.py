"""Schedule of products of two activations, as in attention.

The second factor is laid out in panels a few vectors wide, each just before it is used: a panel
is read once for every tile of rows, and its layout costs a pass over it.
"""

from __future__ import annotations

from tvm import s_tir

from dyncc.backends.tvm.knobs import divisors, pick
from dyncc.backends.tvm.schedules.fusion import (
    flops,
    inline_producers,
    inline_side_inputs,
    last_consumer,
    threads,
)
from dyncc.backends.tvm.schedules.shapes import (
    BATCHED,
    PANELS,
    accumulators,
    extent,
    largest_divisor,
    most_accumulators,
)
from dyncc.backends.tvm.target import Cpu

#: Rows from which laying out panels repays.
LEAST_ROWS = 8


def panel_width(columns: int, cpu: Cpu) -> int | None:
    """Return how many columns a panel has, or None if no whole vectors divide them."""
    return next((w for w in (2 * cpu.lanes, cpu.lanes) if columns % w == 0), None)


def schedule_batched(schedule: s_tir.Schedule, cpu: Cpu) -> s_tir.Schedule:
    """Schedule a fused function around a batched product.

    Parameters
    ----------
    schedule
        Of the function.
    cpu
        The machine.
    """
    kernel, panels = schedule.get_sblock(BATCHED), schedule.get_sblock(PANELS)
    work = flops(schedule, kernel)
    epilogue = last_consumer(schedule, kernel)
    inline_side_inputs(schedule, epilogue, kernel)
    block = extent(schedule, schedule.get_loops(panels)[-1])
    *batch, i, j = schedule.get_loops(epilogue)
    rows = largest_divisor(extent(schedule, i), accumulators(cpu) // (block // cpu.lanes))
    most = most_accumulators(cpu) // (block // cpu.lanes)
    rows = pick("rows", rows, divisors(extent(schedule, i), most))
    row, row_in = schedule.split(i, [None, rows])
    column, column_in = schedule.split(j, [None, block])
    schedule.reorder(column, row, row_in, column_in)
    outer = schedule.fuse(*batch, column)
    schedule.compute_at(kernel, row, preserve_unit_loops=True)
    schedule.compute_at(panels, outer, preserve_unit_loops=True)
    inline_producers(schedule, panels)
    schedule.vectorize(column_in)
    schedule.unroll(row_in)

    ki, _, kj, k = schedule.get_loops(kernel)[-4:]
    vector, lane = schedule.split(kj, [None, cpu.lanes])
    schedule.reorder(k, ki, vector, lane)
    if pick("threads", threads(work, cpu), (1, cpu.threads)) > 1 and extent(schedule, outer) > 1:
        schedule.parallel(outer)
    schedule.vectorize(lane)
    schedule.unroll(ki)
    schedule.unroll(vector)
    schedule.decompose_reduction(kernel, k)
    return schedule
