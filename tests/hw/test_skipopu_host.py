"""A host's way to registers and memory: requests, the memory that is shared, the whole device."""

from __future__ import annotations

import random
import zlib
from dataclasses import asdict
from typing import Any

import numpy
import pytest
from hw.simulators import ICARUS

from dyncc.arch.link import LinkSpec
from dyncc.arch.skipopu.assembler import assemble
from dyncc.arch.skipopu.csr import Place
from dyncc.arch.skipopu.isa import R_TOKENS, RESERVED
from dyncc.backends.skipopu.board import Board
from dyncc.link import DirectTransport
from dyncc.link.faults import FAULTS, FaultyTransport
from dyncc_sim.runner import run_bench
from dyncc_sim.skipopu.bench.host_cases import small_overlay
from dyncc_sim.skipopu.bench.host_ram import SimulatedBoard, first_words
from dyncc_sim.skipopu.bench.host_rig import HostRig
from dyncc_sim.skipopu.bench.instances import INSTANCES, SINGLE
from dyncc_sim.skipopu.controls import Controls
from dyncc_sim.skipopu.decoder import Decoder
from dyncc_sim.skipopu.device import DeviceTwin
from dyncc_sim.skipopu.runners import BoardRunner
from dyncc_sim.skipopu.trap import TrapError

LINK = LinkSpec(clk_hz=12_000_000, baud=3_000_000)
MEMORY_BYTES, TURNS, PATIENCE = 4096, 4, 3000
DEVICE_BYTES = 1 << 16
BENCH = "dyncc_sim.skipopu.bench.host_bench"
COVER = [
    "CORRUPT", "PING OK", "READ OK", "WRITE OK", "GET OK", "PUT OK", "CHECK OK", "WRITE BUSY",
    "READ LENGTH", "WRITE LENGTH", "GET LENGTH", "PUT LENGTH", "CHECK LENGTH", "READ ADDRESS",
    "GET ADDRESS", "PUT ADDRESS", "CHECK ADDRESS", "WRITE ADDRESS", "other OPCODE", "repeated",
    "PUT SEQUENCE", "resets", "at once", "words of the machine read",
    "words of the machine written", "memories compared", "responses waits",
]  # fmt: skip


def host(name: str, simulator: str = "verilator", **options: Any) -> None:
    arch = INSTANCES[name]
    settings = {
        "name": name, "memory_bytes": MEMORY_BYTES, "turns": TURNS, "patience": PATIENCE,
        "link": asdict(LINK), "seed": 1, "latency": 4, "requests": 60, "cover": COVER,
    }  # fmt: skip
    rig = HostRig(arch, LINK, MEMORY_BYTES, TURNS, PATIENCE)
    run_bench(rig, BENCH, settings | options, simulator=simulator)


@pytest.mark.slow
def test_requests_beside_a_machine() -> None:
    host("single")


def test_requests_beside_a_machine_that_leaves_no_gap() -> None:
    host("batched", cover=[*COVER, "overdue"])


@pytest.mark.parametrize("simulator", [ICARUS])
def test_requests_on_icarus(simulator: str) -> None:
    host("batched", simulator, seed=2, requests=30, cover=["memories compared"])


# --- the whole device, through its pins ---------------------------------------------------------


def start(board: Board, text: str) -> Controls:
    """Start a program."""
    words = [item.encode() for item in assemble(text)]
    board.put(128, numpy.array(words, "<u8").tobytes())
    controls = Controls(board)
    controls.configure(DEVICE_BYTES, [(512, 1024)], 1 << 20)
    controls.start(128, len(words), {R_TOKENS: 1}, forget=True)
    return controls


def wait(board: Board, controls: Controls) -> None:
    """Until the program has ended."""
    while not controls.ended():
        board.session.pause(1e-4)


def history(board: Board) -> list[Any]:
    """What a board says to all kinds of requests."""
    draw = random.Random(4)
    found: list[Any] = [board.info, board.words(0, 16)]
    for first, count in ((8, 8), (16, 16), (64, 2 * len(RESERVED))):
        for address in range(first, first + count):
            board.write(address, draw.getrandbits(32))
        found.append(board.words(first, count)[2 * (first == 64) :])
    for address, count in ((1, 1), (3, 2), (1000, 777), (DEVICE_BYTES - 5, 5)):
        content = draw.randbytes(count)
        board.put(address, content)
        assert board.get(address, count).tobytes() == content
    found.append(board.load(64, numpy.frombuffer(draw.randbytes(3000), numpy.uint8)))
    found.append(zlib.crc32(board.get(0, 4096).tobytes()))
    for text in ("nop", "nop wait=2\nhalt"):
        controls = start(board, text)
        with pytest.raises(TrapError) as caught:
            wait(board, controls)
        found.append((caught.value.trap, caught.value.pc))
    # A program that runs for a while.
    turns = "setr d=r10 s=r0 mode=IMMEDIATE imm=20000\nloop count=r10 length=1\nnop\nhalt"
    controls = start(board, turns)
    board.put(2001, b"beside it")
    found.append(board.get(2000, 11).tobytes())
    board.write(2 * Place.LENGTH, 77)
    board.settle()
    found.append((controls.ended(), controls.register(10), board.words(2 * Place.LENGTH, 1)))
    return found


@pytest.mark.slow
def test_device_does_what_its_twin_does() -> None:
    device = DeviceTwin(SINGLE, DEVICE_BYTES, LINK)
    # The rig's memory holds something at first.
    device.memory[:] = numpy.array(first_words(DEVICE_BYTES // 2, 2), "<u2").view(numpy.uint8)

    def receive(content: bytes) -> bytes:
        answers = device.receive(content)
        device.advance()
        return answers

    with Board(DirectTransport(receive)) as twin:
        wanted = history(twin)
    with Board(SimulatedBoard(SINGLE, DEVICE_BYTES, LINK)) as board:
        assert history(board) == wanted
        # The register was written when the program had ended, and not before.
        assert board.session.statistics.busy > 0


@pytest.mark.slow
def test_device_writes_tokens_over_a_faulty_line() -> None:
    found = small_overlay(SINGLE)
    line = FaultyTransport(SimulatedBoard(SINGLE, DEVICE_BYTES, LINK), 0.05, seed=1)
    one = Decoder(found)
    with Decoder(found, BoardRunner(found, line)) as board:
        assert list(board.generate([5, 6], 4)) == list(one.generate([5, 6], 4))
        assert numpy.array_equal(board.logits([7]), one.logits([7]))
        assert (board.slots, board.kv) == (one.slots, one.kv)
        speed = board.speed(prompt=False)
        assert speed is not None
        assert speed.clk_hz == LINK.clk_hz
        assert 0.3 < speed.bandwidth_used < 1
    assert set(line.faults) == set(FAULTS)
