"""The memory port in time, and bytes that flow through it.

The port serves one transfer at a time, in pieces: first those that somebody waits for, in turn,
then the stream of matrices, which is loaded ahead as far as its buffer allows. Pieces are short
against the buffer, so that a transfer which comes later does not wait for long.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError

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
        Cycles from the start of a transfer to its arrival.
    """

    def __init__(self, port: Port, source: Source, capacity: float, latency: float) -> None:
        self.source = source
        self._port, self._capacity, self._latency = port, capacity, latency
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

    def load(self, size: int, first: Callable[[float], None] | None = None) -> None:
        """Ask for more bytes; `first` is called with the time at which the first arrives."""
        self._firsts.append((self._wanted, self._wanted + size, first))
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

    def requested(self, size: int, begin: float, end: float) -> None:
        """The port transfers a piece between two times."""
        begin, end = begin + self._latency, end + self._latency
        first, last, call = self._firsts[0]
        if call is not None and self._requested == first:
            call(begin)
        self._arrived.append(Piece(self._requested, self._requested + size, begin, end))
        self._requested += size
        if self._requested == last:
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
                begin = max(taker.time, arrival)
                taker.time = begin + cycles
                taker.busy += cycles
                if size:
                    self._freed.append(Piece(self._taken, self._taken + size, begin, taker.time))
                    self._taken += size
                self._free_end, self._free_time = self._taken, taker.time
            self._takers.popleft()
            taker.done(taker.time, taker.busy)


class Port:
    """The one port to memory.

    Parameters
    ----------
    arch
        The instance: bandwidth, latency, requests on their way, refresh.
    events
        Time.
    record
        Called with the source, begin and end of transfers; None for nobody.

    Attributes
    ----------
    stream
        The flow of matrices.
    moved
        Bytes by source.
    busy
        Cycles in which bytes were moved, those of refreshes in between included.
    """

    def __init__(
        self,
        arch: ArchSpec,
        events: Events,
        record: Callable[[Source, float, float], None] | None = None,
    ) -> None:
        self._arch, self._events, self._record = arch, events, record
        burst = arch.burst_bytes / arch.memory_bytes_per_cycle
        #: Bytes a cycle: each of the requests on their way is one burst, and takes the latency too.
        self.rate = min(
            arch.memory_bytes_per_cycle,
            arch.memory_requests * arch.burst_bytes / (arch.memory_latency_cycles + burst),
        )
        self._piece = max(1, arch.stream_bytes // 16 // arch.burst_bytes) * arch.burst_bytes
        self.moved: Counter[Source] = Counter()
        self.busy = 0.0
        self._serving = False
        self._retry = math.inf
        self._others: deque[Flow] = deque()
        self.stream = Flow(self, Source.MATRICES, arch.stream_bytes, arch.memory_latency_cycles)

    def read(self, source: Source, size: int, done: Callable[[float], None]) -> None:
        """Read; `done` is called with the time at which the last byte arrives."""
        self.flow(source, size, [(size, 0.0)], math.inf, lambda time, _: done(time))

    def write(self, size: int, done: Callable[[float], None]) -> None:
        """Write; `done` is called with the time at which memory has taken all."""
        self.flow(
            Source.WRITES, size, [(size, 0.0)], math.inf, lambda time, _: done(time), latency=0
        )

    def flow(
        self, source: Source, size: int, tiles: Iterable[Tile], capacity: float, done: Done,
        latency: float | None = None,
    ) -> None:  # fmt: skip
        """Read bytes and work on them tile by tile, from now on."""
        latency = self._arch.memory_latency_cycles if latency is None else latency
        found = Flow(self, source, capacity, latency)
        found.take(tiles, self._events.now, done)
        if size:
            self._others.append(found)
            found.load(size)

    def kick(self) -> None:
        """Begin a transfer, if the port is free and somebody wants one."""
        if self._serving:
            return
        now, retry = self._events.now, math.inf
        for _ in range(len(self._others)):
            flow = self._others.popleft()
            size, when = flow.next_piece(now, self._piece)
            if size:
                self._serve(flow, size)
                if flow.pending:
                    self._others.append(flow)
                return
            retry = min(retry, when)
            self._others.append(flow)
        size, when = self.stream.next_piece(now, self._piece)
        if size:
            self._serve(self.stream, size)
            return
        retry = min(retry, when)
        if retry < self._retry:
            self._retry = retry
            self._events.at(retry, self._again)

    def _again(self) -> None:
        if self._events.now >= self._retry:
            self._retry = math.inf
        self.kick()

    def _serve(self, flow: Flow, size: int) -> None:
        begin = self._events.now
        end = self._after(begin, size / self.rate)
        self._serving = True
        self.moved[flow.source] += size
        self.busy += end - begin
        if self._record is not None:
            self._record(flow.source, begin, end)
        self._events.at(end, self._free)
        flow.requested(size, begin, end)

    def _free(self) -> None:
        self._serving = False
        self.kick()

    def _after(self, begin: float, cycles: float) -> float:
        """When so many cycles without refresh have passed; a refresh ends each period."""
        period, refresh = self._arch.refresh_period_cycles, self._arch.refresh_cycles
        if not refresh:
            return begin + cycles
        usable = period - refresh
        periods, rest = divmod(begin, period)
        total = periods * usable + min(rest, usable) + cycles
        periods, rest = divmod(total, usable)
        return periods * period + rest if rest else periods * period - refresh
