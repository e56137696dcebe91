"""The simulator: runs programs bit by bit, without a notion of time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from dyncc.arch.skipopu.isa import R_NEXT_SLOT, R_SLOT_LIMIT
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.sequencer import Sequencer
from dyncc_sim.skipopu.trace import Trace
from dyncc_sim.skipopu.trap import Fault


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
        Chooses which engine goes on next where several could; None for the first. A program is
        right only if the outcome does not depend on it.
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
            program, registers, self.arch.tokens, executor.predicates, executor.streamed
        )
        executor.next_slot = sequencer.registers[R_NEXT_SLOT]
        executor.slot_limit = sequencer.registers[R_SLOT_LIMIT]
        while True:
            moved = False
            while sequencer.dispatch():
                moved = True
            ready = sequencer.ready()
            if ready:
                choice = 0 if self._order is None else int(self._order.integers(len(ready)))
                work = sequencer.start(ready[choice])
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
