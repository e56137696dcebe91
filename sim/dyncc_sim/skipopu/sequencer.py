"""Dispatch: the program counter, registers, loops, queues of engines, semaphores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu.isa import (
    BODIES,
    COUNT_BITS,
    ENGINES,
    LOOP_DEPTH,
    QUEUE_DEPTH,
    R_CONTEXT,
    R_POSITION,
    R_TOKENS,
    R_ZERO,
    REGISTER_BITS,
    REGISTERS,
    SEMAPHORE_BITS,
    SEMAPHORES,
    Engine,
    Instruction,
    Op,
    Pred,
    SetMode,
    Trap,
    decode,
)
from dyncc_sim.skipopu.trap import TrapError

Mask = NDArray[numpy.bool_]
_LIMIT = (1 << REGISTER_BITS) - 1
_MOST_COUNT = (1 << COUNT_BITS) - 1
_MOST_RELEASES = (1 << SEMAPHORE_BITS) - 1
#: Semaphores of each mask.
_BITS = tuple(
    tuple(bit for bit in range(SEMAPHORES) if mask >> bit & 1) for mask in range(1 << SEMAPHORES)
)
#: The same words come with every token.
_decoded = lru_cache(maxsize=1 << 16)(decode)


def holders(pred: Pred, attention: Mask, mlp: Mask) -> Mask:
    """Tokens that have a predicate, from those that run attention and the MLP."""
    if pred == Pred.ALWAYS:
        return numpy.ones(len(attention), bool)
    mask = attention if pred in (Pred.A, Pred.NOT_A) else mlp
    return ~mask if pred in (Pred.NOT_A, Pred.NOT_M) else mask.copy()


@cache
def _operands(op: Op) -> tuple[tuple[str, int | None], ...]:
    """Names of an instruction's fields, and the most that those hold which name registers."""
    return tuple(
        (item.name, (1 << item.value_bits) - 1 if item.register else None)
        for item in BODIES[op]
        if item.name != "reserved"
    )


@dataclass(frozen=True)
class Work:
    """An instruction in the queue of its engine.

    Attributes
    ----------
    number
        Counts what was dispatched.
    pc, instruction
        Where it stands, and what it is.
    values
        Of its fields; registers' contents when it was dispatched.
    active
        Tokens that it works on, bool of shape (tokens,); none if it is suppressed.
    position, context
        Position of the batch's first token, and positions of a row of the table.
    """

    number: int
    pc: int
    instruction: Instruction
    values: dict[str, int]
    active: Mask
    position: int
    context: int

    @cached_property
    def suppressed(self) -> bool:
        """Whether it only waits and releases."""
        return not self.active.any()


