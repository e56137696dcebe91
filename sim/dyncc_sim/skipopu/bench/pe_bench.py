"""Bench of the engine of products and attention: the vector buffer after each instruction."""

from __future__ import annotations

import json
import random
from collections import deque
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings

RATES = (0.1, 0.5, 0.9, 1.0)
PATIENCE = 20000


class Give:
    """Gives words to a stream."""

    def __init__(self, dut: Any, name: str, draw: random.Random) -> None:
        self.payload, self.valid, self.ready = (
            getattr(dut, f"{name}__{pin}") for pin in ("payload", "valid", "ready")
        )
        self.words: deque[int] = deque()
        self.draw, self.rate, self.offers = draw, 1.0, False
        self.valid.value = 0

    def drive(self) -> None:
        """Offer a word, or garbage."""
        if not self.offers:
            self.offers = bool(self.words) and self.draw.random() < self.rate
            self.valid.value = self.offers
            self.payload.value = (
                self.words[0] if self.offers else self.draw.getrandbits(len(self.payload))
            )

    def look(self) -> bool:
        """Whether a word was taken."""
        if self.offers and int(self.ready.value):
            self.words.popleft()
            self.offers = False
            return True
        return False


class Take:
    """Takes words from a stream."""

    def __init__(self, dut: Any, name: str, draw: random.Random) -> None:
        self.payload, self.valid, self.ready = (
            getattr(dut, f"{name}__{pin}") for pin in ("payload", "valid", "ready")
        )
        self.draw, self.rate, self.takes = draw, 1.0, False

    def drive(self) -> None:
        """Be ready or not."""
        self.takes = self.draw.random() < self.rate
        self.ready.value = self.takes

    def look(self) -> int | None:
        """A word that was taken."""
        if self.takes and int(self.valid.value):
            assert self.payload.value.is_resolvable, f"{self.payload._name} is unknown"
            return int(self.payload.value)
        return None


class Engine:
    """The engine with everything around it."""

    def __init__(self, dut: Any, options: dict[str, Any]) -> None:
        self.dut, self.options = dut, options
        self.draw = random.Random(options["seed"])
        self.coverage = Coverage(options["coverage"])

        def give(name: str) -> Give:
            return Give(dut, name, self.draw)

        def take(name: str) -> Take:
            return Take(dut, name, self.draw)

        self.work, self.blocks = give("work__start"), give("blocks__write")
        self.matrix, self.group = give("stream__matrix"), give("stream__group")
        self.numbers, self.tile = give("before__numbers"), give("history__tile")
        self.place, self.vector = take("before__place"), take("vector__write")
        self.request = take("history__request")
        self.all: list[Give | Take] = [
            self.work, self.blocks, self.matrix, self.group, self.numbers, self.tile, self.place,
            self.vector, self.request,
        ]  # fmt: skip
        self.lanes, self.token_bits = options["lanes"], options["token_bits"]
        self.word_bits, self.code_bits = options["word_bits"], options["code_bits"]
        self.content: list[list[int]] = []
        self.tiles: deque[dict[str, Any]] = deque()
        self.answer: tuple[int, int] | None = None
        self.left = self.cycle = self.last = 0

    async def step(self) -> bool:
        """A cycle; whether the instruction was done in it."""
        if self.left == 0:
            steady = self.options["steady"]
            for item in self.all:
                item.rate = 1.0 if steady else self.draw.choice(RATES)
            self.left = self.draw.randint(5, 60)
        self.left -= 1
        if self.answer is not None:
            self.dut.history__mantissas.value, self.dut.history__exponents.value = self.answer
            self.answer = None
        for item in self.all:
            item.drive()
        await ReadOnly()
        for item in (self.work, self.blocks, self.matrix, self.group, self.numbers):
            if item.look():
                self.last = self.cycle
        self._history()
        place = self.place.look()
        if place is not None:
            self.numbers.words.append(self._read(place))
        written = self.vector.look()
        if written is not None:
            self._write(written)
        done = bool(int(self.dut.work__done.value))
        self.trap = int(self.dut.work__trap.value)
        self.cycle += 1
        assert self.cycle - self.last < PATIENCE, "the engine hangs"
        await RisingEdge(self.dut.clk)
        return done

    def _history(self) -> None:
        dut = self.dut
        if self.request.look() is not None:
            self.tile.words.extend(int(item["tile"], 16) for item in self.tiles)
        if int(dut.history__enable.value):
            assert self.tiles, "the history is read without a tile"
            word = str(int(dut.history__word.value))
            found = self.tiles[0]["words"].get(word)
            assert found is not None, f"word {word} of the history is read"
            self.answer = (int(found[0], 16), int(found[1], 16))
        if self.tile.look():
            self.tiles.popleft()

    def _place(self, word: int) -> tuple[int, int]:
        token = word & ((1 << self.token_bits) - 1)
        return token, (word >> self.token_bits & ((1 << self.word_bits) - 1)) * self.lanes

    def _read(self, word: int) -> int:
        token, first = self._place(word)
        numbers = self.content[token][first : first + self.lanes]
        return sum(code << (self.code_bits * i) for i, code in enumerate(numbers))

    def _write(self, word: int) -> None:
        token, first = self._place(word)
        word >>= self.token_bits + self.word_bits
        keep = word >> (self.code_bits * self.lanes)
        for lane in range(self.lanes):
            if keep >> lane & 1:
                code = word >> (self.code_bits * lane) & ((1 << self.code_bits) - 1)
                self.content[token][first + lane] = code
        self.coverage["words written"] += 1

    async def carry_out(self, number: int, operation: dict[str, Any]) -> None:
        """Give an instruction what it needs; compare."""
        self.content = [list(row) for row in operation["before"]]
        self.blocks.words.extend(int(word, 16) for word in operation["blocks"])
        for item in operation["matrices"]:
            self.matrix.words.append(int(item["matrix"], 16))
            self.group.words.extend(int(word, 16) for word in item["groups"])
        while self.blocks.words:
            assert not await self.step(), "done before it began"
        self.tiles = deque(operation["tiles"])
        self.work.words.append(int(operation["work"], 16))
        while not await self.step():
            pass
        self.last = self.cycle
        where = f"operation {number}, {operation['name']}"
        assert self.trap == operation["trap"], f"{where}: trap {self.trap}"
        for token, (found, wanted) in enumerate(zip(self.content, operation["after"], strict=True)):
            wrong = [i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b]
            assert not wrong, (
                f"{where}: token {token}, numbers {wrong[:8]} of {len(wrong)}: "
                f"{[hex(found[i]) for i in wrong[:4]]}, not {[hex(wanted[i]) for i in wrong[:4]]}"
            )
        assert not self.tiles, f"{where}: {len(self.tiles)} tiles were not taken"
        self.coverage["compared"] += 1
        if operation["trap"]:
            await self._reset()

    async def _reset(self) -> None:
        """What the machine does before the next program."""
        self.dut.rst.value = 1
        for item in self.all:
            if isinstance(item, Give):
                item.words.clear()
                item.offers = False
                item.valid.value = 0
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0


@cocotb.test()
async def operations(dut: Any) -> None:
    """All operations, one after the other."""
    options = settings()
    content = json.loads(Path(options["cases"]).read_text(encoding="utf-8"))
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value = 1
    dut.values.value = sum(
        code << (options["code_bits"] * i) for i, code in enumerate(content["scalars"])
    )
    engine = Engine(dut, options)
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    for number, operation in enumerate(content["operations"]):
        await engine.carry_out(number, operation)
    engine.coverage.finish("PE engine", ["compared", "words written", *options["required"]])
