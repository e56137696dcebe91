"""What engines do with an instruction, in time: waits, transfers of the port, tiles of the stream.

Each instruction is a chain of steps, taken from the states of the hardware in
`dyncc_hw.skipopu`; the cycles are those of `costs`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable

from dyncc.arch.skipopu.formats import kv_slot_bytes
from dyncc.arch.skipopu.isa import ATTENTION_TILE, LoadMode, Op
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_sim.skipopu.costs import (
    DONE,
    ENTRY_BYTES,
    ROUTER_ROWS,
    STORE_AFTER,
    STORE_START,
    TURN,
    Costs,
)
from dyncc_sim.skipopu.flow import Events, Source
from dyncc_sim.skipopu.port import Port
from dyncc_sim.skipopu.sequencer import Work

#: Goes on when it is done.
Step = Callable[[Callable[[], None]], None]
#: Called with the time at which an instruction is done, and the cycles in which its engine worked.
End = Callable[[float, float], None]


class Engines:
    """Carries out instructions.

    Parameters
    ----------
    arch
        The instance.
    costs, events, port
        Of it.
    """

    def __init__(self, arch: ArchSpec, costs: Costs, events: Events, port: Port) -> None:
        self._arch, self._costs, self._events, self._port = arch, costs, events, port
        #: Rows of each matrix in the stream that were not taken, and whether that is all of them.
        self._matrices: deque[tuple[int, bool]] = deque()

    def carry_out(self, work: Work, fetched: int, end: End) -> None:
        """Carry out an instruction that is not suppressed, from now on.

        Parameters
        ----------
        fetched
            Slots that attention has to fetch.
        end
            Called once it is known when it is done.
        """
        op = work.instruction.op
        if op == Op.ATTN:
            self._attend(work, fetched, end)
        elif op in (Op.GEMV, Op.GEMM) or (op == Op.ROUTE and work.values["route"]):
            self._take_rows(work, end)
        elif op == Op.LD and work.values["mode"] == LoadMode.WEIGHTS:
            self._load_matrix(work, end)
        elif op == Op.LD:
            self._wait_for_port(self._rows(work), end)
        elif op == Op.ST:
            self._wait_for_port(self._stored(work), end)
        elif op in (Op.KVAPP, Op.KVSEL):
            steps = self._appended(work) if op == Op.KVAPP else self._selected(work)
            self._work(steps, self._costs.kv_cycles(work), end)
        else:
            read = self._costs.traffic(work, work.active, 0).read
            cycles = self._costs.vector_cycles(work) + TURN
            steps = [self._wait(cycles)]
            if read:
                steps.insert(0, self._read(Source.VECTORS, read))
            self._work(steps, cycles, end)

    # --- steps --------------------------------------------------------------------------------

    def _wait(self, cycles: float) -> Step:
        return lambda go: self._events.at(self._events.now + cycles, go)

    def _read(self, source: Source, size: int, least: float = 0.0) -> Step:
        """Read; whoever takes the bytes needs so many cycles at least."""
        return lambda go: self._port.read(
            source, size, lambda time: self._events.at(time, go), least
        )

    def _write(self, size: int, least: float = 0.0) -> Step:
        return lambda go: self._port.write(size, lambda time: self._events.at(time, go), least)

    def _write_made(self, size: int, cycles: float) -> Step:
        """Write what takes so many cycles to be made, and is made while the port is asked."""

        def step(go: Callable[[], None]) -> None:
            made = self._events.now + cycles
            self._port.write(size, lambda time: self._events.at(max(time, made), go))

        return step

    def _chain(self, steps: Iterable[Step], then: Callable[[], None]) -> None:
        left = iter(steps)

        def go() -> None:
            step = next(left, None)
            if step is None:
                then()
            else:
                step(go)

        go()

    def _work(self, steps: Iterable[Step], busy: float, end: End) -> None:
        """Steps, in some cycles of which the engine works."""
        self._chain(steps, lambda: end(self._events.now, busy))

    def _wait_for_port(self, steps: Iterable[Step], end: End) -> None:
        """Steps of engines that do nothing but wait for the port: all their cycles are busy."""
        begin = self._events.now
        self._chain(steps, lambda: end(self._events.now, self._events.now - begin))

    # --- memory -------------------------------------------------------------------------------

    def _load_matrix(self, work: Work, end: End) -> None:
        """Done when its first word is there."""
        v, begin = work.values, self._events.now
        self._matrices.append((v["rows"], True))
        size = self._costs.traffic(work, work.active, 0).read

        def arrived(time: float) -> None:
            done = time + DONE
            end(done, done - begin)

        tiles = self._costs.stream_tiles(work)
        self._events.at(
            begin + self._costs.matrix_setup(work),
            lambda: self._port.stream.load(size, arrived, tiles),
        )

    def _rows(self, work: Work) -> list[Step]:
        """Rows of tokens one after the other, or one for all of them."""
        v, costs, source = work.values, self._costs, Source.VECTORS
        numbered = v["mode"] == LoadMode.ROW_Q8_0
        tokens = int(work.active.sum())
        size, least = costs.row_bytes(work), costs.row_cycles(work)
        before, between, after = costs.row_setup(work)
        steps = [self._wait(before)]
        for _ in range(tokens if numbered or v["index"] else 1):
            if numbered:
                steps += [self._read(source, ENTRY_BYTES), self._wait(between)]
            steps += [self._read(source, size, least), self._wait(after)]
        return steps

    def _stored(self, work: Work) -> list[Step]:
        costs, size = self._costs, 4 * work.values["columns"]
        steps = [self._wait(STORE_START)]
        for _ in range(int(work.active.sum())):
            cycles = costs.store_cycles(work)
            steps += [self._write(size, cycles), self._wait(STORE_AFTER)]
        return steps

    def _selected(self, work: Work) -> list[Step]:
        costs = self._costs
        steps = [self._wait(costs.kv_setup(work))]
        for _ in range(int(work.active.sum())):
            if not work.values["evict"]:
                steps += [self._wait(1), self._read(Source.KV, ENTRY_BYTES)]
            steps += [self._wait(2), self._write(ENTRY_BYTES), self._wait(costs.kv_after(work))]
        return steps

    def _appended(self, work: Work) -> list[Step]:
        costs, v = self._costs, work.values
        slot = kv_slot_bytes(self._arch.kv, v["kv_heads"], v["head_size"])
        steps = [self._wait(costs.kv_setup(work))]
        for _ in range(int(work.active.sum())):
            steps += [
                self._wait(3), self._write_made(slot, costs.slot_cycles(work)),
                self._write(ENTRY_BYTES), self._wait(costs.kv_after(work)),
            ]  # fmt: skip
        return steps

    # --- the array ----------------------------------------------------------------------------

    def _take_rows(self, work: Work, end: End) -> None:
        op, begin, costs = work.instruction.op, self._events.now, self._costs
        rows, fresh = self._matrices.popleft()
        left = rows - (ROUTER_ROWS if op == Op.ROUTE else work.values["rows"])
        if left:
            self._matrices.appendleft((left, False))
        before, after = costs.product_fill(work)
        self._port.stream.take(
            costs.tiles(work, fresh), begin + before,
            lambda time, busy: end(time + after, before + busy + after),
        )  # fmt: skip

    def _attend(self, work: Work, fetched: int, end: End) -> None:
        """The table, then slots: those that have no place on chip, and others evenly spread."""
        v, arch, costs = work.values, self._arch, self._costs
        table = costs.table_bytes(work, work.active)
        positions = table // ENTRY_BYTES
        tiles = -(-positions // ATTENTION_TILE)
        slot = kv_slot_bytes(arch.kv, v["kv_heads"], v["head_size"])
        first = min(positions, arch.kv_tokens) or positions
        beyond = min(fetched, positions - first)
        spread = fetched - beyond
        ends = []
        for tile in range(tiles + 1):
            place = min(positions, ATTENTION_TILE * tile)
            near = spread * min(place, first) // first
            far = beyond * max(0, place - first) // max(1, positions - first)
            ends.append((near + far) * slot)
        cycles, rest = costs.attention(work, tiles)
        parts = [
            (high - low, each)
            for (low, high), each in zip(itertools.pairwise(ends), cycles, strict=True)
        ]
        # Slots that have a place in the history buffer wait there, others in room for two tiles.
        room = slot * max(arch.kv_tokens, 2 * ATTENTION_TILE)
        before = costs.attention_setup(work, min(positions, ATTENTION_TILE))
        least = costs.slots_cycles(work, fetched)

        def served() -> None:
            self._port.flow(
                Source.KV, slot * fetched, parts, room,
                lambda time, busy: end(time + rest, busy + rest), least=least,
            )  # fmt: skip

        self._chain([self._read(Source.KV, table), self._wait(before)], served)
