"""From floats to blocks: one pass, with two buffers that take turns."""

from functools import partial
from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring

from dyncc.arch.skipopu.formats import EXPONENT_BITS as STORED_BITS
from dyncc.arch.skipopu.formats import ZERO
from dyncc.core.errors import ConfigError
from dyncc_hw.blockmemory import ANY_ON_COLLISION, clocked_read
from dyncc_hw.skipopu.arithmetic.f25 import (
    BIAS,
    CODE_BITS,
    SIGNIFICAND_BITS,
    at_most,
    fit,
    round_even,
    shift_right_sticky,
    significand,
    stored,
)
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit, joined, ports
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS


class TurnBuffer(wiring.Component):
    """Keeps a run of items until it is known to be whole, and a summary of it; then gives them.

    While a run is given, the next one comes in: an item a cycle. An item is there 2 cycles after
    the last one of its run came in, at the earliest.

    Parameters
    ----------
    shape
        Of an item.
    depth
        Most items of a run.
    summary
        Shape of the summary.

    Members
    -------
    input
        `item`, whether it is the `last` of its run, and the `summary` so far, of which that of the
        last one counts.
    output
        The same, and whether it is the `first`; the summary is the run's.
    """

    def __init__(self, shape: Any, depth: int, summary: Any) -> None:
        self.depth = depth
        members = {"item": shape, "summary": summary, "last": 1}
        self.layout = data.StructLayout(members)
        self.out_layout = data.StructLayout({**members, "first": 1})
        super().__init__(ports(self.layout, self.out_layout))

    def elaborate(self, platform: Any) -> Module:
        """One memory of two halves; counts and summaries beside it."""
        m = Module()
        given, out = self.input, self.output
        summary = self.layout["summary"].shape
        size = max(1, (self.depth - 1).bit_length())
        m.submodules.store = store = memory.Memory(
            shape=Value.cast(given.payload.item).shape(), depth=2 << size, init=[],
            attrs=ANY_ON_COLLISION,
        )  # fmt: skip
        into = store.write_port()
        filling, giving = Signal(), Signal()
        full = Signal(2)
        place, begin = Signal(size), Signal(size)
        ends = Array(Signal(size, name=f"end_{half}") for half in range(2))
        summaries = [Signal(summary, name=f"summary_{half}", reset_less=True) for half in range(2)]
        accepted = Signal()
        m.d.comb += [
            given.ready.eq(~full.bit_select(filling, 1)),
            accepted.eq(given.valid & given.ready),
            into.addr.eq(Cat(place, filling)),
            into.data.eq(given.payload.item),
            into.en.eq(accepted),
        ]
        with m.If(accepted):
            m.d.sync += place.eq(place + 1)
            with m.If(given.payload.last):
                m.d.sync += [place.eq(0), filling.eq(~filling), ends[filling].eq(place)]
                for half in range(2):
                    with m.If(filling == half):
                        m.d.sync += summaries[half].eq(given.payload.summary)
                        m.d.sync += full[half].eq(1)
        # A word is read into the output while the output is empty or being taken.
        valid, advance, reading = Signal(), Signal(), Signal()
        first, last = Signal(), Signal()
        shown = Signal(summary, reset_less=True)
        m.d.comb += [
            advance.eq(out.ready | ~valid),
            reading.eq(full.bit_select(giving, 1)),
            out.valid.eq(valid),
            Value.cast(out.payload.item).eq(clocked_read(m, store, Cat(begin, giving), advance)),
            out.payload.summary.eq(shown),
            out.payload.first.eq(first),
            out.payload.last.eq(last),
        ]
        with m.If(advance):
            m.d.sync += [
                valid.eq(reading),
                first.eq(begin == 0),
                last.eq(begin == ends[giving]),
                shown.eq(Mux(giving, summaries[1], summaries[0])),
            ]
            with m.If(reading):
                m.d.sync += begin.eq(begin + 1)
                with m.If(begin == ends[giving]):
                    m.d.sync += [begin.eq(0), giving.eq(~giving)]
                    for half in range(2):
                        with m.If(giving == half):
                            m.d.sync += full[half].eq(0)
        return m


def apart(pipe: Pipe, code: Any, largest: Any) -> Value:
    """How much smaller a number is than the largest, in 5 bits: beyond that all is sticky."""
    return at_most(pipe, (largest - stored(code))[:STORED_BITS], 5)


def mantissa(pipe: Pipe, bits: int, value: Any, negative: Any) -> Value:
    """The mantissa of so many bits of what was lined up."""
    drop = SIGNIFICAND_BITS + 1 - bits
    kept = Cat(value[: drop + 1].any(), value[drop + 1 :])
    size = pipe.wire(limited(pipe.wire(round_even(kept)), (1 << (bits - 1)) - 1))
    return fit(Mux(negative, -size, size), bits)


