"""From bytes on the line to bodies of requests."""

from typing import Any

from amaranth import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.fields import width
from dyncc.arch.link import CRC_BYTES, DELIMITER, MAX_BODY, REQUEST, LinkSpec
from dyncc_hw.blockmemory import BlockMemory
from dyncc_hw.link.crc import body_crc

_LEAST_BODY = width(REQUEST) // 8 + CRC_BYTES


class Deframer(wiring.Component):
    """Takes the stuffing off, checks the CRC, and holds what is good until it is taken.

    A frame is written into a ring as it comes, and counts only from its delimiter on: if it is good
    it stays, if it is not it is forgotten, and a mark stays in its place. A frame that finds the
    ring full is lost. Whatever came before, the frame after the next delimiter is read.

    Latency: three cycles from a delimiter to the first byte of `bodies`. Throughput: a byte in two
    cycles from the line, a byte in a cycle to `bodies` while none comes. After reset it expects the
    first byte of a frame, and the ring is empty.

    Members
    -------
    data, valid
        A byte from the line, when `valid` is high.
    broken
        High when a byte was lost on the line: the frame is not good.
    bodies
        For each frame a byte with the number of bytes of its header and payload, and these; for a
        frame that cannot be read, one byte that is 0.
    """

    def __init__(self, link: LinkSpec) -> None:
        self.link = link
        super().__init__(
            {
                "data": In(8),
                "valid": In(1),
                "broken": In(1),
                "bodies": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Decode into the ring; the reading side sees what was committed."""
        m = Module()
        depth = self.link.receive_bytes
        m.submodules.ring = ring = BlockMemory(8, depth)
        write, read = ring.write, ring.read
        # Positions have a bit more than an address: a full ring is not an empty one.
        positions = range(2 * depth)
        head, place, used = Signal(positions), Signal(positions), Signal(positions)
        tail, ahead = Signal(positions), Signal(positions)
        # Of the next byte, from the place of the length on, which comes first.
        offset = Signal(range(MAX_BODY + 2), init=1)
        left = Signal(8)
        begun, bad, lost = Signal(), Signal(), Signal()
        end, emit, full, commit = Signal(), Signal(), Signal(), Signal()
        whole = begun & ~lost

        m.submodules.crc = crc = ResetInserter(end)(body_crc())
        m.d.comb += [
            end.eq(self.valid & (self.data == DELIMITER)),
            # A zero stands between two blocks of the stuffing.
            emit.eq(self.valid & ~end & ((left != 0) | begun)),
            crc.data.eq(Mux(left == 0, 0, self.data)),
            crc.valid.eq(emit),
            place.eq(head + offset),
            used.eq(place - tail),
            full.eq(used[-1]),
            write.addr.eq(place),
            write.data.eq(crc.data),
            write.en.eq((emit & ~full) | commit),
        ]
        m.d.sync += commit.eq(end & whole)
        with m.If(end):
            m.d.sync += [begun.eq(0), bad.eq(0), lost.eq(0), left.eq(0)]
            with m.If((left != 0) | ~crc.match_detected | bad | (offset <= _LEAST_BODY)):
                # Nothing stays of the frame but a length of 0.
                m.d.sync += offset.eq(1 + CRC_BYTES)
        with m.Elif(self.valid):
            m.d.sync += [begun.eq(1), left.eq(Mux(left == 0, self.data, left) - 1)]
            with m.If(full):
                m.d.sync += lost.eq(1)
            with m.If(emit):
                with m.If(offset == MAX_BODY + 1):
                    m.d.sync += bad.eq(1)
                with m.Else():
                    m.d.sync += offset.eq(offset + 1)
        with m.If(self.broken & begun):
            m.d.sync += bad.eq(1)
        with m.If(commit):
            # The CRC is not kept.
            m.d.comb += [write.addr.eq(head), write.data.eq(offset - (1 + CRC_BYTES))]
            m.d.sync += head.eq(place - CRC_BYTES)
        with m.If(commit | (end & ~whole)):
            m.d.sync += offset.eq(1)

        m.d.comb += [
            ahead.eq(tail + (self.bodies.valid & self.bodies.ready)),
            read.addr.eq(ahead),
            read.en.eq(1),
            self.bodies.payload.eq(read.data),
        ]
        # A byte that is not taken stays, also while one is written and none is read.
        stays = self.bodies.valid & ~self.bodies.ready
        m.d.sync += [tail.eq(ahead), self.bodies.valid.eq(stays | ((ahead != head) & ~write.en))]
        return m