class Sequencer:
    """Takes instructions in order and hands them to engines.

    Parameters
    ----------
    program
        Words.
    registers
        What registers hold at the start, by number.
    most_tokens
        Largest batch.
    predicates
        Gives the tokens that have a predicate, bool of shape (tokens,).
    streamed
        Whether the rows of a matrix that an instruction takes are coming.
    """

    def __init__(
        self,
        program: Sequence[int],
        registers: dict[int, int],
        most_tokens: int,
        predicates: Callable[[Pred, int], Mask],
        streamed: Callable[[Work], bool],
    ) -> None:
        self.program = program
        self._decoded: dict[int, Instruction] = {}
        self.registers = [registers.get(number, 0) for number in range(REGISTERS)]
        self.registers[R_ZERO] = 0
        self._most_tokens = most_tokens
        self._predicates = predicates
        self._streamed = streamed
        self.pc = 0
        self.halted = False
        self._loops: list[list[int]] = []
        self.queues: dict[Engine, deque[Work]] = {engine: deque() for engine in Engine}
        #: What engines work on.
        self.running: dict[Engine, Work] = {}
        self.semaphores = [0] * SEMAPHORES
        self.dispatched = 0
        #: Instructions handed out and not done yet, and how many of these decide routes.
        self.open = self.open_routes = 0

    def dispatch(self) -> bool:
        """Take one instruction; False if it has to wait, or the program has halted."""
        if self.halted:
            return False
        instruction = self._fetch()
        engine = ENGINES[instruction.op]
        if instruction.op in (Op.SYNC, Op.HALT) and self.open:
            return False
        if instruction.pred != Pred.ALWAYS and self.open_routes:
            return False
        if engine == Engine.SEQUENCER:
            if not self._may_start(instruction):
                return False
            self._take(instruction)
            self._own(instruction)
            return True
        if len(self.queues[engine]) == QUEUE_DEPTH:
            return False
        tokens = self.registers[R_TOKENS]
        if not 1 <= tokens <= self._most_tokens:
            raise self.trap(
                Trap.SHAPE, self.pc, f"a batch of {tokens} tokens, not 1..{self._most_tokens}"
            )
        fields, registers = instruction.fields, self.registers
        values = {
            name: fields[name] if most is None else min(registers[fields[name]], most)
            for name, most in _operands(instruction.op)
        }
        active = self._predicates(instruction.pred, tokens)
        position, context = (min(registers[n], _MOST_COUNT) for n in (R_POSITION, R_CONTEXT))
        self.queues[engine].append(
            Work(self.dispatched, self.pc, instruction, values, active, position, context)
        )
        self.dispatched += 1
        self.open += 1
        self.open_routes += instruction.op == Op.ROUTE
        self._advance(self.pc)
        return True

    def decoded(self, number: int) -> Instruction:
        """An instruction of the program.

        Raises
        ------
        TrapError
            If it is undefined.
        """
        found = self._decoded.get(number)
        if found is None:
            try:
                found = _decoded(self.program[number])
            except ValueError as error:
                raise self.trap(Trap.OPCODE, number, str(error)) from error
            self._decoded[number] = found
        return found

    def ready(self) -> list[Engine]:
        """Engines whose next instruction may start."""
        return [
            engine
            for engine, queue in self.queues.items()
            if queue
            and self._may_start(queue[0].instruction)
            and (queue[0].suppressed or self._streamed(queue[0]))
        ]

    def start(self, engine: Engine) -> Work:
        """Take the next instruction of an engine, and from the semaphores that it waits for."""
        work = self.running[engine] = self.queues[engine].popleft()
        self._take(work.instruction)
        return work

    def finish(self, work: Work) -> None:
        """An instruction is done: release."""
        del self.running[ENGINES[work.instruction.op]]
        self._release(work.instruction)
        self.open -= 1
        self.open_routes -= work.instruction.op == Op.ROUTE

    def trap(self, trap: Trap, pc: int, detail: str) -> TrapError:
        """The error of a program that is stopped, with the state of all engines."""
        states = [f"semaphores {self.semaphores}"]
        for engine, queue in self.queues.items():
            parts = []
            if engine in self.running:
                work = self.running[engine]
                parts.append(f"works on {work.instruction.op.name} of {work.pc}")
            if queue:
                head = queue[0]
                parts.append(
                    f"{head.instruction.op.name} of {head.pc}, waits "
                    f"{head.instruction.wait:06b}, {len(queue)} queued"
                )
            if parts:
                states.append(f"{engine.name}: {', '.join(parts)}")
        return TrapError(trap, pc, detail, "; ".join(states))

    def deadlock(self) -> TrapError:
        """The error of a program in which nothing can move."""
        return self.trap(
            Trap.DEADLOCK, self.pc, "no engine can start and nothing can be dispatched"
        )

    def _fetch(self) -> Instruction:
        if not 0 <= self.pc < len(self.program):
            raise self.trap(
                Trap.RUNAWAY, self.pc, f"the program has {len(self.program)} instructions"
            )
        return self.decoded(self.pc)

    def _own(self, instruction: Instruction) -> None:
        """Carry out an instruction of the sequencer's own."""
        here = self.pc
        if instruction.pred != Pred.ALWAYS:
            tokens = max(1, min(self.registers[R_TOKENS], self._most_tokens))
            if not self._predicates(instruction.pred, tokens).any():
                self._release(instruction)
                self._skip(instruction)
                return
        if instruction.op == Op.HALT:
            self.halted = True
            return
        if instruction.op == Op.SETR:
            self._set(instruction.fields)
        if instruction.op == Op.LOOP:
            self._loop(instruction.fields)
        self._release(instruction)
        if instruction.op == Op.LOOP and self.registers[instruction.fields["count"]] == 0:
            self.pc = here + instruction.fields["length"]
            self._advance(self.pc)
        elif instruction.op == Op.LOOP:
            self.pc = here + 1
        else:
            self._advance(here)

    def _skip(self, instruction: Instruction) -> None:
        """A suppressed LOOP leaves out its body."""
        if instruction.op == Op.LOOP:
            self.pc += instruction.fields["length"]
        self._advance(self.pc)

    def _may_start(self, instruction: Instruction) -> bool:
        wait = instruction.wait
        return not wait or all(self.semaphores[bit] for bit in _BITS[wait])

    def _take(self, instruction: Instruction) -> None:
        for bit in _BITS[instruction.wait]:
            self.semaphores[bit] -= 1

    def _release(self, instruction: Instruction) -> None:
        for bit in _BITS[instruction.release]:
            if self.semaphores[bit] == _MOST_RELEASES:
                raise self.trap(Trap.SEMAPHORE, self.pc, f"semaphore {bit} at {_MOST_RELEASES}")
            self.semaphores[bit] += 1

    def _set(self, fields: dict[str, int]) -> None:
        source, imm = self.registers[fields["s"]], fields["imm"]
        mode = fields["mode"]
        if mode == SetMode.ADD and not 0 <= imm < REGISTERS:
            raise self.trap(Trap.OPCODE, self.pc, f"there is no register {imm}")
        if mode == SetMode.SHIFT_LEFT and not 0 <= imm < REGISTER_BITS:
            raise self.trap(Trap.OPCODE, self.pc, f"a shift by {imm}")
        if mode == SetMode.IMMEDIATE:
            value = imm
        elif mode == SetMode.ADD_IMMEDIATE:
            value = source + imm
        elif mode == SetMode.ADD:
            value = source + self.registers[imm]
        elif mode == SetMode.SHIFT_LEFT:
            value = source << imm
        else:
            value = source * imm
        if fields["d"] != R_ZERO:
            self.registers[fields["d"]] = value & _LIMIT

    def _loop(self, fields: dict[str, int]) -> None:
        if fields["length"] == 0:
            raise self.trap(Trap.LOOP, self.pc, "a loop over no instruction")
        if self.registers[fields["count"]]:
            if len(self._loops) == LOOP_DEPTH:
                raise self.trap(Trap.LOOP, self.pc, f"more than {LOOP_DEPTH} loops in each other")
            first = self.pc + 1
            turns = self.registers[fields["count"]]
            self._loops.append([first, self.pc + fields["length"], turns])

    def _advance(self, done: int) -> None:
        """Go on behind an instruction, or to the head of the loop that ends there."""
        self.pc = done + 1
        while self._loops and self._loops[-1][1] == done:
            loop = self._loops[-1]
            loop[2] -= 1
            if loop[2]:
                self.pc = loop[0]
                return
            self._loops.pop()
