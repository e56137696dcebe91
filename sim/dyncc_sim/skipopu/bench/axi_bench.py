"""A whole SkipOPU between a master and a memory that nobody here wrote: those of cocotbext-axi."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp

from dyncc.arch.skipopu.csr import Place
from dyncc.arch.skipopu.isa import R_NEXT_SLOT
from dyncc_hw.skipopu.axi_device import MEMORY
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.bench.machine_cases import zlib_of
from dyncc_sim.skipopu.controls import Controls

_ALIGNMENT = 64
_WORD_BYTES = 4


class Words:
    """Registers by way of AXI4-Lite, for code that knows nothing of simulators."""

    def __init__(self, master: AxiLiteMaster) -> None:
        @resume
        async def read(address: int) -> int:
            found: int = await master.read_dword(_WORD_BYTES * address)
            return found

        @resume
        async def write(address: int, value: int) -> None:
            await master.write_dword(_WORD_BYTES * address, value)

        self.read, self.write = read, write


def _pause(draw: random.Random, *channels: Any) -> None:
    for channel in channels:
        channel.set_pause_generator(itertools.cycle([draw.random() < 0.3 for _ in range(97)]))


@cocotb.test()
async def programs(dut: Any) -> None:
    """Programs of the simulator, started and read back over AXI4-Lite, on memory of AXI4."""
    options = settings()
    cases = json.loads(Path(options["cases"]).read_text(encoding="utf-8"))
    content = Path(cases["memory"]).read_bytes()
    base = -(-len(content) // _ALIGNMENT) * _ALIGNMENT
    longest = max(len(item["program"]) for item in cases["runs"])
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value = 1
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, options["prefix"]), dut.clk, dut.rst)
    ram = AxiRam(AxiBus.from_prefix(dut, MEMORY[:-1]), dut.clk, dut.rst, size=base + 8 * longest)
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    draw = random.Random(options["seed"])
    _pause(draw, ram.write_if.aw_channel, ram.write_if.w_channel, ram.write_if.b_channel,
           ram.read_if.ar_channel, ram.read_if.r_channel,
           master.write_if.aw_channel, master.write_if.w_channel, master.write_if.b_channel,
           master.read_if.ar_channel, master.read_if.r_channel)  # fmt: skip
    ram.write(0, content)
    words = Words(master)

    # A part of a word is not written.
    half = await master.write(2 * _WORD_BYTES * Place.WATCHDOG + 1, b"\xff")
    assert half.resp == AxiResp.SLVERR, half
    assert await master.read_dword(2 * _WORD_BYTES * Place.WATCHDOG) == 0

    @bridge
    def run(case: dict[str, Any]) -> tuple[int, dict[str, int]]:
        controls = Controls(words)
        controls.configure(base + 8 * longest, [tuple(item) for item in cases["windows"]])
        registers = {int(number): value for number, value in case["registers"].items()}
        # Both at once: neither may starve the other.
        controls.start(base, len(case["program"]), registers)
        while not controls.ended():
            pass
        return controls.register(R_NEXT_SLOT), controls.counters()

    for number, case in enumerate(cases["runs"]):
        for address, text in case["changes"]:
            ram.write(address, bytes.fromhex(text))
        program = b"".join(int(word, 16).to_bytes(8, "little") for word in case["program"])
        ram.write(base, program)
        slot, counters = await run(case)
        where = f"program {number}"
        assert slot == case["next_slot"], f"{where}: next slot {slot}, not {case['next_slot']}"
        assert counters["resident"] == case["resident"], where
        assert counters["fetched"] == case["fetched"], where
        memory = memoryview(ram.read(0, len(content)))
        assert zlib_of(memory) == case["memory"], f"{where}: memory holds something else"
        cocotb.log.info("%s: %d cycles, %d instructions", where, counters["cycles"],
                        counters["instructions"])  # fmt: skip
    assert cases["runs"], "nothing was run"


@cocotb.test()
async def at_once(dut: Any) -> None:
    """Reads and writes that come together: all are answered, with what was written last."""
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value = 1
    options = settings()
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, options["prefix"]), dut.clk, dut.rst)
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    draw = random.Random(options["seed"])
    place = 2 * _WORD_BYTES * Place.WATCHDOG
    identity = 2 * _WORD_BYTES * Place.IDENTITY
    wanted = await master.read_dword(identity)
    assert wanted
    for _ in range(100):
        value = draw.getrandbits(32)
        write = cocotb.start_soon(master.write_dword(place, value))
        reads = [cocotb.start_soon(master.read_dword(identity)) for _ in range(draw.randrange(4))]
        await write
        assert [await read for read in reads] == [wanted] * len(reads)
        assert await master.read_dword(place) == value
