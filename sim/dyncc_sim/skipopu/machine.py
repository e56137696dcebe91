"""The simulator: runs programs bit by bit, without a notion of time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy

from dyncc.arch.skipopu.isa import QUEUE_DEPTH, R_NEXT_SLOT, Engine, LoadMode, Op
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.sequencer import Sequencer, Work
from dyncc_sim.skipopu.trace import Trace
from dyncc_sim.skipopu.trap import Fault

#: How often engines get other ranks in a random order.
_RERANK = 1 / 16


class Machine:
    """A SkipOPU with its memory.

    Parameters
    ----------
    arch
        The instance.
    memory
        What it reads and writes.
    trace
        Collects what it does; None for nothing.
    order
        Chooses which engine goes on next where several could, and matrices are loaded ahead
        without a limit. None for the first engine, and one matrix in the stream at a time: a
        program that needs more hangs. A right program does the same in any order.
    """

    def __init__(
        self,
        arch: ArchSpec,
        memory: Memory,
        trace: Trace | None = None,
        order: numpy.random.Generator | None = None,
    ) -> None:
        self.arch = arch
        self.memory = memory
        self.executor = Executor(arch, memory)
        self.trace = trace
        self._order = order
        #: An engine of a high rank waits for as long as others can go on.
        self._ranks = numpy.arange(len(Engine))

    def run(self, program: Sequence[int], registers: dict[int, int]) -> list[int]:
        """Run a program to its end.

        Parameters
        ----------
        program
            Words.
        registers
            What registers hold at the start, by number; the others hold 0.

        Returns
        -------
        list of int
            The registers at the end.

        Raises
        ------
        TrapError
            If the program is stopped.
        """
        executor = self.executor
        sequencer = Sequencer(
            program, registers, self.arch.tokens, executor.predicates, self._streamed
        )
        executor.start(sequencer.registers)
        while True:
            moved = self._dispatch(sequencer)
            ready = sequencer.ready()
            if ready:
                work = sequencer.start(self._choose(ready))
                written = None
                if not work.suppressed:
                    try:
                        written = executor.execute(work)
                    except Fault as fault:
                        raise sequencer.trap(fault.trap, work.pc, fault.detail) from fault
                sequencer.finish(work)
                if self.trace is not None:
                    self.trace.add(work, written)
            elif sequencer.halted:
                break
            elif not moved:
                raise sequencer.deadlock()
        sequencer.registers[R_NEXT_SLOT] = executor.next_slot
        return sequencer.registers

    def _dispatch(self, sequencer: Sequencer) -> bool:
        """Dispatch what can be; in a random order, at times only little. Whether there was any."""
        limit = math.inf if self._order is None else self._order.integers(1, 2 * QUEUE_DEPTH)
        count = 0
        while count < limit and sequencer.dispatch():
            count += 1
        return count > 0

    def _choose(self, ready: list[Engine]) -> Engine:
        if self._order is None:
            return ready[0]
        if self._order.random() < _RERANK:
            self._ranks = self._order.permutation(len(Engine))
        return min(ready, key=lambda engine: int(self._ranks[engine]))

    def _streamed(self, work: Work) -> bool:
        """Whether an instruction may start, as far as the stream of matrices is concerned."""
        if work.instruction.op == Op.LD and work.values["mode"] == LoadMode.WEIGHTS:
            return self._order is not None or self.executor.idle_stream
        return self.executor.streamed(work)
