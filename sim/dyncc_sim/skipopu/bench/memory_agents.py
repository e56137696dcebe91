"""Those around the memory of a SkipOPU in a bench: clients, and streams of payloads."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from dyncc_sim.pins import Coverage

#: How often an agent goes on in a cycle; one of these for a turn.
RATES = (0.1, 0.5, 0.9, 1.0)


class Output:
    """A pin that is driven only when it changes, which is most of a bench's time.

    Parameters
    ----------
    pin
        Of the design under test.
    """

    def __init__(self, pin: Any) -> None:
        self._pin, self._last = pin, -1
        self.bits = len(pin)

    def set(self, value: int) -> None:
        """Drive it."""
        if value != self._last:
            self._pin.value = self._last = int(value)


class Agent:
    """Drives pins in each cycle, then looks at them; is eager or slow in turns.

    Parameters
    ----------
    draw
        Where its moods come from; None if it never waits.
    """

    def __init__(self, draw: random.Random | None) -> None:
        self._draw = draw
        self._rate, self._left = 1.0, 0

    def goes(self) -> bool:
        """Whether it goes on in this cycle."""
        if self._draw is None:
            return True
        if self._left == 0:
            self._rate, self._left = self._draw.choice(RATES), self._draw.randint(5, 60)
        self._left -= 1
        return self._draw.random() < self._rate

    def drive(self) -> None:
        """Set pins."""

    def look(self) -> None:
        """See what happens."""

    def clear(self) -> None:
        """Forget everything: there was a reset."""


class Sender(Agent):
    """Gives payloads to a stream; what is offered stays."""

    def __init__(self, dut: Any, name: str, draw: random.Random | None) -> None:
        super().__init__(draw)
        self._payload, self._valid = (
            Output(getattr(dut, f"{name}__{pin}")) for pin in ("payload", "valid")
        )
        self._ready = getattr(dut, f"{name}__ready")
        self._noise = random.Random(name)
        self.queue: deque[int] = deque()
        self._offers = self._given = False
        self.clear()

    def clear(self) -> None:
        """Nothing is offered."""
        self.queue.clear()
        self._offers = False
        self._spoil()

    def _spoil(self) -> None:
        """What is not valid is garbage."""
        self._valid.set(0)
        self._payload.set(self._noise.getrandbits(self._payload.bits))

    def drive(self) -> None:
        """Offer the next payload."""
        if not self._offers and self.queue and self.goes():
            self._offers = True
            self._payload.set(self.queue[0])
            self._valid.set(1)
        elif not self._offers and self._given:
            self._spoil()
        self._given = False

    def look(self) -> None:
        """Whether it was taken."""
        if self._offers and int(self._ready.value):
            self.queue.popleft()
            self._offers, self._given = False, True


class Taker(Agent):
    """Takes payloads of a stream; each that waits has to stay.

    Parameters
    ----------
    call
        Gets each payload.
    """

    def __init__(
        self, dut: Any, name: str, draw: random.Random | None, call: Callable[[int], None]
    ) -> None:
        super().__init__(draw)
        self._name, self._call = name, call
        self._payload, self._valid = (
            getattr(dut, f"{name}__{pin}") for pin in ("payload", "valid")
        )
        self._ready = Output(getattr(dut, f"{name}__ready"))
        self._takes = False
        #: Takes nothing; and what waits may go away.
        self.blocked = self.lax = False
        self._kept: int | None = None
        self.clear()

    def clear(self) -> None:
        """Nothing waits."""
        self._kept, self.lax = None, False
        self._ready.set(0)

    def drive(self) -> None:
        """Be ready or not."""
        self._takes = not self.blocked and self.goes()
        self._ready.set(self._takes)

    def look(self) -> None:
        """Take."""
        if not int(self._valid.value):
            assert self._kept is None or self.lax, f"{self._name}: a payload vanished"
            self._kept = None
            return
        value = self._payload.value
        assert value.is_resolvable, f"{self._name} is {value}"
        assert self._kept in (None, int(value)), f"{self._name} changed while it waited"
        self._kept = None if self._takes else int(value)
        if self._takes:
            self._call(int(value))


class Reader:
    """A client that reads, and compares what it gets with what it says.

    Parameters
    ----------
    size
        Bytes of a word.
    done
        Gets the number of bytes of each request whose answer was complete.
    """

    def __init__(
        self, dut: Any, name: str, size: int, draw: random.Random | None, coverage: Coverage
    ) -> None:
        self._name, self._size, self._coverage = name, size, coverage
        self._requests = Sender(dut, f"{name}__request", draw)
        self.data = Taker(dut, f"{name}__data", draw, self._word)
        self.agents = [self._requests, self.data]
        self._wanted: deque[tuple[int, bytes]] = deque()
        self._place = 0

    def ask(self, address: int, wanted: bytes) -> None:
        """Read bytes, which have to be these."""
        self._requests.queue.append(address | len(wanted) << 40)
        self._wanted.append((address, wanted))

    @property
    def done(self) -> bool:
        """Whether everything was answered."""
        return not self._wanted

    def clear(self) -> None:
        """Nothing is asked for."""
        self._wanted.clear()
        self._place = 0

    def _word(self, payload: int) -> None:
        size = self._size
        assert self._wanted, f"{self._name}: a word that nobody asked for"
        address, wanted = self._wanted[0]
        part = wanted[self._place : self._place + size]
        found = (payload & ((1 << 8 * size) - 1)).to_bytes(size, "little")[: len(part)]
        where = f"{self._name}: {len(wanted)} bytes at {address:#x}, from {self._place} on,"
        assert found == part, f"{where} are {found.hex()}, not {part.hex()}"
        self._place += size
        last = self._place >= len(wanted)
        assert payload >> 8 * size == last, f"{where} the word is the last, or not"
        self._coverage[f"{self._name} words"] += 1
        if last:
            self._wanted.popleft()
            self._place = 0


class Writer(Agent):
    """A client that writes."""

    def __init__(
        self, dut: Any, name: str, size: int, draw: random.Random | None,
        done: Callable[[int, bytes], None],
    ) -> None:  # fmt: skip
        super().__init__(None)
        self._size, self._done, self._name = size, done, name
        self._requests = Sender(dut, f"{name}__request", draw)
        self._words = Sender(dut, f"{name}__data", draw)
        self._pin = getattr(dut, f"{name}__done")
        self.agents = [self._requests, self._words, self]
        self._given: deque[tuple[int, bytes]] = deque()

    def write(self, address: int, content: bytes) -> None:
        """Write bytes."""
        self._requests.queue.append(address | len(content) << 40)
        for first in range(0, len(content), self._size):
            self._words.queue.append(int.from_bytes(content[first : first + self._size], "little"))
        self._given.append((address, content))

    @property
    def done(self) -> bool:
        """Whether all is written."""
        return not self._given

    def clear(self) -> None:
        """Nothing is to be written."""
        self._given.clear()

    def look(self) -> None:
        """Note what is done."""
        if int(self._pin.value):
            assert self._given, f"{self._name}: nothing was to be done"
            self._done(*self._given.popleft())
