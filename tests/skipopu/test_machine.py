"""The simulator: traps, suppressed instructions, loops, and engines in any order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy
import pytest

from dyncc.arch.skipopu.assembler import assemble
from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.isa import (
    INSTRUCTION_BITS,
    R_CONTEXT,
    R_NEXT_SLOT,
    R_SLOT_LIMIT,
    R_TOKENS,
    REGISTER_BITS,
    Engine,
    Op,
    Trap,
    decode,
)
from dyncc.arch.skipopu.matrices import HEADER_BYTES, quantise, to_memory
from dyncc.arch.skipopu.spec import ARCHS
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.skipopu.numerics import f25
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.machine import Machine
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.outcomes import Computed
from dyncc_sim.skipopu.small import Small
from dyncc_sim.skipopu.timing import simulate
from dyncc_sim.skipopu.trace import Trace
from dyncc_sim.skipopu.trap import TrapError

ARCH = ARCHS["ecp5_85f"]
#: What programs below find in memory: numbers, one that is not finite, a matrix, routers that let
#: a token with positive numbers skip attention and run the MLP, and room to write.
NUMBERS, INFINITE, MATRIX, ROUTER, ROOM, SIZE = 0, 256, 512, 2048, 4096, 8192
#: Where a matrix would have the upper half of the infinite number as its first scale.
SCALE = INFINITE + 2 - HEADER_BYTES
START = {R_TOKENS: 1, R_CONTEXT: 16, R_SLOT_LIMIT: 4}
#: Registers that hold places of the memory.
PLACES = f"""
setr d=r10 imm=32
setr d=r11 imm={INFINITE}
setr d=r12 imm={MATRIX}
setr d=r13 imm={ROUTER}
setr d=r14 imm={ROOM}
"""
FIRST = PLACES.count("setr")
NPE = "npe function=COPY d=r0 a=r0 b=r0 columns=r10 memory=r0"
LOAD = "ld mode=VECTOR_F32 type=Q4_1 memory=r0 vector=r0 rows=r0 columns=r10 index=r0"
MATRICES = "ld mode=WEIGHTS type=Q4_1 memory=r12 vector=r0 rows=r10 columns=r10 index=r0"
BLOCKS = "npe function=TO_BFP d=r0 a=r0 b=r0 columns=r10 memory=r0"
GEMV = "gemv type=Q4_1 blocks=r0 vector=r10 rows=r10 columns=r10"
KV = "kv_heads=r1 head_size=r10 table=r14 pool=r14"
#: A token that skips attention and runs the MLP.
ROUTE = f"""
{LOAD} release=0
ld mode=WEIGHTS type=BFP16 memory=r13 vector=r0 rows=r10 columns=r10 index=r0
route route=1 vector=r0 columns=r10 eps=r0 wait=0
"""


def memory() -> Memory:
    found = Memory(SIZE, (range(ROOM, SIZE),))
    found.load(NUMBERS, numpy.arange(1, 33, dtype="<f4").tobytes())
    found.load(INFINITE, numpy.full(32, numpy.inf, "<f4").tobytes())
    weights = numpy.random.default_rng(1).normal(size=(32, 32))
    kind = WeightType.Q4_1
    found.load(MATRIX, to_memory(kind, 32, quantise(kind, weights, 32)))
    # The matrix has as many rows as registers say; the router takes four of them.
    rows = numpy.zeros((32, 32))
    rows[[0, 3]] = 1
    kind = WeightType.BFP16
    found.load(ROUTER, to_memory(kind, 32, quantise(kind, rows, 32))[: ROOM - ROUTER])
    return found


def words(text: str) -> list[int]:
    return [item.encode() for item in assemble(PLACES + text)]


def undefined(op: int, body: int = 0, pred: int = 0) -> int:
    return op << INSTRUCTION_BITS - 4 | pred << INSTRUCTION_BITS - 7 | body


def loops(depth: int) -> str:
    lines = [f"loop count=r1 length={depth - level}" for level in range(depth)]
    return "\n".join([*lines, "nop"])


#: Each way to be stopped: the trap, what follows `PLACES` (text, or words), part of the message,
#: and what registers hold besides.
TRAPS: dict[str, tuple[Trap, str | list[int], str, dict[int, int]]] = {
    "opcode": (Trap.OPCODE, [undefined(13)], "13", {}),
    "predicate": (Trap.OPCODE, [undefined(Op.NOP, pred=7)], "7", {}),
    "reserved bits": (Trap.OPCODE, [undefined(Op.SYNC, 1)], "reserved bits of SYNC", {}),
    "mode": (Trap.OPCODE, [undefined(Op.SETR, 7 << 10)], "7", {}),
    "register": (Trap.OPCODE, "setr d=r9 s=r0 mode=ADD imm=32", "no register 32", {}),
    "shift": (Trap.OPCODE, "setr d=r9 s=r0 mode=SHIFT_LEFT imm=40", "shift by 40", {}),
    "read": (Trap.MEMORY, LOAD.replace("memory=r0", "memory=r8"), "0x1fc1", {8: SIZE - 63}),
    "matrix": (Trap.MEMORY, MATRICES.replace("r12", "r8"), "0x1f00", {8: SIZE - 256}),
    "odd read": (
        Trap.MEMORY, LOAD.replace("memory=r0", "memory=r1"), "at 0x1: an odd address", {}
    ),
    "odd matrix": (Trap.MEMORY, MATRICES.replace("r12", "r1"), "at 0x1: an odd address", {}),
    "odd rotations": (
        Trap.MEMORY, "npe function=ROPE d=r0 a=r0 b=r10 columns=r10 memory=r1",
        "at 0x1: an odd address", {},
    ),
    "odd write": (
        Trap.MEMORY, "st memory=r8 vector=r0 columns=r10 stride=r0", "an odd address",
        {8: ROOM + 1},
    ),
    "odd table": (
        Trap.MEMORY, f"kvapp k=r0 v=r0 layer=r0 {KV.replace('table=r14', 'table=r8')}",
        "an odd address", {8: ROOM + 1},
    ),
    "matrix without rows": (
        Trap.SHAPE, MATRICES.replace("rows=r10", "rows=r0"), "a matrix of 0 rows of 32", {}
    ),
    "matrix without columns": (
        Trap.SHAPE, MATRICES.replace("columns=r10", "columns=r0"), "a matrix of 32 rows of 0", {}
    ),
    "scale of a row": (
        Trap.SHAPE, LOAD.replace("VECTOR_F32", "ROW_Q8_0").replace("memory=r0", "memory=r8")
        .replace("rows=r0", "rows=r9").replace("index=r0", "index=r14"),
        f"row 0 of the matrix at {SCALE:#x}", {8: SCALE, 9: 9},
    ),
    "write": (Trap.MEMORY, "st memory=r0 vector=r0 columns=r10 stride=r0", "not allowed", {}),
    "row of a matrix": (
        Trap.MEMORY, LOAD.replace("VECTOR_F32", "ROW_Q8_0"), "token 1065353216 of a matrix of 0",
        {},
    ),
    "slot": (
        Trap.MEMORY, f"{BLOCKS} release=0\nattn blocks=r0 vector=r0 layer=r0 heads=r1 {KV} wait=0",
        "slot 0 of 0", {R_SLOT_LIMIT: 0},
    ),
    "position": (
        Trap.MEMORY, f"kvapp k=r0 v=r0 layer=r0 {KV}", "position 0 of a context of 0",
        {R_CONTEXT: 0},
    ),
    "vector buffer": (Trap.BUFFER, NPE.replace("a=r0", "a=r8"), "8161..8192", {8: 8161}),
    "activation buffer": (Trap.BUFFER, BLOCKS.replace("d=r0", "d=r8"), "256..256", {8: 256}),
    "no tokens": (Trap.SHAPE, NPE, "batch of 0 tokens, not 1..1", {R_TOKENS: 0}),
    "too many tokens": (Trap.SHAPE, NPE, "batch of 2 tokens", {R_TOKENS: 2}),
    "blocks": (Trap.SHAPE, BLOCKS.replace("columns=r10", "columns=r1"), "1 numbers", {}),
    "columns": (Trap.SHAPE, MATRICES.replace("columns=r10", "columns=r1"), "multiple of 32", {}),
    "other rows": (
        Trap.SHAPE, f"{MATRICES}\n{GEMV.replace('rows=r10', 'rows=r11')}", "256 rows of 32", {}
    ),
    "heads": (Trap.SHAPE, f"kvapp k=r0 v=r0 layer=r0 {KV.replace('r10', 'r1')}", "heads of 1", {}),
    "shared heads": (
        Trap.SHAPE, f"attn blocks=r0 vector=r0 layer=r0 heads=r0 {KV.replace('r1 ', 'r0 ', 1)}",
        "keys of 0 heads", {},
    ),
    "rotation": (
        Trap.SHAPE, "npe function=ROPE d=r0 a=r0 b=r1 columns=r10 memory=r0", "heads of 1 numbers",
        {},
    ),
    "layer before": (Trap.SHAPE, "kvsel layer=r0 table=r14", "layer 0", {}),
    "not finite": (Trap.SHAPE, LOAD.replace("memory=r0", "memory=r11"), "0x100", {}),
    "nobody releases": (Trap.DEADLOCK, f"{NPE} wait=3", "NPE of 5, waits 001000", {}),
    "sequencer waits": (Trap.DEADLOCK, "nop wait=2", "nothing can be dispatched", {}),
    "no matrix": (Trap.DEADLOCK, GEMV, "GEMV of 5", {}),
    "matrix of the other kind": (
        Trap.DEADLOCK, f"{MATRICES}\n{ROUTE.splitlines()[-1].replace('wait=0', '')}", "ROUTE of 6",
        {},
    ),
    "loops": (Trap.LOOP, loops(5), "more than 4", {}),
    "loop of nothing": (Trap.LOOP, "loop count=r1 length=0", "no instruction", {}),
    "no slots": (Trap.SLOTS, f"kvapp k=r0 v=r0 layer=r0 {KV}", "all 4 slots", {R_NEXT_SLOT: 4}),
    "too many releases": (
        Trap.SEMAPHORE, "loop count=r11 length=1\nnop release=3",
        "semaphore 3 at 255", {},
    ),
    "no halt": (Trap.RUNAWAY, "nop", "6 instructions", {}),
    "loop over the end": (Trap.RUNAWAY, "loop count=r0 length=9", "6 instructions", {}),
}  # fmt: skip
#: Places of the instruction that is to blame, where that is not the first behind `PLACES`.
PLACE = {
    "slot": 1, "other rows": 1, "nobody releases": 1, "no matrix": 1, "loops": 4, "no halt": 1,
    "matrix of the other kind": 2, "loop over the end": 10, "too many releases": 1,
}  # fmt: skip


def test_every_trap_is_provoked() -> None:
    # Memory of the simulator answers at once, and never with an error.
    of_hardware = {Trap.BUS, Trap.WATCHDOG}
    assert {trap for trap, *_ in TRAPS.values()} == set(Trap) - {Trap.NONE} - of_hardware


@pytest.mark.parametrize("name", TRAPS)
def test_traps(name: str) -> None:
    trap, text, message, registers = TRAPS[name]
    program = words(text) if isinstance(text, str) else [*words(""), *text]
    if trap != Trap.RUNAWAY:
        program += words("halt")[FIRST:]
    start = START | registers
    stopped = []
    with pytest.raises(TrapError) as found:
        Machine(ARCH, memory()).run(program, start)
    stopped.append(found.value)
    with pytest.raises(TrapError) as found:
        simulate(ARCH, program, start, Computed(Executor(ARCH, memory())))
    stopped.append(found.value)
    for error in stopped:
        assert error.trap == trap
        assert error.pc == FIRST + PLACE.get(name, 0)
        assert f"trap {trap.name} at instruction {error.pc}" in str(error)
        assert message in f"{error} {error.engines}"
        assert error.engines.startswith("semaphores [")
        assert error.hint == error.engines


def test_a_batch_on_gemv() -> None:
    arch = ARCHS["u280"]
    program = words(f"{LOAD}\n{MATRICES}\n{BLOCKS}\n{GEMV}\nhalt")
    with pytest.raises(TrapError, match="GEMV of a batch of 3 tokens"):
        Machine(arch, memory()).run(program, START | {R_TOKENS: 3})


def test_engines_in_the_message() -> None:
    text = (
        f"{MATRICES}\n{NPE} wait=1 release=2\n{NPE}\n{GEMV} wait=2\nkvsel layer=r1 table=r14\nhalt"
    )
    with pytest.raises(TrapError) as found:
        Machine(ARCH, memory()).run(words(text), START)
    assert found.value.engines == (
        "semaphores [0, 0, 0, 0, 0, 0]; PE: GEMV of 8, waits 000100, 1 queued; "
        "VECTOR: NPE of 6, waits 000010, 2 queued"
    )
    # An instruction that cannot be carried out is one that an engine works on.
    with pytest.raises(TrapError) as found:
        Machine(ARCH, memory()).run(words(f"{NPE} wait=0\nkvsel layer=r0 table=r14\nhalt"), START)
    assert "KV: works on KVSEL of 6" in found.value.engines


def test_two_matrices_ahead_hang() -> None:
    """A program must not need room for a second matrix: instances differ in that."""
    text = f"""{MATRICES}
        {MATRICES}
        {LOAD} release=0
        {BLOCKS} wait=0 release=1
        {GEMV} wait=1
        {GEMV}
        halt
    """
    with pytest.raises(TrapError, match="DEADLOCK"):
        Machine(ARCH, memory()).run(words(text), START)
    # One whose buffer is large enough gets on; one whose buffer is just large enough for the rows
    # that the array works on together does not.
    simulate(ARCH, words(text), START, Computed(Executor(ARCH, memory())))
    least = replace(ARCH, stream_bytes=ARCH.tile_bytes(WeightType.Q4_1, 32))
    with pytest.raises(TrapError, match="DEADLOCK") as found:
        simulate(least, words(text), START, Computed(Executor(least, memory())))
    assert "LOAD: works on LD of 6, LD of 7, waits 000000, 1 queued" in found.value.engines


@pytest.mark.parametrize("policy", KvPolicy)
def test_next_program_after_a_trap(policy: KvPolicy) -> None:
    """Also if matrices are on their way, semaphores are raised and tokens skip."""
    small = Small(ARCHS["u280"], policy)
    results = []
    for stopped in (False, True):
        space = small.memory()
        machine = Machine(small.arch, space)
        small.put(space, (3, 5, 7))
        start = small.registers(0, 3, 0)
        if stopped:
            stops = 0
            for place, word in enumerate(small.program):
                if decode(word).op in (Op.GEMM, Op.ATTN, Op.NPE) and place % 3 == 0:
                    program = [*small.program]
                    program[place] = undefined(13)
                    with pytest.raises(TrapError, match="OPCODE"):
                        machine.run(program, start)
                    stops += 1
            assert stops > 10
        registers = machine.run(small.program, start)
        results.append((registers, space.content[small.places.address("result") :].tobytes()))
    assert results[0] == results[1]


# --- predicates -------------------------------------------------------------------------------


def traced(text: str, registers: dict[int, int] | None = None) -> tuple[list[int], Trace, Machine]:
    trace = Trace()
    machine = Machine(ARCH, memory(), trace)
    left = machine.run(words(text), START | (registers or {}))
    return left, trace, machine


def test_suppressed_instructions_wait_and_release() -> None:
    text = f"""{ROUTE}
        {NPE} if=A wait=1 release=2
        {NPE} if=M release=1
    """
    # In the order of the engine, the first waits for what nobody releases.
    with pytest.raises(TrapError, match="DEADLOCK") as found:
        traced(f"{text}\nhalt")
    assert "VECTOR: NPE of 8, waits 000010, 2 queued" in found.value.engines
    text = f"""{ROUTE}
        {NPE} if=M release=1
        gemv type=Q4_1 blocks=r0 vector=r0 rows=r0 columns=r0 if=A wait=1 release=2
        kvapp k=r0 v=r0 layer=r0 {KV} if=A wait=2 release=3
        st memory=r0 vector=r0 columns=r0 stride=r0 if=NOT_M wait=3 release=4
        {LOAD.replace("memory=r0", "memory=r8")} if=A wait=4 release=5
        {NPE} if=NOT_A wait=5
        halt
    """
    _, trace, _ = traced(text, {8: SIZE})
    lines = {engine: [line.split(" ", 2)[2] for line in found] for engine, found in
             trace.lines.items()}  # fmt: skip
    assert lines[Engine.PE] == ["pc=9 GEMV suppressed"]
    assert lines[Engine.KV] == ["pc=10 KVAPP suppressed"]
    assert lines[Engine.STORE] == ["pc=11 ST suppressed"]
    assert lines[Engine.LOAD][2:] == ["pc=12 LD suppressed"]
    assert [line.startswith("pc=13 NPE tokens=0 crc=") for line in lines[Engine.VECTOR]][-1]
    # Without the release of a suppressed one, the others hang.
    with pytest.raises(TrapError, match="DEADLOCK"):
        traced(text.replace("release=4", ""), {8: SIZE})


def test_suppressed_instructions_of_the_sequencer() -> None:
    left, trace, _ = traced(f"""{ROUTE}
        setr d=r20 imm=1 if=A
        setr d=r21 imm=1 if=NOT_A
        loop count=r10 length=2 if=A release=1
          setr d=r22 s=r22 mode=ADD_IMMEDIATE imm=1
          {NPE}
        {NPE} wait=1
        nop if=A release=2
        {NPE} wait=2
        halt
    """)
    assert left[20:23] == [0, 1, 0]
    assert [line.split()[2] for line in trace.lines[Engine.VECTOR]] == ["pc=7", "pc=13", "pc=15"]


def test_predicates_of_a_batch() -> None:
    """Instructions work on the tokens that have their predicate, and leave the others alone."""
    arch = ARCHS["u280"]
    space = memory()
    # The second token has negative numbers, and so the other route.
    space.load(NUMBERS + 128, (-numpy.arange(1, 33, dtype="<f4")).tobytes())
    machine = Machine(arch, space, Trace())
    text = f"""{ROUTE.replace("index=r0", "index=r8", 1)}
        npe function=ADD d=r10 a=r0 b=r0 columns=r10 memory=r0 if=A
        npe function=MUL d=r10 a=r0 b=r0 columns=r10 memory=r0 if=M
        halt
    """
    machine.run(words(text), START | {R_TOKENS: 2, 8: 128})
    numbers = f25.to_float(machine.executor.vector[:3, 32:64])
    positive = numpy.arange(1, 33)
    assert numpy.array_equal(numbers[0], positive**2)
    assert numpy.array_equal(numbers[1], -2 * positive)
    assert not numbers[2].any()


# --- loops and registers ----------------------------------------------------------------------


def test_loops_nest_four_deep() -> None:
    counts = (2, 3, 4, 5)
    text = "".join(f"loop count=r{20 + level} length={7 - 2 * level}\n"
                   f"setr d=r{24 + level} s=r{24 + level} mode=ADD_IMMEDIATE imm=1\n"
                   for level in range(4))  # fmt: skip
    left, _, _ = traced(f"{text}halt", {20 + level: count for level, count in enumerate(counts)})
    assert left[24:28] == [2, 6, 24, 120]


def test_loops_of_no_turn_and_of_one() -> None:
    step = "setr d=r24 s=r24 mode=ADD_IMMEDIATE imm=1\n"
    other = step.replace("r24", "r25")
    left, _, _ = traced(f"loop count=r0 length=2\n{step}{step}{other}halt")
    assert left[24:26] == [0, 1]
    left, _, _ = traced(f"loop count=r1 length=2\n{step}{step}{other}halt")
    assert left[24:26] == [2, 1]
    # One of no turn at the end of another: the outer one goes on.
    left, _, _ = traced(f"loop count=r20 length=3\n{step}loop count=r0 length=1\n{other}halt",
                        {20: 3})  # fmt: skip
    assert left[24:26] == [3, 0]
    # A turn's count is what the register held when the loop began.
    left, _, _ = traced(f"loop count=r20 length=2\n{step}setr d=r20 imm=9\nhalt", {20: 2})
    assert left[24] == 2


def test_registers() -> None:
    top = (1 << REGISTER_BITS) - 1
    left, _, _ = traced(
        """
        setr d=r0 imm=5
        setr d=r20 imm=-1
        setr d=r21 s=r20 mode=ADD_IMMEDIATE imm=2
        setr d=r22 s=r8 mode=ADD imm=9
        setr d=r23 s=r8 mode=SHIFT_LEFT imm=36
        setr d=r24 s=r8 mode=MULTIPLY imm=-3
        setr d=r25 s=r20 mode=MULTIPLY imm=2147483647
        halt
        """,
        {8: 100, 9: 11, 0: 7},
    )
    assert left[0] == 0
    assert left[20:26] == [top, 1, 111, 100 << 36 & top, top + 1 - 300, -2147483647 & top]


def test_registers_are_taken_at_dispatch() -> None:
    """What is set behind an instruction does not change it, though it waits."""
    _, _, machine = traced(f"""
        setr d=r20 imm=64
        {NPE.replace("d=r0", "d=r20")} wait=0
        setr d=r20 imm=128
        {LOAD} release=0
        sync
        halt
    """)
    numbers = f25.to_float(machine.executor.vector[0])
    assert numpy.array_equal(numbers[64:96], numpy.arange(1, 33))
    assert not numbers[128:160].any()


# --- order ------------------------------------------------------------------------------------


def outcome(small: Small, program: list[int], seed: int | None) -> tuple[Any, ...]:
    """All that a run leaves: registers, memory, buffers, and what each engine did."""
    space, trace = small.memory(), Trace()
    order = None if seed is None else numpy.random.default_rng(seed)
    machine = Machine(small.arch, space, trace, order)
    slots = 0
    for position, tokens in small.batches():
        small.put(space, tokens)
        slots = machine.run(program, small.registers(position, len(tokens), slots))[R_NEXT_SLOT]
    executor = machine.executor
    buffers = (executor.vector, executor.mantissas, executor.exponents, executor.scalars)
    return slots, trace.text(), space.content.tobytes(), *(part.tobytes() for part in buffers)


@pytest.mark.parametrize("all_logits", [False, True])
@pytest.mark.parametrize("policy", [*KvPolicy, None])
@pytest.mark.parametrize("arch", ["u280", "ecp5_85f"])
def test_any_order_of_engines(
    monkeypatch: pytest.MonkeyPatch, arch: str, policy: KvPolicy | None, all_logits: bool
) -> None:
    """Programs have no race: engines that are held up change nothing. Also without routers."""
    small = Small(ARCHS[arch], policy or KvPolicy.DENSE, all_logits, policy is not None)
    expected = outcome(small, small.program, None)
    for seed in range(3):
        assert outcome(small, small.program, seed) == expected
    # Nor do queues that hold more.
    monkeypatch.setattr("dyncc_sim.skipopu.sequencer.QUEUE_DEPTH", 64)
    for seed in range(3):
        assert outcome(small, small.program, seed) == expected


@pytest.mark.parametrize("routed", [False, True])
def test_races_are_found(monkeypatch: pytest.MonkeyPatch, routed: bool) -> None:
    """The test before this one sees when a program forgets to wait.

    With routers, a gain has room whenever its predicate is known, so that its load needs no wait.
    """
    monkeypatch.setattr("dyncc_sim.skipopu.sequencer.QUEUE_DEPTH", 64)
    small = Small(ARCHS["u280"], KvPolicy.REUSE, routed=routed)
    expected = outcome(small, small.program, None)
    waits = [
        place
        for place, word in enumerate(small.program[: len(small.program) // 2])
        if decode(word).wait and routed != (decode(word).op == Op.LD)
    ]
    # Without routers only loads are looked at, and there is room for two gains from the start.
    waits = waits if routed else waits[2:]
    assert waits
    for place in waits:
        program = [*small.program]
        program[place] = replace(decode(program[place]), wait=0).encode()
        assert any(differs(small, program, seed, expected) for seed in range(30)), place


def differs(small: Small, program: list[int], seed: int, expected: Any) -> bool:
    try:
        return outcome(small, program, seed) != expected
    except TrapError:
        return True
