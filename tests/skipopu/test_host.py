"""A host and a board: loading, running, what can go wrong; the board is a twin at a line."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import pytest

from dyncc.arch.link import LinkSpec
from dyncc.arch.neurocorex import CoreSpec
from dyncc.arch.skipopu.assembler import assemble
from dyncc.arch.skipopu.csr import Place, State
from dyncc.arch.skipopu.isa import Trap
from dyncc.arch.skipopu.packets import INFO, OWN_WORD
from dyncc.arch.skipopu.spec import ARCHS
from dyncc.backends.skipopu.artifact import Overlay, save
from dyncc.backends.skipopu.board import PIECE, Board
from dyncc.cli import main
from dyncc.core.errors import ConfigError, LinkError
from dyncc.link import DirectTransport
from dyncc.link.faults import FAULTS, FaultyTransport
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.spiking.device import DeviceTwin as OtherTwin
from dyncc_sim.skipopu.bench.host_cases import small_overlay
from dyncc_sim.skipopu.bench.instances import BATCHED, SINGLE
from dyncc_sim.skipopu.controls import Controls
from dyncc_sim.skipopu.decoder import Decoder
from dyncc_sim.skipopu.device import DeviceTwin
from dyncc_sim.skipopu.runners import BoardRunner
from dyncc_sim.skipopu.trap import TrapError

MEMORY_BYTES = 1 << 16


class Rig:
    """A device at a line.

    Attributes
    ----------
    device
        The device; another one may be put there.
    bytes_left
        Bytes that still reach it; with the last of them the line is cut in both directions.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES, arch: Any = SINGLE) -> None:
        self.device = DeviceTwin(arch, memory_bytes, LinkSpec(receive_bytes=4096))
        # What it holds at first is nothing that anybody may rely on.
        draw = numpy.random.default_rng(3)
        self.device.memory[:] = draw.integers(0, 256, memory_bytes, numpy.uint8)
        self.bytes_left = 1 << 60

    def line(self) -> DirectTransport:
        """A line to it."""
        return DirectTransport(self._receive, "line")

    def _receive(self, content: bytes) -> bytes:
        arrived = content[: self.bytes_left]
        self.bytes_left -= len(arrived)
        answers = self.device.receive(arrived)
        self.device.advance()
        return answers if self.bytes_left else b""


@cache
def overlay(policy: KvPolicy = KvPolicy.REUSE) -> Overlay:
    return small_overlay(SINGLE, policy)


def image(size: int = 5 * PIECE + 1234) -> numpy.ndarray:
    return numpy.random.default_rng(1).integers(0, 256, size, numpy.uint8)


# --- decoders -----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", KvPolicy)
def test_a_board_writes_what_the_simulator_writes(policy: KvPolicy) -> None:
    one, other = (
        Decoder(overlay(policy)),
        Decoder(overlay(policy), BoardRunner(overlay(policy), Rig().line())),
    )
    with other:
        for _ in range(2):
            assert list(other.generate([5, 6, 7], 8)) == list(one.generate([5, 6, 7], 8))
            assert numpy.array_equal(other.logits([3, 9]), one.logits([3, 9]))
            assert (other.slots, other.kv) == (one.slots, one.kv)
            assert other.kv.fetched
            one.reset()
            other.reset()
        other.feed([1])
        assert not other.told
        with pytest.raises(ConfigError, match="a board does not tell"):
            other.skip_rates()
        # The twin has no notion of time.
        assert other.speed(True) is None


def test_batches_on_a_board() -> None:
    found = small_overlay(BATCHED)
    runner = BoardRunner(found, Rig(1 << 17, BATCHED).line())
    with Decoder(found, runner) as board:
        one = Decoder(found)
        assert numpy.array_equal(board.logits(range(11)), one.logits(range(11)))


def test_a_faulty_line_changes_nothing() -> None:
    line = FaultyTransport(Rig().line(), 0.1, seed=2)
    with Decoder(overlay(), BoardRunner(overlay(), line)) as board:
        assert list(board.generate([5, 6], 6)) == list(Decoder(overlay()).generate([5, 6], 6))
    assert set(line.faults) == set(FAULTS)


