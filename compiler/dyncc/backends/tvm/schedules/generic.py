"""Schedules of everything that is not one of dyncc's own kernels."""

from __future__ import annotations

from tvm import s_tir, tirx
from tvm.s_tir.dlight.analysis import normalize_prim_func

from dyncc.backends.tvm.schedules.shapes import PARALLEL_ELEMENTS, largest_divisor
from dyncc.backends.tvm.target import Cpu


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
    fused = schedule.fuse(*loops)
    extent = schedule.get(fused).extent
    if not isinstance(extent, (int, tirx.IntImm)):
        return None
    count = int(extent)
    lanes = largest_divisor(count, 2 * cpu.lanes)
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
    lanes = largest_divisor(int(extents[len(spatial) - 1]), cpu.lanes)
    if lanes < 4:
        return None
    outer, inner = schedule.split(spatial[-1], [None, lanes])
    schedule.reorder(*spatial[:-1], outer, *window, inner)
    schedule.vectorize(inner)
    schedule.decompose_reduction(block, window[0])
    return schedule
