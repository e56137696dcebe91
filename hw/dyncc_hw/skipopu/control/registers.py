"""Integer registers, and the loops of a program."""

from itertools import pairwise
from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import COUNT_BITS, LOOP_DEPTH, R_ZERO, REGISTER_BITS, REGISTERS


class RegisterFile(wiring.Component):
    """32 registers, of which the first is always 0; one is read and one written in a cycle.

    Members
    -------
    number, read
        What a register holds, in the same cycle.
    into, value, write
        Write one.
    """

    def __init__(self) -> None:
        number = range(REGISTERS)
        super().__init__(
            {
                "number": In(number), "read": Out(REGISTER_BITS),
                "into": In(number), "value": In(REGISTER_BITS), "write": In(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Distributed memory."""
        m = Module()
        m.submodules.store = store = memory.Memory(shape=REGISTER_BITS, depth=REGISTERS, init=[])
        into, read = store.write_port(), store.read_port(domain="comb")
        m.d.comb += [
            read.addr.eq(self.number),
            self.read.eq(Mux(self.number == R_ZERO, 0, read.data)),
            into.addr.eq(self.into),
            into.data.eq(self.value),
            into.en.eq(self.write),
        ]
        return m


class LoopStack(wiring.Component):
    """Loops that were begun and not ended, up to `LOOP_DEPTH`.

    Members
    -------
    clear
        Forget all.
    push, first, last, turns
        Begin a loop over instructions that takes some turns, at least one.
    full
        There is no room for another.
    at, ends, again, back
        Whether the innermost loop ends at an instruction, takes another turn, and where it begins.
    turn
        Take it; or, where it `ends` and does not go on, forget the loop.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "clear": In(1), "push": In(1), "first": In(COUNT_BITS), "last": In(COUNT_BITS),
                "turns": In(REGISTER_BITS), "full": Out(1), "at": In(COUNT_BITS), "ends": Out(1),
                "again": Out(1), "back": Out(COUNT_BITS), "turn": In(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Registers for each level, of which the first is the innermost: the others move."""
        m = Module()
        # Whether more than one turn is left is known before it is asked.
        layout = data.StructLayout(
            {"used": 1, "first": COUNT_BITS, "last": COUNT_BITS, "left": REGISTER_BITS, "more": 1}
        )
        levels = [Signal(layout, name=f"level_{i}") for i in range(LOOP_DEPTH)]
        top, begun = levels[0], Signal(layout)
        m.d.comb += [
            self.full.eq(levels[-1].used),
            self.ends.eq(top.used & (top.last == self.at)),
            self.again.eq(self.ends & top.more),
            self.back.eq(top.first),
            begun.used.eq(1), begun.first.eq(self.first), begun.last.eq(self.last),
            begun.left.eq(self.turns), begun.more.eq(self.turns != 1),
        ]  # fmt: skip
        with m.If(self.push):
            m.d.sync += [into.eq(given) for into, given in pairwise([begun, *levels][::-1])]
        with m.If(self.turn & self.ends):
            m.d.sync += [top.left.eq(top.left - 1), top.more.eq(top.left != 2)]
            with m.If(~top.more):
                m.d.sync += [into.eq(given) for into, given in pairwise(levels)]
                m.d.sync += levels[-1].used.eq(0)
        with m.If(self.clear):
            m.d.sync += [level.used.eq(0) for level in levels]
        return m