def test_a_model_that_does_not_fit_is_refused_before_anything_is_written() -> None:
    rig = Rig(32 << 10)
    before = rig.device.memory.copy()
    with pytest.raises(ConfigError) as caught:
        BoardRunner(overlay(), rig.line())
    assert "small needs 61632 bytes of memory (0.1 MB), and the board has 32768 (0.0 MB)" in str(
        caught.value
    )
    assert "Nothing was written" in str(caught.value)
    assert numpy.array_equal(rig.device.memory, before)
    # But for a look at the word that tells of errors.
    assert rig.device.expected == 1


def test_a_model_for_another_instance_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        BoardRunner(small_overlay(BATCHED), Rig().line())
    message = str(caught.value)
    assert "batched has mantissa_bits 12, not 8, kv F16, not BFP8, tokens 4, not 1" in message


def test_speed_of_an_instance_does_not_matter() -> None:
    assert not {"clk_hz", "burst_bytes", "name"} & ({item.name for item in INFO} - {"clk_hz"})


# --- loading ------------------------------------------------------------------------------------


def test_loading_costs_little_more_than_its_bytes() -> None:
    content = image(100_000)
    with Board(Rig(1 << 17).line()) as board:
        before = board.session.statistics.bytes_sent
        assert board.load(64, content) == len(content)
        assert board.session.statistics.bytes_sent - before < 1.08 * len(content)
        assert numpy.array_equal(board.get(64, len(content)), content)
        # What is there is not sent again.
        before = board.session.statistics.bytes_sent
        assert board.load(64, content) == 0
        assert board.session.statistics.bytes_sent - before < 0.01 * len(content)


def test_a_load_that_broke_off_goes_on() -> None:
    rig, content = Rig(1 << 17), image()
    rig.bytes_left = 3 * PIECE
    with pytest.raises(LinkError, match="no answer in"), Board(rig.line()) as board:
        board.load(100, content)
    rig.bytes_left = 1 << 60
    told: list[tuple[str, int, int]] = []
    with Board(rig.line(), lambda *what: told.append(what)) as board:
        assert board.load(100, content) == len(content) - 2 * PIECE
        assert numpy.array_equal(rig.device.memory[100 : 100 + len(content)], content)
    assert ("comparing", 0, 6) in told
    assert ("loading", 3, 4) in told
    assert ("verifying", 0, 4) in told


class Worn(DeviceTwin):
    """A memory in which a bit is always 1."""

    def _put(self, address: int, count: int, content: bytes) -> bytes:
        answer = super()._put(address, count, content)
        self.memory[PIECE + 7] |= 1
        return answer


def test_memory_that_does_not_hold_what_was_written() -> None:
    rig, content = Rig(1 << 17), image()
    content[PIECE + 7] = 0
    rig.device = Worn(SINGLE, 1 << 17)
    with Board(rig.line()) as board, pytest.raises(LinkError) as caught:
        board.load(0, content)
    assert "does not hold what was written, in 1 of 6 pieces of 16384 bytes" in str(caught.value)
    assert "the first at 0x4000" in str(caught.value)


def test_memory_that_fails() -> None:
    rig = Rig()
    with Board(rig.line()) as board:
        rig.device.errors = 3
        with pytest.raises(LinkError, match="memory answered with 3 errors"):
            board.put(0, b"12")
        # They were told.
        assert board.get(0, 2).tobytes() == b"12"
        rig.device.silent = True
        with pytest.raises(LinkError, match="memory does not answer"):
            board.get(0, 2)


@pytest.mark.parametrize(("address", "count"), [(MEMORY_BYTES - 1, 2), (1 << 39, 1)])
def test_bytes_beyond_memory(address: int, count: int) -> None:
    with Board(Rig().line()) as board, pytest.raises(LinkError, match=r"refuses GET.*outside of"):
        board.get(address, count)


# --- running ------------------------------------------------------------------------------------


def program(text: str) -> bytes:
    words = [item.encode() for item in assemble(text)]
    return numpy.array(words, "<u8").tobytes()


