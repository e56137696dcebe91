"""Bench of the trace unit: each of its four results equals the twin, in the documented cycle."""

from __future__ import annotations

from typing import Any

import cocotb

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import LAGS, TRACE_BITS, Rule
from dyncc_hw.neurocorex.synapses import growth_shape
from dyncc_models.spiking.plasticity import (
    TRACE_MAX,
    depression,
    move_post,
    move_pre,
    potentiation,
)
from dyncc_models.spiking.random_images import random_learning
from dyncc_sim.neurocorex_block import Block
from dyncc_sim.pins import random_integers

#: Sets of registers for each rule, and traces for each of them.
SETS, TRACES = 6, 60
#: Each result: what says that there is one, its index, the result; cycles after `valid`.
RESULTS = {
    "new_pre": ("pre_valid", "pre_index", 2),
    "new_post": ("post_valid", "post_index", 3),
    "growth": ("growth_valid", "growth_index", 4),
    "depression": ("depression_valid", "depression_index", 5),
}


@cocotb.test()
async def traces(dut: Any) -> None:
    """All rules, with random registers and traces and gaps."""
    block = Block(dut, "traces")
    await block.reset()
    for rule in (Rule.TRACES, Rule.WINDOWS, Rule.LAGS):
        for _ in range(SETS):
            await compare(block, rule)
    assert block.coverage["compared"] == 3 * SETS * TRACES * len(RESULTS)
    block.finish(
        "gaps", "pre trace at its limit", "post trace at its limit", "LAGS shrinks", "LAGS grows",
        *(f"{rule} {what}" for rule in ("TRACES", "WINDOWS") for what in ("grows", "depresses")),
    )  # fmt: skip


async def compare(block: Block, rule: Rule) -> None:
    """One set of registers."""
    spec, draw, coverage = block.spec, block.draw, block.coverage
    learning = random_learning(spec, draw, rule)
    block.set_registers(learning.registers(spec))

    def traces() -> Integers:
        bits = LAGS if rule == Rule.LAGS else TRACE_BITS
        return random_integers(draw, bits, False, TRACES)

    pre, post = traces(), random_integers(draw, TRACE_BITS, False, TRACES)
    index = draw.integers(0, spec.sources, TRACES)
    arrived, fired = draw.random(TRACES) < 0.5, draw.random(TRACES) < 0.5
    new_pre, new_post = move_pre(learning, pre, arrived), move_post(learning, post, fired)
    wanted = {
        "new_pre": new_pre,
        "new_post": new_post,
        "growth": potentiation(learning, new_pre) & ((1 << growth_shape(spec).width) - 1),
        "depression": depression(learning, new_post),
    }
    coverage["pre trace at its limit"] += int((new_pre == TRACE_MAX).sum())
    coverage["post trace at its limit"] += int((new_post >= TRACE_MAX - 1).sum())
    coverage[f"{rule.name} grows"] += int((potentiation(learning, new_pre) > 0).sum())
    coverage[f"{rule.name} shrinks"] += int((potentiation(learning, new_pre) < 0).sum())
    coverage[f"{rule.name} depresses"] += int((wanted["depression"] > 0).sum())

    cycles, starts = [], {}
    given = {"pre": pre, "post": post, "index": index, "arrived": arrived, "fired": fired}
    for case in range(TRACES):
        while draw.random() < 0.3:
            cycles.append({"valid": 0, "pre": int(draw.integers(1 << TRACE_BITS)), "index": 0})
            coverage["gaps"] += 1
        starts[len(cycles)] = case
        cycles.append({"valid": 1, **{name: int(values[case]) for name, values in given.items()}})
    cycles += [{"valid": 0, "pre": TRACE_MAX, "post": TRACE_MAX}] * 8
    watched = [name for result, names in RESULTS.items() for name in (result, *names[:2])]
    answers = await block.pins.play(cycles, watched)
    for cycle, answer in enumerate(answers):
        for result, (valid, number, latency) in RESULTS.items():
            start = cycle - latency
            assert answer[valid] == (start in starts), (result, cycle)
            if start in starts:
                case = starts[start]
                assert answer[number] == index[case], (result, case)
                assert answer[result] == wanted[result][case], (rule, result, case)
                coverage["compared"] += 1
