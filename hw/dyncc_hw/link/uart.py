"""Bytes on a serial line: 8 data bits, no parity, one stop bit."""

from typing import Any

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import ConfigError


def checked_divisor(divisor: int) -> int:
    """`divisor`, if a receiver can find the middle of its bits."""
    if divisor < 4:
        raise ConfigError(f"divisor must be at least 4 cycles a bit, not {divisor}")
    return divisor


class UartReceiver(wiring.Component):
    """Takes bytes from a line.

    A bit is sampled once, within a cycle of its middle, as counted from the beginning of the start
    bit; the line may be 2 % faster or slower than `divisor`. A start bit that is over by its middle
    is noise. A byte without a stop bit is dropped, and the next start bit is looked for when the
    line was idle again.

    Latency from the middle of the stop bit: 3 cycles. After reset it waits for a start bit.

    Parameters
    ----------
    divisor
        Cycles of a bit, at least 4.

    Members
    -------
    rx
        The line, in any clock domain; idle high.
    data, valid
        A byte, when `valid` is high, for one cycle.
    broken
        High for a cycle when a byte was dropped.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = checked_divisor(divisor)
        super().__init__(
            {"rx": In(1, init=1), "data": Out(8), "valid": Out(1), "broken": Out(1)},
        )

    def elaborate(self, platform: Any) -> Module:
        """Wait for a start bit, then count."""
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1)
        left, bits = Signal(range(self.divisor)), Signal(range(9))
        with m.If(left == 0):
            m.d.sync += left.eq(self.divisor - 1)
        with m.Else():
            m.d.sync += left.eq(left - 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [bits.eq(0), left.eq((self.divisor - 1) // 2 - 1)]
                with m.If(~line):
                    m.next = "START"
            with m.State("START"), m.If(left == 0):
                m.next = "DATA"
                with m.If(line):
                    m.next = "IDLE"
            with m.State("DATA"), m.If(left == 0):
                m.d.sync += [self.data.eq(Cat(self.data[1:], line)), bits.eq(bits + 1)]
                with m.If(bits == 7):
                    m.next = "STOP"
            with m.State("STOP"), m.If(left == 0):
                m.d.comb += [self.valid.eq(line), self.broken.eq(~line)]
                m.next = "IDLE"
                with m.If(~line):
                    m.next = "BROKEN"
            with m.State("BROKEN"), m.If(line):
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Puts bytes on a line, one in ``10 * divisor + 1`` cycles. After reset the line is idle.

    Parameters
    ----------
    divisor
        Cycles of a bit, at least 4.

    Members
    -------
    bytes
        What to send; taken when the byte before it is through.
    tx
        The line, from a register.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = checked_divisor(divisor)
        super().__init__({"bytes": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: Any) -> Module:
        """Shift out a start bit, the data, a stop bit."""
        m = Module()
        rest, bits, left = Signal(9), Signal(range(10)), Signal(range(self.divisor))
        busy = Signal()
        m.d.comb += self.bytes.ready.eq(~busy)
        with m.If(~busy):
            m.d.sync += [rest.eq(Cat(self.bytes.payload, Const(1, 1))), bits.eq(9)]
            m.d.sync += left.eq(self.divisor - 1)
            with m.If(self.bytes.valid):
                m.d.sync += [busy.eq(1), self.tx.eq(0)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += [left.eq(self.divisor - 1), bits.eq(bits - 1), rest.eq(rest >> 1)]
            with m.If(bits == 0):
                m.d.sync += busy.eq(0)
            with m.Else():
                m.d.sync += self.tx.eq(rest[0])
        return m
