"""Memories on a bus, for benches: late, in random order where that is allowed, and with faults."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from dyncc_sim.pins import Coverage
from dyncc_sim.skipopu.bench.memory_agents import Agent, Output

PAGE_BYTES = 4096


class MemoryModel(Agent):
    """What all have: bytes, and faults.

    Parameters
    ----------
    content
        The memory.
    size, burst, requests
        Bytes of a word and of a burst at most, and bursts on their way at most.
    draw
        None if it never waits.
    latency
        Least and most cycles from a word's address to its answer.

    Attributes
    ----------
    broken
        Addresses at which it answers with an error.
    mute
        Whether it says nothing.
    """

    def __init__(
        self, dut: Any, content: bytearray, size: int, burst: int, requests: int,
        draw: random.Random | None, coverage: Coverage, latency: tuple[int, int] = (1, 12),
    ) -> None:  # fmt: skip
        super().__init__(draw)
        self._dut, self.content, self._size = dut, content, size
        self._pins: dict[str, Any] = {}
        self._outputs: dict[str, Output] = {}
        self._burst, self._requests, self._coverage = burst, requests, coverage
        self.latency = latency
        self._random = draw or random.Random(0)
        self.broken = range(0)
        self.mute = False
        self.now = 0
        self.moved = 0
        self.clear()

    def pin(self, name: str) -> Any:
        """A pin of the bus."""
        if name not in self._pins:
            self._pins[name] = getattr(self._dut, f"bus__{name}")
        return self._pins[name]

    def put_pin(self, name: str, value: int) -> None:
        """Drive a pin of the bus."""
        if name not in self._outputs:
            self._outputs[name] = Output(self.pin(name))
        self._outputs[name].set(value)

    def value(self, name: str) -> int:
        """What a pin is."""
        return int(self.pin(name).value)

    def due(self) -> int:
        """When something is answered."""
        return self.now + self._random.randint(*self.latency)

    def word(self, address: int) -> int:
        """The word at an address of a byte; garbage outside of memory."""
        return int.from_bytes(self.content[address : address + self._size], "little")

    def put(self, address: int, word: int, strobe: int) -> None:
        """Write the bytes of a word."""
        for i in range(self._size):
            if strobe >> i & 1:
                self.content[address + i] = word >> 8 * i & 0xFF
                self._coverage["bytes written"] += 1
        full = (1 << self._size) - 1
        self._coverage["part of a word written"] += strobe not in (0, full)

    def check(self, address: int, words: int) -> None:
        """A burst does not cross a multiple of the largest one."""
        end = address + words * self._size - 1
        assert words > 0, "a burst without words"
        assert address // self._burst == end // self._burst, f"{words} words at {address:#x} cross"
        self._coverage["largest burst"] += words * self._size == self._burst


class WishboneMemory(MemoryModel):
    """Answers words in order; takes them as they come."""

    def clear(self) -> None:
        """Nothing is on its way."""
        self._queue: deque[tuple[int, int, int, int, bool]] = deque()
        self._run: list[int] = []
        for name in ("stall", "ack", "err"):
            self.put_pin(name, 0)
        self._stalls, self._answers = False, False

    def drive(self) -> None:
        """Answer the oldest word, or not."""
        self.now += 1
        self._stalls = self.mute or not self.goes()
        self.put_pin("stall", self._stalls)
        self._answers = (
            not self.mute and bool(self._queue) and self._queue[0][0] <= self.now and self.goes()
        )
        bad = False
        if self._answers:
            _, address, word, strobe, _ = self._queue[0]
            bad = address in self.broken
            if strobe >= 0 and not bad:
                self.put(address, word, strobe)
            self.put_pin("dat_r", word if strobe < 0 else self._random.getrandbits(8))
            self.moved += 1
        self.put_pin("ack", self._answers and not bad)
        self.put_pin("err", bad)

    def look(self) -> None:
        """Take an address."""
        if self._queue:
            assert self.value("cyc"), "the cycle ends while answers are owed"
        if self._answers:
            self._queue.popleft()
        if not (self.value("cyc") and self.value("stb")) or self._stalls:
            return
        address, write = self.value("adr") * self._size, self.value("we")
        last = self.value("cti") == 0b111
        if self._run:
            assert address == self._run[-1] + self._size, "words of a burst follow each other"
        self._run.append(address)
        if last:
            self.check(self._run[0], len(self._run))
            self._run = []
        strobe = self.value("sel") if write else -1
        word = self.value("dat_w") if write else self.word(address)
        self._queue.append((self.due(), address, word, strobe, last))
        open_bursts = sum(item[4] for item in self._queue) + (not last)
        assert open_bursts <= self._requests, f"{open_bursts} bursts are on their way"
        self._coverage["several bursts"] += open_bursts > 1


class AxiMemory(MemoryModel):
    """Answers in order for each id, in any order of different ids."""

    def clear(self) -> None:
        """Nothing is on its way."""
        # Reads: id, when, words with their faults.
        self._reads: list[tuple[int, int, deque[tuple[int, bool]]]] = []
        self._writes: deque[tuple[int, int, int]] = deque()
        self._beats: deque[tuple[int, int, bool]] = deque()
        self._acks: deque[tuple[int, int, bool]] = deque()
        self._later: deque[list[tuple[int, int, int]]] = deque()
        self._reading: tuple[int, int, deque[tuple[int, bool]]] | None = None
        self._acking: tuple[int, int, bool] | None = None
        self._takes = dict.fromkeys(("ar", "aw", "w"), False)
        for name in ("arready", "awready", "wready", "rvalid", "bvalid"):
            self.put_pin(name, 0)

    def drive(self) -> None:
        """Offer answers; what is offered stays."""
        self.now += 1
        # As the specification allows: an address of a write may wait for its data.
        for name in self._takes:
            self._takes[name] = not self.mute and self.goes()
            self.put_pin(f"{name}ready", self._takes[name])
        if self._reading is None and not self.mute and self.goes():
            first: dict[int, tuple[int, int, deque[tuple[int, bool]]]] = {}
            for read in self._reads:
                first.setdefault(read[0], read)
            ready = [read for read in first.values() if read[1] <= self.now]
            if ready:
                self._reading = self._random.choice(ready)
                self._coverage["out of order"] += self._reading is not self._reads[0]
        if self._reading is not None:
            number, _, words = self._reading
            word, bad = words[0]
            self.put_pin("rid", number)
            self.put_pin("rdata", word)
            self.put_pin("rresp", 2 if bad else 0)
            self.put_pin("rlast", len(words) == 1)
        self._gives = self._reading is not None and (self._held or self.goes())
        self._held = self._gives
        self.put_pin("rvalid", self._gives)
        if self._acking is None and not self.mute and self._acks and self._acks[0][1] <= self.now:
            self._acking = self._acks.popleft()
            for place, word, strobe in self._later.popleft():
                self.put(place, word, strobe)
            self.put_pin("bid", self._acking[0])
            self.put_pin("bresp", 2 if self._acking[2] else 0)
        self.put_pin("bvalid", self._acking is not None)

    _held = False

    def look(self) -> None:
        """Take addresses and data."""
        if self._takes["ar"] and self.value("arvalid"):
            address, words = self._burst_at("ar")
            broken = [address + i * self._size in self.broken for i in range(words)]
            found = [self.word(address + i * self._size) for i in range(words)]
            beats = deque(zip(found, broken, strict=True))
            self._reads.append((self.value("arid"), self.due(), beats))
        if self._takes["aw"] and self.value("awvalid"):
            address, words = self._burst_at("aw")
            self._writes.append((self.value("awid"), address, words))
        if self._takes["w"] and self.value("wvalid"):
            self._beats.append(
                (self.value("wdata"), self.value("wstrb"), bool(self.value("wlast")))
            )
            self.moved += 1
        self._finish_write()
        count = len(self._reads) + len(self._writes) + len(self._acks) + (self._acking is not None)
        assert count <= self._requests, f"{count} bursts are on their way"
        self._coverage["several bursts"] += count > 1
        if self._gives and self.value("rready"):
            assert self._reading is not None
            self._reading[2].popleft()
            self._held = False
            self.moved += 1
            if not self._reading[2]:
                self._reads.remove(self._reading)
                self._reading = None
        if self._acking is not None and self.value("bready"):
            self._acking = None

    def _burst_at(self, channel: str) -> tuple[int, int]:
        address, words = self.value(f"{channel}addr"), self.value(f"{channel}len") + 1
        assert 1 << self.value(f"{channel}size") == self._size
        assert self.value(f"{channel}burst") == 1
        assert address % self._size == 0
        assert address // PAGE_BYTES == (address + words * self._size - 1) // PAGE_BYTES
        self.check(address, words)
        return address, words

    def _finish_write(self) -> None:
        """Write a burst whose address and words are all there."""
        if not self._writes or len(self._beats) < self._writes[0][2]:
            return
        number, address, words = self._writes.popleft()
        beats = [self._beats.popleft() for _ in range(words)]
        assert [last for _, _, last in beats] == [False] * (words - 1) + [True], "the last word"
        bad = any(address + i * self._size in self.broken for i in range(words))
        self._acks.append((number, self.due(), bad))
        # What is written is seen when it is acknowledged, not before.
        self._later.append(
            []
            if bad
            else [
                (address + i * self._size, word, strobe)
                for i, (word, strobe, _) in enumerate(beats)
            ]
        )


MODELS = {"wishbone": WishboneMemory, "axi": AxiMemory}
