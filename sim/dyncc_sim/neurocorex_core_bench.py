"""Bench of the whole core: programmed over its bus, it equals the twin bit for bit."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cocotb
import numpy

from dyncc.arch.neurocorex import (
    DECIDED_BIT,
    CoreImage,
    CoreSpec,
    Rule,
    Space,
    state_fields,
    unpack,
    weight_words,
)
from dyncc_hw.neurocorex.core import Core
from dyncc_hw.neurocorex.implementation import Implementation
from dyncc_models.spiking.random_images import quiet_image, random_image
from dyncc_models.spiking.twin import CoreTwin
from dyncc_sim.neurocorex_driver import Driver
from dyncc_sim.runner import settings


def chosen() -> Implementation:
    """The implementation under test."""
    return Implementation(**settings().get("implementation", {}))


@cocotb.test()
async def equals_twin(dut: Any) -> None:
    """Random parameters of every kind, random weights and inputs, state read back over the bus.

    A core is programmed twice, so that nothing of the first network may remain.
    """
    options = settings()
    spec = CoreSpec(**options["spec"])
    driver = Driver(dut, spec, options["seed"])
    await driver.reset()
    coverage: Counter[str] = Counter()
    for again in range(2):
        image = random_image(spec, options["seed"] + again, Rule(options.get("rule", Rule.TRACES)))
        inputs = driver.draw.random((options["steps"], spec.inputs)) < options.get("rate", 0.3)
        await compare(driver, image, inputs, coverage)
    assert coverage["states compared"] == 2 * options["steps"] * spec.neurons
    for name in options.get("cover", ["spikes"]):
        assert coverage[name] > 0, f"nothing covers: {name}"
    cocotb.log.info("coverage: %s", dict(sorted(coverage.items())))


async def compare(
    driver: Driver, image: CoreImage, inputs: numpy.ndarray, coverage: Counter[str]
) -> None:
    """Run an image on both, and compare all that can be read."""
    spec = image.spec
    implementation = chosen()
    twin = CoreTwin(image)
    await driver.program(image)
    high = (1 << (spec.state_bits - 1)) - 1
    before = twin.synapses.weights.copy()
    for row in inputs:
        sources = numpy.concatenate((row, twin.arriving))
        expected = numpy.flatnonzero(twin.step(row)).tolist()
        cycles = await driver.step(row)
        assert await driver.events(len(expected)) == expected
        bound = Core.step_cycles(
            spec,
            int(sources.sum()),
            len(expected),
            int(image.row_counts[sources].sum()),
            0 if image.termination is None else image.termination.class_count,
            implementation,
        )
        assert cycles <= bound, (cycles, bound)
        coverage["spikes"] += len(expected)
        coverage["silent steps"] += not expected
        coverage["refractory"] += int((twin.refractory > 0).sum())
        coverage["travelling"] += int((twin.travelling > 0).sum())
        coverage["saturated"] += int((twin.v == high).sum() + (twin.v == -high - 1).sum())
        coverage["decided"] += twin.decided
        coverage["undecided"] += not twin.decided
        for index in range(spec.neurons):
            state = unpack(state_fields(spec), await driver.read(Space.STATE, index))
            wanted = {name: int(getattr(twin, name)[index]) for name in state}
            assert state == wanted, index
            coverage["states compared"] += 1
        counters = await driver.counters()
        assert {name: counters[name] for name in twin.report()} == twin.report()
        if spec.classes:
            expected_status = twin.winner | twin.decided << DECIDED_BIT
            assert counters["decision"] == expected_status
        if spec.learning:
            assert counters["drift"] == twin.synapses.drift
            for space, traces in (
                (Space.PRE, twin.synapses.pre),
                (Space.POST, twin.synapses.post),
            ):
                found = [await driver.read(space, index) for index in range(len(traces))]
                assert found == traces.tolist(), space
    words, _ = weight_words(image, twin.synapses.weights if spec.learning else image.weights)
    assert [await driver.read(Space.WEIGHTS, index) for index in range(len(words))] == words
    coverage["weights compared"] += len(words)
    change = twin.synapses.weights - before
    coverage["grown"] += int((change > 0).sum())
    coverage["shrunk"] += int((change < 0).sum())
    if image.learning is not None:
        registers = image.learning.registers(spec)
        learnt = twin.synapses.weights[twin.synapses.plastic]
        coverage["at the upper bound"] += int((learnt == registers["weight_max"]).sum())
        coverage["at the lower bound"] += int((learnt == registers["weight_min"]).sum())


@cocotb.test()
async def step_cost(dut: Any) -> None:
    """Cycles of a step by the number of spikes, measured, against the documented bound."""
    options = settings()
    spec = CoreSpec(**options["spec"])
    driver = Driver(dut, spec, options["seed"])
    await driver.reset()
    image = quiet_image(spec)
    await driver.program(image)
    measured = {}
    for spikes in sorted({0, 1, min(10, spec.inputs), spec.inputs}):
        measured[spikes] = await driver.step(numpy.arange(spec.inputs) < spikes)
        words = int(image.row_counts[:spikes].sum())
        bound = Core.step_cycles(spec, spikes, words=words, implementation=chosen())
        assert measured[spikes] <= bound, spikes
    cocotb.log.info("coverage: cycles of a step by spikes: %s", measured)
    if "record" in options:
        Path(options["record"]).write_text(json.dumps(measured), encoding="utf-8")
