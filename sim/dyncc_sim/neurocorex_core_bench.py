"""Bench of the whole core: programmed over its bus, it equals the twin bit for bit."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc.arch.neurocorex import (
    BUS_BITS,
    CoreImage,
    CoreSpec,
    Space,
    address,
    memory_bits,
    memory_words,
    state_fields,
    unpack,
)
from dyncc_models.spiking.random_images import quiet_image, random_image
from dyncc_models.spiking.twin import CoreTwin
from dyncc_sim.runner import settings

WORD = (1 << BUS_BITS) - 1


class Driver:
    """Bus, events and steps of a core, with random pauses."""

    def __init__(self, dut: Any, spec: CoreSpec, seed: int) -> None:
        self.dut = dut
        self.spec = spec
        self.draw = numpy.random.default_rng(seed)
        self.fired: list[int] = []

    async def reset(self) -> None:
        """Start the clock, hold reset, begin to take events."""
        dut = self.dut
        Clock(dut.clk, 10, "ns").start()
        for name in ("bus__write", "bus__read", "start", "events_in__valid", "events_out__ready"):
            getattr(dut, name).value = 0
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        await RisingEdge(dut.clk)
        cocotb.start_soon(self._take_events())

    async def pause(self) -> None:
        """Now and then let some cycles pass."""
        if self.draw.random() < 0.2:
            await ClockCycles(self.dut.clk, int(self.draw.integers(1, 4)))

    async def _take_events(self) -> None:
        """Take fired neurons, now and then refusing to."""
        dut = self.dut
        while True:
            ready = bool(self.draw.random() < 0.7)
            dut.events_out__ready.value = int(ready)
            await ReadOnly()
            taken = ready and bool(dut.events_out__valid.value)
            if taken:
                self.fired.append(int(dut.events_out__payload.value))
            await RisingEdge(dut.clk)

    async def _request(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            await ReadOnly()
            if self.dut.bus__done.value:
                break
        await RisingEdge(self.dut.clk)
        self.dut.bus__write.value = self.dut.bus__read.value = 0

    async def write(self, space: Space, index: int, value: int) -> None:
        """Store a memory word."""
        for chunk in range(-(-memory_bits(self.spec, space) // BUS_BITS)):
            self.dut.bus__address.value = address(space, index, chunk)
            self.dut.bus__write_data.value = value >> (BUS_BITS * chunk) & WORD
            self.dut.bus__write.value = 1
            await self._request()

    async def read(self, space: Space, index: int) -> int:
        """Read a memory word."""
        found = 0
        for chunk in range(-(-memory_bits(self.spec, space) // BUS_BITS)):
            self.dut.bus__address.value = address(space, index, chunk)
            self.dut.bus__read.value = 1
            await self._request()
            found |= int(self.dut.bus__read_data.value) << (BUS_BITS * chunk)
        return found

    async def program(self, image: CoreImage) -> None:
        """Write every memory."""
        for space, words in memory_words(image).items():
            for index, value in enumerate(words):
                await self.write(space, index, value)
                await self.pause()

    async def step(self, inputs: numpy.ndarray) -> int:
        """One step; returns the cycles for which the core was busy."""
        dut = self.dut
        for line in numpy.flatnonzero(inputs):
            await self.pause()
            dut.events_in__payload.value = int(line)
            dut.events_in__valid.value = 1
            while True:
                await ReadOnly()
                ready = bool(dut.events_in__ready.value)
                await RisingEdge(dut.clk)
                if ready:
                    break
            dut.events_in__valid.value = 0
        await ReadOnly()
        before = int(dut.cycles.value)
        await RisingEdge(dut.clk)
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        limit = 100 * (self.spec.inputs + self.spec.neurons) * (self.spec.row_words + 2) + 1000
        for _ in range(limit):
            await ReadOnly()
            if dut.step_done.value:
                break
            await RisingEdge(dut.clk)
        else:
            raise AssertionError(f"a step does not end in {limit} cycles")
        await RisingEdge(dut.clk)
        await ReadOnly()
        cycles = int(dut.cycles.value) - before
        await RisingEdge(dut.clk)
        return cycles


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
        taken = len(driver.fired)
        expected = numpy.flatnonzero(twin.step(row)).tolist()
        cycles = await driver.step(row)
        while len(driver.fired) < taken + len(expected):
            await RisingEdge(dut.clk)
        assert driver.fired[taken:] == expected
        # Waiting for events to be taken comes on top of the bound.
        coverage["within the cycle bound"] += cycles <= _bound(spec, sources) + len(expected) * 8
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
