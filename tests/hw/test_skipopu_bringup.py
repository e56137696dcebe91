"""SkipOPU's bring-up instance: the PE array behind a line, as a host sees it."""

from __future__ import annotations

import gc
import itertools
import random
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy
import pytest
from amaranth.hdl import UnusedElaboratable

from dyncc.arch.link import LinkSpec
from dyncc.arch.skipopu import csr
from dyncc.arch.skipopu.bringup import IDENTITY, ArrayMap, Region, Word
from dyncc.arch.skipopu.packets import OWN_WORD, Opcode, place
from dyncc.arch.skipopu.spec import ARCHS
from dyncc.backends.skipopu.board import Board
from dyncc.core.errors import ConfigError, LinkError, MismatchError
from dyncc.link import DirectTransport
from dyncc_hw.skipopu.bringup import ArrayDevice, array_map
from dyncc_sim.skipopu import bringup
from dyncc_sim.skipopu.bench.array_cases import array
from dyncc_sim.skipopu.bringup import (
    ARCH,
    MATRICES,
    TARGET,
    ArrayBoard,
    compare,
    line,
    main,
    passes,
)
from dyncc_sim.skipopu.device import DeviceTwin

BLOCK = array(ARCH, TARGET, 0, numpy.random.default_rng(0)).block
WORDS = array_map(BLOCK)


@pytest.fixture(scope="module")
def simulated() -> Iterator[ArrayBoard]:
    with ArrayBoard(line("rtl"), ARCH, WORDS) as found:
        yield found


@pytest.fixture
def board(simulated: ArrayBoard) -> ArrayBoard:
    simulated.control("clear")
    return simulated


def test_the_array_is_its_twin(board: ArrayBoard) -> None:
    tally = compare(board, 100, passes(ARCH, TARGET, 1), BLOCK)
    assert tally.dots >= 100
    assert min(tally.wide, tally.unsigned, tally.several, tally.passes - tally.wide) > 0
    # All of the matrices that are made at once are among them, and so is all that they have to be.
    cases = array(ARCH, TARGET, MATRICES, numpy.random.default_rng(1))
    assert len(cases.outputs) * ARCH.rows <= tally.dots
    assert not cases.coverage.missing(cases.required)
    # Nothing is left of it.
    status, _ = board.status()
    assert status == {"scales": 1, "slices": 1, "result": 0, "lost": 0}


def test_words_are_answered_as_they_are_said_to_be(board: ArrayBoard) -> None:
    assert board.read(Word.IDENTITY, 2) == [IDENTITY, 0]
    # There is no memory, and nobody waits for it.
    assert board.session.info["memory_bytes"] == 0
    assert board.read(OWN_WORD, 1) == [0]
    for opcode, content in ((Opcode.GET, b""), (Opcode.PUT, b"x"), (Opcode.CHECK, b"")):
        with pytest.raises(LinkError, match="outside of what the device has"):
            board.session.ask(opcode, place(0, 1) + content)
    assert board.session.ask(Opcode.GET, place(0, 0)) == b""
    assert board.session.ask(Opcode.CHECK, place(0, 0)) == bytes(4)
    # What is behind an item in its place, and words that are not there, change nothing.
    before = board.status()[0]
    for region in (WORDS.scales, WORDS.blocks):
        for first in range(region.first, region.first + region.size, region.stride):
            if spare := region.stride - region.words:
                board.write(first + region.words, [1] * spare)
    end = WORDS.blocks.first + WORDS.blocks.size
    board.write(end, [2**32 - 1] * ((1 << csr.ADDRESS_BITS) - end))
    board.write(Word.STATUS, [2**32 - 1] * (1 + WORDS.result.words))
    assert board.status()[0] == before


def test_what_is_lost_is_told_and_cleared(board: ArrayBoard) -> None:
    given = list(itertools.islice(passes(ARCH, TARGET, 3), 2))
    scales = WORDS.scales.content(given[0].scales[:1])
    board.write(WORDS.scales.first, scales)
    assert board.status()[0] == {"scales": 0, "slices": 1, "result": 0, "lost": 0}
    board.write(WORDS.scales.first, scales[:1])
    assert board.status()[0] == {"scales": 0, "slices": 1, "result": 0, "lost": 1}
    with pytest.raises(LinkError, match="the array lost what was written"):
        board.compute(given[0])
    board.control("clear")
    assert board.status()[0] == {"scales": 1, "slices": 1, "result": 0, "lost": 0}
    # A block that was begun is forgotten with what the array holds of it.
    board.write(WORDS.blocks.first, WORDS.blocks.content(given[0].slices[0][:3]))
    board.control("clear")
    for work in given:
        assert board.compute(work) == work.results


def test_slices_without_scales_fill_the_array_and_then_are_lost(board: ArrayBoard) -> None:
    (work,) = itertools.islice(passes(ARCH, TARGET, 3), 1)
    content = WORDS.blocks.content(work.slices[0])
    for _ in range(4):
        board.write(WORDS.blocks.first, content)
    status = board.status()[0]
    assert (status["slices"], status["lost"], status["result"]) == (0, 1, 0)
    with pytest.raises(LinkError, match="the array lost what was written"):
        board.compute(work)
    board.control("clear")
    assert board.compute(work) == work.results


