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
    threads,
)
from dyncc.backends.tvm.schedules.shapes import (
    DEPTHWISE,
    PAD,
    PHASES,
    extent,
    largest_divisor,
)
from dyncc.backends.tvm.target import Cpu

#: Vectors of results in registers at a time; a weight is read once for them.
_TILE_VECTORS = 5

#: Elements that are padded together. A load that spans what several stores have just written
#: waits for them, so there should be some work between; and all this should stay in the L1 cache.
_GROUP_ELEMENTS = 4096

#: Windows up to this many elements are unrolled whole.
_UNROLLED_WINDOW = 25


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
    pad = schedule.get_sblock(PAD) if PAD in names else None
    image = (
        1 if pad is None else math.prod(extent(schedule, x) for x in schedule.get_loops(pad)[2:])
    )
    n, c, _, w = schedule.get_loops(epilogue)
    lanes = largest_divisor(extent(schedule, w), cpu.lanes)
    group = largest_divisor(extent(schedule, c), max(1, _GROUP_ELEMENTS // image))
    group = pick("channels", group, divisors(extent(schedule, c), 4 * group))
    c, channel = schedule.split(c, [None, group])
    outer = schedule.fuse(n, c)
    schedule.compute_at(kernel, channel, preserve_unit_loops=True)
    _, _, place, lane, kh, kw = schedule.get_loops(kernel)[2:]
    vectors = largest_divisor(extent(schedule, place), _TILE_VECTORS)
    vectors = pick("vectors", vectors, divisors(extent(schedule, place), 2 * _TILE_VECTORS))
    tile, vector = schedule.split(place, [None, vectors])
    schedule.reorder(tile, kh, kw, vector, lane)
    if PHASES in names:
        separate_phases(schedule, outer)
    if pad is not None:
        inline_producers(schedule, pad)
        schedule.compute_at(pad, outer, preserve_unit_loops=True)
        # Zeros everywhere, then the image: neither has a condition inside.
        schedule.decompose_padding(pad, schedule.get_loops(pad)[1])
    if pick("threads", threads(work, cpu), (1, cpu.threads)) > 1 and extent(schedule, outer) > 1:
        schedule.parallel(outer)
    if lanes >= 4:
        schedule.vectorize(schedule.split(w, [None, lanes])[1])
    schedule.vectorize(lane)
    schedule.unroll(vector)
    schedule.unroll(kw)
    if extent(schedule, kh) * extent(schedule, kw) <= _UNROLLED_WINDOW:
        schedule.unroll(kh)
    schedule.decompose_reduction(kernel, kh)
    return schedule
