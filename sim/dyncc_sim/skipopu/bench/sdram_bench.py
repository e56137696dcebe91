"""Bench of the controller of an SDRAM: words, order, masks, faults, resets and rates."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from dyncc_hw.skipopu.memory import sdram_chip
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.bench.memory_agents import Sender, Taker
from dyncc_sim.skipopu.bench.sdram_model import SdramModel

#: Cycles in which nothing goes over after which a bench is over; refreshes go on.
PATIENCE = 4000
#: Rows of each bank that bursts go to, and how many burst-sized pieces of each.
ROWS, PIECES = 3, 3


def chip_of(options: dict[str, Any]) -> sdram_chip.SdramChip:
    """The chip, as settings have it: its name in `sdram_chip`, and a shorter pause."""
    chip: sdram_chip.SdramChip = getattr(sdram_chip, options["chip"])
    return replace(chip, pause_ns=options["pause_ns"])


class Bench:
    """The controller between a port that is played and a chip.

    Parameters
    ----------
    options
        Settings: `chip`, `pause_ns`, `clock_hz`, `latency` of the pins, `burst_words`,
        `address_bits`, `rounds`, `seed`.
    eager
        Nobody waits.
    """

    def __init__(self, dut: Any, options: dict[str, Any], name: str, eager: bool) -> None:
        self.dut, self.options = dut, options
        self.draw = random.Random(f"{options['seed']} {name}")
        self.coverage = Coverage()
        self.chip = chip_of(options)
        self.burst = options["burst_words"]

        def mood(who: str) -> random.Random | None:
            return None if eager else random.Random(f"{options['seed']} {name} {who}")

        self.model = SdramModel(
            dut, self.chip, options["clock_hz"], options["latency"], self.draw, self.coverage
        )
        self.commands = Sender(dut, "port__command", mood("commands"))
        self.words = Sender(dut, "port__data", mood("words"))
        self.answers = Taker(dut, "port__answer", mood("answers"), self._answer)
        self.agents = [self.model, self.commands, self.words, self.answers]
        self.twin: dict[int, int] = {}
        self.wanted: deque[tuple[int, int]] = deque()
        #: Of bursts that are written: how many words the chip has got then, and whether it fails.
        self.ends: deque[tuple[int, bool]] = deque()
        self.cycles = 0
        self._forget()

    def _forget(self) -> None:
        self.wanted.clear()
        self.ends.clear()
        self._to_chip = self._given = self._promised = self._moved = 0

    async def reset(self, cycles: int = 3) -> None:
        """Start, or start again; the chip keeps what it has."""
        for agent in self.agents:
            agent.clear()
        self._forget()
        self.dut.rst.value = 1
        for cycle in range(cycles):
            self.model.drive()
            await ReadOnly()
            # In the first cycle the chip still gets the last command; before the first reset of
            # all the pins are anything.
            if self.cycles or cycle:
                self.model.look()
            if not cycle:
                self.model.restart()
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0

    def _answer(self, payload: int) -> None:
        assert self.wanted, "a word that nobody asked for"
        word, error = self.wanted.popleft()
        found = payload & 0xFFFF, payload >> 16
        assert found[1] == error, f"error {found[1]}, not {error}"
        assert error or found[0] == word, f"{found[0]:#x}, not {word:#x}"
        self.coverage["words beyond the chip" if error else "words read"] += 1

    def _command(self, write: bool, address: int, words: int) -> None:
        assert address // self.burst == (address + words - 1) // self.burst
        bits = self.options["address_bits"]
        self.commands.queue.append(int(write) | address << 1 | words << 1 + bits)
        if address < self.chip.words:
            self.model.plan.append(words)

    def read(self, address: int, words: int) -> None:
        """Ask for words."""
        self._command(False, address, words)
        beyond = address >= self.chip.words
        for place in range(address, address + words):
            self.wanted.append((0, 1) if beyond else (self.twin[place], 0))

    def write(self, address: int, words: list[tuple[int, int]]) -> None:
        """Write words, each with its strobe."""
        self._command(True, address, len(words))
        beyond = address >= self.chip.words
        for place, (word, strobe) in enumerate(words, address):
            self.words.queue.append(word | strobe << 16)
            if not beyond:
                mask = (0xFF if strobe & 1 else 0) | (0xFF00 if strobe & 2 else 0)
                # Words get known only with all their bytes, see `fill`.
                self.twin[place] = self.twin.get(place, 0) & ~mask | word & mask
        self._to_chip += 0 if beyond else len(words)
        self.ends.append((self._to_chip, beyond))

    def random_words(self, words: int, masks: bool) -> list[tuple[int, int]]:
        """Any words, with any strobes or all of them."""
        draw = self.draw
        return [(draw.getrandbits(16), draw.getrandbits(2) if masks else 3) for _ in range(words)]

    async def cycle(self) -> None:
        """One cycle."""
        dut = self.dut
        offered = self.commands.queue[0] if self.commands.queue else 0
        left = len(self.commands.queue), len(self.words.queue), len(self.wanted), len(self.ends)
        for agent in self.agents:
            agent.drive()
        await ReadOnly()
        for agent in self.agents:
            agent.look()
        self._given += left[1] - len(self.words.queue)
        assert self._given <= self._promised, "words are taken before their burst"
        if len(self.commands.queue) < left[0] and offered & 1:
            self._promised += offered >> 1 + self.options["address_bits"]
        if int(dut.port__written.value):
            assert self.ends, "nothing was to be written"
            words, failed = self.ends.popleft()
            assert bool(int(dut.port__failed.value)) == failed
            assert self.model.writes[0] >= words, "memory does not have it yet"
            self.coverage["bursts that failed" if failed else "bursts written"] += 1
        self.cycles += 1
        now = len(self.commands.queue), len(self.words.queue), len(self.wanted), len(self.ends)
        self._moved = 0 if now != left else self._moved + 1
        await RisingEdge(dut.clk)

    @property
    def quiet(self) -> bool:
        """Whether everything was answered."""
        return not (self.commands.queue or self.words.queue or self.wanted or self.ends)

    async def until(self, done: Callable[[], bool]) -> None:
        """Go on until something is so."""
        self._moved = 0
        while not done():
            await self.cycle()
            assert self._moved < PATIENCE, "nothing happens any more"

    async def begin(self) -> None:
        """Go on until the chip is ready."""
        pause = round(self.chip.pause_ns * self.options["clock_hz"] / 1e9)
        for _ in range(pause + 200):
            if self.model.ready:
                break
            await self.cycle()
        assert self.model.ready, "the chip is never begun with"

    def compare(self) -> None:
        """The chip holds what was written, and nothing else."""
        assert self.twin
        assert self.model.content == self.twin, "the chip holds something else"

    def places(self) -> list[int]:
        """First words of pieces in few rows of all banks, some of them one behind the other."""
        chip, draw = self.chip, self.draw
        per_row = chip.columns // self.burst
        found = {chip.words - self.burst, 0}
        for bank in range(chip.banks):
            for row in draw.sample(range(chip.rows), ROWS):
                first = (row * chip.banks + bank) * chip.columns
                # Also the row's last piece, and what follows it, in another bank.
                pieces = [draw.randrange(per_row) for _ in range(PIECES)] + [per_row - 1, per_row]
                found |= {(first + piece * self.burst) % chip.words for piece in pieces}
        return sorted(found)

    def fill(self, places: list[int]) -> None:
        """Write all of these pieces, so that they can be read."""
        for place in places:
            self.write(place, self.random_words(self.burst, False))

    def anything(self, places: list[int]) -> None:
        """A burst of any kind and length to one of these pieces, or beyond the chip."""
        draw = self.draw
        words = min(self.burst, draw.choice([1, 2, self.burst, draw.randint(1, self.burst)]))
        place = draw.choice(places)
        if draw.random() < 0.1:
            place = self.chip.words << draw.randint(0, 3) | place
        place += draw.randint(0, self.burst - words)
        if draw.random() < 0.5:
            self.read(place, words)
        else:
            self.write(place, self.random_words(words, draw.random() < 0.5))


async def begin(dut: Any, name: str, eager: bool = False) -> Bench:
    """A bench after reset, with a chip that is ready."""
    bench = Bench(dut, settings(), name, eager)
    Clock(dut.clk, 10, "ns").start()
    await bench.reset()
    await bench.begin()
    return bench


@cocotb.test()
async def bursts(dut: Any) -> None:
    """Any bursts, with stalls everywhere."""
    bench = await begin(dut, "bursts")
    places = bench.places()
    bench.fill(places)
    for _ in range(bench.options["rounds"]):
        few = bench.draw.sample(places, bench.draw.randint(1, 6))
        for _ in range(20):
            bench.anything(few)
        await bench.until(lambda: bench.quiet)
    bench.compare()
    for _ in range(50):
        await bench.cycle()
    required = [
        "words read", "bursts written", "words beyond the chip", "bursts that failed", "row hits",
        "row misses", "rows opened ahead", "refreshes", "read to write", "back", "masks",
        "nothing written", "mode set", *(f"bank {bank}" for bank in range(bench.chip.banks)),
    ]  # fmt: skip
    if bench.burst > 1:
        required.append("refresh within a burst")
    bench.coverage.finish("bursts", required)


@cocotb.test()
async def resets(dut: Any) -> None:
    """Resets at any time: the chip is begun with anew, and nothing of before is left."""
    bench = await begin(dut, "resets")
    places = bench.places()[:8]
    for _ in range(bench.options["resets"]):
        bench.fill(places)
        await bench.until(lambda: bench.quiet)
        bench.compare()
        for _ in range(20):
            bench.anything(places)
        for _ in range(bench.draw.randint(5, min(300, 8 * bench.burst))):
            await bench.cycle()
        bench.coverage["in a burst"] += not bench.quiet
        bench.coverage["open rows"] += any(bank.row is not None for bank in bench.model.banks)
        await bench.reset(bench.draw.randint(1, 5))
        await bench.begin()
        # Writes that were broken off may have been done in part; and what was open during a long
        # pause is lost.
        bench.twin = dict(bench.model.content)
    for place in places:
        if all(word in bench.twin for word in range(place, place + bench.burst)):
            bench.read(place, bench.burst)
    await bench.until(lambda: bench.quiet)
    bench.compare()
    bench.coverage.finish("resets", ["in a burst", "open rows", "words read", "mode set"])


async def measured(bench: Bench, name: str, places: list[int], write: bool = False) -> None:
    """Bursts one after the other; note words, cycles, and cycles lost to refreshes."""
    for _ in range(3):
        await bench.cycle()
    burst = bench.burst
    bench.model.columns = bench.model.lost = 0
    for place in places:
        if write:
            bench.write(place, bench.random_words(burst, False))
        else:
            bench.read(place, burst)
    await bench.until(lambda: bench.quiet)
    model, coverage = bench.model, bench.coverage
    assert model.columns == burst * len(places)
    coverage[f"{name}: words"] = model.columns
    coverage[f"{name}: cycles"] = model.last - model.first + 1
    coverage[f"{name}: lost to refreshes"] = model.lost


async def latency(bench: Bench) -> int:
    """Cycles from a burst to its first word, if it goes to an open row and nothing is to do."""
    for _ in range(2):
        bench.read(0, 1)
        await bench.until(lambda: not bench.commands.queue)
        begun = bench.cycles
        await bench.until(lambda: not bench.wanted)
    return bench.cycles - begun


def load(bench: Bench, address: int, words: int) -> None:
    """Words in the chip that nobody wrote."""
    content = [bench.draw.getrandbits(16) for _ in range(words)]
    bench.model.load(address, content)
    bench.twin.update(enumerate(content, address))


@cocotb.test()
async def rates(dut: Any) -> None:
    """Cycles from the first word's command to the last one's, if nobody else waits."""
    bench = await begin(dut, "rates", eager=True)
    chip, burst, coverage = bench.chip, bench.burst, bench.coverage
    # Rows that follow each other, in the order of addresses: twice through all banks.
    words = 2 * chip.banks * chip.columns
    load(bench, 0, words)
    places = list(range(0, words, burst))
    await measured(bench, "reads in order", places)
    await measured(bench, "writes in order", places, write=True)
    # Everything again from an open row.
    per_row = chip.columns // burst
    await measured(bench, "reads in a row", [burst * (i % per_row) for i in range(2 * per_row)])
    coverage["latency: cycles"] = await latency(bench)
    assert coverage["latency: cycles"] == 4 + (bench.model.cas or 0) + bench.options["latency"]
    anywhere = [burst * bench.draw.randrange(chip.words // burst) for _ in range(256)]
    for place in anywhere:
        load(bench, place, burst)
    await measured(bench, "reads anywhere", anywhere)
    bench.compare()
    for name in ("reads in order", "writes in order", "reads in a row"):
        own = coverage[f"{name}: cycles"] - coverage[f"{name}: lost to refreshes"]
        assert coverage[f"{name}: words"] >= 0.97 * own, f"{name} are slow"
    gaps = (
        coverage["reads in a row: cycles"]
        - coverage["reads in a row: lost to refreshes"]
        - coverage["reads in a row: words"]
    )
    # Another row may have been open there.
    assert gaps <= 0, "there are gaps between bursts of a row"
    found = {name: count for name, count in coverage.items() if ": " in name}
    cocotb.log.info("coverage: rates: %s", found)
    assert found == bench.options["rates"], f"other rates: {found}"
    bench.coverage.finish("rates", ["words read", "bursts written", "refreshes"])
