"""Those around the engine of keys and values and the history: memory and vector buffer."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import numpy
from amaranth.lib import data

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import REQUEST, place_layout

#: How often one goes on in a cycle.
RATES = (0.1, 0.5, 0.9, 1.0)


def members(layout: data.StructLayout, word: int) -> dict[str, int]:
    """The members of a structure, unsigned."""
    return {name: word >> item.offset & ((1 << item.width) - 1) for name, item in layout}


class Stalls:
    """Whether one goes on in a cycle, at a rate that changes now and then."""

    def __init__(self, draw: random.Random, steady: bool) -> None:
        self._random, self._steady = draw, steady
        self._left, self._rate = 0, 1.0

    def goes(self) -> bool:
        """Ask once a cycle."""
        if self._steady:
            return True
        if self._left == 0:
            self._left, self._rate = self._random.randint(5, 60), self._random.choice(RATES)
        self._left -= 1
        return self._random.random() < self._rate


class Pins:
    """Pins of one part of the rig; outputs must be known, and offers may not change."""

    def __init__(self, dut: Any, prefix: str, draw: random.Random, steady: bool) -> None:
        self._dut, self._prefix, self.random = dut, prefix, draw
        self.steady = steady
        self._kept: dict[str, int] = {}

    def put(self, name: str, value: int) -> None:
        """Set an input."""
        getattr(self._dut, f"{self._prefix}__{name}").value = value

    def garbage(self, name: str) -> None:
        """Set an input to anything."""
        pin = getattr(self._dut, f"{self._prefix}__{name}")
        pin.value = self.random.getrandbits(len(pin))

    def get(self, name: str) -> int:
        """An output."""
        value = getattr(self._dut, f"{self._prefix}__{name}").value
        assert value.is_resolvable, f"{self._prefix}__{name} is {value}"
        return int(value)

    def offered(self, stream: str, taken: bool) -> int | None:
        """The payload of a stream that is valid."""
        if not self.get(f"{stream}__valid"):
            assert stream not in self._kept, f"an offer of {self._prefix} {stream} vanished"
            return None
        word = self.get(f"{stream}__payload")
        assert self._kept.get(stream, word) == word, f"{self._prefix} {stream} changed"
        self._kept.pop(stream, None)
        if not taken:
            self._kept[stream] = word
        return word

    def stalls(self) -> Stalls:
        """For one of its streams."""
        return Stalls(self.random, self.steady)

    def restart(self) -> None:
        """Forget what was on its way."""
        self._kept.clear()


class Reads(Pins):
    """A client of the port that reads.

    Parameters
    ----------
    content
        Memory.
    bus_bytes
        Of a word.
    latency
        Cycles from a request to its first word, at least; it is drawn up to three times that.
    """

    def __init__(
        self, dut: Any, prefix: str, draw: random.Random, steady: bool, content: Any,
        bus_bytes: int, latency: int,
    ) -> None:  # fmt: skip
        super().__init__(dut, prefix, draw, steady)
        self._content, self._size, self._latency = content, bus_bytes, latency
        self._accepts, self._gives = self.stalls(), self.stalls()
        self._words: deque[tuple[int, int]] = deque()
        self._ready = self._valid = False
        self.cycle = 0
        #: Cycles in which a word was taken.
        self.busy: list[int] = []
        #: Whether reads outside of memory are answered, with anything.
        self.allows_all = False
        self.restart()

    def restart(self) -> None:
        """Nothing is on its way."""
        super().restart()
        self._words.clear()
        self._valid = False
        self.put("data__valid", 0)
        self.put("request__ready", 0)

    def drive(self) -> None:
        """Inputs of the next cycle."""
        self._ready = self._accepts.goes() and len(self._words) < 4096
        self.put("request__ready", self._ready)
        if not self._valid:
            self._valid = (
                bool(self._words) and self._words[0][0] <= self.cycle and self._gives.goes()
            )
            self.put("data__valid", self._valid)
            if self._valid:
                self.put("data__payload", self._words[0][1])
            else:
                self.garbage("data__payload")
        self.cycle += 1

    def look(self) -> None:
        """What happens in this cycle."""
        word = self.offered("request", self._ready)
        if word is not None and self._ready:
            self._accept(**members(REQUEST, word))
        if self._valid and self.get("data__ready"):
            self._words.popleft()
            self._valid = False
            self.busy.append(self.cycle)

    def _accept(self, address: int, bytes: int) -> None:  # noqa: A002  (a member of the payload)
        assert bytes > 0, "a read of nothing"
        assert bytes % 2 == 0, f"a read of {bytes} bytes"
        assert address % 2 == 0, f"a read at {address:#x}"
        content = self._content[address : address + bytes].tobytes()
        assert len(content) == bytes or self.allows_all, f"a read at {address:#x}"
        content += self.random.randbytes(bytes - len(content))
        content += self.random.randbytes(-bytes % self._size)
        delay = self._latency if self.steady else self.random.randint(1, 3 * self._latency)
        for first in range(0, len(content), self._size):
            last = first + self._size >= len(content)
            number = int.from_bytes(content[first : first + self._size], "little")
            self._words.append((self.cycle + delay, number | last << 8 * self._size))


class Writes(Pins):
    """The client of the port that writes; memory changes when that is acknowledged."""

    def __init__(
        self, dut: Any, prefix: str, draw: random.Random, steady: bool, content: Any,
        bus_bytes: int, latency: int,
    ) -> None:  # fmt: skip
        super().__init__(dut, prefix, draw, steady)
        self._content, self._size, self._latency = content, bus_bytes, latency
        self._accepts, self._takes = self.stalls(), self.stalls()
        self._requests: deque[dict[str, int]] = deque()
        self._waiting: deque[tuple[int, int, bytes]] = deque()
        self._bytes = b""
        self._ready = self._takes_word = False
        self._cycle = 0
        self.restart()

    def restart(self) -> None:
        """What was not acknowledged is lost."""
        super().restart()
        self._requests.clear()
        self._waiting.clear()
        self._bytes = b""
        for name in ("done", "request__ready", "data__ready"):
            self.put(name, 0)

    def drive(self) -> None:
        """Inputs of the next cycle."""
        self._cycle += 1
        self._ready = self._accepts.goes()
        self._takes_word = bool(self._requests) and self._takes.goes()
        self.put("request__ready", self._ready)
        self.put("data__ready", self._takes_word)
        done = bool(self._waiting) and self._waiting[0][0] <= self._cycle
        if done:
            _, address, content = self._waiting.popleft()
            self._content[address : address + len(content)] = numpy.frombuffer(content, numpy.uint8)
        self.put("done", done)

    def look(self) -> None:
        """What happens in this cycle."""
        word = self.offered("data", self._takes_word)
        if word is not None and self._takes_word:
            self._bytes += word.to_bytes(self._size, "little")
            request = self._requests[0]
            if len(self._bytes) >= request["bytes"]:
                delay = self._latency if self.steady else self.random.randint(1, self._latency)
                content = self._bytes[: request["bytes"]]
                self._waiting.append((self._cycle + delay, request["address"], content))
                self._requests.popleft()
                self._bytes = b""
        request_word = self.offered("request", self._ready)
        if request_word is not None and self._ready:
            request = members(REQUEST, request_word)
            assert request["bytes"] % 2 == request["address"] % 2 == 0, f"a write of {request}"
            assert request["address"] + request["bytes"] <= len(self._content), str(request)
            self._requests.append(request)


class VectorReads(Pins):
    """The client of the vector buffer."""

    def __init__(
        self, dut: Any, prefix: str, draw: random.Random, steady: bool, arch: ArchSpec, vector: Any
    ) -> None:
        super().__init__(dut, prefix, draw, steady)
        self._arch, self._vector = arch, vector
        self._accepts, self._gives = self.stalls(), self.stalls()
        self._words: deque[int] = deque()
        self._ready = self._valid = False
        self.restart()

    def restart(self) -> None:
        """Nothing is on its way."""
        super().restart()
        self._words.clear()
        self._valid = False
        self.put("numbers__valid", 0)
        self.put("place__ready", 0)

    def drive(self) -> None:
        """Inputs of the next cycle."""
        self._ready = self._accepts.goes() and len(self._words) < 3
        self.put("place__ready", self._ready)
        if not self._valid:
            self._valid = bool(self._words) and self._gives.goes()
            self.put("numbers__valid", self._valid)
            if self._valid:
                self.put("numbers__payload", self._words[0])
            else:
                self.garbage("numbers__payload")

    def look(self) -> None:
        """What happens in this cycle."""
        if self._valid and self.get("numbers__ready"):
            self._words.popleft()
            self._valid = False
        word = self.offered("place", self._ready)
        if word is not None and self._ready:
            place = members(place_layout(self._arch), word)
            lanes = self._arch.vector_lanes
            first = place["word"] * lanes
            row = self._vector[place["token"], first : first + lanes]
            self._words.append(sum(int(code) << 25 * lane for lane, code in enumerate(row)))
