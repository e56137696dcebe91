"""The blocks of the link side by side, so that a bench reaches each of them in one build."""

from typing import Any

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dyncc.arch.link import LinkSpec
from dyncc_hw.link.deframer import Deframer
from dyncc_hw.link.framer import CONTENT, Framer
from dyncc_hw.link.uart import UartReceiver, UartTransmitter


class LinkBlocks(wiring.Component):  # type: ignore[misc]
    """A receiver, a deframer, a framer and a transmitter, which know nothing of each other."""

    def __init__(self, link: LinkSpec) -> None:
        self.link = link
        super().__init__(
            {
                "rx": In(1, init=1),
                "heard": Out(8),
                "heard_valid": Out(1),
                "heard_broken": Out(1),
                "data": In(8),
                "valid": In(1),
                "broken": In(1),
                "bodies": Out(stream.Signature(8)),
                "content": In(stream.Signature(CONTENT)),
                "framed": Out(stream.Signature(8)),
                "spoken": In(stream.Signature(8)),
                "tx": Out(1, init=1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Every port leads to a block."""
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.link.divisor)
        m.submodules.deframer = deframer = Deframer(self.link)
        m.submodules.framer = framer = Framer()
        m.submodules.transmitter = transmitter = UartTransmitter(self.link.divisor)
        connect(m, deframer.bodies, flipped(self.bodies))
        connect(m, flipped(self.content), framer.content)
        connect(m, framer.bytes, flipped(self.framed))
        connect(m, flipped(self.spoken), transmitter.bytes)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.heard.eq(receiver.data),
            self.heard_valid.eq(receiver.valid),
            self.heard_broken.eq(receiver.broken),
            deframer.data.eq(self.data),
            deframer.valid.eq(self.valid),
            deframer.broken.eq(self.broken),
            self.tx.eq(transmitter.tx),
        ]
        return m
