"""From bodies of responses to bytes on the line."""

from typing import Any

from amaranth import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.link import DELIMITER, MAX_BODY
from dyncc_hw.blockmemory import BlockMemory
from dyncc_hw.link.crc import body_crc

#: A byte of a header or payload, and whether it is the last.
CONTENT = data.StructLayout({"data": 8, "last": 1})


class Framer(wiring.Component):
    """Adds the CRC, stuffs, sends.

    The body is stuffed while it is taken, in place: a zero becomes the length of the block before
    it. When it is whole it is sent, and then the next one is taken. So `content` waits for at most
    ``MAX_BODY + 2`` bytes on the line.

    Latency: 5 cycles from the last byte taken to the first one sent. Throughput: a byte a cycle
    taken, a byte in two cycles sent. After reset it takes a body.

    Members
    -------
    content
        Header and payload; at most ``MAX_BODY - CRC_BYTES`` bytes, which is up to its source.
    bytes
        What belongs on the line.
    """

    def __init__(self) -> None:
        super().__init__(
            {"content": In(stream.Signature(CONTENT)), "bytes": Out(stream.Signature(8))}
        )

    def elaborate(self, platform: Any) -> Module:
        """Stuff into a memory, then send it."""
        m = Module()
        depth = 1 << (MAX_BODY + 1).bit_length()
        m.submodules.store = store = BlockMemory(8, depth)
        write, read = store.write, store.read
        # Where the next byte goes; where the length of the block goes, then what to send next.
        place, code = Signal(range(depth), init=1), Signal(range(depth))
        taken, ending = Signal(), Signal()
        m.submodules.crc = crc = ResetInserter(ending)(body_crc())
        byte, length = Signal(8), Signal(8)
        zero = byte == 0
        m.d.comb += [
            length.eq(place - code),
            byte.eq(self.content.payload.data),
            crc.data.eq(byte),
            crc.valid.eq(taken),
            write.en.eq(taken | ending),
            write.addr.eq(Mux(zero | ending, code, place)),
            write.data.eq(Mux(zero | ending, length, byte)),
            read.addr.eq(code),
            self.bytes.payload.eq(read.data),
        ]
        with m.If(taken):
            m.d.sync += place.eq(place + 1)
            with m.If(zero):
                m.d.sync += code.eq(place)
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += [self.content.ready.eq(1), taken.eq(self.content.valid)]
                with m.If(taken & self.content.payload.last):
                    m.next = "HIGH"
            for state, after in (("HIGH", "LOW"), ("LOW", "END")):
                with m.State(state):
                    # A byte that is equal to the register's high one shifts the low one there.
                    m.d.comb += [taken.eq(1), byte.eq(crc.crc[8:]), crc.data.eq(~crc.crc[8:])]
                    m.next = after
            with m.State("END"):
                m.d.comb += ending.eq(1)
                m.d.sync += code.eq(0)
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += read.en.eq(1)
                m.next = "SEND"
                with m.If(code == place):
                    m.next = "DELIMIT"
            with m.State("SEND"):
                m.d.comb += self.bytes.valid.eq(1)
                with m.If(self.bytes.ready):
                    m.d.sync += code.eq(code + 1)
                    m.next = "FETCH"
            with m.State("DELIMIT"):
                m.d.comb += [self.bytes.payload.eq(DELIMITER), self.bytes.valid.eq(1)]
                with m.If(self.bytes.ready):
                    m.d.sync += [place.eq(1), code.eq(0)]
                    m.next = "TAKE"
        return m
