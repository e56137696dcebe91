"""Integer registers, and the loops of a program."""

from typing import Any

from amaranth import Array, Module, Mux, Signal
from amaranth.lib import memory, wiring
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
        """Registers for each level."""
        m = Module()
        depth = Signal(range(LOOP_DEPTH + 1))
        levels = range(LOOP_DEPTH)
        first = Array(Signal(COUNT_BITS, name=f"first_{i}", reset_less=True) for i in levels)
        last = Array(Signal(COUNT_BITS, name=f"last_{i}", reset_less=True) for i in levels)
        left = Array(Signal(REGISTER_BITS, name=f"left_{i}", reset_less=True) for i in levels)
        # Whether more than one turn is left.
        more = Array(Signal(name=f"more_{i}", reset_less=True) for i in levels)
        top = Signal(range(LOOP_DEPTH))
        m.d.comb += [
            top.eq(depth - 1),
            self.full.eq(depth == LOOP_DEPTH),
            self.ends.eq(depth.any() & (last[top] == self.at)),
            self.again.eq(self.ends & more[top]),
            self.back.eq(first[top]),
        ]
        with m.If(self.push):
            m.d.sync += depth.eq(depth + 1)
            for level in levels:
                with m.If(depth == level):
                    m.d.sync += [
                        first[level].eq(self.first), last[level].eq(self.last),
                        left[level].eq(self.turns), more[level].eq(self.turns != 1),
                    ]  # fmt: skip
        with m.If(self.turn & self.ends):
            m.d.sync += [left[top].eq(left[top] - 1), more[top].eq(left[top] != 2)]
            with m.If(~self.again):
                m.d.sync += depth.eq(top)
        with m.If(self.clear):
            m.d.sync += depth.eq(0)
        return m
