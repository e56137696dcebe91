"""Schedule of products of two activations, as in attention.

The second factor is laid out in panels a few vectors wide, each just before it is used: a panel
is read once for every tile of rows, and its layout costs a pass over it.
"""

from __future__ import annotations

from tvm import s_tir, tirx

from dyncc.backends.tvm.knobs import divisors, pick
from dyncc.backends.tvm.schedules.fusion import (
    flops,
    inline_producers,
    inline_side_inputs,
    last_consumer,
    share,
    threads,
)
from dyncc.backends.tvm.schedules.shapes import (
    BATCHED,
    PANELS,
    accumulators,
    extent,
    largest_divisor,
    most_accumulators,
    tile_rows,
)
from dyncc.backends.tvm.target import Cpu

#: Columns of a transposed factor that are laid out together: LLVM makes shuffles of what is read
#: as vectors along rows and stored along columns.
_COLUMNS = 8

#: Rows from which laying out panels repays.
LEAST_ROWS = 8


def panel_width(columns: int, cpu: Cpu) -> int:
    """Return how many columns a panel has; the last one may be partly padding."""
    return 2 * cpu.lanes if columns > cpu.lanes else cpu.lanes


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
    padded = extent(schedule, schedule.get_loops(kernel)[len(batch)])
    rows = tile_rows(extent(schedule, i), accumulators(cpu) // (block // cpu.lanes))
    most = most_accumulators(cpu) // (block // cpu.lanes)
    rows = pick("rows", rows, divisors(padded, most))
    whole = extent(schedule, j) % block == 0
    row, row_in = schedule.split(i, [None, rows])
    column, column_in = schedule.split(j, [None, block])
    schedule.reorder(column, row, row_in, column_in)
    outer = schedule.fuse(*batch, column)
    schedule.compute_at(kernel, row, preserve_unit_loops=True)
    schedule.compute_at(panels, outer, preserve_unit_loops=True)
    inline_producers(schedule, panels)
    _lay_out(schedule, panels, cpu)
    if whole:
        schedule.vectorize(column_in)
    schedule.unroll(row_in)

    ki, _, kj, k = schedule.get_loops(kernel)[-4:]
    vector, lane = schedule.split(kj, [None, cpu.lanes])
    schedule.reorder(k, ki, vector, lane)
    if pick("threads", threads(work, cpu), (1, cpu.threads)) > 1 and extent(schedule, outer) > 1:
        share(schedule, outer, cpu)
    schedule.vectorize(lane)
    schedule.unroll(ki)
    schedule.unroll(vector)
    schedule.decompose_reduction(kernel, k)
    return schedule


def _lay_out(schedule: s_tir.Schedule, panels: s_tir.schedule.SBlockRV, cpu: Cpu) -> None:
    """Read vectors; those of a transposed factor are many columns' at one place."""
    k, column = schedule.get_loops(panels)[-2:]
    block = schedule.get(panels)
    inner = block.iter_vars[-2].var
    transposed = inner in tirx.analysis.undefined_vars(block.reads[0].region[-1].min)
    if transposed:
        lanes = largest_divisor(extent(schedule, k), cpu.lanes)
        k, lane = schedule.split(k, [None, lanes])
        column, column_in = schedule.split(column, [None, _COLUMNS])
        schedule.reorder(k, column, column_in, lane)
        schedule.vectorize(lane)
        schedule.unroll(column_in)
