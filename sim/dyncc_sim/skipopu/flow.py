"""Bytes that flow through a buffer from memory to those who take them, in time."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from dyncc.core.errors import ConfigError

#: Tiles that wait for the array, complete.
TILES = 8
#: A tile of work: bytes that it takes, and cycles of the one who takes them.
Tile = tuple[int, float]
#: Called with the time at which all tiles are done, and the cycles spent on them.
Done = Callable[[float, float], None]


class Source(Enum):
    """What bytes are moved for."""

    MATRICES = "matrices"
    VECTORS = "vectors"
    KV = "keys, values"
    WRITES = "writes"
    PROGRAM = "instructions"


class Events:
    """What happens when: callbacks in order of time, then of their making."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Call at a time."""
        heapq.heappush(self._heap, (max(time, self.now), next(self._numbers), call))

    def step(self) -> bool:
        """Go on to the next event; False if there is none."""
        if not self._heap:
            return False
        self.now, _, call = heapq.heappop(self._heap)
        call()
        return True


@dataclass(frozen=True)
class Piece:
    """Bytes in order, and the times at which the first and the last of them pass."""

    first: int
    end: int
    begin: float
    until: float

    def time(self, byte: int) -> float:
        """When so many bytes have passed."""
        share = (byte - self.first) / (self.end - self.first) if self.end > self.first else 1.0
        return self.begin + share * (self.until - self.begin)


class Kicked(Protocol):
    """A port that may go on."""

    def kick(self) -> None:
        """Begin a transfer, if there is one."""


class _Taker:
    def __init__(self, tiles: Iterable[Tile], time: float, done: Done) -> None:
        self.tiles = deque(tiles)
        self.time, self.done = time, done
        self.busy = 0.0


class Flow:
    """Bytes that come from memory in order, through a buffer, to those that take them.

    Parameters
    ----------
    capacity
        Bytes that may be requested and not be taken yet.
    latency
        Cycles from the start of a transfer to its first word.
    late
        Cycles from the end of a transfer to the arrival of its last word.
    behind
        Cycles from the arrival of a tile until it can be worked on.
    words
        Bytes that may be requested behind the tiles that may wait.
    least
        Cycles that those who take the bytes need for all of them.
    """

    def __init__(
        self, port: Kicked, source: Source, capacity: float, latency: float, late: float,
        behind: float = 0.0, words: float = math.inf, least: float = 0.0,
    ) -> None:  # fmt: skip
        self.source, self.least = source, least
        self._port, self._capacity, self._latency = port, capacity, latency
        self._late, self._behind, self._words = late, behind, words
        #: Ends of tiles that were asked for and are not done, and when those that are will be.
        self._bounds: deque[int] = deque()
        self._gone: deque[float] = deque()
        self._wanted = self._requested = self._taken = 0
        self._arrived: deque[Piece] = deque()
        self._freed: deque[Piece] = deque()
        #: The last byte that will be free at a time that is known, and that time.
        self._free_end, self._free_time = 0, 0.0
        self._firsts: deque[tuple[int, int, Callable[[float], None] | None]] = deque()
        self._takers: deque[_Taker] = deque()

    @property
    def pending(self) -> bool:
        """Whether bytes are wanted that were not requested yet."""
        return self._requested < self._wanted

    @property
    def wanted(self) -> int:
        """Bytes in all that were asked for."""
        return self._wanted

    def load(
        self, size: int, first: Callable[[float], None] | None = None, tiles: Iterable[int] = ()
    ) -> None:
        """Ask for more bytes; `first` is called with the time at which the first arrives.

        With `tiles`, their sizes, no more of them wait than may.
        """
        self._firsts.append((self._wanted, self._wanted + size, first))
        end = self._wanted
        for tile in tiles:
            end += tile
            self._bounds.append(end)
        self._wanted += size
        self._port.kick()

    def take(self, tiles: Iterable[Tile], start: float, done: Done) -> None:
        """Take the next bytes, tile by tile, from a time on, once earlier takers are done.

        A tile begins when its last byte is there; its bytes make room while it is worked on.

        Raises
        ------
        ConfigError
            If a tile does not fit the buffer.
        """
        taker = _Taker(tiles, start, done)
        largest = max((size for size, _ in taker.tiles), default=0)
        if largest > self._capacity:
            raise ConfigError(
                f"{largest} bytes of {self.source.value} are taken together, and their buffer "
                f"holds {self._capacity}"
            )
        self._takers.append(taker)
        self._go_on()
        self._port.kick()

    def next_piece(self, now: float, most: int) -> tuple[int, float]:
        """Bytes that can be requested now; or 0, and when to ask again."""
        if not self.pending:
            return 0, math.inf
        size = min(most, self._firsts[0][1] - self._requested)
        while self._gone and self._gone[0] <= now:
            self._gone.popleft()
            self._bounds.popleft()
        if len(self._bounds) > TILES:
            size = min(size, int(self._bounds[TILES - 1] + self._words) - self._requested)
            if size <= 0:
                return 0, self._gone[0] if self._gone else math.inf
        needed = self._requested + size - self._capacity
        if needed <= 0:
            return size, now
        while self._freed and self._freed[0].end < needed:
            self._freed.popleft()
        if self._freed:
            time = self._freed[0].time(int(needed))
            return (size, now) if time <= now else (0, time)
        if self._free_time > now:
            return 0, self._free_time
        # Nobody takes anything before more has come: use what room there is.
        room = int(self._capacity) - (self._requested - self._free_end)
        return (min(size, room), now) if room > 0 else (0, math.inf)

    def begin_piece(self, begin: float) -> None:
        """The port begins to transfer a piece."""
        first, _, call = self._firsts[0]
        if call is not None and self._requested == first:
            call(begin + self._latency)

    def end_piece(self, size: int, begin: float, end: float) -> None:
        """The port has transferred a piece between two times."""
        begin, end = min(begin + self._latency, end + self._late), end + self._late
        self._arrived.append(Piece(self._requested, self._requested + size, begin, end))
        self._requested += size
        if self._requested == self._firsts[0][1]:
            self._firsts.popleft()
        self._go_on()

    def _arrival(self, byte: int) -> float | None:
        if byte == self._taken:
            return 0.0
        while self._arrived and self._arrived[0].end < byte:
            self._arrived.popleft()
        return self._arrived[0].time(byte) if self._arrived else None

    def _go_on(self) -> None:
        """Work on tiles as far as it is known when their bytes arrive."""
        while self._takers:
            taker = self._takers[0]
            taker.time = max(taker.time, self._free_time)
            while taker.tiles:
                size, cycles = taker.tiles[0]
                arrival = self._arrival(self._taken + size)
                if arrival is None:
                    return
                taker.tiles.popleft()
                begin = max(taker.time, arrival + self._behind if size else arrival)
                taker.time = begin + cycles
                taker.busy += cycles
                if size:
                    self._freed.append(Piece(self._taken, self._taken + size, begin, taker.time))
                    self._taken += size
                if self._bounds:
                    self._gone.append(taker.time)
                self._free_end, self._free_time = self._taken, taker.time
            self._takers.popleft()
            taker.done(taker.time, taker.busy)
