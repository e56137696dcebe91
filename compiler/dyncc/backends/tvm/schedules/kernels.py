"""Schedules of the packed convolutions and products.

A tile of accumulators stays in vector registers through the whole reduction; the elementwise
operations fused behind the kernel then run on the tile while it is in the cache.
"""

from __future__ import annotations

import math

from tvm import s_tir, tirx

from dyncc.backends.tvm.knobs import divisors, pick
from dyncc.backends.tvm.schedules import batched, depthwise, pooling, winograd
from dyncc.backends.tvm.schedules.fusion import (
    block_names,
    flops,
    inline_producers,
    inline_side_inputs,
    last_consumer,
    separate_phases,
    threads,
)
from dyncc.backends.tvm.schedules.shapes import (
    BATCHED,
    CONV_CHANNELS,
    CONV_ROWS,
    DEPTHWISE,
    DEPTHWISE_ROWS,
    MATMUL,
    PAD,
    PHASES,
    POOL,
    WINOGRAD,
    accumulators,
    extent,
    largest_divisor,
    most_accumulators,
    tile_rows,
)
from dyncc.backends.tvm.target import Cpu


def schedule_kernel(function: tirx.PrimFunc, cpu: Cpu) -> s_tir.Schedule | None:
    """Schedule a fused function around one of dyncc's kernels.

    Parameters
    ----------
    function
        The function.
    cpu
        The machine.

    Returns
    -------
    Schedule or None
        None if the function holds no such kernel.
    """
    schedule = s_tir.Schedule(function)
    names = block_names(schedule)
    if CONV_ROWS in names:
        return _convolution_by_rows(schedule, PAD in names, cpu)
    if CONV_CHANNELS in names:
        return _convolution_by_channels(schedule, PAD in names, cpu)
    if WINOGRAD in names:
        return winograd.schedule_winograd(schedule, cpu)
    if BATCHED in names:
        return batched.schedule_batched(schedule, cpu)
    if DEPTHWISE in names:
        return depthwise.schedule_depthwise(schedule, names, cpu)
    if DEPTHWISE_ROWS in names:
        return depthwise.schedule_rows(schedule, names, cpu)
    if POOL in names:
        return pooling.schedule_pooling(schedule, names, cpu)
    if MATMUL in names:
        return _matmul(schedule, cpu)
    return None


def _split(
    schedule: s_tir.Schedule, channels: int, tiles: int, work: int, cpu: Cpu
) -> tuple[bool, int]:
    """Return whether threads share the channels, and else into how many bands of rows they go.

    Bands are equal, of whole tiles, and at most one a thread: each then pads what it reads. By
    channels each reads a part of the weights only, and the image is padded before.
    """
    apart = channels > 1 and PHASES not in block_names(schedule)
    if pick("by_channel", 0, (0, 1) if apart else ()):
        return True, 1
    return False, pick(
        "bands", largest_divisor(tiles, threads(work, cpu)), divisors(tiles, cpu.threads)
    )


def _order(*loops: s_tir.schedule.LoopRV) -> tuple[s_tir.schedule.LoopRV, ...]:
    """Order the loops over tiles: the channel outermost, or behind `pick("turn")` others."""
    channel, *rest = loops
    turn = pick("turn", 0, range(len(rest) + 1))
    return (*rest[:turn], channel, *rest[turn:])


def _place_padding(schedule: s_tir.Schedule, band: s_tir.schedule.LoopRV, *, at_once: bool) -> None:
    """Pad inside each band: every thread then makes the rows it reads, in its own cache."""
    if PHASES in block_names(schedule):
        separate_phases(schedule, band)
    pad = schedule.get_sblock(PAD)
    inline_producers(schedule, pad)
    if not at_once:
        schedule.compute_at(pad, band, preserve_unit_loops=True)
    columns = schedule.get_loops(pad)[-1]
    if extent(schedule, columns) <= 64:
        schedule.vectorize(columns)


