"""Programs for the whole machine, and what the simulator makes of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from dyncc.arch.skipopu.assembler import assemble
from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.isa import ENGINES, R_NEXT_SLOT, Engine, Op, Trap
from dyncc.arch.skipopu.matrices import quantise, to_memory
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.machine import Machine as Hardware
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_models.skipopu.numerics import f25
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import build_bench
from dyncc_sim.skipopu.bench.instances import TARGETS
from dyncc_sim.skipopu.machine import Machine
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.sequencer import Work
from dyncc_sim.skipopu.small import Small
from dyncc_sim.skipopu.trace import Trace
from dyncc_sim.skipopu.trap import TrapError

BENCH = "dyncc_sim.skipopu.bench.machine_bench"
#: Two layers; small, since each cycle of the machine costs time.
TWO_LAYERS = LlamaConfig(
    width=64, hidden=96, layers=2, heads=2, kv_heads=1, head_size=32, vocabulary=96, context=40
)

#: An address beyond the memory of every case, and the largest that an instruction sets.
_BEYOND = (1 << 31) - 64


class WorkTrace(Trace):
    """A trace that keeps instructions too.

    Attributes
    ----------
    works
        Of each engine, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.works: dict[Engine, list[Work]] = {engine: [] for engine in Engine}

    def add(self, work: Work, written: Any) -> None:
        """Record an instruction that is done."""
        super().add(work, written)
        self.works[ENGINES[work.instruction.op]].append(work)


class MachineCases:
    """Programs that run one after the other on the same memory.

    Parameters
    ----------
    arch
        The instance.
    memory
        Its memory, with everything in place. The program goes behind it.

    Attributes
    ----------
    memory
        As it is after the programs so far.
    """

    def __init__(self, arch: ArchSpec, memory: Memory) -> None:
        self.arch = arch
        self.content = memory.content.copy()
        self.writable = memory.writable
        self.memory = memory
        self._machine = Machine(arch, memory)
        self.runs: list[dict[str, Any]] = []
        self.coverage: Coverage = Coverage()

    def run(
        self, program: Sequence[int], registers: dict[int, int],
        changes: Sequence[tuple[int, bytes]] = (),
    ) -> list[int]:  # fmt: skip
        """Run a program on the simulator, and write down what the hardware has to do.

        Parameters
        ----------
        changes
            Addresses and bytes that the host puts into memory before.

        Returns
        -------
        list of int
            Registers at the end; those at the start, if it was trapped.
        """
        for address, content in changes:
            self.memory.load(address, content)
        if changes:
            self._machine.executor.forget_matrices()
        trace = WorkTrace()
        self._machine.trace = trace
        kv = self._machine.executor.kv
        counted = kv.resident, kv.fetched
        trap, pc, left = 0, 0, list(registers)
        try:
            left = self._machine.run(program, registers)
        except TrapError as error:
            trap, pc = int(error.trap), error.pc
            left = [registers.get(number, 0) for number in range(32)]
        for works in trace.works.values():
            for work in works:
                name = work.instruction.op.name
                self.coverage[f"{name} suppressed" if work.suppressed else name] += 1
        self.runs.append(
            {
                "program": [hex(word) for word in program], "registers": registers,
                "changes": [(address, content.hex()) for address, content in changes],
                "trap": trap, "pc": pc, "next_slot": left[R_NEXT_SLOT],
                "resident": kv.resident - counted[0], "fetched": kv.fetched - counted[1],
                "works": {
                    engine.name: [_told(work) for work in works]
                    for engine, works in trace.works.items()
                },
                "lines": {engine.name: lines for engine, lines in trace.lines.items()},
                "memory": zlib_of(self.memory.content),
            }
        )  # fmt: skip
        return left

    def fault(
        self, kind: str, program: Sequence[int], registers: dict[int, int], trap: Trap,
        after: int = 0, watchdog: int = 0, changes: Sequence[tuple[int, bytes]] = (),
    ) -> None:  # fmt: skip
        """A program that does not end well on the hardware; memory is as in the beginning after it.

        Parameters
        ----------
        kind
            ``bus error`` or ``silence`` of memory, ``reset`` of the machine, or anything else for a
            program that is wrong by itself.
        trap
            What stops it.
        after
            Words that memory answers before, or cycles until the reset.
        watchdog
            Cycles that memory may take.
        """
        self.runs.append(
            {
                "fault": kind, "program": [hex(word) for word in program], "registers": registers,
                "changes": [(address, content.hex()) for address, content in changes],
                "trap": int(trap), "after": after, "watchdog": watchdog,
            }
        )  # fmt: skip
        self.memory.content[:] = self.content
        self._machine = Machine(self.arch, self.memory)

    def write(self, folder: Path) -> Path:
        """Files for the bench; returns the one that names the others."""
        (folder / "memory.bin").write_bytes(self.content.tobytes())
        path = folder / "runs.json"
        path.write_text(
            json.dumps(
                {
                    "memory": str(folder / "memory.bin"),
                    "windows": [(part.start, part.stop) for part in self.writable],
                    "runs": self.runs,
                }
            ),
            encoding="utf-8",
        )
        return path


