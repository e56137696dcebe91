"""What a session knows of a kind of device, and of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dyncc.arch.fields import Code, Field, width
from dyncc.arch.link import CRC_BYTES, REQUEST, Status, frame

#: Sequence numbers are counted modulo this.
NUMBERS = 1 << 8
#: Seconds without an answer, beside the time on the line, after which what is open is sent again:
#: at first, and at most, since it is doubled each time.
PATIENCE = (0.1, 0.25)
#: Seconds without an answer after which a device is given up.
SILENCE = 2.0
#: Bytes of an answer for which there is time in any case.
ANSWER_BYTES = 256


def _nothing(_opcode: int, _payload: bytes) -> str:
    return ""


@dataclass(frozen=True)
class Protocol:
    """A kind of device.

    Attributes
    ----------
    name
        For messages.
    info
        What the device says of itself after a PING; begins with ``magic`` and ``version``, and
        has ``receive_bytes``.
    magic, version
        What they must be.
    opcodes
        Names of requests.
    queries
        Requests whose answers later ones could change: no other is sent while one is open.
    slow
        Requests that are answered when the device has ended what it is doing.
    describe
        What to say of an opcode's payload in messages, or nothing.
    """

    name: str
    info: tuple[Field, ...]
    magic: int
    version: int
    opcodes: type[Code]
    queries: frozenset[int]
    slow: frozenset[int] = frozenset()
    describe: Callable[[int, bytes], str] = _nothing


class Request:
    """A request, and its answer when it came.

    Attributes
    ----------
    number
        Counted in the session; sent modulo `NUMBERS`.
    answer
        Payload of the answer, or None.
    refusal
        Why it was not carried out, or None.
    attempts, last_sent
        How often it was sent, and when last, in the order of all frames.
    """

    def __init__(self, number: int, opcode: int, payload: bytes, events: int) -> None:
        self.number, self.opcode, self.payload, self.events = number, opcode, payload, events
        header = {"opcode": opcode, "sequence": number % NUMBERS}
        self.content = frame(REQUEST, header, payload)
        self.answer: bytes | None = None
        self.refusal: Status | None = None
        self.attempts, self.last_sent = 0, -1

    @property
    def answered(self) -> bool:
        """Whether an answer came after which it is not sent again."""
        return self.answer is not None or self.refusal is not None

    @property
    def body_bytes(self) -> int:
        """Bytes that it takes in the device."""
        return width(REQUEST) // 8 + len(self.payload) + CRC_BYTES


@dataclass
class Statistics:
    """What passed over a line since the connection.

    Attributes
    ----------
    bytes_sent, bytes_received
        Of all frames, damaged ones too.
    frames_sent
        Requests, with those that were sent again.
    retransmissions
        Requests that were sent again.
    timeouts
        How often nothing came in time.
    naks_corrupt, naks_sequence
        Refusals of the device: a frame that it could not read; not the one that it expects.
    busy
        Requests that were too early.
    answers
        Answers that could be read.
    damaged_answers, stray_answers
        Answers that could not; those to a request that had its answer.
    """

    bytes_sent: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    retransmissions: int = 0
    timeouts: int = 0
    naks_corrupt: int = 0
    naks_sequence: int = 0
    busy: int = 0
    answers: int = 0
    damaged_answers: int = 0
    stray_answers: int = 0
