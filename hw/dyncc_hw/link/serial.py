"""A device's end of a framed serial line."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dyncc.arch.link import LinkSpec
from dyncc_hw.link.deframer import Deframer
from dyncc_hw.link.framer import CONTENT, Framer
from dyncc_hw.link.uart import UartReceiver, UartTransmitter


class SerialLink(wiring.Component):
    """Bodies of requests from a serial line, bodies of responses to it.

    Parameters
    ----------
    link
        The clock is that of domain ``sync``.

    Members
    -------
    rx, tx
        The line; `rx` may be in any clock domain.
    requests
        See `Deframer.bodies`.
    responses
        See `Framer.content`.
    """

    def __init__(self, link: LinkSpec) -> None:
        self.link = link
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "requests": Out(stream.Signature(8)),
                "responses": In(stream.Signature(CONTENT)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Put the parts together."""
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.link.divisor)
        m.submodules.deframer = deframer = Deframer(self.link)
        m.submodules.framer = framer = Framer()
        m.submodules.transmitter = transmitter = UartTransmitter(self.link.divisor)
        connect(m, deframer.bodies, flipped(self.requests))
        connect(m, framer.bytes, transmitter.bytes)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            deframer.data.eq(receiver.data),
            deframer.valid.eq(receiver.valid),
            deframer.broken.eq(receiver.broken),
            self.tx.eq(transmitter.tx),
        ]
        # A byte of a response is kept on its way, which ends the longest paths of a device; the
        # line is slower than a byte in two cycles.
        full, kept = Signal(), Signal(CONTENT)
        m.d.comb += [
            self.responses.ready.eq(~full),
            framer.content.valid.eq(full),
            framer.content.payload.eq(kept),
        ]
        with m.If(~full):
            m.d.sync += [full.eq(self.responses.valid), kept.eq(self.responses.payload)]
        with m.Elif(framer.content.ready):
            m.d.sync += full.eq(0)
        return m
