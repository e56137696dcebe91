"""Twin of a device's end of the link: frames and the order of requests, exactly as in hardware."""

from __future__ import annotations

from abc import ABC, abstractmethod

from dyncc.arch.link import (
    PING,
    REQUEST,
    RESPONSE,
    UNREADABLE,
    WINDOW,
    Deframer,
    FrameError,
    Status,
    frame,
    parse,
)

#: Refusals after which the device still expects the same request.
_TRY_AGAIN = (Status.BUSY, Status.CREDIT)


class Refusal(Exception):
    """A request that is not carried out."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.meaning)
        self.status = status


class LinkTwin(ABC):
    """Takes bytes from the line and gives those of the answers.

    Attributes
    ----------
    expected
        Number of the request that is carried out next.
    """

    def __init__(self) -> None:
        self.expected = 0
        self._deframer = Deframer()
        # How many requests were carried out, as far as that can be repeated. None after a reset, so
        # that a host of before is not told that its request was done.
        self._repeatable = 0

    @abstractmethod
    def carry_out(self, opcode: int, payload: bytes, repeated: bool = False) -> bytes:
        """Do what a request says, and return the payload of the answer.

        Parameters
        ----------
        repeated
            Whether it was carried out before: then it is checked again, and changes nothing.

        Raises
        ------
        Refusal
            If it cannot be carried out.
        """

    @property
    @abstractmethod
    def credits(self) -> int:
        """Events for which there is room."""

    def receive(self, content: bytes) -> bytes:
        """Take bytes from the line, whole frames or parts of them; returns all answers to them."""
        return b"".join(self._take(stuffed) for stuffed in self._deframer.feed(content))

    def _take(self, stuffed: bytes) -> bytes:
        try:
            header, payload = parse(REQUEST, stuffed)
        except FrameError:
            return self._answer(UNREADABLE, Status.CORRUPT, 0)
        opcode, sequence = header["opcode"], header["sequence"]
        behind = (self.expected - sequence) % 256
        if opcode != PING and behind > self._repeatable:
            return self._answer(opcode, Status.SEQUENCE, sequence)
        status, content = Status.OK, b""
        try:
            content = self.carry_out(opcode, payload, behind > 0)
        except Refusal as refusal:
            status = refusal.status
        if opcode != PING and behind == 0 and status not in _TRY_AGAIN:
            self.expected = (self.expected + 1) % 256
            self._repeatable = min(self._repeatable + 1, WINDOW)
        return self._answer(opcode, status, sequence, content)

    def _answer(self, opcode: int, status: Status, sequence: int, content: bytes = b"") -> bytes:
        header = {
            "opcode": opcode,
            "status": status,
            "sequence": sequence,
            "expected": self.expected,
            "credits": self.credits,
        }
        return frame(RESPONSE, header, content)
