"""What may be wrong with an instruction of the vector engine."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import Engine as EngineCode
from dyncc.arch.skipopu.isa import Function, Op, Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import TRAP_BITS, work_layout

#: Functions by what they do with their operands.
TWO_OPERANDS = (Function.ADD, Function.MUL, Function.SWIGLU, Function.TO_BFP_GAIN)
TO_BLOCKS = (Function.TO_BFP, Function.TO_BFP_GAIN)


def among(function: Any, *wanted: Function) -> Value:
    """Whether it is one of these."""
    found: Any = 0
    for item in wanted:
        found = found | (function == item)
    return Value.cast(found)


class Checks(wiring.Component):
    """Places and sizes of an instruction, all but heads and routers; in one cycle.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    work
        See `interfaces.work_layout`; it must stay.
    trap
        What was wrong with the `work` of the last cycle.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self._arch = arch
        super().__init__({"work": In(work_layout(EngineCode.VECTOR, arch)), "trap": Out(TRAP_BITS)})

    def elaborate(self, platform: Any) -> Module:
        """Sums first, then comparisons."""
        m = Module()
        arch, work = self._arch, self.work
        routes = work.op == Op.ROUTE
        function, columns = work.function, work.columns
        norms = routes | (function == Function.SUM_SQUARES)
        blocks = ~routes & among(function, *TO_BLOCKS)
        largest = ~routes & (function == Function.ARGMAX)
        shape, outside = [], []

        def place(name: str, first: Any, when: Any, count: Any = columns) -> None:
            end = Signal(len(first) + 1, name=f"end_{name}", reset_less=True)
            m.d.sync += end.eq(first + count)
            shape.append(kept(when & (first % arch.vector_lanes != 0)))
            outside.append(kept(when) & (end > arch.vector_words))

        def kept(condition: Any) -> Signal:
            register = Signal(reset_less=True)
            m.d.sync += register.eq(condition)
            return register

        first = Signal.like(work.a)
        m.d.comb += first.eq(Mux(routes, work.vector, work.a))
        place("a", first, 1)
        place("b", work.b, ~routes & among(function, *TWO_OPERANDS))
        place("d", work.d, ~norms & ~blocks, Mux(largest, 2, columns))
        last_block = Signal(len(work.d) + 1, reset_less=True)
        block_shift = arch.block.bit_length() - 1
        m.d.sync += last_block.eq(work.d + (columns >> block_shift))
        sizes = [
            kept((norms | blocks) & (columns % arch.block != 0)),
            kept(norms & (columns > arch.route_columns)),
        ]
        # What has several faults has the trap of the twin's first.
        faults = [
            (shape, Trap.SHAPE),
            ([kept(columns == 0), *outside], Trap.BUFFER),
            (sizes, Trap.SHAPE),
            ([kept(blocks) & (last_block > arch.blocks)], Trap.BUFFER),
        ]
        found: Any = Trap.NONE
        for conditions, trap in reversed(faults):
            found = Mux(Cat(conditions).any(), trap, found)
        m.d.comb += self.trap.eq(found)
        return m
