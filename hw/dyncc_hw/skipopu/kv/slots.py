"""Keys and values to the bytes of a slot. Twin: `dyncc_models.skipopu.numerics.kv.to_slot`."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.formats import FRACTION_BITS, KvType
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.arithmetic.f25 import (
    BIAS,
    CODE_BITS,
    is_negative,
    round_even,
    shift_right_sticky,
    significand,
    stored,
)
from dyncc_hw.skipopu.arithmetic.normaliser import Normaliser
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit
from dyncc_hw.skipopu.arithmetic.units import HALF_BIAS, HALF_FRACTION
from dyncc_hw.skipopu.kv.store import KV_BITS, KV_BLOCK, STORED_BITS, STORED_ZERO, KvShape

_HALF_LARGEST = 0x7BFF
#: Least exponent of a block that a byte holds beside the mark for zeros.
_LEAST = -127


def word_layout(bus_bytes: int) -> data.StructLayout:
    """A word of a slot's bytes; whether it is the `last`, which may have garbage at its end."""
    return data.StructLayout({"word": 8 * bus_bytes, "last": 1})


class ToHalf(Unit):
    """The nearest binary16, halves to even, the largest instead of infinity; in 2 cycles."""

    def __init__(self) -> None:
        super().__init__({"code": CODE_BITS}, {"half": 16}, 2)

    def compute(self, pipe: Pipe, code: Timed) -> dict[str, Timed]:
        """Shift; then round and add the exponent, into which a significand may carry."""
        drop = FRACTION_BITS - HALF_FRACTION
        # Stored exponent from which on a binary16 has a hidden bit.
        normal = BIAS - HALF_BIAS + 1

        def line_up(code: Any) -> tuple[Value, Value, Value]:
            small = stored(code) < normal
            apart = pipe.wire((normal - stored(code))[: len(stored(code))])
            # Beyond this nothing but the sticky bit is left.
            more = Mux(apart > 31 - drop, 31, apart + drop)
            amount = pipe.wire(Mux(small, more, drop)[:5])
            shifted = shift_right_sticky(pipe, significand(code), amount)
            base = Mux(small, 0, stored(code) - normal)[: len(stored(code))]
            return shifted, base, is_negative(code)

        def round_up(shifted: Any, base: Any, negative: Any) -> Value:
            size = pipe.wire(Cat(Const(0, HALF_FRACTION), base) + round_even(shifted))
            limited = Mux(size > _HALF_LARGEST, _HALF_LARGEST, size)[:15]
            return Cat(limited, negative)

        return {"half": pipe.stage(round_up, *pipe.stage(line_up, code))}


