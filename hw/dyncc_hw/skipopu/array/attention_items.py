"""What attention feeds the array with: keys and a query, or values and probabilities."""

from typing import Any

from amaranth import Array, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.formats import GUARD, ZERO
from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS
from dyncc_hw.skipopu.array.feed import item_layout
from dyncc_hw.skipopu.array.terms import HALF_BITS
from dyncc_hw.skipopu.shape import ArrayShape


class AttentionItems(wiring.Component):
    """Makes items of the array from words of the history and the activation buffer.

    For scores, positions are in the rows, and the numbers of a head in the columns; each row's
    accumulator has the exponent of its position. For outputs, numbers of a head are in the rows and
    positions in the columns, and accumulators are plain sums. Throughput: an item a cycle.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    issue, advance, flying
        Words are read in a cycle with `issue`, which needs `advance`; `flying` until the array has
        taken their item.
    values, at, turn, begins, ends
        Of the item that is issued: whether it is one of outputs; which slice; which rows, of
        positions or of a block; whether its block is the first or last.
    scan, clear
        Find the largest exponents of positions: those of words that were read in the cycle before;
        begin anew. They are found two cycles after the last `scan`.
    query, query_exponent, mantissas, exponents
        Words, in the cycle after they were read.
    weights
        Mantissas of the probabilities of a tile.
    bases
        Exponents of the accumulators of positions.
    item
        To `ArrayFeed`.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        arch = shape.arch
        turns = max(2, ATTENTION_TILE // arch.rows, arch.block // arch.columns)
        mantissas = data.ArrayLayout(signed(arch.mantissa_bits), arch.columns)
        exponents = data.ArrayLayout(signed(BASE_BITS), ATTENTION_TILE)
        super().__init__(
            {
                "issue": In(1), "advance": Out(1), "flying": Out(1),
                "values": In(1), "at": In(range(max(2, shape.slices))), "turn": In(range(turns)),
                "begins": In(1), "ends": In(1), "scan": In(1), "clear": In(1),
                "query": In(mantissas), "query_exponent": In(signed(BASE_BITS)),
                "mantissas": In(data.ArrayLayout(mantissas, ATTENTION_TILE)),
                "exponents": In(exponents),
                "weights": In(data.ArrayLayout(signed(arch.mantissa_bits), ATTENTION_TILE)),
                "bases": Out(exponents),
                "item": Out(stream.Signature(item_layout(shape))),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """A stage behind the memories."""
        m = Module()
        arch, item = self.shape.arch, self.item.payload
        at, turn = Signal.like(self.at), Signal.like(self.turn)
        tops = [Signal(signed(BASE_BITS), name=f"top_{i}") for i in range(ATTENTION_TILE)]
        flags = {name: Signal(name=f"item_{name}") for name in ("first", "last", "begins", "ends")}
        final = Mux(self.values, ATTENTION_TILE // arch.columns - 1, self.shape.slices - 1)
        with m.If(self.advance):
            m.d.sync += self.flying.eq(self.issue)
            with m.If(self.issue):
                m.d.sync += [
                    at.eq(self.at), turn.eq(self.turn),
                    flags["first"].eq(self.at == 0), flags["last"].eq(self.at == final),
                    flags["begins"].eq(self.begins), flags["ends"].eq(self.ends),
                ]  # fmt: skip
        # Compared a cycle later, which is early enough: an item is behind by one as well.
        scans = Signal()
        m.d.sync += scans.eq(self.scan)
        for place, top in enumerate(tops):
            found = Signal(signed(BASE_BITS), name=f"found_{place}", reset_less=True)
            m.d.sync += found.eq(Mux(self._none(place), ZERO, self._sum(place)))
            m.d.comb += self.bases[place].eq(top - GUARD)
            with m.If(self.clear):
                m.d.sync += top.eq(ZERO)
            with m.Elif(scans & (found > top)):
                m.d.sync += top.eq(found)
        m.d.comb += [
            self.advance.eq(~self.flying | self.item.ready),
            self.item.valid.eq(self.flying),
            item.wide.eq(1),
            item.direct.eq(1),
            *(item[name].eq(flag) for name, flag in flags.items()),
        ]
        firsts = range(0, ATTENTION_TILE, arch.columns)
        for column in range(arch.columns):
            weights = Array(Value.cast(self.weights[first + column]) for first in firsts)
            m.d.comb += item.activations[column].eq(
                Mux(self.values, weights[at].as_signed(), self.query[column])
            )
        for row in range(arch.rows):
            places = range(row, ATTENTION_TILE, arch.rows)
            keys = Array(Value.cast(self.mantissas[place]) for place in places)[turn]
            sums, bases, nones = (
                Array(value(place) for place in places)[turn]
                for value in (self._sum, self._base, self._none)
            )
            m.d.comb += [
                item.scales[row][0][: HALF_BITS - 1].eq(sums),
                item.scales[row][0][HALF_BITS - 1].eq(self.values | nones),
                item.scales[row][0][HALF_BITS:].eq(bases),
            ]
            for column in range(arch.columns):
                value = Array(Value.cast(self.mantissas[first + column][row]) for first in firsts)[
                    at
                ]
                key = keys.word_select(column, arch.mantissa_bits)
                m.d.comb += item.weights[row][column].eq(Mux(self.values, value, key).as_signed())
        return m

    def _none(self, place: int) -> Value:
        """Whether all products of a position are 0 in the block that was read."""
        none: Value = (self.query_exponent == ZERO) | (self.exponents[place] == ZERO)
        return none

    def _sum(self, place: int) -> Value:
        """Exponent of the products otherwise."""
        return (self.query_exponent + self.exponents[place])[:BASE_BITS].as_signed()

    def _base(self, place: int) -> Value:
        return self.bases[place]
