"""What schedules of fused functions share: the operations around a kernel."""

from __future__ import annotations

import math

from tvm import s_tir

from dyncc.backends.tvm.knobs import divisors
from dyncc.backends.tvm.schedules.shapes import PARALLEL_FLOPS, PHASES, extent
from dyncc.backends.tvm.target import Cpu


def last_consumer(
    schedule: s_tir.Schedule, block: s_tir.schedule.SBlockRV
) -> s_tir.schedule.SBlockRV:
    """Fold everything behind `block` into one block, and return that."""
    while True:
        consumers = schedule.get_consumers(block)
        if not consumers:
            # Nothing follows: a copy out of the tile takes the place of an epilogue.
            return schedule.cache_write(block, 0, "global")
        inner = [consumer for consumer in consumers if schedule.get_consumers(consumer)]
        if inner:
            schedule.compute_inline(inner[0])
        elif len(consumers) == 1:
            return consumers[0]
        else:
            raise ValueError("a kernel with several results has no schedule")


def inline_producers(schedule: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> None:
    """Inline what is computed for `block` elementwise (except for itself)."""
    for producer in schedule.get_producers(block):
        inline_producers(schedule, producer)
        schedule.compute_inline(producer)


def inline_side_inputs(
    schedule: s_tir.Schedule,
    epilogue: s_tir.schedule.SBlockRV,
    kernel: s_tir.schedule.SBlockRV,
) -> None:
    """Inline what only the epilogue reads."""
    name = schedule.get(kernel).name_hint
    for producer in schedule.get_producers(epilogue):
        if schedule.get(producer).name_hint != name:
            inline_producers(schedule, producer)
            schedule.compute_inline(producer)


def separate_phases(schedule: s_tir.Schedule, loop: s_tir.schedule.LoopRV) -> None:
    """Take the columns of a strided image apart below `loop`."""
    block = schedule.get_sblock(PHASES)
    schedule.compute_at(block, loop, preserve_unit_loops=True)
    phase, row, column = schedule.get_loops(block)[-3:]
    # LLVM makes shuffles of loads from neighbouring places that belong to one turn of a loop.
    schedule.reorder(row, column, phase)
    schedule.unroll(phase)


def block_names(schedule: s_tir.Schedule) -> set[str]:
    """Return the names of the function's blocks."""
    root = schedule.get_sblock("root")
    return {schedule.get(block).name_hint for block in schedule.get_child_blocks(root)}


def flops(schedule: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> int:
    """Return the floating-point operations of a kernel, a multiplication with an addition each."""
    return 2 * math.prod(extent(schedule, loop) for loop in schedule.get_loops(block))


def threads(work: int, cpu: Cpu) -> int:
    """Return how many threads repay `work` floating-point operations."""
    return cpu.threads if work >= PARALLEL_FLOPS else 1


def share(schedule: s_tir.Schedule, loop: s_tir.schedule.LoopRV, cpu: Cpu) -> None:
    """Let threads share the turns of a loop, several at a time.

    TVM allocates what a turn needs for itself once for those that a thread takes together, and
    otherwise for each turn.
    """
    count = extent(schedule, loop)
    parts = [d for d in divisors(count, 8 * cpu.threads) if d >= cpu.threads]
    if parts and parts[-1] < count:
        # As equal as can be, and about four for each thread.
        usual = 4 * cpu.threads
        best = min(
            parts, key=lambda d: (round(-(-d // cpu.threads) * cpu.threads / d, 1), abs(d - usual))
        )
        loop, _ = schedule.split(loop, [best, None])
    schedule.parallel(loop)
