"""The model of time: cycles of a program, engine by engine, and what the memory port does.

The same sequencer as the bit-exact machine's dispatches instructions, as fast as the hardware's
(`dyncc.arch.skipopu.isa.dispatch_cycles`); engines take the steps of `engines` and the cycles of
`costs`, and wait for bytes of the one `port`. `calibration` holds the model against the hardware
and says what is left out (docs/skipopu-calibration.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy

from dyncc.arch.skipopu.isa import (
    ENGINES,
    R_TOKENS,
    REGISTER_BITS,
    Engine,
    Op,
    Pred,
    SetMode,
    dispatch_cycles,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_sim.skipopu.costs import GRANT, SUPPRESSED, Costs
from dyncc_sim.skipopu.engines import Engines
from dyncc_sim.skipopu.flow import Events, Source
from dyncc_sim.skipopu.outcomes import Outcomes
from dyncc_sim.skipopu.port import Port
from dyncc_sim.skipopu.program_fetch import ProgramFetch
from dyncc_sim.skipopu.sequencer import Sequencer, Work
from dyncc_sim.skipopu.trap import Fault


@dataclass
class EngineTime:
    """What an engine did.

    Attributes
    ----------
    busy
        Cycles in which it worked.
    stalled
        Cycles in which it had an instruction and waited for bytes. The load and store engines do
        nothing but wait for the port, so for them all cycles of their instructions count as busy.
    instructions, suppressed
        Instructions carried out, and those that only waited and released.
    """

    busy: float = 0.0
    stalled: float = 0.0
    instructions: int = 0
    suppressed: int = 0


@dataclass(frozen=True)
class Span:
    """An instruction on the time line.

    Attributes
    ----------
    engine, op, pc
        Which one, and its place in the program.
    begin, end
        Cycles.
    busy
        Cycles in which it worked.
    suppressed
        Whether it only waited and released.
    """

    engine: Engine
    op: Op
    pc: int
    begin: float
    end: float
    busy: float
    suppressed: bool


@dataclass
class Timing:
    """Cycles and bytes of programs.

    Attributes
    ----------
    arch
        The instance.
    tokens
        Tokens that programs worked on.
    cycles
        From the first instruction to `Op.HALT`.
    engines
        By engine; the sequencer is busy for one cycle an instruction.
    port_busy
        Cycles in which the port moved bytes, those of refreshes in between included.
    moved
        Bytes by source.
    dense_bytes
        Bytes that would have been read if nothing was skipped, and no key or value reused.
    multiplications
        Products of the PE array.
    fetched
        Slots of keys and values that came from memory.
    order
        Places in the program of each engine's instructions.
    registers
        At the end.
    spans
        The time line, if it was wanted.
    transfers
        Source, begin and end of what the port did, if it was wanted.
    """

    arch: ArchSpec
    tokens: int = 0
    cycles: float = 0.0
    engines: dict[Engine, EngineTime] = field(
        default_factory=lambda: {engine: EngineTime() for engine in Engine}
    )
    port_busy: float = 0.0
    moved: Counter[Source] = field(default_factory=Counter)
    dense_bytes: int = 0
    multiplications: int = 0
    fetched: int = 0
    order: dict[Engine, list[int]] = field(
        default_factory=lambda: {engine: [] for engine in Engine}
    )
    registers: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    transfers: list[tuple[Source, float, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Time."""
        return self.cycles / self.arch.clk_hz

    @property
    def tokens_s(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds

    @property
    def bytes_read(self) -> int:
        """Bytes that engines read; the program's own are not among them."""
        return sum(self.moved.values()) - self.moved[Source.WRITES] - self.moved[Source.PROGRAM]

    @property
    def bytes_written(self) -> int:
        """Bytes that were written."""
        return self.moved[Source.WRITES]

    @property
    def bandwidth_used(self) -> float:
        """Bytes moved, as a part of those that the port could have moved at its peak."""
        moved = sum(self.moved.values())
        return moved / (self.cycles * self.arch.memory_bytes_per_cycle)

    @property
    def effective_bytes_s(self) -> float:
        """Bytes a second that a machine which skips nothing would need for the same speed."""
        return self.dense_bytes / self.seconds


def simulate(
    arch: ArchSpec,
    program: Sequence[int],
    registers: dict[int, int],
    outcomes: Outcomes,
    *,
    record: bool = False,
) -> Timing:
    """Time a program.

    Parameters
    ----------
    program
        Words.
    registers
        What registers hold at the start, by number; the others hold 0.
    outcomes
        What it decides.
    record
        Whether the time line is wanted.

    Raises
    ------
    TrapError
        If the program is stopped.
    ConfigError
        If the instance cannot run it at any speed.
    """
    return _Simulation(arch, program, registers, outcomes, record).run()


class _Simulation:
    def __init__(
        self, arch: ArchSpec, program: Sequence[int], registers: dict[int, int],
        outcomes: Outcomes, record: bool,
    ) -> None:  # fmt: skip
        self._arch, self._outcomes, self._record = arch, outcomes, record
        self._found = Timing(arch)
        self._costs = Costs(arch)
        self._events = Events()
        self._port = Port(arch, self._events, self._transfer if record else None)
        self._sequencer = Sequencer(
            program, registers, arch.tokens, outcomes.predicates, outcomes.streamed
        )
        #: Whether the sequencer waits for an engine.
        self._waiting = False
        self._engines = Engines(arch, self._costs, self._events, self._port)
        self._fetch = ProgramFetch(arch, self._events, self._port, len(program))

    def run(self) -> Timing:
        sequencer, found = self._sequencer, self._found
        self._outcomes.start(sequencer.registers)
        found.tokens = sequencer.registers[R_TOKENS]
        self._decode()
        while not sequencer.halted:
            if not self._events.step():
                raise sequencer.deadlock()
        self._outcomes.end(sequencer.registers)
        found.cycles = self._events.now + 1
        found.port_busy = min(self._port.busy, found.cycles)
        found.moved = self._port.moved
        found.registers = sequencer.registers
        return found

    # --- what runs when -----------------------------------------------------------------------

    def _decode(self) -> None:
        """Wait for the next instruction, and take as long for it as the sequencer does."""
        cycles = 0
        pc = self._sequencer.pc
        if pc < len(self._sequencer.program):
            instruction = self._sequencer.decoded(pc)
            cycles = dispatch_cycles(instruction.op)
            if instruction.op == Op.SETR:
                mode = instruction.fields["mode"]
                if mode == SetMode.ADD:
                    cycles += 1
                elif mode == SetMode.MULTIPLY:
                    number = instruction.fields["imm"]
                    cycles += 2 + (number.bit_length() if number >= 0 else REGISTER_BITS)
        last = max(0, cycles - 1)
        self._fetch.take(pc, lambda: self._events.at(self._events.now + last, self._dispatch))

    def _dispatch(self) -> None:
        """Dispatch an instruction; engines see it in the next cycle."""
        self._waiting = not self._sequencer.dispatch()
        if not self._waiting:
            own = self._found.engines[Engine.SEQUENCER]
            own.instructions += 1
            own.busy += 1
            self._events.at(self._events.now + 1, self._dispatched)

    def _dispatched(self) -> None:
        self._start_engines()
        if not self._sequencer.halted:
            self._decode()

    def _start_engines(self) -> None:
        running = self._sequencer.running
        while True:
            # A load that starts lets those start that take its rows.
            ready = [engine for engine in self._sequencer.ready() if engine not in running]
            if not ready:
                return
            for engine in ready:
                self._grant(self._sequencer.start(engine))

    def _grant(self, work: Work) -> None:
        if work.instruction.wait:
            self._events.at(self._events.now + GRANT, lambda: self._start(work))
        else:
            self._start(work)

    def _start(self, work: Work) -> None:
        begin, everyone = self._events.now, numpy.ones_like(work.active)
        found, costs = self._found, self._costs
        end = work.position + len(everyone)
        # Tokens of the batch are resident already, as far as there are places for them.
        alone = work.position + max(0, end - max(work.position, self._arch.kv_tokens))
        fetched = 0 if work.suppressed else self._execute(work)
        if work.instruction.pred not in (Pred.NOT_A, Pred.NOT_M):
            found.dense_bytes += costs.traffic(work, everyone, alone).read
        if work.suppressed:
            self._end(work, begin, begin + SUPPRESSED, SUPPRESSED)
            return
        found.fetched += fetched
        found.multiplications += costs.multiplications(work)
        self._engines.carry_out(
            work, fetched, lambda end, busy: self._end(work, begin, end, min(busy, end - begin))
        )

    def _execute(self, work: Work) -> int:
        try:
            return self._outcomes.execute(work)
        except Fault as fault:
            raise self._sequencer.trap(fault.trap, work.pc, fault.detail) from fault

    def _end(self, work: Work, begin: float, end: float, busy: float) -> None:
        self._events.at(end, lambda: self._finish(work, begin, busy))

    def _finish(self, work: Work, begin: float, busy: float) -> None:
        engine, end = ENGINES[work.instruction.op], self._events.now
        self._sequencer.finish(work)
        self._outcomes.finish(work)
        time = self._found.engines[engine]
        time.busy += busy
        time.stalled += end - begin - busy
        time.suppressed += work.suppressed
        time.instructions += not work.suppressed
        self._found.order[engine].append(work.pc)
        if self._record:
            span = Span(engine, work.instruction.op, work.pc, begin, end, busy, work.suppressed)
            self._found.spans.append(span)
        self._start_engines()
        if self._waiting:
            self._dispatch()

    def _transfer(self, source: Source, begin: float, end: float) -> None:
        self._found.transfers.append((source, begin, end))
