"""Bytes of slots into places on chip. Twin: `dyncc_models.skipopu.numerics.kv.from_slots`.

A slot is a `begin`, then its words up to the `last`; `filled` says in the cycle in which its last
numbers go into the place that they do.
"""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.formats import ZERO, KvType
from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc_hw.skipopu.arithmetic.normaliser import Normaliser
from dyncc_hw.skipopu.arithmetic.units import FromHalf
from dyncc_hw.skipopu.kv.slots import word_layout
from dyncc_hw.skipopu.kv.store import (
    KV_BLOCK,
    STORED_BITS,
    STORED_ZERO,
    KvShape,
    place_signature,
)
from dyncc_hw.skipopu.kv.tags import SLOT_BITS

#: Slots that may be on their way through the conversion from halves.
_TARGETS = 4


def begin_layout(shape: KvShape) -> data.StructLayout:
    """Where a slot goes; which it is, and how many keys it has."""
    return data.StructLayout(
        {
            "group": range(shape.groups), "place": range(ATTENTION_TILE),
            "slot": SLOT_BITS, "count": range(shape.arch.kv_width + 1),
        }
    )  # fmt: skip


def is_whole(values: Any, ends: Any) -> Value:
    """Whether the end of a part ends the slot: it is the part of the values."""
    return values & ends


