"""Addresses of slots and entries: ``base + a * b`` and whether there is such an address."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


def product_signature(bits: int, factor_bits: int) -> wiring.Signature:
    """From one who wants ``base + a * b``.

    Members
    -------
    start
        In a cycle in which it is not busy: `a`, `b` and `base` are taken.
    busy
        From the next cycle until there is a result, which stays until the next start.
    result, overflow
        The lowest bits, and whether there are more.
    """
    return wiring.Signature(
        {
            "start": Out(1), "a": Out(bits), "b": Out(factor_bits), "base": Out(bits),
            "busy": In(1), "result": In(bits), "overflow": In(1),
        }
    )  # fmt: skip


class Address(wiring.Component):
    """``base + a * b``, in as many cycles as `b` has bits, without leading zeros; one at a time.

    Parameters
    ----------
    bits
        Of `a`, `base` and the result.
    factor_bits
        Of `b`.

    Members
    -------
    port
        See `product_signature`.
    """

    def __init__(self, bits: int, factor_bits: int) -> None:
        self.bits = bits
        super().__init__({"port": In(product_signature(bits, factor_bits))})

    def elaborate(self, platform: Any) -> Module:
        """Shift and add; bits of `a` that were lost count if a bit of `b` still follows."""
        m = Module()
        port = self.port
        a, b = Signal.like(port.a), Signal.like(port.b)
        lost = Signal()
        total = Signal(self.bits + 1)
        m.d.comb += [total.eq(port.result + a), port.busy.eq(b.any())]
        with m.If(port.start):
            m.d.sync += [
                a.eq(port.a), b.eq(port.b), port.result.eq(port.base), port.overflow.eq(0),
                lost.eq(0),
            ]  # fmt: skip
        with m.Else():
            m.d.sync += [a.eq(a << 1), b.eq(b >> 1), lost.eq(lost | a[-1])]
            with m.If(b[0]):
                m.d.sync += [
                    port.result.eq(total[:-1]),
                    port.overflow.eq(port.overflow | total[-1] | lost),
                ]
        return m