def zlib_of(content: Any) -> int:
    """CRC-32 of memory."""
    import zlib

    return zlib.crc32(numpy.ascontiguousarray(content).tobytes())


def _told(work: Work) -> dict[str, Any]:
    return {
        "op": work.instruction.op.name, "values": work.values,
        "tokens": [int(token) for token in numpy.flatnonzero(work.active)],
        "position": work.position, "context": work.context, "count": len(work.active),
    }  # fmt: skip


def decoder_cases(
    arch: ArchSpec, policy: KvPolicy, batches: Sequence[int], config: LlamaConfig = TWO_LAYERS,
    all_logits: bool = False,
) -> MachineCases:  # fmt: skip
    """Batches of tokens through a small decoder with random routers."""
    small = Small(arch, policy, all_logits, config=config)
    cases = MachineCases(arch, small.memory())
    draw = numpy.random.default_rng(7)
    position = slot = 0
    for size in batches:
        tokens = draw.integers(0, config.vocabulary, size).astype("<u4")
        place = small.places.address("tokens")
        registers = small.registers(position, size, slot)
        left = cases.run(small.program, registers, [(place, tokens.tobytes())])
        position, slot = position + size, left[R_NEXT_SLOT]
    return cases


def fault_cases(arch: ArchSpec) -> MachineCases:
    """Everything that can go wrong, each time followed by a token that has to come out right."""
    small = Small(arch, KvPolicy.REUSE, config=TWO_LAYERS)
    cases = MachineCases(arch, small.memory())
    token = [(small.places.address("tokens"), numpy.array([5], "<u4").tobytes())]
    registers = small.registers(0, 1, 0)
    sizes = (
        f"setr d=r10 s=r0 mode=IMMEDIATE imm={_BEYOND}\n"
        "setr d=r11 s=r0 mode=IMMEDIATE imm=64\n"
    )  # fmt: skip
    load = "ld mode=VECTOR_F32 type=Q4_1 memory=r10 vector=r0 rows=r0 columns=r11 index=r0"
    store = "st memory=r0 vector=r0 columns=r11 stride=r0"
    # More than the stream has room for, so that the second one has to wait for the PE array.
    rows, first = TWO_LAYERS.hidden, small.places.address("layers.0.mlp.gate.weight")
    matrix = "ld mode=WEIGHTS type=Q4_1 memory=r12 vector=r0 rows=r13 columns=r11 index=r0"
    matrices = (
        f"setr d=r11 s=r0 mode=IMMEDIATE imm={TWO_LAYERS.width}\n"
        f"setr d=r12 s=r0 mode=IMMEDIATE imm={first}\n"
        f"setr d=r13 s=r0 mode=IMMEDIATE imm={rows}\n"
    )  # fmt: skip
    wrong = {
        "rows that nobody takes": (f"{matrices}{matrix}\n{matrix}\nhalt", Trap.DEADLOCK),
        "no rows": (f"{matrices}{matrix.replace('r13', 'r0')}\nhalt", Trap.SHAPE),
        "odd address": (f"{sizes}{load.replace('r10', 'r1')}\nhalt", Trap.MEMORY),
        "beyond memory": (f"{sizes}{load}\nhalt", Trap.MEMORY),
        "outside of windows": (f"{sizes}{store}\nhalt", Trap.MEMORY),
        "deadlock": ("nop wait=2\nhalt", Trap.DEADLOCK),
        "runaway": ("nop", Trap.RUNAWAY),
    }
    programs = {
        name: ([item.encode() for item in assemble(text)], trap)
        for name, (text, trap) in wrong.items()
    }
    programs["undefined opcode"] = ([13 << 60], Trap.OPCODE)
    for name, (program, trap) in programs.items():
        cases.fault(name, program, registers, trap)
        cases.run(small.program, registers, token)
    for kind, trap, after in (
        ("bus error", Trap.BUS, 40), ("bus error", Trap.BUS, 900), ("silence", Trap.WATCHDOG, 300),
        ("silence", Trap.WATCHDOG, 1500), ("reset", Trap.NONE, 777), ("reset", Trap.NONE, 2345),
    ):  # fmt: skip
        cases.fault(kind, small.program, registers, trap, after, 500, token)
        cases.run(small.program, registers, token)
    return cases


