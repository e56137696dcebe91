"""Finding out who is at the other end of a line."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dyncc.arch.fields import unpack, width
from dyncc.arch.link import (
    DELIMITER,
    PING,
    REQUEST,
    RESPONSE,
    Deframer,
    FrameError,
    frame,
    parse,
)
from dyncc.core.errors import LinkError
from dyncc.link.protocol import ANSWER_BYTES, PATIENCE, SILENCE, Protocol, Statistics
from dyncc.link.transport import Transport


@dataclass(frozen=True)
class Greeting:
    """What a device says first: of itself, which request it expects, its room for events."""

    info: dict[str, int]
    expected: int
    credits: int


def greet(
    transport: Transport, protocol: Protocol, deframer: Deframer, statistics: Statistics
) -> Greeting:
    """Ask until the device answers; what was on the line before is not taken for that.

    Raises
    ------
    LinkError
        If nothing answers, or something else than such a device.
    """
    start, patience = transport.now(), PATIENCE[0]
    over = start + SILENCE
    while (now := transport.now()) < over:
        nonce = os.urandom(4)
        ping = frame(REQUEST, {"opcode": PING, "sequence": 0}, nonce)
        # The zero ends what noise, or a session that broke off, began.
        transport.write(bytes([DELIMITER]) + ping)
        statistics.frames_sent += 1
        statistics.bytes_sent += len(ping) + 1
        due = min(over, now + patience + transport.seconds(2 * ANSWER_BYTES))
        patience = min(2 * patience, PATIENCE[1])
        while (now := transport.now()) < due:
            content = transport.read(due - now)
            statistics.bytes_received += len(content)
            for stuffed in deframer.feed(content):
                if stuffed == ping[:-1]:
                    raise LinkError(
                        "what is sent comes back",
                        where=transport.name,
                        hint="The transmit line leads to the receive line of this side.",
                    )
                found = _read(stuffed, nonce, transport.name, protocol, statistics)
                if found is not None:
                    return found
    raise _nobody(transport, statistics, transport.now() - start)


def _read(
    stuffed: bytes, nonce: bytes, where: str, protocol: Protocol, statistics: Statistics
) -> Greeting | None:
    """The greeting in a frame, if it is the answer to this PING."""
    try:
        header, payload = parse(RESPONSE, stuffed)
    except FrameError:
        statistics.damaged_answers += 1
        return None
    statistics.answers += 1
    if header["opcode"] != PING or not payload.startswith(nonce):
        return None
    told = payload[len(nonce) :]
    info = unpack(protocol.info, int.from_bytes(told, "little"))
    magic = protocol.magic.to_bytes(4, "little")
    if told[:4] != magic:
        raise LinkError(
            f"the device calls itself {told[:4]!r}, not {magic!r}",
            where=where,
            hint=f"It is no {protocol.name}.",
        )
    size = width(protocol.info) // 8
    if info["version"] != protocol.version or len(told) != size:
        raise LinkError(
            f"the device speaks version {info['version']} of the protocol, with {len(told)} bytes "
            f"about itself; this program speaks version {protocol.version}, with {size}",
            where=where,
            hint="Build the device and the program from one release of dyncc.",
        )
    return Greeting(info, header["expected"], header["credits"])


def _nobody(transport: Transport, statistics: Statistics, seconds: float) -> LinkError:
    if not statistics.bytes_received:
        return LinkError(
            f"no answer in {seconds:.1f} s",
            where=transport.name,
            hint=f"Is it the right port, is the device configured, and for {transport.baud} baud?",
        )
    return LinkError(
        f"{statistics.bytes_received} bytes came in {seconds:.1f} s, and no answer to a PING; "
        f"{statistics.damaged_answers} frames were damaged",
        where=transport.name,
        hint=f"Something else is on the line, or it does not run at {transport.baud} baud.",
    )
