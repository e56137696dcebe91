"""A product in as many cycles as its second factor has bits."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import ConfigError


class SerialMultiplier(wiring.Component):
    """Multiplies by shifting and adding, which takes no multiplier.

    Latency: a cycle for each bit of the second factor up to its highest one, and one more.

    Parameters
    ----------
    first, second
        Bits of the factors, at least 1.
    result
        Bits of the product.

    Members
    -------
    input
        Stream of `first` and `second`.
    output
        Stream of the `product`, cut to its bits, and whether it has more: `over`.

    Raises
    ------
    ConfigError
        If a number has no bits.
    """

    def __init__(self, first: int, second: int, result: int) -> None:
        if min(first, second, result) < 1 or first > result:
            raise ConfigError(f"no product of {result} bits of numbers of {first} and {second}")
        self.bits = first, second, result
        super().__init__(
            {
                "input": In(
                    stream.Signature(data.StructLayout({"first": first, "second": second}))
                ),
                "output": Out(stream.Signature(data.StructLayout({"product": result, "over": 1}))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """One addition a cycle."""
        m = Module()
        _, bits, size = self.bits
        first, high = Signal(size, reset_less=True), Signal(reset_less=True)
        second, total, over = Signal(bits), Signal(size), Signal()
        given, out = self.input, self.output
        busy = Signal()
        found = Signal(size + 1)
        m.d.comb += [
            given.ready.eq(~busy),
            out.valid.eq(busy & ~second.any()),
            out.payload.product.eq(total),
            out.payload.over.eq(over),
            found.eq(total + first),
        ]
        with m.If(~busy):
            m.d.sync += [
                first.eq(given.payload.first), second.eq(given.payload.second), high.eq(0),
                total.eq(0), over.eq(0), busy.eq(given.valid),
            ]  # fmt: skip
        with m.Elif(second.any()):
            # What is shifted out of the first factor matters if it is added.
            m.d.sync += [
                first.eq(first << 1), high.eq(high | first[-1]), second.eq(second >> 1),
            ]  # fmt: skip
            with m.If(second[0]):
                m.d.sync += [total.eq(found), over.eq(over | high | found[-1])]
        with m.Elif(out.ready):
            m.d.sync += busy.eq(0)
        return m
