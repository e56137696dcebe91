"""A whole board, from its serial line to its SDRAM: programs, and all that can stop them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

from dyncc.arch.link import LinkSpec
from dyncc.arch.skipopu.assembler import assemble
from dyncc.arch.skipopu.csr import State
from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.isa import R_TOKENS, Engine, Op, Trap
from dyncc.arch.skipopu.matrices import matrix_bytes, quantise, to_memory
from dyncc.backends.skipopu.artifact import Overlay
from dyncc.backends.skipopu.board import Board
from dyncc.core.errors import LinkError
from dyncc_hw.skipopu.memory.sdram_chip import ULX3S_32MB
from dyncc_sim.skipopu.bench.board_rig import SimulatedUlx3s
from dyncc_sim.skipopu.bench.host_cases import small_overlay
from dyncc_sim.skipopu.bench.instances import SINGLE, TARGETS
from dyncc_sim.skipopu.controls import Controls, Status
from dyncc_sim.skipopu.decoder import Decoder
from dyncc_sim.skipopu.machine import Machine
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.runners import BoardRunner, SimulatorRunner
from dyncc_sim.skipopu.trap import TrapError

#: A ULX3S at its clock, but with a line on which a byte takes as few cycles as a receiver can do.
LINK = LinkSpec(50_000_000, 12_500_000, 4096)
#: Memory: numbers, a matrix, room to write, and two programs, of which one is wrong.
COUNT = 32
NUMBERS, MATRIX = 0, 128
ROOM = MATRIX + -(-matrix_bytes(WeightType.Q4_1, COUNT, COUNT, SINGLE.block) // 64) * 64
PROGRAM, WRONG, SIZE = ROOM + 128, ROOM + 256, ROOM + 320
#: Cycles that memory may take, where they are counted.
WATCHDOG = 300


def program(turns: int) -> list[int]:
    """Multiplies the numbers with the matrix, one time and so many times more, and adds it up."""
    text = f"""
    setr d=r10 imm={COUNT}
    setr d=r12 imm={MATRIX}
    setr d=r14 imm={ROOM}
    setr d=r15 imm={turns}
    ld mode=VECTOR_F32 type=Q4_1 memory=r0 vector=r0 rows=r0 columns=r10 index=r0 release=0
    npe function=TO_BFP d=r0 a=r0 b=r0 columns=r10 memory=r0 wait=0 release=1
    ld mode=WEIGHTS type=Q4_1 memory=r12 vector=r0 rows=r10 columns=r10 index=r0
    gemv type=Q4_1 blocks=r0 vector=r10 rows=r10 columns=r10 wait=1
    loop count=r15 length=2
    ld mode=WEIGHTS type=Q4_1 memory=r12 vector=r0 rows=r10 columns=r10 index=r0
    gemv type=Q4_1 blocks=r0 vector=r10 rows=r10 columns=r10 add=1
    gemv type=Q4_1 blocks=r0 vector=r10 rows=r10 columns=r10 add=1 release=2
    st memory=r14 vector=r10 columns=r10 stride=r0 wait=2
    halt
    """
    # The last product has a matrix of its own.
    load = "ld mode=WEIGHTS type=Q4_1 memory=r12 vector=r0 rows=r10 columns=r10 index=r0\n"
    last = text.rindex("    gemv")
    return [item.encode() for item in assemble(text[:last] + load + text[last:])]


def image(turns: int) -> Any:
    """Memory with all that a host loads."""
    found = numpy.zeros(SIZE, numpy.uint8)
    draw = numpy.random.default_rng(3)
    found[NUMBERS:MATRIX] = draw.normal(size=COUNT).astype("<f4").view(numpy.uint8)
    kind, weights = WeightType.Q4_1, draw.normal(size=(COUNT, COUNT))
    content = to_memory(kind, SINGLE.block, quantise(kind, weights, SINGLE.block))
    found[MATRIX : MATRIX + len(content)] = numpy.frombuffer(content, numpy.uint8)
    words = numpy.array(program(turns), "<u8").view(numpy.uint8)
    found[PROGRAM : PROGRAM + len(words)] = words
    return found


class Host:
    """A host at the board, which knows from the simulator what has to come.

    Attributes
    ----------
    stopped
        What stopped the programs that were stopped.
    """

    def __init__(self, line: SimulatedUlx3s, turns: int) -> None:
        self.line, self.content = line, image(turns)
        self.length = len(program(turns))
        memory = Memory(SIZE, (range(ROOM, PROGRAM),))
        memory.content[:] = self.content
        Machine(SINGLE, memory).run(program(turns), {R_TOKENS: 1})
        self.wanted = memory.content
        assert self.wanted[ROOM:PROGRAM].any()
        self.connect()

    def connect(self) -> None:
        """Speak with a board of which nothing is known."""
        self.board = Board(self.line)
        self.controls = Controls(self.board)
        assert self.controls.state() == State.IDLE
        self.board.load(0, self.content)
        self.configure()

    def configure(self, memory_bytes: int = SIZE, watchdog: int = 0) -> None:
        """What programs may see, and for how long memory may be silent."""
        self.controls.configure(memory_bytes, [(ROOM, PROGRAM)], watchdog)

    def wait(self) -> None:
        """Until the program has ended, or was stopped."""
        while self.controls.state() in (State.STARTING, State.RUNNING):
            self.board.session.pause(2e-5)

    def start(self, base: int = PROGRAM, length: int | None = None) -> None:
        """Start a program, and be sure that the board was told."""
        self.controls.start(base, length or self.length, {R_TOKENS: 1})
        self.board.settle()

    def right(self) -> None:
        """The program ends, and memory holds what it holds on the simulator."""
        # Also bytes at odd addresses.
        self.board.put(ROOM + 1, bytes(PROGRAM - ROOM - 2))
        self.start()
        self.wait()
        assert self.controls.ended()
        assert (self.board.get(ROOM, PROGRAM - ROOM) == self.wanted[ROOM:PROGRAM]).all()
        assert self.line.chip().bytes(0, WRONG) == self.wanted[:WRONG].tobytes()

    def stopped(self, trap: Trap, pc: int | None = None) -> Status:
        """How a board tells of a program that was stopped."""
        self.wait()
        with pytest.raises(TrapError) as caught:
            self.controls.ended()
        assert caught.value.trap == trap, caught.value
        assert pc in (None, caught.value.pc), caught.value
        return self.controls.status()


def bus_error(host: Host) -> None:
    """A host speaks of memory that the chip does not have."""
    beyond = ULX3S_32MB.bytes
    load = "ld mode=VECTOR_F32 type=Q4_1 memory=r8 vector=r0 rows=r0 columns=r9 index=r0"
    text = f"setr d=r8 imm={beyond}\nsetr d=r9 imm={COUNT}\n{load}\nhalt"
    words = [item.encode() for item in assemble(text)]
    host.board.put(WRONG, numpy.array(words, "<u8").tobytes())
    host.configure(2 * beyond)
    host.start(WRONG, len(words))
    loader = host.stopped(Trap.BUS).engines[Engine.LOAD]
    assert (loader.busy, loader.op, loader.pc) == (True, Op.LD, 2)


def outside(host: Host) -> None:
    """A program that is not in memory, and one that goes on beyond it."""
    for base in (SIZE, SIZE - 16):
        host.start(base, 3)
        host.stopped(Trap.MEMORY, 0)


def silence(host: Host) -> None:
    """Memory does not answer any more."""
    host.configure(watchdog=WATCHDOG)
    host.start()
    assert host.controls.state() == State.RUNNING
    host.line.silence(True)
    engines = host.stopped(Trap.WATCHDOG).engines
    assert engines[Engine.LOAD].busy or engines[Engine.PE].busy
    host.line.silence(False)


def reset(host: Host) -> None:
    """The board is reset while words are on their way."""
    host.start()
    assert host.controls.state() == State.RUNNING
    host.line.reset()
    host.connect()


Fault = Callable[[Host], None]


def programs(turns: int, *faults: Fault) -> None:
    """The program, again and again, and one of the faults before each time."""
    line = SimulatedUlx3s(SINGLE, TARGETS[SINGLE.name], LINK, "ULX3S_32MB")
    try:
        host = Host(line, turns)
        host.right()
        for fault in faults:
            fault(host)
            host.configure()
            host.right()
        seen = line.chip().coverage
    finally:
        line.close()
    resets = faults.count(reset)
    assert (seen["mode set"], seen.get("resets within a burst", 0)) == (1 + resets, resets)
    for name in ("refresh within a burst", "masks", "words that nobody wrote"):
        assert seen.get(name), f"there was no {name}"


def test_a_program_on_a_board() -> None:
    programs(8, silence, reset)


@pytest.mark.slow
def test_all_that_can_stop_a_program() -> None:
    programs(30, bus_error, outside, silence, reset, silence, bus_error, reset, reset, outside)


class Breaking(SimulatedUlx3s):
    """A board that is reset when it has been listened to so many times more."""

    reads = 0

    def read(self, timeout: float) -> bytes:
        """What came."""
        self.reads -= 1
        if self.reads == 0:
            self.reset()
        return super().read(timeout)


def same(found: Overlay, line: SimulatedUlx3s, simulator: SimulatorRunner) -> None:
    """The chip holds the decoder, and all that the simulator wrote."""
    size = found.memory.size
    wanted = simulator.get(0, size).view("<u2")
    image = range(found.image_address // 2, (found.image_address + len(found.image)) // 2)
    words = line.chip().words
    for place, word in enumerate(wanted.tolist()):
        if word or place in image:
            assert words.get(place) == word, f"{2 * place:#x}"


@pytest.mark.slow
def test_a_decoder_on_a_board() -> None:
    found = small_overlay(SINGLE)
    line = Breaking(SINGLE, TARGETS[SINGLE.name], LINK, "ULX3S_32MB")
    simulator = SimulatorRunner(found)
    one = Decoder(found, simulator)
    tokens, logits = list(one.generate([5, 6], 3)), one.logits([7])
    try:
        for turn in range(2):
            board = Decoder(found, BoardRunner(found, line))
            assert list(board.generate([5, 6], 3)) == tokens
            assert numpy.array_equal(board.logits([7]), logits)
            assert (board.slots, board.kv) == (one.slots, one.kv)
            same(found, line, simulator)
            if turn == 0:
                board.reset()
                line.reads = 150
                with pytest.raises(LinkError):
                    list(board.generate([8, 9, 5, 6, 7, 8, 9], 8))
                assert line.reads < 0
        assert line.chip().coverage["resets within a burst"] == 1
    finally:
        line.close()
