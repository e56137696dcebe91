"""Compares a PE array behind a line with its integer twin: of a board, or of a simulation.

``python -m dyncc_sim.skipopu.bringup --engine serial:/dev/ttyUSB1 --dots 1000 --seed 1``

Matrices, vectors and what has to come are those of the array's bench (`bench.array_cases`): all
kinds of weights, one to four groups of blocks, blocks of zeros, terms of which nothing is left, and
the largest numbers.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy
from amaranth.hdl import UnusedElaboratable

from dyncc.arch.fields import pack, unpack
from dyncc.arch.link import LinkSpec
from dyncc.arch.skipopu.bringup import CONTROL, IDENTITY, STATUS, ArrayMap, Word
from dyncc.arch.skipopu.packets import differences
from dyncc.arch.skipopu.spec import ARCHS, ArchSpec
from dyncc.backends.skipopu.board import PROTOCOL
from dyncc.backends.skipopu.board_words import BoardWords
from dyncc.core.errors import ConfigError, DynccError, LinkError, MismatchError
from dyncc.link import SERIAL, SerialTransport, Session, Transport, serial_port
from dyncc_hw.skipopu.bringup import ArrayDevice, array_map
from dyncc_sim.simulated_line import FASTEST, SimulatedLine
from dyncc_sim.skipopu.bench.array_cases import KINDS, array

#: The instance, and its multipliers.
ARCH, TARGET = ARCHS["ice40_2x2"], "SB_MAC16"
#: Matrices that are made at once; all kinds, and the first of each with the largest numbers.
MATRICES = 3 * len(KINDS)
#: Cycles after which a simulated device will not answer any more.
_SILENCE = 1 << 16


@dataclass(frozen=True)
class Pass:
    """Rows of a matrix times a vector.

    Attributes
    ----------
    scales, slices
        What the array gets: scales of each block (or slice of several), and its slices.
    results
        What it has to give: payloads, a lane each.
    dots, products
        Dot products, and products in them.
    wide, unsigned
        Of its weights.
    """

    scales: list[int]
    slices: list[list[int]]
    results: list[int]
    dots: int
    products: int
    wide: bool
    unsigned: bool


def passes(arch: ArchSpec, target: str, seed: int) -> Iterator[Pass]:
    """Random passes without end."""
    draw = numpy.random.default_rng(seed)
    while True:
        cases = array(arch, target, MATRICES, draw)
        block = cases.block
        slices, results = iter(cases.inputs), iter(cases.outputs)
        scales: list[int] = []
        for word in cases.others["scales"]:
            scales.append(word)
            given = block.scales_layout.from_bits(word)
            if not given.last:
                continue
            size = block.shape.slices
            blocks = [[next(slices) for _ in range(size)] for _ in scales]
            first = block.takes.from_bits(blocks[0][0])
            lanes = 1 if given.wide else arch.products
            dots = lanes * arch.rows
            yield Pass(
                scales, blocks, [next(results) for _ in range(lanes)],
                dots, dots * len(scales) * size * arch.columns,
                bool(given.wide), bool(first.unsigned),
            )  # fmt: skip
            scales = []


class ArrayBoard:
    """A PE array at the other end of a line.

    Parameters
    ----------
    transport
        The line; closed with the board.
    arch, words
        The instance that has to be there, and its words.

    Attributes
    ----------
    read, write
        Of `BoardWords`.

    Raises
    ------
    ConfigError
        If something else is there.
    LinkError
        If nothing answers.
    """

    def __init__(self, transport: Transport, arch: ArchSpec, words: ArrayMap) -> None:
        self.words = words
        self.session = Session(transport, PROTOCOL)
        sent = BoardWords(self.session)
        self.read, self.write = sent.read, sent.write
        try:
            self.check(arch)
            self.control("clear")
        except BaseException:
            self.close()
            raise

    def check(self, arch: ArchSpec) -> None:
        """Whether the board is an array of an instance; raises ConfigError."""
        where = self.session.transport.name
        (found,) = self.read(Word.IDENTITY, 1)
        if found != IDENTITY:
            raise ConfigError(
                f"this board is no PE array alone: it says {found:#x}, not {IDENTITY:#x}",
                where=where,
                hint="Build it: dyncc hw build skipopu-array --board icebreaker.",
            )
        if differ := differences(arch, self.session.info):
            told = ", ".join(f"{name} {a}, not {b}" for name, (a, b) in differ.items())
            raise ConfigError(
                f"the board's array is not {arch.name}, which has {told}", where=where
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the line."""
        self.session.close()

    def control(self, what: str) -> None:
        """Set a bit of `CONTROL`."""
        values = {item.name: int(item.name == what) for item in CONTROL}
        self.write(Word.CONTROL, [pack(CONTROL, values)])

    def status(self) -> tuple[dict[str, int], int]:
        """`STATUS`, and the result, which is anything unless one waits."""
        word, *result = self.read(Word.STATUS, 1 + self.words.result.words)
        return unpack(STATUS, word), sum(part << 32 * number for number, part in enumerate(result))

    def compute(self, work: Pass) -> list[int]:
        """The array's results.

        Raises
        ------
        LinkError
            If one does not come, or the array had no room for what was written.
        """
        for scales, slices in zip(work.scales, work.slices, strict=True):
            self.write(self.words.scales.first, self.words.scales.content([scales]))
            self.write(self.words.blocks.first, self.words.blocks.content(slices))
        found = []
        for number in range(len(work.results)):
            status, result = self.status()
            if status["lost"] or not status["result"]:
                what = "lost what was written" if status["lost"] else f"gives no result {number}"
                raise LinkError(f"the array {what}: {status}", where=self.session.transport.name)
            found.append(result)
            self.control("take")
        return found


