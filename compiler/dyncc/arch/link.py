"""The framed link between a host and a device on a serial line: frames, headers, order.

A *body* is a header and a payload, of little-endian numbers, and a CRC-16 over them, its high byte
first. On the line it is stuffed (COBS, Cheshire and Baker, IEEE/ACM Transactions on Networking
7:159, 1999) and ended by a zero byte, so that a receiver that lost its place finds it again at the
next zero. Nothing between two zeros is ignored; so a host may send a zero first, to end what noise
began.

The host sends requests, the device answers each of them; it never speaks unasked.

- Requests are numbered modulo 256. The device carries out the one that it expects, in order. A
  request ahead of that is answered `Status.SEQUENCE`; the host starts again from ``expected``.
- A frame that finds no room in the device is lost, without an answer.
- A request among the last `WINDOW` that were carried out since reset is a repetition, and is
  answered as it was before, but changes nothing: an answer was lost.
- A request is checked for `CORRUPT`, `SEQUENCE`, `OPCODE`, `LENGTH`, `BUSY`, `ADDRESS` and
  `CREDIT`, in this order. One that is refused is not begun, and its answer has no payload.
- A request that is refused as `BUSY` or `CREDIT` does not count as carried out; any other refusal
  does.
- A request of kind *query* may be answered again later, from the state of then. So a host sends
  nothing that changes the state while a query is open.
- `PING` (opcode 0 of every device) stands outside of the numbers: it is always answered, and tells
  the host what the device expects.

A host keeps at most `WINDOW` requests open, and no more bytes than the device can hold. So a frame
that is corrupted, lost, repeated or overtaken never changes the outcome. What remains is a
corrupted frame with a right CRC: one in 65,536 of those that are corrupted.
"""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass

from cobs import cobs

from dyncc.arch.fields import Code, Field, pack, unpack, width
from dyncc.core.errors import ConfigError

DELIMITER = 0
#: CRC-16/GENIBUS: polynomial 0x1021, start 0xFFFF, highest bit first, over header and payload, and
#: inverted. Were it not, a body would remain right with a zero more behind it, or one less.
CRC_POLYNOMIAL, CRC_START, CRC_INVERSION = 0x1021, 0xFFFF, 0xFFFF
CRC_BYTES = 2
#: Open requests, and how far back the device knows a repetition.
WINDOW = 16
#: Every body is stuffed with one byte: shorter than a block of COBS.
MAX_BODY = 252

REQUEST = (
    Field("opcode", 8, False, "what to do"),
    Field("sequence", 8, False, "number of the request"),
)
RESPONSE = (
    Field("opcode", 8, False, "that of the request; 0xFF if it could not be read"),
    Field("status", 8, False, "see Status"),
    Field("sequence", 8, False, "that of the request; 0 if it could not be read"),
    Field("expected", 8, False, "number of the request that the device will carry out next"),
    Field("credits", 16, False, "events that the device has room for"),
)
PING = 0
UNREADABLE = 0xFF
#: Longest payloads.
MAX_REQUEST = MAX_BODY - CRC_BYTES - width(REQUEST) // 8
MAX_RESPONSE = MAX_BODY - CRC_BYTES - width(RESPONSE) // 8


class Status(Code):
    """How a request ended."""

    OK = 0, "done"
    CORRUPT = (
        1,
        "the frame could not be read (wrong CRC, or too long or short); its number is unknown",
    )
    SEQUENCE = 2, "not the request that the device expects"
    BUSY = 3, "not while the device runs; send it again"
    CREDIT = 4, "no room for these events; send them again"
    OPCODE = 5, "there is no such request"
    ADDRESS = 6, "outside of what the device has"
    LENGTH = 7, "the payload has a wrong length"


@dataclass(frozen=True)
class LinkSpec:
    """A device's side of a link.

    Parameters
    ----------
    clk_hz
        Clock of the device.
    baud
        Bits in a second on the line (8N1); at least 4 clock cycles long, each.
    receive_bytes
        Bytes of request bodies that the device holds, a power of two in 512..65536.

    Raises
    ------
    ConfigError
        If a parameter is out of range, or the baud rate cannot be met within 2 %.
    """

    clk_hz: int = 12_000_000
    baud: int = 1_000_000
    receive_bytes: int = 1024

    def __post_init__(self) -> None:
        for name in ("clk_hz", "baud", "receive_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
        if not 1 <= self.clk_hz <= 10**9:
            raise ConfigError(f"clk_hz must be in 1..1000000000, not {self.clk_hz}")
        if not 1 <= self.baud <= self.clk_hz // 4:
            raise ConfigError(
                f"baud must be in 1..{self.clk_hz // 4}, a quarter of the clock, not {self.baud}"
            )
        if self.receive_bytes not in (1 << bits for bits in range(9, 17)):
            raise ConfigError(
                f"receive_bytes must be a power of two in 512..65536, not {self.receive_bytes}"
            )
        real = self.clk_hz / self.divisor
        if abs(real / self.baud - 1) > 0.02:
            raise ConfigError(
                f"{self.baud} baud cannot be made from {self.clk_hz} Hz: the nearest is {real:.0f}",
                hint="Choose a rate that divides the clock.",
            )

    @property
    def divisor(self) -> int:
        """Cycles of a bit."""
        return round(self.clk_hz / self.baud)


class FrameError(ValueError):
    """A frame that is not what was sent."""


def crc16(content: bytes) -> int:
    """CRC of a body's header and payload."""
    return crc_hqx(content, CRC_START) ^ CRC_INVERSION


def frame(layout: tuple[Field, ...], header: dict[str, int], payload: bytes = b"") -> bytes:
    """Bytes on the line for a header and a payload, the delimiter at the end.

    Raises
    ------
    ConfigError
        If the payload is too long.
    """
    content = pack(layout, header).to_bytes(width(layout) // 8, "little") + payload
    if len(content) + CRC_BYTES > MAX_BODY:
        raise ConfigError(f"a payload of {len(payload)} bytes does not fit into a frame")
    body = content + crc16(content).to_bytes(CRC_BYTES, "big")
    return bytes(cobs.encode(body)) + bytes([DELIMITER])


def parse(layout: tuple[Field, ...], stuffed: bytes) -> tuple[dict[str, int], bytes]:
    """Header and payload of what stood before a delimiter.

    Raises
    ------
    FrameError
        If it was damaged.
    """
    try:
        body = bytes(cobs.decode(stuffed))
    except cobs.DecodeError as error:
        raise FrameError(str(error)) from error
    size = width(layout) // 8
    if not size + CRC_BYTES <= len(body) <= MAX_BODY:
        raise FrameError(f"a body of {len(body)} bytes")
    content = body[:-CRC_BYTES]
    if crc16(content) != int.from_bytes(body[-CRC_BYTES:], "big"):
        raise FrameError("wrong CRC")
    return unpack(layout, int.from_bytes(content[:size], "little")), content[size:]


class Deframer:
    """Finds frames in what comes over a line."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, content: bytes) -> list[bytes]:
        """What stood before each delimiter in bytes that come next, for `parse`."""
        *ended, rest = content.split(bytes([DELIMITER]))
        found = []
        for part in ended:
            self._add(part)
            if self._begun:
                found.append(bytes(self._begun))
            self._begun.clear()
        self._add(rest)
        return found

    def _add(self, part: bytes) -> None:
        # Of what is too long, so much is kept that it is seen to be.
        room = MAX_BODY + 2 - len(self._begun)
        self._begun += part[:room]
