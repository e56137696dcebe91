"""Schedule of Winograd's convolution: a product of matrices for each place of a tile."""

from __future__ import annotations

from tvm import s_tir

from dyncc.backends.tvm.knobs import divisors, pick
from dyncc.backends.tvm.schedules.fusion import (
    flops,
    inline_producers,
    inline_side_inputs,
    last_consumer,
    separate_phases,
    threads,
)
from dyncc.backends.tvm.schedules.shapes import (
    PAD,
    WINOGRAD,
    WINOGRAD_STEPS,
    accumulators,
    extent,
    largest_divisor,
    most_accumulators,
    vector_divisor,
)
from dyncc.backends.tvm.target import Cpu


def schedule_winograd(schedule: s_tir.Schedule, cpu: Cpu) -> s_tir.Schedule:
    """Schedule a fused function around Winograd's convolution.

    The image of a sample is transformed first, channel by channel. For a block of output channels
    all products and the way back then stay in the caches.

    Parameters
    ----------
    schedule
        Of the function.
    cpu
        The machine.
    """
    kernel = schedule.get_sblock(WINOGRAD)
    columns, image, half, whole = (schedule.get_sblock(name) for name in WINOGRAD_STEPS)
    several = threads(flops(schedule, kernel), cpu) > 1
    outputs, tiles = (extent(schedule, loop) for loop in schedule.get_loops(kernel)[-3:-1])
    vectors = largest_divisor(tiles // cpu.lanes, 2)
    vectors = pick("vectors", vectors, divisors(tiles // cpu.lanes, 4))
    block = largest_divisor(outputs, accumulators(cpu) // vectors)
    block = pick("channels", block, divisors(outputs, most_accumulators(cpu) // vectors))
    size = extent(schedule, schedule.get_loops(half)[-2])
    epilogue = last_consumer(schedule, whole)
    inline_side_inputs(schedule, epilogue, whole)
    _read_all_tiles(schedule, epilogue, whole)
    n, o, _, w = schedule.get_loops(epilogue)
    blocks, channel = schedule.split(o, [None, block])
    lanes = _columns(extent(schedule, w), size, cpu)
    if lanes > 1:
        schedule.vectorize(schedule.split(w, [None, lanes])[1])
    for step, loop in ((whole, channel), (half, channel), (kernel, blocks), (image, n)):
        schedule.compute_at(step, loop, preserve_unit_loops=True)
    _spread(schedule, whole, size, cpu)
    _spread(schedule, half, size, cpu)

    i, j, ko, kp, ic = schedule.get_loops(kernel)[-5:]
    kp, vector, lane = schedule.split(kp, [None, vectors, cpu.lanes])
    schedule.reorder(i, j, kp, ic, ko, vector, lane)
    schedule.vectorize(lane)
    schedule.unroll(vector)
    schedule.unroll(ko)

    ii, ij, c, y, x = schedule.get_loops(image)[-5:]
    schedule.reorder(c, y, ii, x, ij)
    schedule.vectorize(x)
    schedule.unroll(ij)
    schedule.compute_at(columns, c, preserve_unit_loops=True)
    cy, ci, phase, x = schedule.get_loops(columns)[-4:]
    schedule.reorder(cy, phase, x, ci)
    across = schedule.fuse(phase, x)
    _, lane = schedule.split(across, [None, vector_divisor(extent(schedule, across), cpu.lanes, 1)])
    schedule.vectorize(lane)
    schedule.unroll(ci)
    separate_phases(schedule, c)
    pad = schedule.get_sblock(PAD)
    inline_producers(schedule, pad)
    schedule.compute_at(pad, c, preserve_unit_loops=True)
    schedule.decompose_padding(pad, schedule.get_loops(pad)[-4])
    if several:
        if extent(schedule, n) >= cpu.threads:
            schedule.parallel(n)
        else:
            schedule.parallel(c)
            schedule.parallel(blocks)
    schedule.decompose_reduction(kernel, ic)
    return schedule


def _read_all_tiles(
    schedule: s_tir.Schedule,
    epilogue: s_tir.schedule.SBlockRV,
    whole: s_tir.schedule.SBlockRV,
) -> None:
    """Declare that the epilogue reads all tiles of a channel.

    The last ones may be outside of the image. Without them the loops before would be shorter, and
    end in a part of a vector.
    """
    results = schedule.get(whole).writes[0].source
    reads = [part.source for part in schedule.get(epilogue).reads]
    place = next(place for place, source in enumerate(reads) if source.same_as(results))
    every = [(0, size) for size in results.ty.shape[2:]]
    schedule.annotate_buffer_access(epilogue, place, "read", lambda n, o, h, w: (n, o, *every))


def _columns(width: int, size: int, cpu: Cpu) -> int:
    """Return how many neighbours of a row of results make a vector: whole tiles, or the row."""
    whole = [lanes for lanes in divisors(width, cpu.lanes) if lanes % size == 0 or lanes == width]
    return whole[-1] if whole else 1


def _spread(schedule: s_tir.Schedule, step: s_tir.schedule.SBlockRV, size: int, cpu: Cpu) -> None:
    """Vectorise a transform along tiles, and unroll the rows of its matrix."""
    place, tile = schedule.get_loops(step)[-2:]
    outer, row = schedule.split(place, [None, size])
    vector, lane = schedule.split(tile, [None, cpu.lanes])
    schedule.reorder(outer, vector, lane, row)
    schedule.vectorize(lane)
    schedule.unroll(row)
