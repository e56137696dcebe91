"""Sums over a vector: its squares, and the products with the rows of a router.

Twins: `dyncc_models.skipopu.numerics.norms.inverse_rms`, and `dot.accumulate` with weights of
`WeightType.BFP16`. The exponent of an accumulator follows from the largest exponent of the vector,
which is known only at its end; so the integers of each block are kept until then.
"""

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from amaranth import Array, Const, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring

from dyncc.arch.skipopu.formats import GUARD, ZERO
from dyncc.core.errors import ConfigError, InternalError
from dyncc_hw.blockmemory import ANY_ON_COLLISION, clocked_read
from dyncc_hw.skipopu.arithmetic.f25 import (
    ADD,
    CODE_BITS,
    MULTIPLY,
    add,
    at_most,
    compose,
    compose_stages,
    fit,
    multiply,
)
from dyncc_hw.skipopu.arithmetic.functions import INVERSE_ROOT, RECIPROCAL, inverse_root, reciprocal
from dyncc_hw.skipopu.arithmetic.pipeline import WHEN, Pipe, Timed, Unit, joined, ports
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS
from dyncc_hw.skipopu.array.products import stages
from dyncc_hw.skipopu.shape import EXPONENT_BITS

#: Mantissas of routers and norms.
WIDE_BITS = 16
#: Rows of a router: to skip and to run attention, to skip and to run the MLP.
ROWS = 4
COUNT_BITS = 21


class BlockSums(Unit):
    """Sums of a block's squares and of its products with each row; `lanes` numbers a cycle.

    Latency: 3 cycles, and one for each factor of 4 in `lanes`, from the end of a block.
    """

    def __init__(self, block: int, lanes: int) -> None:
        self.bits = 2 * WIDE_BITS - 1 + (block - 1).bit_length() + 1
        self._lanes = lanes
        mantissas = data.ArrayLayout(signed(WIDE_BITS), lanes)
        exponents = {
            "exponent": signed(BASE_BITS),
            "weight_exponents": data.ArrayLayout(signed(EXPONENT_BITS), ROWS),
        }
        ending = {"last": 1, "top": signed(EXPONENT_BITS)}
        self.kept = data.StructLayout(
            {"sums": data.ArrayLayout(signed(self.bits), 1 + ROWS), **exponents}
        )
        super().__init__(
            {
                "mantissas": mantissas, "weights": data.ArrayLayout(mantissas, ROWS),
                "begins": 1, "ends": 1, **exponents, **ending,
            },
            {**self.kept.members, **ending},
            3 + stages(lanes),
        )  # fmt: skip

    def compute(self, pipe: Pipe, **given: Timed) -> dict[str, Timed]:
        """A multiplier for each lane of the vector and of each row."""
        x, weights = given["mantissas"].value, given["weights"].value
        own = [pipe.stage(lambda value: value, Timed(x[lane])) for lane in range(self._lanes)]
        sums = []
        for row in range(1 + ROWS):
            others = own
            if row:
                others = [
                    pipe.stage(lambda value: value, Timed(weights[row - 1][lane]))
                    for lane in range(self._lanes)
                ]
            products = [
                pipe.stage(lambda a, b: a * b, a, b) for a, b in zip(own, others, strict=True)
            ]
            total = pipe.total(products, self.bits)
            sums.append(pipe.accumulate(total, given["begins"], self.bits))
        kept = ("exponent", "weight_exponents", "last", "top")
        return {
            "sums": joined(pipe, sums), WHEN: given["ends"],
            **{name: Timed(Value.cast(given[name].value)) for name in kept},
        }  # fmt: skip


