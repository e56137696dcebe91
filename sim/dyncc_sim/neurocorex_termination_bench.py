"""Bench of dynamic termination: decision and winner equal the twin, in the documented cycle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cocotb
import numpy

from dyncc.arch.neurocorex import Termination, Test
from dyncc_hw.neurocorex.termination import TerminationUnit
from dyncc_models.spiking.random_images import random_termination
from dyncc_models.spiking.termination import decide
from dyncc_sim.neurocorex_block import Block
from dyncc_sim.pins import Values, random_integers

STEPS = 150
OUTPUTS = ("done", "decided", "winner", "look_up", "entry")


@cocotb.test()
async def termination(dut: Any) -> None:
    """Random rules and scores, from far apart to equal, with gaps between neurons."""
    block = Block(dut, "termination")
    spec, draw, coverage = block.spec, block.draw, block.coverage
    await block.reset()
    for _ in range(STEPS):
        rule = random_rule(block)
        potentials = random_potentials(block)
        steps = int(draw.choice([1, rule.least_steps, max(1, rule.least_steps - 1), 1000]))
        decided, winner = decide(rule, potentials, steps)
        block.set_registers(rule.registers(spec))
        table = rule.table

        def look_up(seen: dict[str, int], table: tuple[int, ...] = table) -> Values | None:
            return {"table": table[seen["entry"]]} if seen["look_up"] else None

        cycles: list[Values] = [{"begin": 1, "steps": steps}, {"begin": 0}]
        for index, potential in enumerate(potentials.tolist()):
            while draw.random() < 0.3:
                cycles.append({"valid": 0, "index": 0, "potential": 0})
                coverage["gaps"] += 1
            cycles.append({"valid": 1, "index": index, "potential": potential})
        cycles += [{"valid": 0}] * int(draw.integers(1, 4))
        start = len(cycles)
        after = rule.class_count + TerminationUnit.LATENCY
        cycles += [{"test": 1}, *[{"test": 0}] * (after + 4)]
        answers = await block.pins.play(cycles, OUTPUTS, look_up)
        assert [cycle for cycle, seen in enumerate(answers) if seen["done"]] == [start + after + 1]
        for seen in answers[start + after + 1 :]:
            assert (seen["decided"], seen["winner"]) == (decided, winner), rule
        coverage["compared"] += 1
        coverage[f"{rule.test.name}, {'decided' if decided else 'not decided'}"] += 1
        coverage["one class"] += rule.class_count == 1
        coverage["all classes"] += rule.class_count == spec.classes
        scores = potentials[rule.first_class : rule.first_class + rule.class_count]
        coverage["equal best scores"] += int((scores == scores.max()).sum() > 1)
        coverage["held by the least steps"] += steps < rule.least_steps
        looked = [seen["look_up"] for seen in answers]
        assert sum(looked) == rule.class_count
    assert coverage["compared"] == STEPS
    # The softmax of one class is one.
    several = ["equal best scores", "SOFTMAX, not decided"] if spec.classes > 1 else []
    block.finish(
        *several, "gaps", "one class", "all classes", "held by the least steps",
        "MARGIN, decided", "MARGIN, not decided", "SOFTMAX, decided",
        "NEVER, not decided",
    )  # fmt: skip


def random_rule(block: Block) -> Termination:
    """A rule, now and then with registers at their limits."""
    draw = block.draw
    rule = random_termination(block.spec, draw)
    if draw.random() < 0.1:
        return replace(rule, test=Test.NEVER)
    if draw.random() < 0.2:
        limit = draw.choice([0, 1, (1 << 32) - 1]) if rule.test == Test.MARGIN else rule.limit
        return replace(rule, limit=int(limit), shift=int(draw.integers(0, 32)))
    return rule


def random_potentials(block: Block) -> numpy.ndarray:
    """Of all neurons: of all magnitudes, or close to each other."""
    spec, draw = block.spec, block.draw
    bits = spec.state_bits
    if draw.random() < 0.5:
        return random_integers(draw, bits, True, spec.neurons)
    centre = int(draw.integers(-(1 << (bits - 2)), 1 << (bits - 2)))
    return centre + draw.integers(0, draw.choice([1, 2, 1 << 10, 1 << 17]), spec.neurons)
