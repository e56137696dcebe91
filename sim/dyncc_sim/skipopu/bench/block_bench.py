"""Bench of blocks between streams: the results of the twin, in order, under random stalls.

All blocks run at the same time. In turns of random length the sources and the sink of a block are
busy, slow, or never wait; where cases are steady, they never do, and the block may not either. A
result that is not taken has to stay; a payload is random while it is not valid. Where the latency
is stated, the first result comes exactly so many cycles after its item.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings

#: How often a source or sink goes on in a cycle, one of these for a turn.
RATES = (0.1, 0.5, 0.9, 1.0)
#: Cycles without a handshake after which a block hangs.
PATIENCE = 3000


class Source:
    """Gives items to one stream."""

    def __init__(self, dut: Any, name: str, words: list[str], draw: random.Random) -> None:
        self._payload, self._valid, self._ready = (
            getattr(dut, f"{name}__{pin}") for pin in ("payload", "valid", "ready")
        )
        self._words = [int(word, 16) for word in words]
        self._bits = len(self._payload)
        self._random = draw
        self.given, self.offers = 0, False
        self._valid.value = 0

    @property
    def done(self) -> bool:
        """Whether everything was given."""
        return self.given == len(self._words)

    def drive(self, rate: float) -> None:
        """Offer the next item, or garbage that is not valid; an offer stays."""
        if not self.offers:
            self.offers = not self.done and self._random.random() < rate
            garbage = self._random.getrandbits(self._bits)
            self._payload.value = self._words[self.given] if self.offers else garbage
            self._valid.value = self.offers

    def accepted(self) -> bool:
        """Whether an item goes over in this cycle."""
        if not self.offers or not int(self._ready.value):
            return False
        self.given += 1
        self.offers = False
        return True


class Player:
    """Plays the items of one block."""

    def __init__(self, dut: Any, name: str, case: dict[str, Any], seed: int) -> None:
        self.name, self._random = name, random.Random(f"{seed} {name}")
        self._payload, self._valid, self._ready = (
            getattr(dut, f"{name}__output__{pin}") for pin in ("payload", "valid", "ready")
        )
        self._sources = [
            Source(dut, f"{name}__{stream}", words, self._random)
            for stream, words in case["inputs"].items()
        ]
        self._wanted = [int(word, 16) for word in case["outputs"]]
        self._latency, self._required = case["latency"], case["required"]
        self._steady = case["steady"]
        self.coverage = Coverage(case["coverage"])
        self._taken = self._cycle = self._last = self._left = 0
        self._held = 0
        self._takes = False
        self._rates = [1.0] * (1 + len(self._sources))
        self._first: int | None = None
        self._kept: int | None = None

    @property
    def done(self) -> bool:
        """Whether everything was given, and compared."""
        return all(source.done for source in self._sources) and self._taken == len(self._wanted)

    def drive(self) -> None:
        """Inputs of the next cycle."""
        draw = self._random
        if self._left == 0:
            # The first turn does not stall, so that the latency can be seen.
            if self._cycle and not self._steady:
                self._rates = [draw.choice(RATES) for _ in self._rates]
            self._left = draw.randint(5, 60)
        self._left -= 1
        for source, rate in zip(self._sources, self._rates[1:], strict=True):
            source.drive(rate)
        self._takes = draw.random() < self._rates[0]
        self._ready.value = self._takes

    def look(self) -> None:
        """What happens in this cycle."""
        for number, source in enumerate(self._sources):
            offered = source.offers
            if source.accepted():
                self._first = self._cycle if self._first is None else self._first
                self._last = self._cycle
            elif offered:
                self.coverage["input waits"] += 1
                self._held += number == 0
        if int(self._valid.value):
            self._answer(self._payload.value)
        else:
            assert self._kept is None, f"{self.name}: a result vanished"
        assert self._cycle - self._last < PATIENCE, (
            f"{self.name} hangs after {[source.given for source in self._sources]} items and "
            f"{self._taken} results"
        )
        self._cycle += 1

    def _answer(self, value: Any) -> None:
        where = f"{self.name}: result {self._taken}"
        assert value.is_resolvable, f"{where} is {value}"
        word = int(value)
        assert self._kept in (None, word), f"{where} changed while it waited"
        self._kept = None if self._takes else word
        if self._taken == 0 and self._latency:
            after = self._cycle - (self._first or 0)
            assert after == self._latency, f"{where} came after {after} cycles"
            self._latency = 0
        if not self._takes:
            self.coverage["output waits"] += 1
            return
        assert self._taken < len(self._wanted), f"{where} is one too many"
        wanted = self._wanted[self._taken]
        assert word == wanted, f"{where} is {word:#x}, not {wanted:#x}"
        self._taken += 1
        self._last = self._cycle
        self.coverage["compared"] += 1

    def rest(self) -> None:
        """After the end: nothing may come any more."""
        self._ready.value = 1

    def silent(self) -> bool:
        """Whether nothing comes."""
        return not int(self._valid.value)

    def finish(self) -> None:
        """Report; fail if something that is required never happened."""
        assert self.done
        if self._steady:
            assert not self._held, f"{self.name} lets its input wait {self._held} times"
            stalls = []
        else:
            stalls = ["input waits", "output waits"]
        self.coverage.finish(self.name, ["compared", *stalls, *self._required])


@cocotb.test()
async def blocks(dut: Any) -> None:
    """All blocks."""
    options = settings()
    cases = json.loads(Path(options["cases"]).read_text(encoding="utf-8"))
    assert cases, "there is nothing to compare"
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value = 1
    players = [Player(dut, name, case, options["seed"]) for name, case in cases.items()]
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    running = players
    while running:
        for player in running:
            player.drive()
        await ReadOnly()
        for player in running:
            player.look()
        await RisingEdge(dut.clk)
        running = [player for player in running if not player.done]
    for player in players:
        player.rest()
    for _ in range(100):
        await ReadOnly()
        for player in players:
            assert player.silent(), f"{player.name} has a result too many"
        await RisingEdge(dut.clk)
    for player in players:
        player.finish()
