"""Sizes of an attention: checked, and multiplied and divided by repeated addition."""

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import COUNT_BITS, Engine, Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import TRAP_BITS, work_layout


class HeadShape(wiring.Component):
    """What follows from heads, key heads and the size of a head.

    Cycles: two more than the heads.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    begin, work
        An instruction, whose payload stays.
    done
        From then on what follows is right.
    trap
        Why it cannot be carried out.
    heads, shared
        Query heads, and those that share a key head.
    blocks, key_words, state_words, out_words
        Blocks of a head; words of it in the history, in the state, in the vector buffer.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self._arch = arch
        count = COUNT_BITS
        super().__init__(
            {
                "begin": In(1), "work": In(work_layout(Engine.PE, arch)), "done": Out(1),
                "trap": Out(TRAP_BITS), "heads": Out(count), "shared": Out(count),
                "blocks": Out(count), "key_words": Out(count), "state_words": Out(count),
                "out_words": Out(count),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Add the size of a head for each head; subtract key heads from heads."""
        m = Module()
        arch, work = self._arch, self.work
        size, heads, kv_heads = work.head_size, work.heads, work.kv_heads
        left, shared, number = Signal(COUNT_BITS), Signal(COUNT_BITS), Signal(COUNT_BITS)
        width, keys = Signal(COUNT_BITS), Signal(COUNT_BITS)
        fits, inside = Signal(), Signal()
        # Behind the last number and block, of the width in the cycle before.
        end, blocks_end = Signal(COUNT_BITS + 1), Signal(COUNT_BITS + 1)
        m.d.sync += [
            end.eq(work.vector + width),
            blocks_end.eq(work.blocks + (width >> (arch.block.bit_length() - 1))),
        ]
        m.d.comb += [
            self.trap.eq(Mux(~fits, Trap.SHAPE, Mux(~inside, Trap.BUFFER, Trap.NONE))),
            self.heads.eq(heads), self.shared.eq(shared),
            self.blocks.eq(size >> (arch.block.bit_length() - 1)),
            self.key_words.eq(size // arch.columns),
            self.state_words.eq(size // arch.merge_lanes),
            self.out_words.eq(size // arch.vector_lanes),
        ]  # fmt: skip
        # Sizes within their limits, so that no sum overflows.
        wrong = (
            (size % arch.block != 0) | (size > arch.kv_width) | ~size.any() | ~kv_heads.any()
            | ~heads.any() | (heads > arch.heads) | (kv_heads > heads)
            | (work.vector % arch.vector_lanes != 0)
        )  # fmt: skip
        with m.FSM():
            with m.State("IDLE"), m.If(self.begin):
                m.d.sync += [
                    fits.eq(~wrong), inside.eq(1), left.eq(heads), shared.eq(0),
                    number.eq(0), width.eq(0), keys.eq(0),
                ]  # fmt: skip
                m.next = "ADD"
            with m.State("ADD"):
                m.d.sync += [number.eq(number + 1), width.eq(width + size)]
                with m.If(number < kv_heads):
                    m.d.sync += keys.eq(keys + size)
                with m.If(left >= kv_heads):
                    m.d.sync += [left.eq(left - kv_heads), shared.eq(shared + 1)]
                with m.If(~fits):
                    m.next = "DONE"
                with m.Elif(number == heads):
                    m.d.sync += width.eq(width)
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [
                    fits.eq((width <= arch.route_columns) & (keys <= arch.kv_width) & ~left.any()),
                    inside.eq((end <= arch.vector_words) & (blocks_end <= arch.blocks)),
                ]
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m
