"""The memory port in time, and bytes that flow through it.

The port serves one transfer at a time, in pieces: first those that somebody waits for, in turn,
then the stream of matrices, which is loaded ahead as far as its buffer allows. A piece of the
stream is cut off at the end of a burst when somebody comes who waits.
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

#: A piece is this part of the stream's buffer.
_PIECES = 16
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

    def begin_piece(self, begin: float) -> None:
        """The port begins to transfer a piece."""
        first, _, call = self._firsts[0]
        if call is not None and self._requested == first:
            call(begin + self._latency)

    def end_piece(self, size: int, begin: float, end: float) -> None:
        """The port has transferred a piece between two times."""
        begin, end = begin + self._latency, end + self._latency
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
        bursts = arch.stream_bytes // _PIECES // arch.burst_bytes
        self._piece = max(1, bursts) * arch.burst_bytes
        self.moved: Counter[Source] = Counter()
        self.busy = 0.0
        #: The piece that is transferred: its flow, bytes and begin; and a number for each end that
        #: was planned.
        self._serving: tuple[Flow, int, float] | None = None
        self._plan = 0
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
        if self._serving is not None:
            self._cut_off()
            return
        now, retry = self._events.now, math.inf
        for _ in range(len(self._others)):
            flow = self._others.popleft()
            size, when = flow.next_piece(now, self._piece)
            if size:
                self._serve(flow, size)
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
        self._serving = flow, size, begin
        self._end_at(self._after(begin, size / self.rate))
        flow.begin_piece(begin)

    def _cut_off(self) -> None:
        """Let go of the stream at the end of a burst, if there is another who can go on."""
        assert self._serving is not None
        flow, size, begin = self._serving
        now, burst = self._events.now, self._arch.burst_bytes
        if flow is not self.stream or not any(
            other.next_piece(now, self._piece)[0] for other in self._others
        ):
            return
        done = (self._usable(now) - self._usable(begin)) * self.rate
        left = (int(done // burst) + 1) * burst
        if left < size:
            self._serving = flow, left, begin
            self._end_at(self._after(begin, left / self.rate))

    def _end_at(self, end: float) -> None:
        self._plan += 1
        plan = self._plan
        self._events.at(end, lambda: self._end(plan))

    def _end(self, plan: int) -> None:
        if plan != self._plan or self._serving is None:
            return
        (flow, size, begin), end = self._serving, self._events.now
        self._serving = None
        self.moved[flow.source] += size
        self.busy += end - begin
        if self._record is not None:
            self._record(flow.source, begin, end)
        flow.end_piece(size, begin, end)
        if flow.pending and flow is not self.stream:
            self._others.append(flow)
        self.kick()

    def _usable(self, time: float) -> float:
        """Cycles without refresh up to a time; a refresh ends each period."""
        period, refresh = self._arch.refresh_period_cycles, self._arch.refresh_cycles
        if not refresh:
            return time
        periods, rest = divmod(time, period)
        return periods * (period - refresh) + min(rest, period - refresh)

    def _after(self, begin: float, cycles: float) -> float:
        """When so many cycles without refresh have passed."""
        period, refresh = self._arch.refresh_period_cycles, self._arch.refresh_cycles
        if not refresh:
            return begin + cycles
        periods, rest = divmod(self._usable(begin) + cycles, period - refresh)
        return periods * period + rest if rest else periods * period - refresh
