"""A SkipOPU board at the other end of a line: its registers and its memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy
from numpy.typing import NDArray

from dyncc.arch.fields import unpack
from dyncc.arch.skipopu.packets import (
    INFO,
    MAGIC,
    MAX_BYTES,
    OWN,
    OWN_WORD,
    PLACE,
    PLACE_BYTES,
    QUERIES,
    VERSION,
    Opcode,
    differences,
    place,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.backends.skipopu.board_words import BoardWords
from dyncc.core.errors import ConfigError, LinkError
from dyncc.link import Protocol, Request, Session, Transport

#: Called in long work: what is done, pieces so far, pieces in all.
Progress = Callable[[str, int, int], None]
#: Bytes that are compared at once.
PIECE = 16 << 10
#: Cycles in which a byte of a piece is read, at most, while the machine has priority.
_CYCLES = 64
#: How often a piece is written.
_ROUNDS = 3


def _describe(opcode: int, payload: bytes) -> str:
    """What a request is about."""
    if opcode == Opcode.PING or len(payload) < PLACE_BYTES:
        return ""
    found = unpack(PLACE, int.from_bytes(payload[:PLACE_BYTES], "little"))
    if opcode in (Opcode.READ, Opcode.WRITE):
        return f"{found['count']} words from {found['address']}"
    return f"{found['count']} bytes at {found['address']:#x}"


PROTOCOL = Protocol(
    "SkipOPU", INFO, MAGIC, VERSION, Opcode, frozenset(QUERIES),
    frozenset({Opcode.CHECK}), _describe,
)  # fmt: skip


def quiet(_what: str, _done: int, _total: int) -> None:
    """Report nothing."""


class Board:
    """A board that is reached over a line: a real one, a simulation, or the twin of a device.

    It reads and writes words of registers as `dyncc_sim.skipopu.controls.Words` wants them. What is
    written is on its way until something is read, or `settle` is called.

    Parameters
    ----------
    transport
        The line; closed with the board.
    progress
        Called in long work.

    Attributes
    ----------
    session
        The connection; its ``statistics`` say what passed.
    info
        What the board says of itself, see `dyncc.arch.skipopu.packets.INFO`.

    Raises
    ------
    LinkError
        If no SkipOPU board answers.
    """

    def __init__(self, transport: Transport, progress: Progress = quiet) -> None:
        self.session = Session(transport, PROTOCOL)
        self.info = self.session.info
        self.session.slowness = PIECE * _CYCLES / self.info["clk_hz"]
        self._progress = progress
        self._words = BoardWords(self.session)
        self._upper: tuple[int, int] | None = None
        #: Errors of memory that were told already.
        self._errors = self._own(self._ask_own())["errors"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the line."""
        self.session.close()

    @property
    def name(self) -> str:
        """What the line leads to."""
        return self.session.transport.name

    def check_size(self, name: str, arch: ArchSpec, size: int) -> None:
        """Whether a model fits; nothing is sent for that.

        Parameters
        ----------
        name
            Of the model.
        arch, size
            The instance that it is for, and bytes of memory that it needs.

        Raises
        ------
        ConfigError
            If the board is another instance, or its memory is too small.
        """
        if differ := differences(arch, self.info):
            told = ", ".join(
                f"{name} {mine}, not {board}" for name, (mine, board) in differ.items()
            )
            raise ConfigError(
                f"{name} is for another instance than this board: {arch.name} has {told}",
                where=self.name,
                hint="Compile the model for the board's instance, or build the board for it.",
            )
        memory = self.info["memory_bytes"]
        if size > memory:
            raise ConfigError(
                f"{name} needs {size} bytes of memory ({size / 1e6:.1f} MB), and the board has "
                f"{memory} ({memory / 1e6:.1f} MB)",
                where=self.name,
                hint="Nothing was written. Choose a smaller model, or a shorter context.",
            )

    # --- registers --------------------------------------------------------------------------

    def read(self, address: int) -> int:
        """A word of a register; the upper one is that of when the lower one was read."""
        kept, self._upper = self._upper, None
        if kept is not None and kept[0] == address:
            return kept[1]
        words = self.words(address, 1 if address % 2 else 2)
        if not address % 2:
            self._upper = (address + 1, words[1])
        return words[0]

    def write(self, address: int, value: int) -> None:
        """Write a word of a register."""
        self._upper = None
        self._words.write(address, [value])

    def words(self, address: int, count: int) -> list[int]:
        """Words of registers, as many as fit an answer, see `packets.MAX_WORDS`."""
        return self._words.read(address, count)

    def settle(self) -> None:
        """Wait until all that was written is there.

        Raises
        ------
        LinkError
            If it was refused, or nothing answers.
        """
        self._words.settle()

    # --- memory -----------------------------------------------------------------------------

    def get(self, address: int, count: int) -> NDArray[numpy.uint8]:
        """Bytes of memory.

        Raises
        ------
        LinkError
            If memory answers with an error or not at all, there is no such memory, or the board
            does not answer.
        """
        self.settle()
        sent = [
            self.session.send(Opcode.GET, place(first, min(MAX_BYTES, address + count - first)))
            for first in range(address, address + count, MAX_BYTES)
        ]
        return numpy.frombuffer(self._finish(sent), numpy.uint8)

    def put(self, address: int, content: Any) -> None:
        """Write bytes, without comparing them; raises LinkError as `get`."""
        self.settle()
        self._finish(self._put(address, bytes(content)))

    def _put(self, address: int, content: bytes) -> list[Request]:
        sent = []
        for first in range(0, len(content), MAX_BYTES):
            part = content[first : first + MAX_BYTES]
            sent.append(self.session.send(Opcode.PUT, place(address + first, len(part)) + part))
        return sent

    def load(self, address: int, content: NDArray[numpy.uint8], what: str = "loading") -> int:
        """Write what is not there yet, and make sure that all of it is.

        Pieces are compared by their CRC-32. So a load that broke off goes on where it was, and one
        of what is there takes no longer than the board needs to read it.

        Parameters
        ----------
        content
            uint8.
        what
            For the report of progress.

        Returns
        -------
        int
            Bytes that were written.

        Raises
        ------
        LinkError
            If memory does not hold what was written, or as `get`.
        """
        self.settle()
        written = 0
        pieces = list(range(0, len(content), PIECE))
        wrong = self._differing(address, content, pieces, "comparing")
        for _ in range(_ROUNDS):
            if not wrong:
                break
            written += self._write_pieces(address, content, wrong, what)
            wrong = self._differing(address, content, wrong, "verifying")
        if not wrong:
            return written
        raise LinkError(
            f"memory does not hold what was written, in {len(wrong)} of {len(pieces)} pieces of "
            f"{PIECE} bytes, the first at {address + wrong[0]:#x}",
            where=self.name,
            hint="The board's memory or its controller is at fault; the line is not.",
        )

    def _write_pieces(
        self, address: int, content: NDArray[numpy.uint8], pieces: Sequence[int], what: str
    ) -> int:
        """Write pieces; returns their bytes."""
        parts = {first: content[first : first + PIECE].tobytes() for first in pieces}
        sent = []
        for done, (first, part) in enumerate(parts.items()):
            self._progress(what, done, len(parts))
            sent += self._put(address + first, part)
        self._finish(sent)
        return sum(map(len, parts.values()))

    def _differing(
        self, address: int, content: NDArray[numpy.uint8], pieces: Sequence[int], what: str
    ) -> list[int]:
        """Pieces whose CRC is not that of the content."""
        sent = [
            self.session.send(
                Opcode.CHECK, place(address + first, len(content[first : first + PIECE]))
            )
            for first in pieces
        ]
        found = []
        for done, (first, request) in enumerate(zip(pieces, sent, strict=True)):
            self._progress(what, done, len(pieces))
            crc = int.from_bytes(self.session.wait(request), "little")
            if crc != zlib.crc32(content[first : first + PIECE].tobytes()):
                found.append(first)
        return found

    def _ask_own(self) -> Request:
        return self.session.send(Opcode.READ, place(OWN_WORD, 1))

    def _own(self, request: Request) -> dict[str, int]:
        """What memory did to the host."""
        return unpack(OWN, int.from_bytes(self.session.wait(request), "little"))

    def _finish(self, sent: Sequence[Request]) -> bytes:
        """All answers; raises LinkError if memory did not answer as it should."""
        request = self._ask_own()
        content = b"".join(self.session.wait(item) for item in sent)
        own = self._own(request)
        if own["silent"]:
            raise LinkError(
                "the board's memory does not answer",
                where=self.name,
                hint="Its controller hangs, or was never ready. Reset the board.",
            )
        if count := (own["errors"] - self._errors) % (1 << OWN[0].bits):
            self._errors = own["errors"]
            raise LinkError(f"the board's memory answered with {count} errors", where=self.name)
        return content
