"""A stage between two streams, where a path through many parts would be too long for a cycle."""

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class SkidBuffer(wiring.Component):
    """Keeps up to two items, so that neither side sees the other within a cycle.

    Latency: a cycle. Throughput: an item a cycle.

    Parameters
    ----------
    shape
        Of an item.

    Members
    -------
    input, output
        Streams of items; ready, valid and the item come from registers.
    """

    def __init__(self, shape: Any) -> None:
        self._shape = shape
        super().__init__(
            {"input": In(stream.Signature(shape)), "output": Out(stream.Signature(shape))}
        )

    def elaborate(self, platform: Any) -> Module:
        """What comes while the output waits is put aside."""
        m = Module()
        given, out = self.input, self.output
        item = Signal(self._shape, reset_less=True)
        aside = Signal(self._shape, reset_less=True)
        holds, more = Signal(), Signal()
        m.d.comb += [given.ready.eq(~more), out.valid.eq(holds), out.payload.eq(item)]
        with m.If(out.ready | ~holds):
            m.d.sync += [
                item.eq(Mux(more, aside, given.payload)),
                holds.eq(more | given.valid), more.eq(0),
            ]  # fmt: skip
        with m.Elif(~more):
            m.d.sync += more.eq(given.valid)
        with m.If(~more):
            m.d.sync += aside.eq(given.payload)
        return m
