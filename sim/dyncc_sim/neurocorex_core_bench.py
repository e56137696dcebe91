"""Bench of the whole core: programmed over its bus, it equals the twin bit for bit."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cocotb
import numpy

from dyncc.arch.neurocorex import CoreSpec, Space, state_fields, unpack
from dyncc_models.spiking.random_images import quiet_image, random_image
from dyncc_models.spiking.twin import CoreTwin
from dyncc_sim.neurocorex_driver import Driver
from dyncc_sim.runner import settings


@cocotb.test()
async def equals_twin(dut: Any) -> None:
    """Random parameters of every kind, random weights and inputs, state read back over the bus."""
    options = settings()
    spec = CoreSpec(**options["spec"])
    image = random_image(spec, options["seed"])
    twin = CoreTwin(image)
    driver = Driver(dut, spec, options["seed"])
    await driver.reset()
    await driver.program(image)
    inputs = driver.draw.random((options["steps"], spec.inputs)) < options.get("rate", 0.3)
    coverage: Counter[str] = Counter()
    compared = 0
    for row in inputs:
        sources = int(row.sum() + twin.spikes.sum())
        expected = numpy.flatnonzero(twin.step(row)).tolist()
        cycles = await driver.step(row)
        assert await driver.events(len(expected)) == expected
        coverage["within the cycle bound"] += cycles <= _bound(spec, sources)
        coverage["spikes"] += len(expected)
        coverage["silent steps"] += not expected
        coverage["refractory"] += int((twin.refractory > 0).sum())
        high = (1 << (spec.state_bits - 1)) - 1
        coverage["saturated"] += int((twin.v == high).sum() + (twin.v == -high - 1).sum())
        for index in range(spec.neurons):
            state = unpack(state_fields(spec), await driver.read(Space.STATE, index))
            wanted = {
                "v": int(twin.v[index]),
                "i": int(twin.i[index]),
                "refractory": int(twin.refractory[index]),
            }
            assert state == wanted, (index, state, wanted)
            compared += 1
    assert compared == options["steps"] * spec.neurons
    assert coverage["spikes"] >= options.get("least_spikes", 1)
    assert coverage["within the cycle bound"] == options["steps"]
    assert int(dut.spike_count.value) == twin.counters.spikes
    assert int(dut.synaptic_operations.value) == twin.counters.synaptic_operations
    cocotb.log.info("coverage: %d states compared, %s", compared, dict(coverage))


@cocotb.test()
async def step_cost(dut: Any) -> None:
    """Cycles of a step by the number of spikes, measured, against the documented bound."""
    options = settings()
    spec = CoreSpec(**options["spec"])
    driver = Driver(dut, spec, options["seed"])
    await driver.reset()
    await driver.program(quiet_image(spec))
    measured = {}
    for spikes in sorted({0, 1, min(10, spec.inputs), spec.inputs}):
        measured[spikes] = await driver.step(numpy.arange(spec.inputs) < spikes)
        assert measured[spikes] <= _bound(spec, spikes), (spikes, measured[spikes])
    cocotb.log.info("coverage: cycles of a step by spikes: %s", measured)
    if "record" in options:
        Path(options["record"]).write_text(json.dumps(measured), encoding="utf-8")


def _bound(spec: CoreSpec, sources: int) -> int:
    from dyncc_hw.neurocorex.core import Core

    return Core.step_cycles(spec, sources)