@pytest.mark.parametrize(
    ("text", "trap", "pc"),
    [("nop", Trap.RUNAWAY, 1), ("sync\nnop wait=2\nhalt", Trap.DEADLOCK, 3)],
)
def test_a_trap_is_an_error_with_its_place(text: str, trap: Trap, pc: int) -> None:
    content = program(text)
    with Board(Rig().line()) as board:
        controls = Controls(board)
        board.put(64, content)
        controls.configure(MEMORY_BYTES, [])
        controls.start(64, len(content) // 8, {}, forget=True)
        with pytest.raises(TrapError, match=f"trap {trap.name} at instruction") as caught:
            controls.ended()
        assert caught.value.exit_code == 1
        assert caught.value.trap == trap
        assert "semaphores" in str(caught.value)
        # It can be used afterwards.
        content = program("halt")
        board.put(64, content)
        controls.start(64, 1, {})
        assert controls.ended()


@pytest.mark.parametrize(("base", "length"), [(1024, 1), (1008, 3), (64, 1 << 20)])
def test_a_program_outside_of_memory(base: int, length: int) -> None:
    with Board(Rig().line()) as board:
        controls = Controls(board)
        controls.configure(1024, [])
        controls.start(base, length, {}, forget=True)
        with pytest.raises(TrapError) as caught:
            controls.ended()
        assert (caught.value.trap, caught.value.pc) == (Trap.MEMORY, 0)


def test_registers_are_not_written_while_a_program_runs() -> None:
    rig = Rig()
    rig.device.control.state = State.RUNNING
    rig.device.advance = lambda: None  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="the board runs a program already"):
        BoardRunner(overlay(), rig.line())
    with Board(rig.line()) as board:
        with pytest.raises(ConfigError, match="a program runs already"):
            Controls(board).start(0, 1, {})
        board.write(2 * Place.LENGTH, 6)
        with pytest.raises(LinkError, match="was sent 64 times in vain"):
            board.settle()
    assert rig.device.control.kept[Place.LENGTH] == 0


def test_words_in_pairs() -> None:
    rig = Rig()
    with Board(rig.line()) as board:
        board.write(2 * Place.MEMORY_BYTES, 0x89ABCDEF)
        board.write(2 * Place.MEMORY_BYTES + 1, 0x12)
        frames = board.session.statistics.frames_sent
        assert board.read(2 * Place.MEMORY_BYTES) == 0x89ABCDEF
        assert board.read(2 * Place.MEMORY_BYTES + 1) == 0x12
        assert board.session.statistics.frames_sent == frames + 1
        assert board.words(OWN_WORD, 1) == [0]


def test_a_board_that_was_reset() -> None:
    rig = Rig()
    with Decoder(overlay(), BoardRunner(overlay(), rig.line())) as board:
        board.feed([1])
        rig.device = DeviceTwin(SINGLE, MEMORY_BYTES)
        with pytest.raises(LinkError, match="the device expects request #0"):
            board.feed([2])


def test_something_else_at_the_line() -> None:
    other = OtherTwin(CoreSpec(4, 4))
    with pytest.raises(LinkError, match="calls itself b'NCX1', not b'SOP1'"):
        Board(DirectTransport(other.receive))


# --- the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "small.dyncc"
    save(overlay(), path)
    return path


def test_command(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("generate", str(artifact), "--prompt-tokens", "5,6", "--tokens", "4")
    assert main(command) == 0
    wanted = capsys.readouterr().out
    assert main((*command, "--engine", "link")) == 0
    found, told = capsys.readouterr()
    assert found.splitlines()[0] == wanted.splitlines()[0]
    assert "a board does not tell which sublayers it skipped" in found
    assert found.splitlines()[-1].startswith("ran in ")
    assert "dyncc: loading" in told


@pytest.mark.parametrize(
    ("engine", "code", "message"),
    [
        ("serial:/dev/no-such-port", 1, "there is no serial port /dev/no-such-port"),
        ("serial:", 1, "names no port"),
        ("serial:/dev/ttyUSB0@fast", 1, "the baud rate must be a positive integer, not 'fast'"),
        ("fpga", 1, "engine must be one of simulator, link, serial:PORT[@BAUD], not 'fpga'"),
    ],
)
def test_engines_that_are_none(
    artifact: Path, engine: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("generate", str(artifact), "--prompt-tokens", "5", "--engine", engine)
    assert main(command) == code
    assert message in capsys.readouterr().err


def test_instances_can_be_told(tmp_path: Path) -> None:
    # All of those that there are, as numbers in 32 bits.
    for arch in ARCHS.values():
        device = DeviceTwin(arch, 1 << 10)
        with Board(DirectTransport(device.receive)) as board:
            board.check_size("it", arch, 1 << 10)
    assert json.dumps(board.info)