def limited(size: Any, limit: int) -> Value:
    """A magnitude that may have been rounded up beyond the largest."""
    return Mux(size > limit, limit, size)


class _Rounder(Unit):
    """Numbers of a block to mantissas, in 3 cycles."""

    def __init__(self, bits: int, lanes: int) -> None:
        self.bits = bits
        super().__init__(
            {
                "codes": data.ArrayLayout(CODE_BITS, lanes), "largest": STORED_BITS,
                "ends": 1, "last": 1,
            },
            {
                "mantissas": data.ArrayLayout(signed(bits), lanes),
                "exponent": signed(BASE_BITS), "ends": 1, "last": 1,
            },
            3,
        )  # fmt: skip

    def compute(self, pipe: Pipe, **given: Timed) -> dict[str, Timed]:
        """Shift by how much smaller a number is than the largest; round."""
        largest = given["largest"]
        to_mantissa = partial(mantissa, pipe, self.bits)
        shift = partial(shift_right_sticky, pipe)
        found = []
        for number in given["codes"].value:
            # Numbers come out of a memory, late in their cycle.
            code = Timed(number)
            amount = pipe.stage(partial(apart, pipe), code, largest)
            size, negative = pipe.stage(lambda code: (significand(code), code[-1]), code)
            found.append(pipe.stage(to_mantissa, pipe.stage(shift, size, amount), negative))
        exponent = pipe.stage(
            lambda top: Mux(top.any(), fit(top - (BIAS - 2 + self.bits), BASE_BITS), ZERO), largest
        )
        return {
            "mantissas": joined(pipe, found), "exponent": exponent,
            "ends": given["ends"], "last": given["last"],
        }  # fmt: skip


class Normaliser(wiring.Component):
    """F25 numbers to blocks of block floating point, in one pass.

    Twin: `dyncc_models.skipopu.numerics.bfp.to_bfp`. Throughput: `lanes` numbers a cycle; the
    mantissas of a block come while the next block goes in. Latency: 5 cycles from the last numbers
    of a block to its first mantissas.

    Parameters
    ----------
    block
        Numbers of a block.
    bits
        Of a mantissa, 6 to 16.
    lanes
        Numbers that come at once; the block is a multiple.

    Members
    -------
    input
        `codes`, and whether they are the `last` of a vector.
    output
        `mantissas` and the block's `exponent`, which is the same for all of them; whether the block
        `ends` with them; whether they are the `last` of the vector.

    Raises
    ------
    ConfigError
        If the sizes do not fit.
    """

    def __init__(self, block: int, bits: int, lanes: int = 1) -> None:
        if block % lanes or block < 2 * lanes:
            raise ConfigError(f"a block of {block} is not some runs of {lanes} numbers")
        if not 6 <= bits <= 16:
            raise ConfigError(f"a mantissa has 6 to 16 bits, not {bits}")
        self._runs = block // lanes
        self.takes = data.StructLayout({"codes": data.ArrayLayout(CODE_BITS, lanes), "last": 1})
        item = data.StructLayout(self.takes.members)
        self._buffer = TurnBuffer(item, self._runs, STORED_BITS)
        self._rounder = _Rounder(bits, lanes)
        self.gives = self._rounder.gives
        super().__init__(ports(self.takes, self.gives))

    def elaborate(self, platform: Any) -> Module:
        """The largest exponent so far goes into the buffer with the numbers."""
        m = Module()
        m.submodules.buffer = buffer = self._buffer
        m.submodules.rounder = rounder = self._rounder
        given, into = self.input, buffer.input
        count = Signal(range(self._runs))
        before, largest = Signal(STORED_BITS, reset_less=True), Signal(STORED_BITS)
        top = Mux(count == 0, 0, before)
        for code in given.payload.codes:
            larger = Signal(STORED_BITS)
            m.d.comb += larger.eq(Mux(stored(code) > top, stored(code), top))
            top = larger
        m.d.comb += [
            largest.eq(top),
            into.valid.eq(given.valid),
            given.ready.eq(into.ready),
            into.payload.item.eq(given.payload),
            into.payload.summary.eq(largest),
            into.payload.last.eq(count == self._runs - 1),
        ]
        with m.If(given.valid & given.ready):
            m.d.sync += [before.eq(largest), count.eq(Mux(into.payload.last, 0, count + 1))]
        out = buffer.output
        m.d.comb += [
            rounder.input.valid.eq(out.valid),
            out.ready.eq(rounder.input.ready),
            rounder.input.payload.codes.eq(out.payload.item.codes),
            rounder.input.payload.largest.eq(out.payload.summary),
            rounder.input.payload.ends.eq(out.payload.last),
            rounder.input.payload.last.eq(out.payload.item.last),
        ]
        wiring.connect(m, rounder.output, wiring.flipped(self.output))
        return m
