"""Bench of the bus server: requests of all kinds, while the core is idle and while it is not.

Registers, memory words and answers are those of a model that stages parts as the contract says; an
answer comes one cycle after a write was asked for, and three after a read, once the core is idle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import cocotb

from dyncc.arch.neurocorex import (
    BUS_BITS,
    COUNTERS,
    INDEX_BITS,
    Space,
    address,
    bus_words,
    control_registers,
    memory_depth,
    spaces,
)
from dyncc_sim.neurocorex_block import Block
from dyncc_sim.pins import Values

REQUESTS = 1200
WRITE_LATENCY, READ_LATENCY = 1, 3
WORD = (1 << BUS_BITS) - 1
OUTPUTS = (
    "bus__done", "bus__read_data", "space", "index", "read", "write", "data", "clear",
)  # fmt: skip


@cocotb.test()
async def bus(dut: Any) -> None:
    """All memories as wide as their words."""
    await compare(Bench(Block(dut, "bus"), set()))


@cocotb.test()
async def narrow_bus(dut: Any) -> None:
    """A memory of bus words for the parameter sets."""
    await compare(Bench(Block(dut, "narrow_bus"), {Space.PARAMETERS}))


async def compare(bench: Bench) -> None:
    """Random requests, words written part by part among them."""
    await bench.block.reset()
    while bench.block.coverage["requests"] < REQUESTS:
        if bench.draw.random() < 0.3:
            await bench.word()
        else:
            space, index, chunk = bench.place()
            write = bool(bench.draw.random() < 0.5)
            await bench.request(space, index, chunk, write, int(bench.draw.integers(WORD + 1)))
    bench.block.finish(
        "waited for the core", "asked at once", "reads", "writes", "words of several parts",
        "unknown space", "clear", "went on while the core began",
        *(f"{space.name} {way}" for space in spaces(bench.spec) for way in ("read", "written")),
    )  # fmt: skip


class Bench:
    """Model of the server: registers, and the parts that were staged.

    Parameters
    ----------
    narrow
        Spaces whose memory holds bus words.
    """

    def __init__(self, block: Block, narrow: set[Space]) -> None:
        self.block, self.spec, self.draw = block, block.spec, block.draw
        self.fields = control_registers(self.spec)
        self.registers = [0] * len(self.fields)
        self.staged: dict[int, int] = {}
        self.narrow = narrow
        wide = [bus_words(self.spec, s) for s in spaces(self.spec) if s not in self.narrow]
        self.parts = max(wide)

    def place(self) -> tuple[int, int, int]:
        """A space, an index and a part, now and then of a space that there is not."""
        draw, known = self.draw, spaces(self.spec)
        if draw.random() < 0.05:
            return int(draw.choice([0, 11, 31])), int(draw.integers(1 << INDEX_BITS)), 0
        if draw.random() < 0.05:
            return Space.CONTROL, 0, 0
        space = known[draw.integers(len(known))]
        index = int(draw.integers(memory_depth(self.spec, space)))
        return space, index, int(draw.integers(bus_words(self.spec, space)))

    async def word(self) -> None:
        """Write a word of several parts in order."""
        space, index, _ = self.place()
        parts = self._parts(space)
        self.block.coverage["words of several parts"] += parts > 1
        for chunk in range(parts):
            await self.request(space, index, chunk, True, int(self.draw.integers(WORD + 1)))

    def _parts(self, space: int) -> int:
        return bus_words(self.spec, Space(space)) if space in spaces(self.spec) else 1

    async def request(self, space: int, index: int, chunk: int, write: bool, value: int) -> None:
        """One request, held until it is done, then a pause or none."""
        draw, coverage = self.draw, self.block.coverage
        begin = int(draw.choice([0, 0, 1, 4]))
        busy = bool(draw.random() < 0.3)
        word = int.from_bytes(draw.bytes(4 * self.parts), "little")
        counters = int.from_bytes(draw.bytes(4 * len(COUNTERS)), "little")
        latency = WRITE_LATENCY if write else READ_LATENCY
        pause = int(draw.choice([0, 0, 2]))
        given = {
            "bus__address": address(cast("Space", space), index, chunk),
            "bus__write_data": value,
            "counters": counters,
        }

        def cycles() -> Iterator[Values]:
            asked = {"bus__write": int(write), "bus__read": int(not write)}
            yield from [{**given, **asked, "idle": 0, "word": 0}] * begin
            for cycle in range(latency + 1):
                # What is under way ends, also if the core begins a step.
                yield {**given, **asked, "idle": int(cycle == 0 or not busy), "word": 0}
            yield from [{"bus__write": 0, "bus__read": 0, "idle": 1}] * pause

        def reply(seen: dict[str, int]) -> Values | None:
            return {"word": word} if seen["read"] else None

        answers = await self.block.pins.play(cycles(), OUTPUTS, reply)
        done = [cycle for cycle, seen in enumerate(answers) if seen["bus__done"]]
        assert done == [begin + latency], (space, index, chunk, write, done)
        ask = answers[begin]
        self._check_access(answers, begin, space, index, chunk, write, value)
        if write:
            self._store(space, index, chunk, value, ask)
        else:
            expected = self._expected(space, index, chunk, word, counters)
            if expected is not None:
                assert answers[done[0]]["bus__read_data"] == expected, (space, index, chunk)
                coverage["answers compared"] += 1
        coverage["requests"] += 1
        coverage["waited for the core" if begin else "asked at once"] += 1
        coverage["writes" if write else "reads"] += 1
        coverage["went on while the core began"] += busy
        if space in spaces(self.spec):
            coverage[f"{Space(space).name} {'written' if write else 'read'}"] += 1
        else:
            coverage["unknown space"] += 1

    def _check_access(
        self,
        answers: list[dict[str, int]],
        begin: int,
        space: int,
        index: int,
        chunk: int,
        write: bool,
        value: int,
    ) -> None:
        """A memory is read or written once, in the cycle in which the request is taken."""
        last = chunk == self._parts(space) - 1 or space in self.narrow
        for cycle, seen in enumerate(answers):
            now = cycle == begin
            assert seen["read"] == (now and not write), cycle
            assert seen["write"] == (now and write and last), cycle
            clear = now and write and space == Space.CONTROL and index == 0 and value & 1
            assert seen["clear"] == clear, cycle
            self.block.coverage["clear"] += bool(clear)
        found = answers[begin]
        if space in self.narrow:
            index = index << (self._parts(space) - 1).bit_length() | chunk
        assert (found["space"], found["index"]) == (space, index)

    def _store(self, space: int, index: int, chunk: int, value: int, seen: dict[str, int]) -> None:
        part = 0 if space in self.narrow else chunk
        self.staged[part] = value
        if seen["write"]:
            staged = {number: word for number, word in self.staged.items() if number <= part}
            known = sum(word << (BUS_BITS * number) for number, word in staged.items())
            mask = sum(WORD << (BUS_BITS * number) for number in staged)
            assert seen["data"] & mask == known
            self.block.coverage["words compared"] += 1
        if space == Space.CONTROL and 0 < index < len(self.registers):
            self.registers[index] = value & ((1 << self.fields[index].bits) - 1)

    def _expected(self, space: int, index: int, chunk: int, word: int, counters: int) -> int | None:
        """What a read returns; None if nothing is said about it."""
        if space not in spaces(self.spec):
            return None
        if space == Space.CONTROL:
            return self.registers[index]
        if space == Space.COUNTERS:
            return counters >> (BUS_BITS * index) & WORD
        return word >> (BUS_BITS * (0 if space in self.narrow else chunk)) & WORD
