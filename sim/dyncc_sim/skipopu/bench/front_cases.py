"""Random programs for the front of the machine, and what the simulator's sequencer makes of them.

Each semaphore has one engine that takes it, so that the order in which engines work changes nothing
about what they are told, nor whether a program ends.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from dyncc.arch.skipopu.isa import (
    BODIES,
    BODY_BITS,
    ENGINES,
    LOOP_DEPTH,
    QUEUE_DEPTH,
    R_TOKENS,
    REGISTER_BITS,
    REGISTERS,
    SEMAPHORES,
    Engine,
    Instruction,
    Op,
    Pred,
    SetMode,
    Trap,
    decode,
    dispatch_cycles,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.control.front import Front
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import build_bench
from dyncc_sim.skipopu.bench.rig import Rig
from dyncc_sim.skipopu.sequencer import Sequencer, Work, holders
from dyncc_sim.skipopu.trap import TrapError

BENCH = "dyncc_sim.skipopu.bench.front_bench"
#: What may be wrong with a program, or with what is around the front.
FAULTS = (
    "opcode", "predicate", "reserved", "code", "add", "shift", "empty loop", "deep loop", "runaway",
    "skipped runaway", "shape 0", "shape many", "deadlock", "semaphore", "engine", "starved",
    "port", "stream", "watchdog", "reset",
)  # fmt: skip
REQUIRED = (
    *(op.name for op in Op),
    *(f"{op.name} suppressed" for op in Op if op != Op.HALT),
    *(f"mode {mode.name}" for mode in SetMode),
    *(pred.name for pred in Pred),
    "4 loops end together", "no turns", "loop skipped", "suppressed waits", "suppressed releases",
    "saturated count", "waits", "full queue", "registers compared", "works compared",
)  # fmt: skip
#: Most releases of a semaphore in a program that is right.
_MOST_RELEASES = 200
_SYSTEM = tuple(op for op, engine in ENGINES.items() if engine != Engine.SEQUENCER)


class Writer:
    """Writes a random program.

    Parameters
    ----------
    draw
        Random numbers.
    arch
        The instance.
    plain
        Whether nothing waits, so that cycles can be counted.
    """

    def __init__(self, draw: random.Random, arch: ArchSpec, plain: bool) -> None:
        self.draw, self.arch, self.plain = draw, arch, plain
        self.words: list[int] = []
        self.owner = [draw.choice(tuple(Engine)) for _ in range(SEMAPHORES)]
        # Releases before here that nobody has waited for yet, whatever is skipped.
        self.credit = [0] * SEMAPHORES

    def put(self, op: Op, fields: dict[str, int], **header: Any) -> None:
        """Add an instruction."""
        self.words.append(Instruction(op, fields, **header).encode())

    def set(self, register: int, value: int) -> None:
        """Set a register, always."""
        mode = SetMode.IMMEDIATE
        self.put(Op.SETR, {"d": register, "s": 0, "mode": mode, "imm": value})

    def header(self, engine: Engine) -> dict[str, Any]:
        """Predicate and semaphores of an instruction."""
        draw = self.draw
        if self.plain:
            return {}
        wait = release = 0
        for bit in range(SEMAPHORES):
            if self.owner[bit] == engine and self.credit[bit] and draw.random() < 0.5:
                wait |= 1 << bit
                self.credit[bit] -= 1
            if draw.random() < 0.12:
                release |= 1 << bit
        for bit in range(SEMAPHORES):
            self.credit[bit] += release >> bit & 1
        pred = draw.choice(tuple(Pred)) if draw.random() < 0.4 else Pred.ALWAYS
        return {"wait": wait, "release": release, "pred": pred}

    def engine_instruction(self, op: Op) -> None:
        """One of an engine, with any operands."""
        draw = self.draw
        fields = {}
        for item in BODIES[op]:
            if item.name != "reserved":
                most = len(item.code) if item.code is not None else 1 << item.bits
                fields[item.name] = draw.randrange(most)
        self.put(op, fields, **self.header(ENGINES[op]))

    def set_any(self) -> None:
        """Set a register by any mode; the number of tokens only to what may be."""
        draw = self.draw
        mode = draw.choice(tuple(SetMode))
        number = draw.choice((draw.randint(-(1 << 31), (1 << 31) - 1), draw.randint(-9, 99)))
        if mode == SetMode.ADD:
            number = draw.randrange(REGISTERS)
        if mode == SetMode.SHIFT_LEFT:
            number = draw.randrange(REGISTER_BITS)
        d = draw.choice((0, *range(2, REGISTERS)))
        if draw.random() < 0.15:
            d, mode, number = R_TOKENS, SetMode.IMMEDIATE, draw.randint(1, self.arch.tokens)
        fields = {"d": d, "s": draw.randrange(REGISTERS), "mode": mode, "imm": number}
        self.put(Op.SETR, fields, **self.header(Engine.SEQUENCER))

    def block(self, size: int, depth: int) -> None:
        """Some instructions, and loops in them."""
        draw = self.draw
        for index in range(size):
            kind = draw.random()
            if depth < LOOP_DEPTH and (kind < 0.12 or (depth and index == size - 1)):
                self.loop(draw.choice((0, 1, 1, 2, 3)), draw.randint(1, 3), depth)
            elif kind < 0.4:
                self.set_any()
            elif kind < 0.5:
                op = Op.NOP if self.plain else draw.choice((Op.NOP, Op.SYNC))
                self.put(op, {}, **self.header(Engine.SEQUENCER))
            else:
                self.engine_instruction(draw.choice(_SYSTEM))

    def loop(self, turns: int, size: int, depth: int) -> None:
        """A loop; what it releases does not count behind it, as it may be left out."""
        count = self.draw.randint(20, REGISTERS - 1)
        self.set(count, turns)
        place = len(self.words)
        header = self.header(Engine.SEQUENCER)
        self.put(Op.LOOP, {"count": count, "length": 0}, **header)
        before, self.credit = self.credit, [0] * SEMAPHORES
        self.block(size, depth + 1)
        self.credit = before
        self.words[place] = 0
        length = len(self.words) - place - 1
        fields = {"count": count, "length": length}
        self.words[place] = Instruction(Op.LOOP, fields, **header).encode()

    def nest(self, depth: int, turns: int) -> None:
        """Loops in each other that end together."""
        first = len(self.words)
        for level in range(depth):
            self.set(20 + level, turns)
        for level in range(depth):
            self.put(Op.LOOP, {"count": 20 + level, "length": depth - level})
        self.put(Op.NOP, {})
        assert len(self.words) == first + 2 * depth + 1

    def crowd(self) -> None:
        """More instructions of an engine than it keeps up with."""
        for _ in range(4 * QUEUE_DEPTH):
            self.put(Op.KVSEL, {"evict": 0, "layer": 1, "table": 2})

    def break_by(self, fault: str) -> None:
        """Do something wrong."""
        draw, words = self.draw, self.words
        nop = Instruction(Op.NOP, {}).encode()
        setr = {"d": 7, "s": 0, "mode": 0, "imm": 0}
        if fault == "opcode":
            words.append(draw.choice((13, 14)) << 60 | draw.getrandbits(60))
        elif fault == "predicate":
            words.append(nop | draw.randint(5, 7) << (BODY_BITS + 12))
        elif fault == "reserved":
            words.append(nop | 1 << draw.randrange(BODY_BITS))
        elif fault == "code":
            words.append(Instruction(Op.SETR, setr).encode() | draw.randint(5, 7) << 10)
        elif fault == "add":
            number = draw.choice((-1, REGISTERS, -(1 << 31), 1 << 30))
            self.put(Op.SETR, setr | {"mode": SetMode.ADD, "imm": number})
        elif fault == "shift":
            number = draw.choice((-1, REGISTER_BITS, 63, 64, -(1 << 31)))
            self.put(Op.SETR, setr | {"mode": SetMode.SHIFT_LEFT, "imm": number})
        elif fault == "empty loop":
            self.put(Op.LOOP, {"count": draw.choice((0, 7)), "length": 0})
        elif fault == "deep loop":
            self.nest(LOOP_DEPTH + 1, 2)
        elif fault == "skipped runaway":
            self.put(Op.LOOP, {"count": 0, "length": 40})
        elif fault.startswith("shape"):
            many = draw.randint(self.arch.tokens + 1, 1 << 30)
            self.set(R_TOKENS, 0 if fault == "shape 0" else many)
            self.put(Op.KVSEL, {"evict": 0, "layer": 1, "table": 2})
        elif fault == "deadlock":
            # One that has an owner other than this one may be taken in the meantime.
            bit = draw.randrange(SEMAPHORES)
            op = draw.choice([op for op, engine in ENGINES.items() if engine == self.owner[bit]])
            for _ in range(_MOST_RELEASES):
                if op == Op.LOOP or op == Op.HALT:
                    op = Op.SYNC
                fields = {item.name: 0 for item in BODIES[op] if item.name != "reserved"}
                self.put(op, fields, wait=1 << bit)
        elif fault == "semaphore":
            self.set(7, 300)
            self.put(Op.LOOP, {"count": 7, "length": 1})
            self.put(Op.NOP, {}, release=1 << self.owner.index(draw.choice(self.owner)))


@dataclass
class Model:
    """A program on the simulator's sequencer, with engines that do nothing.

    Attributes
    ----------
    starved
        The instruction of the PE array from which on one gets no rows; None for none.
    stuck
        Its number.
    trap, pc
        Why and where it stopped.
    steps
        All that was dispatched: place, engine, semaphores, least cycles, whether the one before
        went elsewhere.
    works
        By engine.
    done
        Instructions of each engine that were done.
    """

    program: Sequence[int]
    registers: dict[int, int]
    arch: ArchSpec
    decisions: list[tuple[int, int]]
    draw: random.Random
    starved: int | None = None
    stuck: int = -1
    trap: int = 0
    pc: int = 0
    steps: list[dict[str, Any]] = field(default_factory=list)
    works: dict[Engine, list[Work]] = field(default_factory=lambda: {e: [] for e in Engine})
    done: dict[Engine, int] = field(default_factory=lambda: dict.fromkeys(Engine, 0))
    coverage: Coverage = field(default_factory=Coverage)

    def run(self) -> list[int]:
        """Returns registers at the end."""
        self.attention = self.mlp = (1 << self.arch.tokens) - 1
        routes = 0
        sequencer = Sequencer(
            self.program, self.registers, self.arch.tokens, self._predicates, lambda work: True
        )
        try:
            while True:
                while self._dispatch(sequencer):
                    if self.draw.random() < 0.3:
                        break
                ready = [e for e in sequencer.ready() if e not in sequencer.running]
                if ready:
                    engine = self.draw.choice(ready)
                    work = sequencer.start(engine)
                    chosen = self.starved is not None and self.done[engine] >= self.starved
                    if engine == Engine.PE and chosen and not work.suppressed:
                        self.stuck = self.done[engine]
                        continue
                    if work.instruction.op == Op.ROUTE and not work.suppressed:
                        self.attention, self.mlp = self.decisions[routes]
                        routes += 1
                    sequencer.finish(work)
                    self.done[engine] += 1
                elif sequencer.halted:
                    break
                elif not self._dispatch(sequencer):
                    raise sequencer.deadlock()
        except TrapError as error:
            self.trap, self.pc = int(error.trap), error.pc
            if error.trap == Trap.SEMAPHORE:
                # It is dispatched in the cycle in which the semaphore counts too far.
                last = decode(self.program[error.pc])
                self.steps.append(self.steps[-1] | {"pc": error.pc, "release": last.release})
        return sequencer.registers

    def _predicates(self, pred: Pred, tokens: int) -> Any:
        masks = ([bool(m >> t & 1) for t in range(tokens)] for m in (self.attention, self.mlp))
        return holders(pred, *map(numpy.array, masks))

    def _dispatch(self, sequencer: Sequencer) -> bool:
        pc, loops, count = sequencer.pc, len(sequencer._loops), sequencer.dispatched
        masks = self.attention, self.mlp
        tokens = sequencer.registers[R_TOKENS]
        if not sequencer.dispatch():
            return False
        instruction = decode(self.program[pc])
        op, fields = instruction.op, instruction.fields
        engine = ENGINES[op]
        if engine == Engine.SEQUENCER:
            size = max(1, min(tokens, self.arch.tokens))
            mask = {Pred.A: masks[0], Pred.NOT_A: ~masks[0], Pred.M: masks[1]}.get(
                instruction.pred, -1 if instruction.pred == Pred.ALWAYS else ~masks[1]
            )
            suppressed = not mask & ((1 << size) - 1)
        if sequencer.dispatched > count:
            work = sequencer.queues[engine][-1]
            suppressed = work.suppressed
            self.works[engine].append(work)
            if any(work.values[i.name] == (1 << 24) - 1 for i in BODIES[op] if i.register):
                self.coverage["saturated count"] += 1
        if sequencer.halted:
            self.coverage["HALT"] += 1
            return True
        cycles = dispatch_cycles(op)
        if op == Op.SETR and fields["mode"] == SetMode.ADD:
            cycles += 1
        if op == Op.SETR and fields["mode"] == SetMode.MULTIPLY:
            number = fields["imm"]
            cycles += 2 + (number.bit_length() if number >= 0 else REGISTER_BITS)
        # What ends loops takes cycles before the next one.
        ended = max(0, loops - len(sequencer._loops))
        self.steps.append(
            {
                "pc": pc, "engine": int(engine), "wait": instruction.wait,
                "release": instruction.release, "cycles": cycles,
                "ended": ended + 1 if ended else 0, "jumps": sequencer.pc != pc + 1,
            }
        )  # fmt: skip
        self._cover(instruction, suppressed, ended, sequencer.pc != pc + 1)
        return True

    def _cover(self, instruction: Instruction, suppressed: bool, ended: int, jumps: bool) -> None:
        counted, op = self.coverage, instruction.op
        counted[f"{op.name} suppressed" if suppressed else op.name] += 1
        counted[instruction.pred.name] += 1
        counted["waits"] += bool(instruction.wait)
        counted["suppressed waits"] += suppressed and bool(instruction.wait)
        counted["suppressed releases"] += suppressed and bool(instruction.release)
        counted["4 loops end together"] += ended == LOOP_DEPTH
        if op == Op.SETR and not suppressed:
            counted[f"mode {SetMode(instruction.fields['mode']).name}"] += 1
        if op == Op.LOOP and jumps:
            counted["loop skipped" if suppressed else "no turns"] += 1


def case(arch: ArchSpec, seed: int, fault: str = "", plain: bool = False) -> dict[str, Any]:
    """A program with what it has to do; `fault` is one of `FAULTS`, or nothing."""
    for attempt in range(100):
        draw = random.Random(f"{arch.name} {seed} {fault} {plain} {attempt}")
        writer = Writer(draw, arch, plain)
        registers = {
            1: draw.randint(1, arch.tokens), 2: draw.choice((draw.getrandbits(40), 5)),
            3: draw.choice((draw.getrandbits(40), 64)), 4: draw.getrandbits(40),
            5: draw.getrandbits(40),
        }  # fmt: skip
        writer.block(draw.randint(4, 14), 0)
        if seed % 5 == 0 and not fault:
            writer.crowd()
        if draw.random() < 0.3 and not fault:
            writer.nest(LOOP_DEPTH, draw.randint(1, 2))
        if fault:
            writer.break_by(fault)
        if fault not in ("runaway", "skipped runaway"):
            if not fault:
                writer.block(draw.randint(2, 8), 0)
            writer.put(Op.HALT, {})
        tokens = arch.tokens
        decisions = [
            (draw.choice((0, draw.getrandbits(tokens))), draw.choice((0, draw.getrandbits(tokens))))
            for _ in range(400)
        ]
        starved = draw.randrange(4) if fault == "starved" else None
        model = Model(writer.words, registers, arch, decisions, draw, starved)
        left = model.run()
        releases = [
            sum(step["release"] >> bit & 1 for step in model.steps) for bit in range(SEMAPHORES)
        ]
        if len(model.steps) > 700 or (max(releases) > _MOST_RELEASES and fault != "semaphore"):
            continue
        told = _told(model, fault, draw)
        if told is None:
            continue
        return told | {
            "fault": fault, "plain": plain, "program": [hex(word) for word in writer.words],
            "registers": registers, "decisions": decisions, "left": left, "steps": model.steps,
            "works": {
                e.name: [_work(work) for work in works] for e, works in model.works.items()
            },
            "done": {e.name: count for e, count in model.done.items()},
            "starved": model.stuck, "coverage": dict(model.coverage),
        }  # fmt: skip
    raise AssertionError(f"no program for {fault!r}")


def _told(model: Model, fault: str, draw: random.Random) -> dict[str, Any] | None:
    """What it ends with; None if the program is not what was wanted."""
    wanted = {
        "opcode": Trap.OPCODE, "predicate": Trap.OPCODE, "reserved": Trap.OPCODE,
        "code": Trap.OPCODE, "add": Trap.OPCODE, "shift": Trap.OPCODE, "empty loop": Trap.LOOP,
        "deep loop": Trap.LOOP, "runaway": Trap.RUNAWAY, "skipped runaway": Trap.RUNAWAY,
        "shape 0": Trap.SHAPE, "shape many": Trap.SHAPE, "deadlock": Trap.DEADLOCK,
        "semaphore": Trap.SEMAPHORE, "starved": Trap.DEADLOCK,
    }.get(fault, Trap.NONE)  # fmt: skip
    if model.trap != wanted or (fault == "starved" and model.stuck < 0):
        return None
    told: dict[str, Any] = {"trap": model.trap, "pc": model.pc, "exact": True}
    if fault == "engine":
        places = [
            (engine, index)
            for engine, works in model.works.items()
            for index, work in enumerate(works)
            if not work.suppressed
        ]
        if not places:
            return None
        engine, index = draw.choice(places)
        code = draw.choice((Trap.BUFFER, Trap.SHAPE, Trap.SLOTS))
        pc = model.works[engine][index].pc
        told |= {"trap": int(code), "pc": pc, "at": [engine.name, index]}
    if fault in ("port", "stream", "watchdog"):
        code = Trap.WATCHDOG if fault == "watchdog" else draw.choice((Trap.MEMORY, Trap.BUS))
        # Of a short program all is fetched at once.
        after = -1 if fault == "watchdog" else draw.randrange(max(1, len(model.steps) - 4))
        told |= {"trap": int(code), "after": after}
    if fault == "reset":
        told |= {"after": draw.randrange(max(1, len(model.steps) - 4))}
    return told


def _work(work: Work) -> dict[str, Any]:
    header = work.instruction
    return {
        "pc": work.pc, "suppressed": work.suppressed, "wait": header.wait,
        "release": header.release, "route": header.op == Op.ROUTE,
        "fields": work.values | {
            "op": int(header.op), "position": work.position, "context": work.context,
            "tokens": len(work.active),
            "active": sum(1 << int(token) for token in numpy.flatnonzero(work.active)),
        },
    }  # fmt: skip


def run(
    arch: ArchSpec, cases: Sequence[dict[str, Any]], seed: int, required: Sequence[str] = (),
    simulator: str = "verilator",
) -> None:  # fmt: skip
    """Compare the front with the sequencer of the simulator.

    Raises
    ------
    MissingToolError, ToolError, MismatchError
        As `dyncc_sim.runner.run_bench`.
    """
    coverage: Coverage = Coverage()
    for item in cases:
        coverage.update(item["coverage"])
    with tempfile.TemporaryDirectory(prefix="dyncc-cases.") as folder:
        path = Path(folder) / "cases.json"
        path.write_text(json.dumps(list(cases)), encoding="utf-8")
        options = {
            "cases": str(path), "seed": seed, "name": arch.name, "required": list(required),
            "coverage": {name: int(count) for name, count in coverage.items()},
        }  # fmt: skip
        build_bench(Rig({"front": Front(arch)}), simulator).run(BENCH, options)
