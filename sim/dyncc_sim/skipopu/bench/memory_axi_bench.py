"""Bench of the AXI master against a memory that nobody here wrote: that of cocotbext-axi."""

from __future__ import annotations

import itertools
import random
from typing import Any

import cocotb
from cocotbext.axi import AxiBus, AxiRam

from dyncc_sim.skipopu.bench.memory_agents import Agent
from dyncc_sim.skipopu.bench.memory_bench import MEMORY_BYTES, begin


class Foreign(Agent):
    """In place of the bench's own memory: the other one runs by itself."""

    def __init__(self) -> None:
        super().__init__(None)
        self.moved = 0

    def look(self) -> None:
        """Time passes."""
        self.moved += 1


@cocotb.test()
async def foreign_memory(dut: Any) -> None:
    """Requests of all clients on memory of cocotbext-axi, with pauses on all its channels."""
    bench = await begin(dut, "foreign")
    bench.agents.remove(bench.memory)
    bench.memory = Foreign()  # type: ignore[assignment]
    ram = AxiRam(AxiBus.from_prefix(dut, "bus_"), dut.clk, dut.rst, size=MEMORY_BYTES)
    ram.write(0, bytes(bench.content))
    draw = random.Random(bench.options["seed"])
    parts = (ram.write_if.aw_channel, ram.write_if.w_channel, ram.write_if.b_channel,
             ram.read_if.ar_channel, ram.read_if.r_channel)  # fmt: skip
    for part in parts:
        part.set_pause_generator(itertools.cycle([draw.random() < 0.4 for _ in range(97)]))

    def again(address: int, content: bytes) -> None:
        bench.readers["near"].ask(address, content)
        bench.coverage["read after write"] += 1

    bench.after_write = again
    for _ in range(bench.options["rounds"]):
        begun = bench.cycles
        for _ in range(8):
            for reader in bench.readers.values():
                bench.read(reader)
        bench.write()
        while not bench.quiet():
            await bench.cycle()
            assert bench.cycles - begun < 20000, "it is never done"
    assert ram.read(0, MEMORY_BYTES) == bytes(bench.shadow), "memory holds something else"
    assert not bench.traps
    bench.coverage.finish("foreign", ["near words", "far words", "writes", "read after write"])
