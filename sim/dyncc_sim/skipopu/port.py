"""The memory port in time, and bytes that flow through it.

The port serves one transfer at a time, in pieces: first those that somebody waits for, in turn,
then the stream of matrices, which is loaded ahead as far as its buffer allows. A piece of the
stream is cut off at the end of a burst when somebody comes who waits; requests of the stream that
are on their way by then come first.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_sim.skipopu.flow import Done, Events, Flow, Source, Tile

#: A piece is this part of the stream's buffer.
_PIECES = 16
#: Cycles from a request to its first burst: it is chosen, checked, and cut.
REQUEST_CYCLES = 6
#: Requests of the stream between those on their way and one that comes: checked, and being cut.
_AHEAD = 2
#: Cycles from a burst that is written to the next, if there is one at a time.
_WRITTEN = 3
#: Cycles from a word of the stream to the tile that it completes.
_UNPACK_CYCLES = 7
#: The stream is asked for so many words of the bus together at least.
_CHUNK_WORDS = 8


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
        #: Cycles of a burst with the pause behind it, as there are so many requests on their way,
        #: each of which takes the latency too.
        turn = max(burst, (arch.memory_latency_cycles + burst) / arch.memory_requests)
        self._pause = turn - burst
        self._late = arch.memory_latency_cycles - self._pause
        self.rate = arch.burst_bytes / turn
        #: Bytes of the stream that come before a request that finds it at work.
        known = (REQUEST_CYCLES + arch.memory_latency_cycles) / turn
        ahead = arch.memory_requests + _AHEAD - 1 - known
        self._ahead = max(0, int(ahead * arch.burst_bytes))
        self._turn = turn
        behind = _AHEAD - REQUEST_CYCLES / turn
        self._written = max(0, min(self._ahead, int(behind * arch.burst_bytes)))
        #: When the last transfer beside the stream ended.
        self._last = -math.inf
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
        chunk = max(arch.burst_bytes, _CHUNK_WORDS * arch.bus_bytes)
        self.stream = Flow(
            self, Source.MATRICES, arch.stream_bytes, arch.memory_latency_cycles, self._late,
            _UNPACK_CYCLES, (arch.memory_requests + 1) * chunk,
        )  # fmt: skip

    def read(
        self, source: Source, size: int, done: Callable[[float], None], least: float = 0.0,
        first: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        """Read.

        Parameters
        ----------
        done, first
            Called with the time at which the last byte arrives, and the first.
        least
            Cycles that the reader needs to take all; until then the port waits for it.
        """
        self.flow(
            source, size, [(size, 0.0)], math.inf, lambda time, _: done(time), least=least,
            first=first,
        )  # fmt: skip

    def write(self, size: int, done: Callable[[float], None], least: float = 0.0) -> None:
        """Write; `done` is called with the time at which memory has taken all."""
        self.flow(
            Source.WRITES, size, [(size, 0.0)], math.inf, lambda time, _: done(time), least=least
        )

    def flow(
        self, source: Source, size: int, tiles: Iterable[Tile], capacity: float, done: Done,
        *, least: float = 0.0, first: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        """Move bytes and work on them tile by tile, from now on."""
        if source == Source.WRITES:
            latency, late = 0.0, float(_WRITTEN)
        else:
            latency, late = float(self._arch.memory_latency_cycles), self._late
        found = Flow(self, source, capacity, latency, late, least=least)
        found.take(tiles, self._events.now, done)
        if size:
            delay = self._delay(source == Source.WRITES)
            self._events.at(self._events.now + delay, lambda: self._ask(found, size, first))

    def _ask(self, flow: Flow, size: int, first: Callable[[float], None] | None) -> None:
        self._others.append(flow)
        flow.load(size, first)

    def _delay(self, writes: bool) -> float:
        """Cycles until a request that comes now is before memory.

        One that writes does not wait for words that are on their way from memory.
        """
        if self._serving is None or self._serving[0] is not self.stream:
            return REQUEST_CYCLES
        # Behind another one there is only the request that was checked meanwhile.
        follows = self._events.now - self._last <= self._turn
        most = self._written if writes else self._ahead
        if follows:
            most = min(most, self._arch.burst_bytes)
        size, _ = self.stream.next_piece(self._events.now, most)
        return REQUEST_CYCLES + size / self.rate

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
        self._end_at(self._after(begin, self._cycles(flow, size)))
        flow.begin_piece(begin)

    def _cycles(self, flow: Flow, size: int) -> float:
        """Cycles of a piece: its words, and pauses behind bursts."""
        arch = self._arch
        words = -(-size // arch.bus_bytes) * arch.bus_bytes / arch.memory_bytes_per_cycle
        pause = self._pause
        if flow.source == Source.WRITES and pause:
            pause = _WRITTEN
        found = words + pause * -(-size // arch.burst_bytes)
        return max(found, flow.least * size / flow.wanted)

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
        if flow is not self.stream:
            self._last = end
            if flow.pending:
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