class BytePacker(wiring.Component):
    """Puts bytes side by side: some of them a cycle, or one, to words.

    Throughput: an item a cycle, or a word a cycle where items are longer. A word is there in the
    cycle after its last byte.

    Parameters
    ----------
    taken_bytes
        Of an item that is not single.
    word_bytes
        Of a word.
    single
        Whether there are single bytes; if not, sizes are powers of two, and places few.

    Members
    -------
    input
        `bytes`; whether only the lowest counts, `single`; whether it is the `last`.
    output
        Stream of `word_layout`; it has what comes up to the last item, and zeros behind that.
    """

    def __init__(self, taken_bytes: int, word_bytes: int, single: bool) -> None:
        self.taken_bytes, self.word_bytes = taken_bytes, word_bytes
        self._step = 1 if single else min(taken_bytes, word_bytes)
        if taken_bytes % self._step or word_bytes % self._step:
            raise ConfigError(f"words of {word_bytes} bytes are no items of {taken_bytes}")
        takes = data.StructLayout({"bytes": 8 * taken_bytes, "single": 1, "last": 1})
        super().__init__(
            {
                "input": In(stream.Signature(takes)),
                "output": Out(stream.Signature(word_layout(word_bytes))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A buffer of steps, which words leave at its beginning."""
        m = Module()
        given, out, step = self.input, self.output, self._step
        taken, whole = self.taken_bytes // step, self.word_bytes // step
        most = taken + whole - 1
        buffer, level = Signal(8 * step * most), Signal(range(most + 1))
        ending = Signal()
        leaves, enters = Signal(), Signal()
        base = Signal(range(most + 1))
        kept, added = Signal.like(buffer), Signal.like(buffer)
        full = level >= whole
        m.d.comb += [
            out.valid.eq(full | ending),
            out.payload.word.eq(buffer[: 8 * self.word_bytes]),
            out.payload.last.eq(ending & (level <= whole)),
            leaves.eq(out.valid & out.ready),
            base.eq(Mux(leaves, level - whole, level)),
            kept.eq(Mux(leaves, buffer >> 8 * self.word_bytes, buffer)),
            given.ready.eq(~ending & (~full | (leaves & (base < whole)))),
            enters.eq(given.valid & given.ready),
        ]
        content = Mux(given.payload.single, given.payload.bytes[:8], given.payload.bytes)
        with m.Switch(base):
            for place in range(whole):
                with m.Case(place):
                    m.d.comb += added.eq(Cat(Const(0, 8 * step * place), content))
        m.d.sync += [
            buffer.eq(Mux(enters, kept | added, kept)),
            level.eq(base + Mux(enters, Mux(given.payload.single, 1, taken), 0)),
        ]
        with m.If(leaves & out.payload.last):
            m.d.sync += [level.eq(0), ending.eq(0), buffer.eq(0)]
        with m.If(enters & given.payload.last):
            m.d.sync += ending.eq(1)
        return m


class SlotWriter(wiring.Component):
    """Bytes of slots from keys and values.

    Throughput: `vector_lanes` numbers a cycle, and behind all keys and all values of
    `KvType.BFP8` a cycle for each exponent. Latency, to the first word that is full: that of
    `Normaliser` after the first block, or 3 cycles.

    Parameters
    ----------
    shape
        Sizes.

    Members
    -------
    count
        Keys of a slot, some blocks. It does not change within a slot.
    input
        Stream of numbers: keys, then values.
    output
        Stream of words of the slot.
    """

    def __init__(self, shape: KvShape) -> None:
        self.shape = shape
        arch = shape.arch
        lanes = arch.vector_lanes
        super().__init__(
            {
                "count": In(range(arch.kv_width + 1)),
                "input": In(stream.Signature(data.ArrayLayout(CODE_BITS, lanes))),
                "output": Out(stream.Signature(word_layout(arch.bus_bytes))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Convert, count, pack."""
        m = Module()
        shape = self.shape
        lanes = shape.arch.vector_lanes
        stored_blocks = shape.arch.kv == KvType.BFP8
        m.submodules.packer = packer = BytePacker(
            lanes * shape.number_bytes, shape.arch.bus_bytes, stored_blocks
        )
        wiring.connect(m, packer.output, wiring.flipped(self.output))
        # Runs of numbers of the keys or values that have passed, and which of both it is.
        runs, values = Signal(range(shape.arch.kv_width // lanes + 1)), Signal()
        total = Signal.like(runs)
        m.d.comb += total.eq(self.count >> lanes.bit_length() - 1)
        ends = Signal()
        m.d.comb += ends.eq(runs == total - 1)
        if stored_blocks:
            self._blocks(m, packer, runs, values, ends)
        else:
            self._halves(m, packer, runs, values, ends)
        return m

    def _halves(self, m: Module, packer: BytePacker, runs: Any, values: Any, ends: Any) -> None:
        given, into = self.input, packer.input
        units = [ToHalf() for _ in given.payload]
        for lane, unit in enumerate(units):
            m.submodules[f"to_half_{lane}"] = unit
            m.d.comb += [
                unit.input.valid.eq(given.valid),
                unit.input.payload.code.eq(given.payload[lane]),
                unit.output.ready.eq(into.ready),
            ]
        m.d.comb += [
            given.ready.eq(units[0].input.ready),
            into.valid.eq(units[0].output.valid),
            into.payload.bytes.eq(Cat(unit.output.payload.half for unit in units)),
            into.payload.last.eq(ends & values),
        ]
        with m.If(into.valid & into.ready):
            m.d.sync += runs.eq(Mux(ends, 0, runs + 1))
            with m.If(ends):
                m.d.sync += values.eq(~values)

    def _blocks(self, m: Module, packer: BytePacker, runs: Any, values: Any, ends: Any) -> None:
        given, into = self.input, packer.input
        lanes = len(given.payload)
        m.submodules.normaliser = unit = Normaliser(KV_BLOCK, KV_BITS, lanes)
        m.submodules.exponents = queue = fifo.SyncFIFO(
            width=STORED_BITS, depth=self.shape.arch.kv_width // KV_BLOCK
        )
        out = unit.output
        m.d.comb += [
            unit.input.valid.eq(given.valid),
            given.ready.eq(unit.input.ready),
            unit.input.payload.codes.eq(given.payload),
        ]
        none = out.payload.exponent < _LEAST
        mantissas = Cat(Mux(none, 0, Value.cast(mantissa)) for mantissa in out.payload.mantissas)
        marked = Mux(none, Const(STORED_ZERO, unsigned(STORED_BITS)), out.payload.exponent[:8])
        draining = Signal()
        with m.If(draining):
            # Exponents of all blocks of the keys, or values, one a cycle.
            m.d.comb += [
                into.valid.eq(1),
                into.payload.bytes.eq(queue.r_data),
                into.payload.single.eq(1),
                into.payload.last.eq(values & (queue.level == 1)),
                queue.r_en.eq(into.ready),
            ]
            with m.If(into.ready & (queue.level == 1)):
                m.d.sync += [draining.eq(0), values.eq(~values)]
        with m.Else():
            m.d.comb += [
                into.valid.eq(out.valid),
                out.ready.eq(into.ready),
                into.payload.bytes.eq(mantissas),
                queue.w_data.eq(marked),
                queue.w_en.eq(out.valid & out.ready & out.payload.ends),
            ]
            with m.If(out.valid & out.ready):
                m.d.sync += runs.eq(Mux(ends, 0, runs + 1))
                with m.If(ends):
                    m.d.sync += draining.eq(1)
