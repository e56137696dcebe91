"""What is behind the PE array's dot products: scales, one rounding each, and the accumulators."""

from typing import Any

from amaranth import Array, Cat, Const, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.formats import GUARD
from dyncc_hw.skipopu.arithmetic.f25 import at_most, fit
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed
from dyncc_hw.skipopu.array.products import BlockProducts
from dyncc_hw.skipopu.shape import EXPONENT_BITS, NUMBER_BITS, ArrayShape

#: Bits of a scale or minimum.
HALF_BITS = 16


def scale_of_half(half: Any) -> tuple[Value, Value]:
    """Number and exponent of a finite binary16."""
    kind = half[10:15]
    size = Value.cast(half[:10]) | (kind.any() << 10)
    number = fit(Mux(half[15], -size, size), NUMBER_BITS)
    return number, fit(Mux(kind.any(), kind, 1) - 25, EXPONENT_BITS)


class Terms(wiring.Component):
    """Turns dot products of blocks into the accumulators of `dyncc.arch.skipopu.formats`.

    A block's products and sums, times scales and minima, are shifted to the exponent of the
    accumulator, rounded once each, and added. Each row has `ArrayShape.units` that do so, in
    `ArrayShape.turns` cycles, which is no longer than the array takes for a block. Latency: `turns`
    and 5 cycles from the last block to the first lane's results.

    Members
    -------
    blocks
        From `BlockProducts`.
    scales
        For each of `blocks`: `scales` and `minima` of each row, lane and way, as binary16;
        `shifts` of each way, the accumulator's exponent less the block's; whether it is the `first`
        or `last` block of a dot product; `wide` as in `BlockProducts`, without minima; `direct` if
        there are no minima either and a scale of the first lane is one times two to the power of
        its lowest bits, a signed number. A shift less a scale's exponent is at least -`GUARD`, as
        the header of a matrix promises.
    output
        `accumulators` of all rows of a `lane`; all lanes, or the first of wide weights.
    """

    def __init__(self, shape: ArrayShape, products: data.StructLayout) -> None:
        self.shape = shape
        arch = shape.arch
        scales = data.ArrayLayout(
            data.ArrayLayout(data.ArrayLayout(HALF_BITS, shape.ways), arch.products), arch.rows
        )
        self.scales_layout = data.StructLayout(
            {
                "scales": scales, "minima": scales,
                "shifts": data.ArrayLayout(signed(EXPONENT_BITS), shape.ways),
                "first": 1, "last": 1, "wide": 1, "direct": 1,
            }
        )  # fmt: skip
        accumulators = data.ArrayLayout(signed(shape.accumulator_bits), arch.rows)
        self.gives = data.StructLayout(
            {"accumulators": accumulators, "lane": range(max(2, arch.products))}
        )
        super().__init__(
            {
                "blocks": In(stream.Signature(products)),
                "scales": In(stream.Signature(self.scales_layout)),
                "output": Out(stream.Signature(self.gives)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Hold a block; a turn a cycle; then give the sums, lane by lane."""
        m, inside = Module(), Module()
        shape, scales = self.shape, self.scales.payload
        held = Signal(self.blocks.payload.shape(), reset_less=True)
        full, ending, advance, going = Signal(), Signal(), Signal(), Signal()
        turn = Signal(range(max(2, shape.turns)))
        m.submodules.pipe = EnableInserter(advance)(inside)
        m.d.comb += [
            going.eq(full & self.scales.valid),
            ending.eq(going & advance & (turn == shape.turns - 1)),
            self.scales.ready.eq(ending),
            self.blocks.ready.eq(~full | ending),
        ]
        with m.If(going & advance):
            m.d.sync += turn.eq(Mux(ending, 0, turn + 1))
        with m.If(self.blocks.ready):
            m.d.sync += [full.eq(self.blocks.valid), held.eq(self.blocks.payload)]
        pipe = Pipe(inside, going)
        now = Timed(turn)
        first = Timed(scales.first)
        rows = [self._accumulators(pipe, held, row, now, first) for row in range(shape.arch.rows)]
        time = rows[0][0].time
        ends = Timed(scales.last & (turn == shape.turns - 1))
        wide, last = pipe.at(Timed(scales.wide), time), pipe.at(ends, time)
        self._give(m, rows, pipe.valid(time) & last, wide, advance)
        return m

    def _accumulators(
        self, pipe: Pipe, held: Any, row: int, turn: Timed, first: Timed
    ) -> list[Timed]:
        """The accumulators of a row's lanes."""
        shape = self.shape
        terms = [self._term(pipe, held, row, unit, turn) for unit in range(shape.units)]
        found = []
        (now, is_first, *values), time = pipe.align(turn, first, *terms)
        for lane in range(shape.arch.products):
            # For each unit, the turns in which it makes a term of this lane.
            mine: dict[int, list[int]] = {}
            for index, (owner, _, _) in enumerate(shape.terms):
                if owner == lane:
                    mine.setdefault(index % shape.units, []).append(index // shape.units)
            turns = sorted(set().union(*mine.values()))
            total = Signal(
                signed(shape.accumulator_bits), reset_less=True, name=f"total_{row}_{lane}"
            )
            parts = [
                values[unit] if when == turns else Mux(_is_one(now, when, shape), values[unit], 0)
                for unit, when in mine.items()
            ]
            before = Mux(is_first & (now == turns[0]), 0, total)
            with pipe.m.If(pipe.valid(time) & _is_one(now, turns, shape)):
                pipe.m.d.sync += total.eq(sum(parts, before))
            found.append(Timed(total, time + 1))
        return found

    def _term(self, pipe: Pipe, held: Any, row: int, unit: int, turn: Timed) -> Timed:
        """A term: multiplied, shifted, rounded to nearest, halves up."""
        shape, scales = self.shape, self.scales.payload
        choices = shape.terms[unit :: shape.units]

        def choose(turn: Any) -> Any:
            values, halves, shifts = [], [], []
            for lane, way, part in choices:
                scale = (scales.minima if part else scales.scales)[row][lane][way]
                values.append(held.sums[way] if part else held.products[row][lane][way])
                halves.append(scale)
                shifts.append(scales.shifts[way])
            minima = [when for when, (_, _, part) in enumerate(choices) if part]
            direct = [when for when, (lane, _, part) in enumerate(choices) if lane + part == 0]
            half = pipe.wire(_pick(turn, halves, HALF_BITS))
            number, exponent = scale_of_half(half)
            # Only unsigned weights have minima, which others leave 0; these need no test here.
            none = (scales.direct | scales.wide) & _is_one(turn, minima, shape)
            power = pipe.wire(scales.direct & _is_one(turn, direct, shape))
            exponent = Mux(power, half[:EXPONENT_BITS].as_signed(), exponent)
            return (
                _pick(turn, values, shape.product_bits),
                Mux(none, 0, Mux(power, 1, number)),
                _pick(turn, shifts, EXPONENT_BITS) - exponent,
            )

        value, number, amount = pipe.stage(choose, turn)

        def multiply(value: Any, number: Any, amount: Any) -> Any:
            # From here on shifts are to the right only; far ones leave nothing.
            down = pipe.wire(amount + GUARD)
            limited = Mux(down < 0, 0, at_most(pipe, down, 6))
            return fit(value * number, shape.term_bits), limited

        def shift(term: Any, down: Any) -> Any:
            doubled = (term << (GUARD + 1)) >> down
            return fit((doubled + 1) >> 1, shape.term_bits + GUARD)

        found: Timed = pipe.stage(shift, *pipe.stage(multiply, value, number, amount))
        return found

    def _give(self, m: Module, rows: Any, done: Any, wide: Any, advance: Any) -> None:
        """Results of all lanes wait here, so that the array can go on.

        The next ones come in a cycle after the last lane was taken, not in the same one: so who
        takes results is not in the path of what moves the array.
        """
        lanes = self.shape.arch.products
        kept = [
            Signal.like(self.output.payload.accumulators, name=f"kept_{i}") for i in range(lanes)
        ]
        lane, last = Signal(range(max(2, lanes))), Signal(range(max(2, lanes)))
        busy = Signal()
        m.d.comb += [
            self.output.valid.eq(busy),
            self.output.payload.lane.eq(lane),
            self.output.payload.accumulators.eq(Array(Value.cast(k) for k in kept)[lane]),
            advance.eq(~done | ~busy),
        ]
        with m.If(busy & self.output.ready):
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == last):
                m.d.sync += busy.eq(0)
        with m.If(~busy):
            m.d.sync += [busy.eq(done), lane.eq(0), last.eq(Mux(wide, 0, lanes - 1))]
            for number, word in enumerate(kept):
                for row, totals in enumerate(rows):
                    m.d.sync += word[row].eq(totals[number].value)


def _is_one(turn: Any, turns: list[int], shape: ArrayShape) -> Value:
    """Whether it is one of the turns."""
    if len(turns) == shape.turns:
        return Const(1)
    found: Value = Cat(turn == when for when in turns).any()
    return found


def _pick(turn: Any, values: list[Any], bits: int) -> Value:
    """The value of a turn; 0 if there are fewer values than turns."""
    wide = [fit(value, bits) for value in values]
    found: Value = wide[0]
    for number, value in enumerate(wide[1:], 1):
        found = Mux(turn == number, value, found)
    return found


class PeArray(wiring.Component):
    """The PE array: accumulators of rows of a matrix with activations.

    Throughput: a slice of the columns a cycle, if scales are there in time and results are taken.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    input
        Slices, as of `BlockProducts`.
    scales, output
        As of `Terms`.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        self._products = BlockProducts(shape)
        self._terms = Terms(shape, self._products.gives)
        self.takes, self.gives = self._products.takes, self._terms.gives
        self.scales_layout = self._terms.scales_layout
        super().__init__(
            {
                "input": In(stream.Signature(self.takes)),
                "scales": In(stream.Signature(self.scales_layout)),
                "output": Out(stream.Signature(self.gives)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Products, then terms."""
        m = Module()
        m.submodules.products = products = self._products
        m.submodules.terms = terms = self._terms
        wiring.connect(m, wiring.flipped(self.input), products.input)
        wiring.connect(m, wiring.flipped(self.scales), terms.scales)
        wiring.connect(m, products.output, terms.blocks)
        wiring.connect(m, terms.output, wiring.flipped(self.output))
        return m
