"""Schedule of depthwise convolution: a few channels at a time, in the cache all the way."""

from __future__ import annotations

import math

from tvm import s_tir

from dyncc.backends.tvm.knobs import divisors, pick
from dyncc.backends.tvm.schedules.fusion import (
    flops,
    inline_producers,
    inline_side_inputs,
    last_consumer,
    separate_phases,
    share,
    threads,
)
from dyncc.backends.tvm.schedules.shapes import (
    DEPTHWISE,
    DEPTHWISE_ROWS,
    PAD,
    PHASES,
    accumulators,
    extent,
    largest_divisor,
    round_up,
)
from dyncc.backends.tvm.target import Cpu

#: Vectors of results in registers at a time; a weight is read once for them.
_TILE_VECTORS = 5

#: Elements that are padded together. A load that spans what several stores have just written
#: waits for them, so there should be some work between; and all this should stay in the L1 cache.
_GROUP_ELEMENTS = 4096

#: Windows up to this many elements are unrolled whole.
_UNROLLED_WINDOW = 25


def fills_rows(width: int, cpu: Cpu) -> bool:
    """Whether rows of results are whole vectors, or several of which little is dropped."""
    padded = round_up(width, cpu.lanes)
    return width == padded or (width > 2 * cpu.lanes and 8 * width >= 7 * padded)


def schedule_depthwise(schedule: s_tir.Schedule, names: set[str], cpu: Cpu) -> s_tir.Schedule:
    """Schedule a fused function around a depthwise convolution.

    Parameters
    ----------
    schedule
        Of the function.
    names
        Its blocks.
    cpu
        The machine.
    """
    kernel = schedule.get_sblock(DEPTHWISE)
    work = flops(schedule, kernel)
    epilogue = last_consumer(schedule, kernel)
    inline_side_inputs(schedule, epilogue, kernel)
    n, c, _, w = schedule.get_loops(epilogue)
    lanes = largest_divisor(extent(schedule, w), cpu.lanes)
    c, channel = schedule.split(c, [None, _channels(schedule, names, extent(schedule, c))])
    outer = schedule.fuse(n, c)
    schedule.compute_at(kernel, channel, preserve_unit_loops=True)
    _, _, place, lane, kh, kw = schedule.get_loops(kernel)[2:]
    vectors = largest_divisor(extent(schedule, place), _TILE_VECTORS)
    vectors = pick("vectors", vectors, divisors(extent(schedule, place), 2 * _TILE_VECTORS))
    tile, vector = schedule.split(place, [None, vectors])
    schedule.reorder(tile, kh, kw, vector, lane)
    _place_padding(schedule, names, outer)
    if pick("threads", threads(work, cpu), (1, cpu.threads)) > 1 and extent(schedule, outer) > 1:
        share(schedule, outer, cpu)
    if lanes >= 4:
        schedule.vectorize(schedule.split(w, [None, lanes])[1])
    schedule.vectorize(lane)
    schedule.unroll(vector)
    _order_window(schedule, kernel, kh, kw)
    return schedule


def schedule_rows(schedule: s_tir.Schedule, names: set[str], cpu: Cpu) -> s_tir.Schedule:
    """As `schedule_depthwise`, where rows are whole vectors.

    A vector that is read serves the results of all rows of a tile that need it.
    """
    kernel = schedule.get_sblock(DEPTHWISE_ROWS)
    work = flops(schedule, kernel)
    epilogue = last_consumer(schedule, kernel)
    inline_side_inputs(schedule, epilogue, kernel)
    n, c, h, w = schedule.get_loops(epilogue)
    height, width = extent(schedule, h), extent(schedule, w)
    lanes = largest_divisor(width, cpu.lanes)
    most = accumulators(cpu) // 2
    rows = largest_divisor(height, most)
    rows = pick("rows", rows, divisors(height, 2 * most))
    usual = largest_divisor(height // rows, max(1, _GROUP_ELEMENTS // (rows * width)))
    tiles = pick("tiles", usual, divisors(height // rows, height))
    group = _channels(schedule, names, extent(schedule, c))
    c, channel = schedule.split(c, [None, group])
    band, tile, row = schedule.split(h, [None, tiles, rows])
    schedule.reorder(n, c, band, channel, tile, row, w)
    outer = schedule.fuse(n, c, band)
    schedule.compute_at(kernel, tile, preserve_unit_loops=True)
    _, _, kernel_row, vector, lane, kh, kw = schedule.get_loops(kernel)[3:]
    schedule.reorder(vector, kh, kw, kernel_row, lane)
    _place_padding(schedule, names, outer)
    if pick("threads", threads(work, cpu), (1, cpu.threads)) > 1 and extent(schedule, outer) > 1:
        share(schedule, outer, cpu)
    if lanes >= 4:
        schedule.vectorize(schedule.split(w, [None, lanes])[1])
    schedule.vectorize(lane)
    schedule.unroll(kernel_row)
    _order_window(schedule, kernel, kh, kw)
    return schedule


def _channels(schedule: s_tir.Schedule, names: set[str], channels: int) -> int:
    """Return how many channels are padded together."""
    image = 1
    if PAD in names:
        loops = schedule.get_loops(schedule.get_sblock(PAD))
        image = math.prod(extent(schedule, loop) for loop in loops[2:])
    group = largest_divisor(channels, max(1, _GROUP_ELEMENTS // image))
    return pick("channels", group, divisors(channels, 4 * group))


def _place_padding(schedule: s_tir.Schedule, names: set[str], outer: s_tir.schedule.LoopRV) -> None:
    """Pad what a turn of `outer` reads at once."""
    if PHASES in names:
        separate_phases(schedule, outer)
    if PAD in names:
        pad = schedule.get_sblock(PAD)
        inline_producers(schedule, pad)
        schedule.compute_at(pad, outer, preserve_unit_loops=True)
        # Zeros everywhere, then the image: neither has a condition inside.
        schedule.decompose_padding(pad, schedule.get_loops(pad)[1])


def _order_window(
    schedule: s_tir.Schedule,
    kernel: s_tir.schedule.SBlockRV,
    kh: s_tir.schedule.LoopRV,
    kw: s_tir.schedule.LoopRV,
) -> None:
    """Unroll the rows of a window, all of them if it is small; sums begin before it."""
    schedule.unroll(kw)
    if extent(schedule, kh) * extent(schedule, kw) <= _UNROLLED_WINDOW:
        schedule.unroll(kh)
    schedule.decompose_reduction(kernel, kh)
