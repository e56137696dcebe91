"""The controller of an SDRAM, against a chip that checks all it is told."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from amaranth import Elaboratable, Module
from amaranth.lib import io, wiring
from amaranth.sim import Simulator
from amaranth_boards.ulx3s import ULX3S_85F_Platform
from hw.simulators import SIMULATORS

from dyncc.core.errors import ConfigError, MismatchError
from dyncc_hw.skipopu.memory import sdram_chip
from dyncc_hw.skipopu.memory.bursts import Geometry
from dyncc_hw.skipopu.memory.sdram import SdramController
from dyncc_hw.skipopu.memory.sdram_pins import SdramPins
from dyncc_sim.runner import build_bench
from dyncc_sim.skipopu.bench.sdram_bench import chip_of

BENCH = "dyncc_sim.skipopu.bench.sdram_bench"
GEOMETRY = Geometry(bus_bytes=2, burst_bytes=64, requests=4, latency=8)
#: By name, clock in Hz, and registers of the pins.
USUAL = ("ULX3S_32MB", 50_000_000, 2)
#: Bursts of 64 bytes, from the first word's command to the last one's.
RATES = {
    "reads in order: words": 4096, "reads in order: cycles": 4163,
    "reads in order: lost to refreshes": 60,
    "writes in order: words": 4096, "writes in order: cycles": 4180,
    "writes in order: lost to refreshes": 77,
    "reads in a row: words": 1024, "reads in a row: cycles": 1042,
    "reads in a row: lost to refreshes": 18,
    "latency: cycles": 8,
    "reads anywhere: words": 8192, "reads anywhere: cycles": 8825,
    "reads anywhere: lost to refreshes": 179,
}  # fmt: skip


def options_of(
    chip: str, clock_hz: int, latency: int, rounds: int = 20, pause_ns: float = 4_000.0,
    geometry: Geometry = GEOMETRY,
) -> dict[str, Any]:  # fmt: skip
    return {
        "chip": chip, "pause_ns": pause_ns, "clock_hz": clock_hz, "latency": latency,
        "burst_words": geometry.burst_words, "address_bits": geometry.word_address_bits,
        "rounds": rounds, "resets": max(2, rounds // 4), "rates": RATES, "seed": 1,
    }  # fmt: skip


def run(
    chip: str, clock_hz: int, latency: int, simulator: str = "verilator", rounds: int = 20,
    seeds: Sequence[int] = (1,), tests: Sequence[str] = ("bursts", "resets"),
    pause_ns: float = 4_000.0, geometry: Geometry = GEOMETRY,
) -> None:  # fmt: skip
    options = options_of(chip, clock_hz, latency, rounds, pause_ns, geometry)
    controller = SdramController(geometry, chip_of(options), clock_hz, latency)
    build = build_bench(controller, simulator)
    for seed in seeds:
        build.run(BENCH, options | {"seed": seed}, tests)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_words_are_where_they_were_written(simulator: str) -> None:
    if simulator == "icarus":
        run(*USUAL, simulator, 6, tests=["bursts"])
    else:
        run(*USUAL)


def test_rates() -> None:
    run(*USUAL, tests=["rates"])


class Hasty(SdramController):
    """A controller that takes one of the chip's times for a cycle shorter than it is."""

    def __init__(self, chip: sdram_chip.SdramChip, clock_hz: int, name: str) -> None:
        super().__init__(GEOMETRY, chip, clock_hz)
        cycles = self.cycles
        wrong = {name: getattr(cycles, name) - 1}
        if name == "refresh_period":
            wrong = {"refi": cycles.refi + 2 + cycles.refresh_delays}
        if name == "pause":
            # The reset of the bench, and the way to the first command, take some cycles too.
            wrong = {"pause": cycles.pause - 12}
        self.cycles = replace(cycles, **wrong)


#: What the chip says to each, as a part of a message. Two cycles after the mode pass anyhow.
FAULTS = {
    "rcd": "a word 1 cycles after its row was opened",
    "rp": "1 cycles after a",
    "ras": "a row is closed 4 cycles after it was opened",
    "wr": "a row is closed 1 cycles after it was written",
    "rfc": "a command 6 cycles after a refresh",
    "rrd": "one of another bank was",
    "refresh_period": "a refresh is late",
    "pause": "a command in the first pause",
    "cas": "CAS latency 1 is too low",
}


def refused(name: str, simulator: str) -> None:
    clock_hz = 100_000_000
    options = options_of("ULX3S_32MB", clock_hz, 2, rounds=20)
    controller = Hasty(chip_of(options), clock_hz, name)
    with pytest.raises(MismatchError, match=FAULTS[name]):
        build_bench(controller, simulator).run(BENCH, options, ["bursts"])


@pytest.mark.parametrize("simulator", SIMULATORS[1:])
def test_a_wrong_time_is_told(simulator: str) -> None:
    refused("rcd", simulator)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FAULTS if name != "rcd"])
def test_every_wrong_time_is_told(name: str) -> None:
    refused(name, "verilator")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chip", "clock_hz", "latency", "burst_bytes"),
    [
        ("ULX3S_32MB", 100_000_000, 2, 64), ("ULX3S_32MB", 120_000_000, 3, 1024),
        ("ULX3S_32MB", 50_000_000, 0, 8), ("ULX3S_64MB", 50_000_000, 2, 256),
        ("ULX3S_64MB", 142_000_000, 1, 16), ("ULX3S_32MB", 25_000_000, 2, 64),
    ],
)  # fmt: skip
def test_other_chips_and_clocks(chip: str, clock_hz: int, latency: int, burst_bytes: int) -> None:
    geometry = replace(GEOMETRY, burst_bytes=burst_bytes)
    # Refreshes seldom come within short bursts.
    rounds = 20 if burst_bytes >= 64 else 80
    run(chip, clock_hz, latency, rounds=rounds, seeds=(1, 2), geometry=geometry)