def test_a_result_waits_until_it_is_taken(board: ArrayBoard) -> None:
    (work,) = itertools.islice(passes(ARCH, TARGET, 4), 1)
    for scales, slices in zip(work.scales, work.slices, strict=True):
        board.write(WORDS.scales.first, WORDS.scales.content([scales]))
        board.write(WORDS.blocks.first, WORDS.blocks.content(slices))
    first, second = board.status(), board.status()
    assert first == second == ({"scales": 1, "slices": 1, "result": 1, "lost": 0}, work.results[0])
    board.control("clear")
    assert board.status()[0]["result"] == 0


def test_a_difference_is_told(board: ArrayBoard) -> None:
    def wrong() -> Iterator[Any]:
        first, second = itertools.islice(passes(ARCH, TARGET, 5), 2)
        yield first
        yield replace(second, results=[second.results[0] ^ 1 << 46, *second.results[1:]])

    with pytest.raises(MismatchError, match=r"pass 1, result 0: the array has \[.*\] of lane 0"):
        compare(board, 100, wrong(), BLOCK)
    board.control("clear")
    (work,) = itertools.islice(passes(ARCH, TARGET, 5), 1)
    with pytest.raises(LinkError, match=f"gives no result {len(work.results)}"):
        board.compute(replace(work, results=[*work.results, 0]))
    # A result that nobody asked for.
    with pytest.raises(MismatchError, match="one result too many"):
        compare(board, 1, [replace(work, results=work.results[:-1])], BLOCK)


def test_the_program_says_what_was_equal(
    board: ArrayBoard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The one that is there, and stays open.
    monkeypatch.setattr(ArrayBoard, "close", lambda self: None)
    monkeypatch.setattr(bringup, "ArrayBoard", lambda *given: board)
    monkeypatch.setattr(bringup, "line", lambda engine: engine)
    assert main(["--engine", "rtl", "--dots", "4", "--seed", "6"]) == 0
    assert capsys.readouterr().out.startswith("4 dot products of ")
    right = bringup.passes

    def wrong(*given: Any) -> Iterator[Any]:
        for work in right(*given):
            yield replace(work, results=[word ^ 1 for word in work.results])

    monkeypatch.setattr(bringup, "passes", wrong)
    assert main(["--engine", "rtl", "--dots", "4", "--seed", "6"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "pass 0, result 0: the array has" in shown.err


def test_other_boards_and_lines_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", "verilog"]) == ConfigError.exit_code
    assert "engine must be rtl or serial:PORT[@BAUD], not 'verilog'" in capsys.readouterr().err
    machine = DirectTransport(DeviceTwin(ARCHS["ecp5_85f"], 4096).receive)
    with pytest.raises(ConfigError, match="this board is no PE array alone"):
        ArrayBoard(machine, ARCH, WORDS)


def test_another_array_is_refused(board: ArrayBoard) -> None:
    with pytest.raises(ConfigError, match=r"is not ecp5_85f, which has rows 8, not 2"):
        board.check(ARCHS["ecp5_85f"])


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "target"), [("ice40_2x2", TARGET), ("ecp5_85f", "MULT18X18D")])
def test_no_word_belongs_to_two(name: str, target: str) -> None:
    words = array_map(array(ARCHS[name], target, 0, numpy.random.default_rng(0)).block)
    taken = [0, 1, 2]
    for region in (words.result, words.scales, words.blocks):
        size = region.words if region == words.result else region.size
        taken += range(region.first, region.first + size)
    assert len(set(taken)) == len(taken)
    assert max(taken) < 1 << csr.ADDRESS_BITS
    for region in (words.scales, words.blocks):
        assert region.first % region.size == 0
    assert words.blocks.items >= ARCHS[name].block // ARCHS[name].columns


def test_items_are_written_word_by_word() -> None:
    region = Region(8, 3, 2)
    draw = random.Random(1)
    items = [draw.getrandbits(96) for _ in range(2)]
    parts = [[item >> shift & (2**32 - 1) for shift in (0, 32, 64)] for item in items]
    assert region.content(items) == [*parts[0], 0, *parts[1]]
    assert (region.stride, region.size) == (4, 8)


def test_an_array_of_too_many_words_is_refused() -> None:
    with pytest.raises(ConfigError, match="the array needs 512 words, and there are 256"):
        ArrayMap(100, 2000, 1000, 8)
    with warnings.catch_warnings():
        # Amaranth warns of components that are never used.
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(ConfigError, match="words, and there are 256"):
            ArrayDevice(ARCHS["u280"], "DSP48E2", LinkSpec())
        gc.collect()


@pytest.mark.slow
def test_many_dot_products_are_those_of_the_twin(board: ArrayBoard) -> None:
    tally = compare(board, 1000, passes(ARCH, TARGET, 2), BLOCK)
    assert tally.passes > 100


@pytest.mark.slow
def test_the_board_of_a_machine_reads_its_words() -> None:
    """Anything that speaks the protocol can."""
    with Board(line("rtl")) as found:
        assert found.words(Word.IDENTITY, 1) == [IDENTITY]
