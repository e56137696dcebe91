"""Schedules of the packed convolutions and products.

A tile of accumulators stays in vector registers through the whole reduction; the elementwise
operations fused behind the kernel then run on the tile while it is in the cache.
"""

from __future__ import annotations

from tvm import s_tir, tirx

from dyncc.backends.tvm.schedules import batched, depthwise
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
    MATMUL,
    PAD,
    PHASES,
    accumulators,
    extent,
    largest_divisor,
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
    if BATCHED in names:
        return batched.schedule_batched(schedule, cpu)
    if DEPTHWISE in names:
        return depthwise.schedule_depthwise(schedule, names, cpu)
    if MATMUL in names:
        return _matmul(schedule, cpu)
    return None


def _bands(height: int, tile: int, limit: int) -> int:
    """Return into how many equal bands of whole tiles the rows go, at most one a thread."""
    return largest_divisor(height // tile, limit)


def _place_padding(
    schedule: s_tir.Schedule, band: s_tir.schedule.LoopRV, parallel: s_tir.schedule.LoopRV | None
) -> None:
    """Pad inside each band: every thread then makes the rows it reads, in its own cache."""
    if PHASES in block_names(schedule):
        separate_phases(schedule, band)
    pad = schedule.get_sblock(PAD)
    inline_producers(schedule, pad)
    if parallel is None:
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
    block = largest_divisor(outputs, accumulators(cpu) // min(2, width // cpu.lanes))
    rows = largest_divisor(height, max(1, accumulators(cpu) // (block * vectors)))
    bands = _bands(height, rows, threads(work, cpu))

    # The epilogue owns the outer loops; the kernel is placed below them.
    n, o, h, w = schedule.get_loops(epilogue)
    channel, channel_in = schedule.split(o, [None, block])
    band, row, row_in = schedule.split(h, [bands, None, rows])
    column, column_in = schedule.split(w, [None, vectors * cpu.lanes])
    schedule.reorder(n, band, channel, row, column, channel_in, row_in, column_in)
    schedule.compute_at(kernel, column, preserve_unit_loops=True)
    lane_outer, lane = schedule.split(column_in, [None, cpu.lanes])
    schedule.vectorize(lane)
    for loop in (lane_outer, row_in, channel_in):
        schedule.unroll(loop)

    kn, ko, kh_out, kw_out, ic, kh, kw = schedule.get_loops(kernel)[5:]
    kw_outer, kw_lane = schedule.split(kw_out, [None, cpu.lanes])
    schedule.reorder(kn, ic, kh, kw, ko, kh_out, kw_outer, kw_lane)
    return _finish(schedule, kernel, padded, (n, band), ic, kw, (ko, kh_out, kw_outer), kw_lane)


def _convolution_by_channels(schedule: s_tir.Schedule, padded: bool, cpu: Cpu) -> s_tir.Schedule:
    kernel = schedule.get_sblock(CONV_CHANNELS)
    work = flops(schedule, kernel)
    epilogue = last_consumer(schedule, kernel)
    inline_side_inputs(schedule, epilogue, kernel)
    _, _, h, w, inner, *_ = schedule.get_loops(kernel)
    height, width, block = (extent(schedule, loop) for loop in (h, w, inner))
    limit = accumulators(cpu) if block >= cpu.lanes else accumulators(cpu) // 2
    columns = largest_divisor(width, min(limit, 14))
    rows = largest_divisor(height, max(1, limit // columns))
    bands = _bands(height, rows, threads(work, cpu))

    n, o, h, w = schedule.get_loops(epilogue)
    # The last block may be partly padding.
    channel, channel_in = schedule.split(o, [None, block])
    band, row, row_in = schedule.split(h, [bands, None, rows])
    column, column_in = schedule.split(w, [None, columns])
    schedule.reorder(n, band, channel, row, column, channel_in, row_in, column_in)
    schedule.compute_at(kernel, column, preserve_unit_loops=True)
    if columns > 1:
        schedule.vectorize(column_in)
    schedule.unroll(row_in)

    kn, kb, kh_out, kw_out, ki, ic, kh, kw = schedule.get_loops(kernel)[5:]
    schedule.reorder(kn, kb, ic, kh, kw, kh_out, kw_out, ki)
    return _finish(schedule, kernel, padded, (n, band), ic, kw, (kh_out, kw_out), ki)


def _finish(
    schedule: s_tir.Schedule,
    kernel: s_tir.schedule.SBlockRV,
    padded: bool,
    outer: tuple[s_tir.schedule.LoopRV, s_tir.schedule.LoopRV],
    reduction: s_tir.schedule.LoopRV,
    window: s_tir.schedule.LoopRV,
    unrolled: tuple[s_tir.schedule.LoopRV, ...],
    lane: s_tir.schedule.LoopRV,
) -> s_tir.Schedule:
    n, band = outer
    parallel = extent(schedule, n) * extent(schedule, band) > 1
    if padded:
        _place_padding(schedule, band, None)
    if parallel:
        schedule.parallel(schedule.fuse(n, band))
    schedule.vectorize(lane)
    for loop in unrolled:
        schedule.unroll(loop)
    if extent(schedule, window) <= 7:
        schedule.unroll(window)
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
    i, blocks, ji, _ = schedule.get_loops(kernel)
    rows, count, block = (extent(schedule, loop) for loop in (i, blocks, ji))
    tile = largest_divisor(rows, max(1, accumulators(cpu) // (block // cpu.lanes)))

    i, j = schedule.get_loops(epilogue)
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
    if threads(work, cpu) > 1 and count > 1:
        schedule.parallel(column)
    elif threads(work, cpu) > 1 and rows > tile:
        schedule.parallel(row)
    schedule.vectorize(kj_lane)
    schedule.unroll(ki)
    schedule.unroll(kj_outer)
    schedule.decompose_reduction(kernel, k)
    return schedule