@pytest.mark.slow
def test_with_the_whole_pause_and_more_seeds() -> None:
    run(*USUAL, rounds=40, seeds=range(2, 6), pause_ns=200_000.0)


def test_what_cannot_be_is_refused() -> None:
    chip = sdram_chip.ULX3S_32MB
    with pytest.raises(ConfigError, match="words of 2 bytes, not of 4"):
        SdramController(replace(GEOMETRY, bus_bytes=4), chip, 50_000_000)
    with pytest.raises(ConfigError, match="does not fit into a row of 512"):
        SdramController(replace(GEOMETRY, burst_bytes=2048), chip, 50_000_000)
    with pytest.raises(ConfigError, match="too fast"):
        SdramController(GEOMETRY, chip, 200_000_000)
    with pytest.raises(ConfigError, match="no time for anything else"):
        SdramController(GEOMETRY, chip, 1_000_000)
    with pytest.raises(ConfigError, match="0 to 8 registers"):
        SdramController(GEOMETRY, chip, 50_000_000, 9)
    for wrong in (
        {"rows": 16384}, {"banks": 3}, {"columns": 2048}, {"rcd": sdram_chip.Least(-1)},
        {"rp": sdram_chip.Least(20, 0)}, {"refi_ns": 0}, {"cas_ns": {1: 20.0}}, {"cas_ns": {}},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            replace(chip, **wrong)
    with pytest.raises(ConfigError, match="different sizes"):
        sdram_chip.slowest("both", chip, sdram_chip.ULX3S_64MB)


CLOCK_SIGNATURE = io.DDRBuffer.Signature


class Constant(wiring.Component):
    """A buffer of a clock, which the simulator of Amaranth does not have."""

    def __init__(self, direction: str, port: Any) -> None:
        super().__init__(CLOCK_SIGNATURE(direction, len(port)).flip())

    def elaborate(self, platform: Any) -> Module:
        return Module()


def test_pins_have_their_latency_on_both_sides_of_the_clock() -> None:
    chip, cas = sdram_chip.ULX3S_32MB, 2
    ports = SimpleNamespace(
        **{name: io.SimulationPort("o", 1) for name in ("clk", "clk_en", "cs", "ras", "cas", "we")},
        ba=io.SimulationPort("o", 2), a=io.SimulationPort("o", 13), dqm=io.SimulationPort("o", 2),
        dq=io.SimulationPort("io", 16),
    )  # fmt: skip
    with patch.object(io, "DDRBuffer", Constant):
        simulator = Simulator(pins := SdramPins(chip, ports))
    sdram, draw = pins.sdram, random.Random(1)
    given = [draw.getrandbits(13) for _ in range(40)]
    seen: list[int] = []

    async def play(ctx: Any) -> None:
        answers = [0] * (cas - 1)
        await ctx.tick()
        for number, word in enumerate(given):
            for pin, value in ((sdram.a, word), (sdram.dq_o, word), (sdram.dq_oe, number >= 30),
                               (sdram.we_n, word & 1), (sdram.cke, word & 1)):  # fmt: skip
                ctx.set(pin, value)
            # Just after the falling edge, at which the chip's clock rises.
            await ctx.delay(0.6e-6)
            if number:
                before = given[number - 1]
                assert ctx.get(ports.a.o) == ctx.get(ports.dq.o) == before
                assert ctx.get(ports.dq.oe) == (0xFFFF if number > 30 else 0)
                # The board has these as active high and low, the ports as they are asserted.
                assert ctx.get(ports.we.o) == 1 - (before & 1)
                assert ctx.get(ports.clk_en.o) == before & 1
            answers.append(ctx.get(ports.a.o))
            ctx.set(ports.dq.i, answers.pop(0))
            seen.append(ctx.get(sdram.dq_i))
            await ctx.tick()

    simulator.add_clock(1e-6)
    simulator.add_testbench(play)
    simulator.run()
    late = cas + SdramPins.latency
    # Later on it sees what it drives itself.
    assert seen[late:30] == given[: 30 - late]


def test_pins_of_a_board() -> None:
    class Top(Elaboratable):
        def elaborate(self, platform: Any) -> Module:
            m = Module()
            chip = sdram_chip.ULX3S_32MB
            m.submodules.controller = controller = SdramController(GEOMETRY, chip, 50_000_000)
            m.submodules.pins = pins = SdramPins(chip, SdramPins.request(platform))
            wiring.connect(m, controller.sdram, pins.sdram)
            return m

    plan = ULX3S_85F_Platform().build(Top(), do_build=False)
    text = plan.files["top.il"]
    cells = Counter(re.findall(r"cell \\(\S+)", text if isinstance(text, str) else text.decode()))
    # A buffer for each pin; registers of outputs and their enables, and of that of the clock, but
    # for the 16 of a word, whose own are outside.
    assert (cells["ODDRX1F"], cells["BB"], cells["OBZ"]) == (1, 16, 23)
    assert cells["OFS1P3DX"] == 2 * 22 + 1
