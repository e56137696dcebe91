"""A line that damages, loses, repeats and reorders what it carries, for tests."""

from __future__ import annotations

import random
from collections import Counter

from dyncc.arch.link import DELIMITER
from dyncc.link.transport import Transport

#: What happens to a frame, and to a byte in it.
FAULTS = (
    "frame lost",
    "frame repeated",
    "frame overtaken",
    "byte changed",
    "byte lost",
    "byte repeated",
    "byte added",
    "bytes swapped",
)


class FaultyTransport(Transport):
    """Passes frames on over another line; some of them, in either direction, suffer a fault.

    Parameters
    ----------
    transport
        The line to the device.
    rate
        Probability that a frame suffers a fault; each kind is as likely as the others.
    seed
        The same seed gives the same faults for the same traffic.

    Attributes
    ----------
    faults
        How often each of `FAULTS` happened.
    frames
        Frames that were to be passed on, in both directions.
    """

    def __init__(self, transport: Transport, rate: float, seed: int = 0) -> None:
        self.name, self.baud = transport.name, transport.baud
        self.faults: Counter[str] = Counter()
        self.frames = 0
        self._transport = transport
        self._rate = rate
        self._draw = random.Random(seed)
        self._out, self._in = _Direction(self), _Direction(self)

    def write(self, content: bytes) -> None:
        """Send bytes, with faults."""
        self._transport.write(self._out.carry(content))

    def read(self, timeout: float) -> bytes:
        """Take what came, with faults."""
        return self._in.carry(self._transport.read(timeout))

    def now(self) -> float:
        """Seconds on the line's clock."""
        return self._transport.now()

    def close(self) -> None:
        """Let go of the line."""
        self._transport.close()

    def suffer(self, frame: bytes) -> tuple[bytes, bytes]:
        """What becomes of a frame: bytes now, and bytes after the next frame."""
        self.frames += 1
        if self._draw.random() >= self._rate:
            return frame, b""
        fault = self._draw.choice(FAULTS)
        self.faults[fault] += 1
        place = self._draw.randrange(len(frame) - (fault == "bytes swapped"))
        before, byte, after = frame[:place], frame[place : place + 1], frame[place + 1 :]
        if fault == "frame lost":
            return b"", b""
        if fault == "frame overtaken":
            return b"", frame
        other = bytes([byte[0] ^ self._draw.randrange(1, 256)])
        return {
            "frame repeated": frame + frame,
            "byte changed": before + other + after,
            "byte lost": before + after,
            "byte repeated": before + byte + byte + after,
            "byte added": before + other + byte + after,
            "bytes swapped": before + after[:1] + byte + after[1:],
        }[fault], b""


class _Direction:
    """One direction of a line: collects frames, and holds back those that are overtaken."""

    def __init__(self, line: FaultyTransport) -> None:
        self._line = line
        self._begun = b""
        self._later = b""

    def carry(self, content: bytes) -> bytes:
        delimiter = bytes([DELIMITER])
        *ended, self._begun = (self._begun + content).split(delimiter)
        found = b""
        for part in ended:
            if not part:
                found += delimiter
                continue
            now, later = self._line.suffer(part + delimiter)
            found += now + (self._later if now else b"")
            self._later = later + (b"" if now else self._later)
        return found