@dataclass
class Tally:
    """What was equal.

    Attributes
    ----------
    dots, products
        Dot products, and products in them.
    passes, wide, unsigned, several
        Passes; of these, those with wide or unsigned weights, and those of more than one block.
    """

    dots: int = 0
    products: int = 0
    passes: int = 0
    wide: int = 0
    unsigned: int = 0
    several: int = 0

    def add(self, work: Pass) -> None:
        """Count a pass."""
        self.dots += work.dots
        self.products += work.products
        self.passes += 1
        self.wide += work.wide
        self.unsigned += work.unsigned
        self.several += len(work.scales) > 1

    def __str__(self) -> str:
        return (
            f"{self.dots} dot products of {self.products} products are equal; of {self.passes} "
            f"passes, {self.wide} were with wide weights, {self.unsigned} with unsigned ones, "
            f"{self.several} over several blocks"
        )


def compare(board: ArrayBoard, dots: int, given: Iterable[Pass], block: Any) -> Tally:
    """Compute passes until there are so many dot products.

    Raises
    ------
    MismatchError
        If a result is not the twin's, or there is one too many.
    """
    tally = Tally()
    for work in given:
        pairs = zip(board.compute(work), work.results, strict=True)
        for number, (found, wanted) in enumerate(pairs):
            if found != wanted:
                theirs, mine = (_shown(block, word) for word in (found, wanted))
                raise MismatchError(
                    f"pass {tally.passes}, result {number}: the array has {theirs}, and the twin "
                    f"{mine}; {tally.dots} dot products before were equal"
                )
        tally.add(work)
        if tally.dots >= dots:
            break
    if board.status()[0]["result"]:
        raise MismatchError("the array has one result too many")
    return tally


def _shown(block: Any, word: int) -> str:
    """A result, readable."""
    size = block.gives.size
    if word >> size:
        return f"{word:#x}, more than {size} bits"
    result = block.gives.from_bits(word)
    return f"{[int(item) for item in result.accumulators]} of lane {int(result.lane)}"


def line(engine: str) -> Transport:
    """What leads to an array: ``rtl`` or ``serial:PORT[@BAUD]``.

    Raises
    ------
    ConfigError
        If it is none of these, or there is no such port.
    """
    if engine == "rtl":
        link: LinkSpec = FASTEST
        return SimulatedLine(ArrayDevice(ARCH, TARGET, link), link, _SILENCE)
    if engine.startswith(SERIAL):
        return SerialTransport(*serial_port(engine))
    raise ConfigError(f"engine must be rtl or serial:PORT[@BAUD], not {engine!r}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and say what was equal; 0 if all was."""
    parser = argparse.ArgumentParser(
        prog="python -m dyncc_sim.skipopu.bringup", description=__doc__
    )
    parser.add_argument("--engine", required=True, metavar="NAME", help="rtl or serial:PORT[@BAUD]")
    parser.add_argument("--dots", type=int, default=200, metavar="N", help="at least so many")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    options = parser.parse_args(arguments)
    # Of many arrays here, only the layouts are used.
    warnings.simplefilter("ignore", UnusedElaboratable)
    block = array(ARCH, TARGET, 0, numpy.random.default_rng(0)).block
    try:
        with ArrayBoard(line(options.engine), ARCH, array_map(block)) as board:
            found = compare(board, options.dots, passes(ARCH, TARGET, options.seed), block)
    except DynccError as error:
        sys.stderr.write(f"{error}\n")
        return 1 if isinstance(error, MismatchError) else error.exit_code
    sys.stdout.write(f"{found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
