"""Words of a device at the other end of a line, in requests that are on their way together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from dyncc.arch.skipopu.packets import MAX_WORDS, WORD_BYTES, Opcode, place
from dyncc.link import Request, Session


class BoardWords:
    """Reads and writes words by their numbers.

    What is written is on its way until something is read, or `settle` is called.

    Parameters
    ----------
    session
        The connection.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sent: list[Request] = []

    def write(self, first: int, words: Sequence[int]) -> None:
        """Write words, in as few requests as they take."""
        for begin in range(0, len(words), MAX_WORDS):
            part = words[begin : begin + MAX_WORDS]
            content = b"".join(word.to_bytes(WORD_BYTES, "little") for word in part)
            request = place(first + begin, len(part)) + content
            self._sent.append(self._session.send(Opcode.WRITE, request))

    def settle(self) -> None:
        """Wait until all that was written is there.

        Raises
        ------
        LinkError
            If it was refused, or nothing answers.
        """
        sent, self._sent = self._sent, []
        for request in sent:
            self._session.wait(request)

    def read(self, first: int, count: int) -> list[int]:
        """Words, when all that was written is there; at most `MAX_WORDS`. Raises as `settle`."""
        self.settle()
        content = self._session.ask(Opcode.READ, place(first, count))
        words: list[int] = numpy.frombuffer(content, "<u4").tolist()
        return words
