"""A device in this process, and a line to it that can be cut."""

from __future__ import annotations

from struct import pack as pack_words

from dyncc.arch.fields import pack, unpack, width
from dyncc.arch.neurocorex import CoreSpec, Space, address
from dyncc.arch.neurocorex.packets import DRAIN, MAX_DRAIN, READ, SNAPSHOT, Opcode
from dyncc.link import DirectTransport, Session
from dyncc_models.spiking.device import DeviceTwin

SPEC = CoreSpec(8, 5, lanes=4, parameter_sets=4)


class Rig:
    """A device and a line to it.

    Attributes
    ----------
    device
        At the end of the line; another one may be put there.
    bytes_left
        Bytes that still reach it; with the last of them the line is cut in both directions.
    steps
        Steps that it carries out each time that something is sent or waited for; None for all.
    """

    def __init__(self, spec: CoreSpec = SPEC) -> None:
        self.device = DeviceTwin(spec)
        self.bytes_left = 1 << 60
        self.steps: int | None = None

    def line(self) -> DirectTransport:
        """A line to the device."""
        return DirectTransport(self._receive, "line")

    def _receive(self, content: bytes) -> bytes:
        arrived = content[: self.bytes_left]
        self.bytes_left -= len(arrived)
        answers = self.device.receive(arrived)
        self.device.advance(self.steps)
        return answers if self.bytes_left else b""


def write_payload(space: Space, index: int, words: list[int]) -> bytes:
    """Payload of a WRITE of bus words."""
    return pack_words(f"<I{len(words)}I", address(space, index), *words)


def read_payload(space: Space, index: int, count: int) -> bytes:
    """Payload of a READ of bus words."""
    values = {"address": address(space, index), "count": count}
    return pack(READ, values).to_bytes(width(READ) // 8, "little")


def drain_payload(position: int, count: int = MAX_DRAIN) -> bytes:
    """Payload of a DRAIN."""
    values = {"position": position % (1 << DRAIN[0].bits), "count": count}
    return pack(DRAIN, values).to_bytes(width(DRAIN) // 8, "little")


def snapshot(session: Session) -> dict[str, int]:
    """The state of a device."""
    return unpack(SNAPSHOT, int.from_bytes(session.ask(Opcode.SNAPSHOT), "little"))
