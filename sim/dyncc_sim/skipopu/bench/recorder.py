"""What the machine did when: its instructions and what moved through its port, for pictures."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from dyncc.arch.skipopu.csr import CLIENTS, WRITERS
from dyncc.arch.skipopu.isa import Engine, Op
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.control.sequencer import WORKERS
from dyncc_hw.skipopu.machine import machine_members
from dyncc_sim.skipopu.bench.burst_memory import Fields

if TYPE_CHECKING:
    from dyncc_sim.skipopu.bench.machine_bench import Bench

#: Transfers of one client that are no more cycles apart are one.
_GAP = 32


class Recorder:
    """Notes when instructions begin and end, and who moves words.

    Requests are carried out in the order in which the port takes them, reads and writes each, so
    that each word is that of the oldest one that still wants words. With words of two bytes, as
    many as requests are multiples of, a request has half as many words as bytes.

    Raises
    ------
    ValueError
        If the bus has other words.
    """

    def __init__(self, bench: Bench, arch: ArchSpec) -> None:
        if arch.bus_bytes != 2:
            raise ValueError(f"a recorder needs words of 2 bytes, not of {arch.bus_bytes}")
        self._bench = bench
        self._taken = Fields(machine_members(arch)["taken"].shape)
        self.clear()

    def clear(self) -> None:
        """A program begins."""
        self._begun = [0] * len(WORKERS)
        self._idle = [0] * len(WORKERS)
        self._spans: list[list[Any]] = []
        self._transfers: list[list[Any]] = []
        # Client and words that are still to come, of requests on their way.
        self._reads: deque[list[int]] = deque()
        self._writes: deque[list[int]] = deque()
        self._words = self._bench.memory.words_read, self._bench.memory.words_written

    def look(self, begun: int, finished: int) -> None:
        """A cycle; engines that begin and end an instruction."""
        bench = self._bench
        memory, cycle = bench.memory, bench.cycle
        words = memory.words_read, memory.words_written
        for queue, now, before in zip((self._reads, self._writes), words, self._words, strict=True):
            if now != before:
                self._moved(queue)
        self._words = words
        if (taken := int(bench.dut.taken.value)) & 1:
            told = self._taken(taken)
            writes = CLIENTS[told["client"]] in WRITERS
            queue = self._writes if writes else self._reads
            queue.append([told["client"], told["bytes"] // 2])
        engines = int(bench.dut.trace__engines.value)
        for index, engine in enumerate(WORKERS):
            told = bench.engine(engines >> (bench.engine_bits * index))
            if begun >> index & 1:
                self._begun[index], self._idle[index] = cycle, 0
            # Loads do nothing but wait.
            if engine != Engine.LOAD:
                self._idle[index] += told["starved"]
            if finished >> index & 1:
                first = self._begun[index]
                busy = cycle - first - self._idle[index]
                self._spans.append(
                    [engine.name, Op(told["op"]).name, told["pc"], first, cycle, busy,
                     told["suppressed"]]
                )  # fmt: skip

    def _moved(self, queue: deque[list[int]]) -> None:
        """A word of the oldest request."""
        assert queue, "a word moved that nobody asked for"
        cycle, head = self._bench.cycle, queue[0]
        name = CLIENTS[head[0]]
        last: list[Any] = self._transfers[-1] if self._transfers else ["", 0, 0]
        if last[0] == name and cycle - last[2] <= _GAP:
            last[2] = cycle + 1
        else:
            self._transfers.append([name, cycle, cycle + 1])
        head[1] -= 1
        if not head[1]:
            queue.popleft()

    def report(self) -> dict[str, Any]:
        """Instructions (engine, opcode, place, begin, end, cycles of work, whether suppressed) in
        the order of their ends, and transfers (client, begin, end).
        """
        return {"spans": self._spans, "transfers": self._transfers}