def forced_cases(arch: ArchSpec, policy: KvPolicy) -> MachineCases:
    """A token for each of the 16 combinations of predicates of two layers."""
    small = Small(arch, policy, config=TWO_LAYERS)
    cases = MachineCases(arch, small.memory())
    draw = numpy.random.default_rng(11)
    slot = 0
    for position in range(16):
        wanted = [bool(position >> bit & 1) for bit in range(4)]
        token = numpy.array([draw.integers(TWO_LAYERS.vocabulary)], "<u4").tobytes()
        changes = [(small.places.address("tokens"), token)]
        registers = small.registers(position, 1, slot)
        changes += forced_routers(small, cases.memory, registers, changes, [wanted[:2], wanted[2:]])
        left = cases.run(small.program, registers, changes)
        cases.coverage["predicates " + "".join(str(int(bit)) for bit in wanted)] += 1
        slot = left[R_NEXT_SLOT]
    return cases


def forced_routers(
    small: Small, memory: Memory, registers: dict[int, int],
    changes: Sequence[tuple[int, bytes]], wanted: Sequence[Sequence[bool]],
) -> list[tuple[int, bytes]]:  # fmt: skip
    """Routers with which a token runs what is wanted: their rows are plus and minus what they see.

    Parameters
    ----------
    memory
        As it is; it is not changed.
    registers, changes
        With which the token's program starts, and what is changed in memory before, as in
        `MachineCases.run`.
    wanted
        For each layer, whether attention and MLP run.

    Returns
    -------
    list
        What is to be changed beside `changes`.
    """
    found: list[tuple[int, bytes]] = []
    for layer, runs in enumerate(wanted):
        # What the layer is given, from a run with routers so far.
        x = _given(small, memory, registers, [*changes, *found], layer)
        rows = numpy.zeros((4, len(x)))
        for index, run in enumerate(runs):
            sign = 1 if run else -1
            rows[2 * index], rows[2 * index + 1] = -sign * x, sign * x
        kind, block = WeightType.BFP16, small.arch.block
        content = to_memory(kind, block, quantise(kind, rows, block))
        found.append((small.places.address(f"router.{layer}"), content))
    return found


class _GivenTrace(Trace):
    """Keeps the vector of each ROUTE."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine
        self.given: list[Any] = []

    def add(self, work: Work, written: Any) -> None:
        """After a ROUTE, what it read is still there."""
        if work.instruction.op == Op.ROUTE:
            first, count = work.values["vector"], work.values["columns"]
            codes = self._machine.executor.vector[0, first : first + count]
            self.given.append(f25.to_float(codes).astype(float))


def _given(
    small: Small, memory: Memory, registers: dict[int, int],
    changes: Sequence[tuple[int, bytes]], layer: int,
) -> Any:  # fmt: skip
    copy = Memory(len(memory.content), memory.writable)
    copy.content[:] = memory.content
    for address, content in changes:
        copy.load(address, content)
    machine = Machine(small.arch, copy)
    machine.trace = trace = _GivenTrace(machine)
    machine.run(small.program, registers)
    return trace.given[layer]


def run(
    cases: MachineCases, *, seed: int = 0, steady: bool = True, latency: int = 4,
    required: Sequence[str] = (), simulator: str = "verilator", recorded: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Compare the machine with the simulator.

    Parameters
    ----------
    recorded
        Whether instructions and transfers are wanted too, see `recorder.Recorder`.

    Returns
    -------
    list of dict
        Of each program: cycles, cycles in which the port moved a word, words read; the cycle in
        which it began, and what was recorded.

    Raises
    ------
    MissingToolError, ToolError, MismatchError
        As `dyncc_sim.runner.run_bench`.
    """
    build = build_bench(Hardware(cases.arch, TARGETS[cases.arch.name], True), simulator)
    with tempfile.TemporaryDirectory(prefix="dyncc-cases.") as name:
        folder = Path(name)
        report = folder / "report.json"
        options = {
            "cases": str(cases.write(folder)), "report": str(report), "seed": seed,
            "name": cases.arch.name, "steady": steady, "latency": latency,
            "required": list(required), "recorded": recorded,
            "coverage": {name: int(count) for name, count in cases.coverage.items()},
            "arch": {
                "tokens": cases.arch.tokens, "vector_words": cases.arch.vector_words,
                "vector_lanes": cases.arch.vector_lanes, "blocks": cases.arch.blocks,
                "block": cases.arch.block, "mantissa_bits": cases.arch.mantissa_bits,
                "bus_bytes": cases.arch.bus_bytes, "kv": int(cases.arch.kv),
            },
        }  # fmt: skip
        build.run(BENCH, options)
        found: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))
        return found
