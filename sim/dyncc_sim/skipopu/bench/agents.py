"""What benches of engines have at the ends of streams: sources, sinks, memory."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from dyncc_sim.pins import Coverage

#: How often a source or sink goes on in a cycle, one of these for a turn.
RATES = (0.1, 0.5, 0.9, 1.0)


class Agent:
    """Drives pins before a cycle, and looks at them in it.

    Parameters
    ----------
    draw
        Random numbers.
    quiet
        Whether it never waits.
    """

    def __init__(self, draw: random.Random, quiet: bool) -> None:
        self.random, self.quiet = draw, quiet
        self._rate, self._left = 1.0, 0

    def goes(self) -> bool:
        """Whether it goes on in the next cycle, at a rate that changes from turn to turn."""
        if self.quiet:
            return True
        if self._left == 0:
            self._rate, self._left = self.random.choice(RATES), self.random.randint(5, 60)
        self._left -= 1
        return self.random.random() < self._rate

    def drive(self) -> None:
        """Set pins for the next cycle."""

    def look(self) -> None:
        """See what happens in this cycle."""


class Source(Agent):
    """Gives words of a queue to a stream; garbage while there is none.

    Parameters
    ----------
    dut, name
        The top level, and the stream.
    given
        Called with a word when it goes over.
    """

    def __init__(
        self, dut: Any, name: str, draw: random.Random, quiet: bool,
        given: Callable[[Any], None] = lambda _: None,
    ) -> None:  # fmt: skip
        super().__init__(draw, quiet)
        self._payload, self._valid, self._ready = (
            getattr(dut, f"{name}__{pin}") for pin in ("payload", "valid", "ready")
        )
        self.queue: deque[tuple[int, Any]] = deque()
        self._given, self._offers = given, False
        self._bits = len(self._payload)
        self._valid.value = 0

    def give(self, word: int, tag: Any = None) -> None:
        """Add a word, and what `given` is called with."""
        self.queue.append((word, tag))

    def drive(self) -> None:
        """An offer stays."""
        if not self._offers:
            offers = bool(self.queue) and self.goes()
            if offers or self._valid.value != 0 or self.random.random() < 0.05:
                garbage = self.random.getrandbits(self._bits)
                self._payload.value = self.queue[0][0] if offers else garbage
                self._valid.value = offers
            self._offers = offers

    def look(self) -> None:
        """Whether the offer is taken."""
        if self._offers and int(self._ready.value):
            self._offers = False
            self._given(self.queue.popleft()[1])

    def clear(self) -> None:
        """Forget all."""
        self.queue.clear()
        self._offers = False
        self._valid.value = 0


class Sink(Agent):
    """Takes words of a stream; what is offered has to stay until it is taken.

    Parameters
    ----------
    dut, name
        The top level, and the stream.
    took
        Called with a word that is taken.
    """

    def __init__(
        self, dut: Any, name: str, draw: random.Random, quiet: bool, coverage: Coverage,
        took: Callable[[int], None],
    ) -> None:  # fmt: skip
        super().__init__(draw, quiet)
        self.name = name
        self._payload, self._valid, self._ready = (
            getattr(dut, f"{name}__{pin}") for pin in ("payload", "valid", "ready")
        )
        self._coverage, self._took = coverage, took
        self._takes = False
        self._kept: int | None = None
        self._ready.value = 0

    def drive(self) -> None:
        """Ready or not."""
        takes = self.goes()
        if takes != self._takes:
            self._ready.value = takes
        self._takes = takes

    def look(self) -> None:
        """Take what is offered."""
        if not int(self._valid.value):
            assert self._kept is None, f"{self.name}: an offer vanished"
            return
        word = int(self._payload.value)
        assert self._kept in (None, word), f"{self.name}: an offer changed while it waited"
        if self._takes:
            self._kept = None
            self._took(word)
        else:
            self._kept = word
            self._coverage[f"{self.name} waits"] += 1

    def clear(self) -> None:
        """Forget what was offered."""
        self._kept = None


class ReadMemory(Agent):
    """Memory behind a read client of the port, see `interfaces.read_signature`.

    Parameters
    ----------
    dut, name
        The top level, and the client.
    content
        Bytes.
    bus_bytes
        Of a word.
    """

    def __init__(
        self, dut: Any, name: str, draw: random.Random, quiet: bool, coverage: Coverage,
        content: Any, bus_bytes: int,
    ) -> None:  # fmt: skip
        super().__init__(draw, quiet)
        self._content, self._bytes = content, bus_bytes
        self.requests = Sink(dut, f"{name}__request", draw, quiet, coverage, self._asked)
        self.words = Source(dut, f"{name}__data", draw, quiet)
        #: Address and bytes of each request.
        self.seen: list[tuple[int, int]] = []
        self._latency: deque[list[Any]] = deque()

    def _asked(self, word: int) -> None:
        address, count = word & ((1 << 40) - 1), word >> 40
        where = f"request of {count} at {address:#x}"
        assert (address | count) % 2 == 0, f"{where} is odd"
        assert count, f"{where} is empty"
        self.seen.append((address, count))
        self._latency.append([1 if self.quiet else self.random.randint(1, 40), address, count])

    def drive(self) -> None:
        """Words of a request come after some cycles."""
        if self._latency:
            self._latency[0][0] -= 1
            if self._latency[0][0] <= 0:
                _, address, count = self._latency.popleft()
                data = bytes(self._content[address : address + count])
                assert len(data) == count, f"read of {count} bytes at {address:#x}"
                size = self._bytes
                words = -(-count // size)
                data += self.random.randbytes(words * size - count)
                for index in range(words):
                    part = int.from_bytes(data[index * size : (index + 1) * size], "little")
                    self.words.give(part | (index == words - 1) << (8 * size))
        self.requests.drive()
        self.words.drive()

    def look(self) -> None:
        """Both streams."""
        self.requests.look()
        self.words.look()

    def clear(self) -> None:
        """Forget all."""
        self._latency.clear()
        self.requests.clear()
        self.words.clear()
