"""Drives the bus, the events and the steps of a core under cocotb."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc.arch.neurocorex import (
    BUS_BITS,
    COUNTERS,
    CoreImage,
    CoreSpec,
    Space,
    address,
    bus_words,
    memory_words,
    unpack,
)

WORD = (1 << BUS_BITS) - 1


class Driver:
    """Drives a core.

    Parameters
    ----------
    dut
        The core in the simulator.
    spec
        Its size.
    seed
        Of random pauses on every interface; None for none.
    """

    def __init__(self, dut: Any, spec: CoreSpec, seed: int | None) -> None:
        self.dut = dut
        self.spec = spec
        self.stalls = seed is not None
        self.draw = numpy.random.default_rng(seed or 0)
        self._fired: list[int] = []

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
        if self.stalls and self.draw.random() < 0.2:
            await ClockCycles(self.dut.clk, int(self.draw.integers(1, 4)))

    async def _take_events(self) -> None:
        """Take fired neurons, now and then refusing to."""
        dut = self.dut
        while True:
            ready = not self.stalls or bool(self.draw.random() < 0.7)
            dut.events_out__ready.value = int(ready)
            await ReadOnly()
            taken = ready and bool(dut.events_out__valid.value)
            if taken:
                self._fired.append(int(dut.events_out__payload.value))
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
        for chunk in range(bus_words(self.spec, space)):
            self.dut.bus__address.value = address(space, index, chunk)
            self.dut.bus__write_data.value = value >> (BUS_BITS * chunk) & WORD
            self.dut.bus__write.value = 1
            await self._request()

    async def read(self, space: Space, index: int) -> int:
        """Read a memory word."""
        found = 0
        for chunk in range(bus_words(self.spec, space)):
            self.dut.bus__address.value = address(space, index, chunk)
            self.dut.bus__read.value = 1
            await self._request()
            found |= int(self.dut.bus__read_data.value) << (BUS_BITS * chunk)
        return found

    async def program(self, image: CoreImage) -> None:
        """Write every memory; the core forgets what it was doing."""
        for space, words in memory_words(image).items():
            for index, value in enumerate(words):
                await self.write(space, index, value)
                await self.pause()

    def lines(self, inputs: numpy.ndarray) -> list[int]:
        """Input events of a step, in order."""
        found: list[int] = numpy.flatnonzero(inputs).tolist()
        return found

    async def step(self, inputs: numpy.ndarray) -> int:
        """One step; returns the cycles for which the core was busy."""
        dut = self.dut
        for line in self.lines(inputs):
            await self.pause()
            dut.events_in__payload.value = line
            dut.events_in__valid.value = 1
            while True:
                await ReadOnly()
                ready = bool(dut.events_in__ready.value)
                await RisingEdge(dut.clk)
                if ready:
                    break
            dut.events_in__valid.value = 0
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        limit = 100 * self.spec.sources * (self.spec.neurons + 2) + 1000
        cycles = 0
        for _ in range(limit):
            await ReadOnly()
            cycles += int(dut.busy.value)
            if dut.step_done.value:
                break
            await RisingEdge(dut.clk)
        else:
            raise AssertionError(f"a step does not end in {limit} cycles")
        await RisingEdge(dut.clk)
        return cycles

    async def counters(self) -> dict[str, int]:
        """What the core counted."""
        return {
            item.name: unpack((item,), await self.read(Space.COUNTERS, index))[item.name]
            for index, item in enumerate(COUNTERS)
        }

    async def events(self, count: int) -> list[int]:
        """Wait for and take the next `count` neurons that fired."""
        for _ in range(100 * (count + 1)):
            if len(self._fired) >= count:
                break
            await RisingEdge(self.dut.clk)
        assert len(self._fired) >= count, f"{len(self._fired)} of {count} events arrived"
        taken, self._fired = self._fired[:count], self._fired[count:]
        return taken
