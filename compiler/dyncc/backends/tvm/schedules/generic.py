"""Schedules of everything that is not one of dyncc's own kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm import s_tir, tirx
from tvm.s_tir.dlight.analysis import normalize_prim_func

from dyncc.backends.tvm.schedules.fusion import threads
from dyncc.backends.tvm.schedules.shapes import PARALLEL_ELEMENTS, largest_divisor
from dyncc.backends.tvm.target import Cpu

#: Vectors that are summed together, as one waits for the sum before.
_WINDOW_VECTORS = 4


def neighbours(sizes: Sequence[int], lanes: int) -> int:
    """Return how many neighbouring elements are computed as vectors together.

    They are a part of a row, or whole rows: TVM does not see that what crosses the ends of rows in
    another way is in one sequence, and computes each element's place by divisions. Two vectors if
    that can be, four where rows are short.

    Parameters
    ----------
    sizes
        Of the axes, the last varies fastest.
    lanes
        Of a vector.
    """
    found = 1
    for most in (2 * lanes, 4 * lanes):
        inner = 1
        for size in reversed(sizes):
            if inner <= most:
                found = max(found, inner * largest_divisor(size, most // inner))
            inner *= size
        if found >= lanes:
            break
    return found


def schedule_elementwise(function: tirx.PrimFunc, cpu: Cpu) -> s_tir.Schedule | None:
    """Fuse all blocks of an injective function into one vectorised loop.

    Returns
    -------
    Schedule or None
        None if the function also reduces, or has several results or extents that are not known.
    """
    schedule = s_tir.Schedule(function)
    blocks = normalize_prim_func(schedule)
    if not blocks or not all(block.is_injective() for block in blocks):
        return None
    for block in blocks[:-1]:
        schedule.compute_inline(block.block_rv)
    loops = schedule.get_loops(blocks[-1].block_rv)
    if not loops:
        return None
    extents = [schedule.get(loop).extent for loop in loops]
    if not all(isinstance(extent, (int, tirx.IntImm)) for extent in extents):
        return None
    sizes = [int(extent) for extent in extents]
    count, lanes = math.prod(sizes), neighbours(sizes, cpu.lanes)
    fused = schedule.fuse(*loops)
    if lanes < cpu.lanes // 2:
        return schedule
    outer, inner = schedule.split(fused, [None, lanes])
    schedule.vectorize(inner)
    if count >= PARALLEL_ELEMENTS and cpu.threads > 1:
        schedule.parallel(outer)
    return schedule


def schedule_window(function: tirx.PrimFunc, cpu: Cpu) -> s_tir.Schedule | None:
    """Vectorise a reduction over a window or an inner product along its last result axis.

    For pooling, grouped convolutions and products of two activations. None where there is not
    exactly one reduction, or its result is too narrow.
    """
    schedule = s_tir.Schedule(function)
    blocks = normalize_prim_func(schedule)
    if not blocks:
        return None
    reductions = [block for block in blocks if not block.is_injective()]
    if len(reductions) != 1:
        return None
    block = reductions[0].block_rv
    kinds = reductions[0].dom_kind()
    loops = schedule.get_loops(block)
    if len(loops) != len(kinds) or kinds.lstrip("S").strip("R"):
        return None
    spatial, window = loops[: kinds.count("S")], loops[kinds.count("S") :]
    if not spatial or not window:
        return None
    extents = [schedule.get(loop).extent for loop in loops]
    if not all(isinstance(extent, (int, tirx.IntImm)) for extent in extents):
        return None
    sizes = [int(extent) for extent in extents]
    width = sizes[len(spatial) - 1]
    lanes = largest_divisor(width, cpu.lanes)
    if lanes < 4:
        return None
    vectors = largest_divisor(width // lanes, _WINDOW_VECTORS)
    outer, vector, inner = schedule.split(spatial[-1], [None, vectors, lanes])
    schedule.reorder(*spatial[:-1], outer, *window, vector, inner)
    around = schedule.fuse(*spatial[:-1], outer)
    if threads(2 * math.prod(sizes), cpu) > 1:
        schedule.parallel(around)
    schedule.vectorize(inner)
    schedule.unroll(vector)
    schedule.decompose_reduction(block, window[0])
    return schedule