class _Filler(wiring.Component):
    """What fillers have in common.

    Parameters
    ----------
    shape
        Sizes.

    Members
    -------
    begin
        Stream of `begin_layout`.
    words
        Stream of the slot's words; all up to the last one are taken, whatever they have beyond.
    write
        To the places.
    filled, target
        The oldest slot is whole from the next cycle on; what its `begin` was.
    """

    def __init__(self, shape: KvShape) -> None:
        self.shape = shape
        super().__init__(
            {
                "begin": In(stream.Signature(begin_layout(shape))),
                "words": In(stream.Signature(word_layout(shape.arch.bus_bytes))),
                "write": Out(place_signature(shape)),
                "filled": Out(1), "target": Out(begin_layout(shape)),
            }
        )  # fmt: skip

    def _pieces(self, m: Module, takes: Any) -> tuple[Any, Any, Any]:
        """Parts of words, `fill_bytes` each: the part, and whether it is the last of its word."""
        shape = self.shape
        number = shape.arch.bus_bytes // shape.fill_bytes
        index = Signal(range(max(2, number)), name="piece")
        ends = index == number - 1
        with m.If(takes & self.words.valid):
            m.d.sync += index.eq(Mux(ends, 0, index + 1))
        return self.words.payload.word.word_select(index, 8 * shape.fill_bytes), ends, index

    def _number(self, m: Module, count: Any, values: Any) -> None:
        """Which numbers are written: those from number `count` of the keys, or values, on."""
        shape, write = self.shape, self.write
        columns, numbers = shape.arch.columns, shape.fill_numbers
        column_bits, number_bits = columns.bit_length() - 1, numbers.bit_length() - 1
        word = count >> column_bits
        m.d.comb += [
            write.word.eq(Mux(values, word + shape.words // 2, word)),
            write.piece.eq(count[number_bits:column_bits]),
        ]


class StoredFiller(_Filler):
    """From `KvType.BFP8`: mantissas as they are, then the exponents of their blocks.

    Throughput: `fill_bytes` of mantissas a cycle, or one exponent; and 3 cycles a slot.
    """

    def elaborate(self, platform: Any) -> Module:
        """A buffer lines bytes up, since exponents may be an odd number of them."""
        m = Module()
        shape, write = self.shape, self.write
        size = shape.fill_bytes
        most = 2 * size - 1
        target = Signal(begin_layout(shape))
        busy, ended, flushing = Signal(), Signal(), Signal()
        buffer, level = Signal(8 * most), Signal(range(most + 1))
        values, closing = Signal(), Signal()
        count, block = Signal(range(shape.arch.kv_width)), Signal(range(max(2, shape.blocks // 2)))
        need, there = Signal(range(size + 1)), Signal()
        takes, enters = Signal(), Signal()
        base, kept = Signal(range(most + 1)), Signal.like(buffer)
        piece, ends_word, index = self._pieces(m, enters)
        finishes = Signal()
        blocks = target.count >> KV_BLOCK.bit_length() - 1
        m.d.comb += [
            self.begin.ready.eq(~busy & ~flushing),
            need.eq(Mux(closing, 1, size)),
            there.eq(level >= need),
            takes.eq(busy & there),
            base.eq(Mux(takes, level - need, level)),
            kept.eq(
                Mux(takes, Mux(closing, buffer >> 8, buffer >> 8 * size), buffer)[: len(buffer)]
            ),
            enters.eq(busy & ~ended & (base < size)),
            # What is left of the last word goes.
            self.words.ready.eq((enters & ends_word) | (flushing & ~ended)),
            write.group.eq(target.group), write.place.eq(target.place),
            write.enable.eq(takes & ~closing),
            write.mantissas.eq(buffer[: 8 * size]),
            write.closes.eq(takes & closing),
            write.block.eq(Mux(values, block + shape.blocks // 2, block)),
            write.exponent.eq(buffer[:STORED_BITS]),
            finishes.eq(takes & closing & is_whole(values, block == blocks - 1)),
            self.filled.eq(finishes), self.target.eq(target),
        ]  # fmt: skip
        self._number(m, count, values)
        added = Signal.like(buffer)
        with m.Switch(base):
            for place in range(size):
                with m.Case(place):
                    m.d.comb += added.eq(Cat(Const(0, 8 * place), piece))
        arrives = enters & self.words.valid
        m.d.sync += [
            buffer.eq(Mux(arrives, kept | added, kept)),
            level.eq(base + Mux(arrives, size, 0)),
        ]
        with m.If(arrives & ends_word & self.words.payload.last):
            m.d.sync += ended.eq(1)
        with m.If(takes):
            with m.If(closing):
                m.d.sync += block.eq(block + 1)
                with m.If(block == blocks - 1):
                    m.d.sync += [block.eq(0), closing.eq(0), values.eq(~values)]
            with m.Else():
                m.d.sync += count.eq(count + size)
                with m.If(count == target.count - size):
                    m.d.sync += [count.eq(0), closing.eq(1)]
        with m.If(finishes):
            m.d.sync += [busy.eq(0), flushing.eq(1)]
        with m.If(flushing & (ended | self.words.valid)):
            m.d.sync += [flushing.eq(0), ended.eq(0), level.eq(0), buffer.eq(0), index.eq(0)]
        with m.If(self.begin.valid & self.begin.ready):
            m.d.sync += [busy.eq(1), target.eq(self.begin.payload)]
        return m


class HalfFiller(_Filler):
    """From `KvType.F16`: halves to F25, and these to blocks.

    Throughput: `fill_bytes` a cycle, and a cycle a slot. The next slot may go in before the last
    one is whole.
    """

    def elaborate(self, platform: Any) -> Module:
        """Slots on their way wait in a queue for what comes out."""
        m = Module()
        shape, write = self.shape, self.write
        lanes = shape.fill_numbers
        m.submodules.normaliser = unit = Normaliser(shape.block, shape.bits, lanes)
        m.submodules.targets = targets = fifo.SyncFIFO(
            width=begin_layout(shape).size, depth=_TARGETS
        )
        busy, limit = Signal(), Signal(range(2 * shape.arch.kv_width + 1))
        read = Signal(range(2 * shape.arch.kv_width))
        enters, finishes = Signal(), Signal()
        piece, ends_word, index = self._pieces(m, enters)
        halves = [FromHalf() for _ in range(lanes)]
        for lane, half in enumerate(halves):
            m.submodules[f"from_half_{lane}"] = half
            m.d.comb += [
                half.input.valid.eq(busy & self.words.valid),
                half.input.payload.half.eq(piece.word_select(lane, 16)),
                half.output.ready.eq(unit.input.ready),
                unit.input.payload.codes[lane].eq(half.output.payload.result),
            ]
        last = read == limit - lanes
        m.d.comb += [
            self.begin.ready.eq(~busy & targets.w_rdy),
            targets.w_en.eq(self.begin.valid & ~busy),
            targets.w_data.eq(self.begin.payload),
            enters.eq(busy & halves[0].input.ready),
            finishes.eq(enters & last),
            self.words.ready.eq(enters & (ends_word | last)),
            unit.input.valid.eq(halves[0].output.valid),
        ]
        with m.If(self.begin.valid & self.begin.ready):
            m.d.sync += [busy.eq(1), limit.eq(self.begin.payload.count << 1), read.eq(0)]
        with m.If(enters & self.words.valid):
            m.d.sync += read.eq(read + lanes)
            with m.If(last):
                m.d.sync += [busy.eq(0), index.eq(0)]
        # What comes out goes into the place.
        target = data.View(begin_layout(shape), targets.r_data)
        out = unit.output
        count, values = Signal(range(shape.arch.kv_width)), Signal()
        block = count >> shape.block.bit_length() - 1
        ends = count == target.count - lanes
        m.d.comb += [
            out.ready.eq(1),
            write.group.eq(target.group), write.place.eq(target.place),
            write.enable.eq(out.valid),
            write.mantissas.eq(Cat(Value.cast(mantissa) for mantissa in out.payload.mantissas)),
            write.closes.eq(out.valid & out.payload.ends),
            write.block.eq(Mux(values, block + shape.blocks // 2, block)),
            write.exponent.eq(
                Mux(
                    out.payload.exponent == ZERO,
                    Const(STORED_ZERO, unsigned(STORED_BITS)),
                    out.payload.exponent[:STORED_BITS],
                )
            ),
            self.filled.eq(out.valid & is_whole(values, ends)), self.target.eq(target),
            targets.r_en.eq(self.filled),
        ]  # fmt: skip
        self._number(m, count, values)
        with m.If(out.valid):
            m.d.sync += count.eq(Mux(ends, 0, count + lanes))
            with m.If(ends):
                m.d.sync += values.eq(~values)
        return m


def filler(shape: KvShape) -> StoredFiller | HalfFiller:
    """The one for how the instance stores keys and values."""
    return StoredFiller(shape) if shape.arch.kv == KvType.BFP8 else HalfFiller(shape)