class Reducer(wiring.Component):
    """Sum of squares and routes of a vector.

    Throughput: `lanes` numbers a cycle, then `turns` cycles for each block, and `tail` cycles to
    the results. In all of these the next vector may already come in up to its first block.

    Parameters
    ----------
    block
        Numbers of a block.
    blocks
        Most blocks of a vector.
    lanes
        Numbers that come at once.
    serial
        Whether the sums of a block go one after the other through one shifter and one adder: 5
        turns instead of one, and some 2,000 look-up tables less on an ECP5.

    Members
    -------
    input
        `mantissas`; those of the `weights` of each row; whether a block `begins` or `ends`; the
        block's `exponent`, or `ZERO`, and `weight_exponents` of each row, which count at its end;
        whether the vector ends, `last`; and there `top`, the largest exponent of the weights, from
        the header of their matrix.
    output
        `squares` and their exponent `base`; `attention` and `mlp`, whether they run. The logits
        are compared as the integers that they are, and ties skip.
    """

    def __init__(self, block: int, blocks: int, lanes: int = 1, *, serial: bool = False) -> None:
        if block % lanes:
            raise ConfigError(f"a block of {block} is not some runs of {lanes} numbers")
        if blocks < 1:
            raise ConfigError(f"a vector has at least one block, not {blocks}")
        self._sums = BlockSums(block, lanes)
        self._blocks = blocks
        self.turns, self.tail = (1 + ROWS, 5) if serial else (1, 4)
        self.takes = self._sums.takes
        self.bits = self._sums.bits + GUARD + (blocks - 1).bit_length()
        self.gives = data.StructLayout(
            {"squares": self.bits - 1, "base": signed(EXPONENT_BITS), "attention": 1, "mlp": 1}
        )
        super().__init__(ports(self.takes, self.gives))

    def elaborate(self, platform: Any) -> Module:
        """Keep the sums of blocks; then shift them to one exponent, round, add."""
        m, inside = Module(), Module()
        m.submodules.sums = sums = self._sums
        wiring.connect(m, wiring.flipped(self.input), sums.input)
        found, out = sums.output, self.output
        m.submodules.store = store = memory.Memory(
            shape=sums.kept, depth=max(2, self._blocks), init=[], attrs=ANY_ON_COLLISION
        )
        into = store.write_port()
        draining, ends = Signal(), Signal()
        place, last = Signal(range(max(2, self._blocks))), Signal(range(max(2, self._blocks)))
        largest, kept = Signal(signed(BASE_BITS), init=ZERO), Signal(signed(BASE_BITS))
        weights_top = Signal(signed(EXPONENT_BITS))
        exponent = found.payload.exponent
        top = Mux(exponent > largest, exponent, largest)
        taken = found.valid & found.ready
        m.d.comb += [
            found.ready.eq(~draining),
            into.addr.eq(place),
            *(into.data[name].eq(found.payload[name]) for name in sums.kept.members),
            into.en.eq(taken),
            ends.eq(place == last),
        ]
        with m.If(taken):
            m.d.sync += [place.eq(place + 1), largest.eq(top)]
            with m.If(found.payload.last):
                m.d.sync += [
                    place.eq(0), last.eq(place), draining.eq(1), kept.eq(top), largest.eq(ZERO),
                    weights_top.eq(found.payload.top),
                ]  # fmt: skip
        advance, turn = Signal(), Signal(range(max(2, self.turns)))
        m.submodules.pipe = EnableInserter(advance)(inside)
        m.d.comb += [advance.eq(out.ready | ~out.valid)]
        read = clocked_read(m, store, place, advance)
        turned = Signal()
        m.d.comb += turned.eq(turn == self.turns - 1)
        with m.If(draining & advance):
            m.d.sync += turn.eq(Mux(turned, 0, turn + 1))
            with m.If(turned):
                m.d.sync += place.eq(place + 1)
                with m.If(ends):
                    m.d.sync += [place.eq(0), draining.eq(0)]
        pipe = Pipe(inside, draining)
        first = Timed(place == 0)
        tops = Timed(kept), Timed(weights_top)
        if self.turns == 1:
            values, time = self._totals(pipe, read, *tops, first)
        else:
            values, time = self._ring(pipe, read, *tops, first, Timed(turn))
        if time != self.tail:
            raise InternalError(f"the sums take {time} cycles, and are to take {self.tail}")
        done = pipe.valid(time) & pipe.at(Timed(ends & turned), time)
        m.d.comb += [
            out.valid.eq(done),
            out.payload.squares.eq(values[0]),
            out.payload.base.eq((pipe.at(Timed(kept), time) << 1) - GUARD),
            out.payload.attention.eq(values[2] > values[1]),
            out.payload.mlp.eq(values[4] > values[3]),
        ]
        return m

    def _totals(
        self, pipe: Pipe, word: Any, largest: Timed, weights_top: Timed, first: Timed
    ) -> tuple[list[Any], int]:
        """The accumulators, squares first, and when they are there: all rows at once."""
        totals = []
        for row in range(1 + ROWS):

            def amount(word: Any, largest: Any, weights_top: Any, row: int = row) -> Any:
                apart = largest - word.exponent
                other = apart if row == 0 else weights_top - word.weight_exponents[row - 1]
                return _limited(pipe, apart + other), word.sums[row]

            word_now = Timed(word, 1)
            down, total = pipe.stage(amount, word_now, largest, weights_top)
            term = pipe.stage(self._shifted, down, total)
            totals.append(pipe.accumulate(term, first, self.bits))
        return [total.value for total in totals], totals[0].time

    def _ring(
        self, pipe: Pipe, word: Any, largest: Timed, weights_top: Timed, first: Timed, turn: Timed
    ) -> tuple[list[Any], int]:
        """The same, one after the other: accumulators go round."""

        def choose(word: Any, largest: Any, weights_top: Any, turn: Any) -> Any:
            apart = pipe.wire(largest - word.exponent)
            others = [apart, *(weights_top - item for item in word.weight_exponents)]
            return apart, Array(others)[turn], Array(word.sums)[turn]

        apart, other, total = pipe.stage(choose, Timed(word, 1), largest, weights_top, turn)
        down = pipe.stage(lambda a, b: _limited(pipe, a + b), apart, other)
        term = pipe.stage(self._shifted, down, total)
        ring = [
            Signal(signed(self.bits), name=f"ring_{i}", reset_less=True) for i in range(1 + ROWS)
        ]
        before = Mux(pipe.at(first, term.time), 0, ring[-1])
        with pipe.m.If(pipe.valid(term.time)):
            pipe.m.d.sync += ring[0].eq(before + term.value)
            pipe.m.d.sync += [later.eq(item) for item, later in itertools.pairwise(ring)]
        return ring[::-1], term.time + 1

    def _shifted(self, down: Any, total: Any) -> Any:
        """A term of an accumulator, which has `GUARD` bits below."""
        value = (total << (GUARD + 1)) >> down
        return fit((value + 1) >> 1, self._sums.bits + GUARD)