def _convolution_by_rows(schedule: s_tir.Schedule, padded: bool, cpu: Cpu) -> s_tir.Schedule:
    kernel = schedule.get_sblock(CONV_ROWS)
    work = flops(schedule, kernel)
    epilogue = last_consumer(schedule, kernel)
    inline_side_inputs(schedule, epilogue, kernel)
    n, o, h, w, *_ = schedule.get_loops(kernel)
    outputs, height, width = (extent(schedule, loop) for loop in (o, h, w))
    vectors = min(2, width // cpu.lanes)
    vectors = largest_divisor(width // cpu.lanes, vectors)
    vectors = pick("vectors", vectors, divisors(width // cpu.lanes, 4))
    most = most_accumulators(cpu)
    block = largest_divisor(outputs, accumulators(cpu) // min(2, width // cpu.lanes))
    block = pick("channels", block, divisors(outputs, most // vectors))
    rows = largest_divisor(height, max(1, accumulators(cpu) // (block * vectors)))
    rows = pick("rows", rows, divisors(height, max(1, most // (block * vectors))))
    split, bands = _split(schedule, outputs // block, height // rows, work, cpu)

    # The epilogue owns the outer loops; the kernel is placed below them.
    n, o, h, w = schedule.get_loops(epilogue)
    channel, channel_in = schedule.split(o, [None, block])
    band, row, row_in = schedule.split(h, [bands, None, rows])
    column, column_in = schedule.split(w, [None, vectors * cpu.lanes])
    order = (channel, row, column) if split else _order(channel, row, column)
    schedule.reorder(n, band, *order, channel_in, row_in, column_in)
    schedule.compute_at(kernel, order[-1], preserve_unit_loops=True)
    lane_outer, lane = schedule.split(column_in, [None, cpu.lanes])
    schedule.vectorize(lane)
    for loop in (lane_outer, row_in, channel_in):
        schedule.unroll(loop)

    kn, ko, kh_out, kw_out, ic, kh, kw = schedule.get_loops(kernel)[5:]
    kw_outer, kw_lane = schedule.split(kw_out, [None, cpu.lanes])
    schedule.reorder(kn, ic, kh, kw, ko, kh_out, kw_outer, kw_lane)
    unrolled = (ko, kh_out, kw_outer)
    outer = (n, band, channel) if split else (n, band)
    return _finish(schedule, kernel, padded, outer, (ic, kh, kw), unrolled, kw_lane)


def _convolution_by_channels(schedule: s_tir.Schedule, padded: bool, cpu: Cpu) -> s_tir.Schedule:
    kernel = schedule.get_sblock(CONV_CHANNELS)
    work = flops(schedule, kernel)
    epilogue = last_consumer(schedule, kernel)
    inline_side_inputs(schedule, epilogue, kernel)
    _, blocks, h, w, inner, *_ = schedule.get_loops(kernel)
    height, width, block = (extent(schedule, loop) for loop in (h, w, inner))
    limit = accumulators(cpu) if block >= cpu.lanes else accumulators(cpu) // 2
    columns = largest_divisor(width, min(limit, 14))
    vectors = max(1, block // cpu.lanes)
    most = most_accumulators(cpu) // vectors
    columns = pick("columns", columns, divisors(width, most))
    rows = largest_divisor(height, max(1, limit // columns))
    rows = pick("rows", rows, divisors(height, max(1, most // columns)))
    split, bands = _split(schedule, extent(schedule, blocks), height // rows, work, cpu)

    n, o, h, w = schedule.get_loops(epilogue)
    # The last block may be partly padding.
    channel, channel_in = schedule.split(o, [None, block])
    band, row, row_in = schedule.split(h, [bands, None, rows])
    column, column_in = schedule.split(w, [None, columns])
    order = (channel, row, column) if split else _order(channel, row, column)
    schedule.reorder(n, band, *order, channel_in, row_in, column_in)
    schedule.compute_at(kernel, order[-1], preserve_unit_loops=True)
    if columns > 1:
        schedule.vectorize(column_in)
    schedule.unroll(row_in)

    kn, kb, kh_out, kw_out, ki, ic, kh, kw = schedule.get_loops(kernel)[5:]
    schedule.reorder(kn, kb, ic, kh, kw, kh_out, kw_out, ki)
    outer = (n, band, channel) if split else (n, band)
    return _finish(schedule, kernel, padded, outer, (ic, kh, kw), (kh_out, kw_out), ki)


def _finish(
    schedule: s_tir.Schedule,
    kernel: s_tir.schedule.SBlockRV,
    padded: bool,
    outer: tuple[s_tir.schedule.LoopRV, ...],
    reduced: tuple[s_tir.schedule.LoopRV, ...],
    unrolled: tuple[s_tir.schedule.LoopRV, ...],
    lane: s_tir.schedule.LoopRV,
) -> s_tir.Schedule:
    reduction, *window = reduced
    parallel = math.prod(extent(schedule, loop) for loop in outer) > 1
    if padded:
        _place_padding(schedule, outer[1], at_once=len(outer) > 2)
    if parallel:
        schedule.parallel(schedule.fuse(*outer))
    schedule.vectorize(lane)
    for loop in unrolled:
        schedule.unroll(loop)
    height, width = (extent(schedule, loop) for loop in window)
    # How many loops over the window are unrolled, from the inner one on.
    inner = pick("window", int(width <= 7), range(3 if height * width <= 25 else 2))
    for loop in window[2 - inner :]:
        schedule.unroll(loop)
    # After vectorising: a reduction that is split into its start and its update first cannot be
    # vectorised any more.
    schedule.decompose_reduction(kernel, reduction)
    return schedule


def _matmul(schedule: s_tir.Schedule, cpu: Cpu) -> s_tir.Schedule:
    kernel = schedule.get_sblock(MATMUL)
    work = flops(schedule, kernel)
    epilogue = last_consumer(schedule, kernel)
    inline_producers(schedule, kernel)
    inline_side_inputs(schedule, epilogue, kernel)
    tiles, blocks, ji, _ = schedule.get_loops(kernel)
    rows, count, block = (extent(schedule, loop) for loop in (tiles, blocks, ji))
    i, j = schedule.get_loops(epilogue)
    tile = tile_rows(extent(schedule, i), max(1, accumulators(cpu) // (block // cpu.lanes)))
    tile = pick("rows", tile, divisors(rows, max(1, most_accumulators(cpu) * cpu.lanes // block)))

    columns = extent(schedule, j)
    row, row_in = schedule.split(i, [None, tile])
    column, column_in = schedule.split(j, [None, block])
    schedule.reorder(column, row, row_in, column_in)
    schedule.compute_at(kernel, row, preserve_unit_loops=True)
    if columns % block == 0:
        schedule.vectorize(column_in)
    schedule.unroll(row_in)

    ki, kb, kj, k = schedule.get_loops(kernel)[2:]
    kj_outer, kj_lane = schedule.split(kj, [None, cpu.lanes])
    schedule.reorder(kb, k, ki, kj_outer, kj_lane)
    several = pick("threads", threads(work, cpu), (1, cpu.threads)) > 1
    if several and count > 1:
        schedule.parallel(column)
    elif several and rows > tile:
        schedule.parallel(row)
    schedule.vectorize(kj_lane)
    schedule.unroll(ki)
    schedule.unroll(kj_outer)
    schedule.decompose_reduction(kernel, k)
    return schedule