def _limited(pipe: Pipe, down: Any) -> Any:
    """A shift by which nothing is left, or less."""
    down = pipe.wire(down)
    return Mux(down < 0, 0, at_most(pipe, down, 6))


class InverseRms(Unit):
    """``result = 1 / sqrt(squares * 2**base / count + eps)``, in 19 cycles.

    Parameters
    ----------
    bits
        Of the sum of squares.
    beside
        Shapes of what else an item has, by name; it comes out with the result.

    Members
    -------
    input
        `squares`, `base`; `count` of the numbers; `eps`.
    output
        `result`.
    """

    def __init__(self, bits: int, beside: Mapping[str, Any] = MappingProxyType({})) -> None:
        mean = max(compose_stages(bits), compose_stages(COUNT_BITS) + RECIPROCAL)
        super().__init__(
            {
                "squares": bits, "base": signed(EXPONENT_BITS), "count": COUNT_BITS,
                "eps": CODE_BITS, **beside,
            },
            {"result": CODE_BITS, **beside},
            mean + MULTIPLY + ADD + INVERSE_ROOT,
        )  # fmt: skip

    def compute(
        self, pipe: Pipe, squares: Timed, base: Timed, count: Timed, eps: Timed, **beside: Timed
    ) -> dict[str, Timed]:
        """The reciprocal of the count is a table's, as the twin's."""
        positive = Timed(Const(0, 1))
        number = compose(pipe, positive, count, Timed(Const(0, signed(2))))
        total = compose(pipe, positive, squares, base)
        mean = multiply(pipe, total, reciprocal(pipe, number))
        return {"result": inverse_root(pipe, add(pipe, mean, eps)), **beside}
