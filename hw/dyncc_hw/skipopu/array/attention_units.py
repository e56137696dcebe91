"""Pipelines of attention: scores from accumulators, and how a tile's output merges."""

from typing import Any

from amaranth import Array, Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.formats import PROBABILITY_BITS
from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc_hw.skipopu.arithmetic.f25 import (
    ADD,
    CODE_BITS,
    MULTIPLY,
    add,
    compose,
    compose_stages,
    multiply,
    sign_and_size,
)
from dyncc_hw.skipopu.arithmetic.functions import TO_FIXED, to_fixed
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit, joined
from dyncc_hw.skipopu.arithmetic.softmax import SCORE_BITS, TileSoftmax
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS
from dyncc_hw.skipopu.shape import ArrayShape


class AccumulatorScorer(Unit):
    """A score from an accumulator: to F25, times the scale, to fixed point; step 1.

    Twin: `dyncc_models.skipopu.numerics.attention.scores`.
    """

    def __init__(self, bits: int) -> None:
        super().__init__(
            {
                "accumulator": signed(bits), "base": signed(BASE_BITS), "scale": CODE_BITS,
                "last": 1,
            },
            {"score": signed(SCORE_BITS), "last": 1},
            1 + compose_stages(bits) + MULTIPLY + TO_FIXED,
        )  # fmt: skip

    def compute(
        self, pipe: Pipe, accumulator: Timed, base: Timed, scale: Timed, last: Timed
    ) -> dict[str, Timed]:
        """Three roundings."""
        negative, size = pipe.stage(sign_and_size, accumulator)
        product = multiply(pipe, compose(pipe, negative, size, base), scale)
        return {"score": to_fixed(pipe, product, PROBABILITY_BITS, SCORE_BITS), "last": last}


class MergeLanes(Unit):
    """Elements of the state of a head times factors, added; steps 4 and 5.

    ``result = mine * mine_factor + compose(accumulator, base) * factor`` for each lane; what comes
    along goes through. Twin: `dyncc_models.skipopu.numerics.attention.merge`, whose powers of two
    are the same for all elements of a head.
    """

    def __init__(self, bits: int, lanes: int, along: int) -> None:
        codes = data.ArrayLayout(CODE_BITS, lanes)
        super().__init__(
            {
                "mine": codes, "mine_factor": CODE_BITS,
                "accumulators": data.ArrayLayout(signed(bits), lanes), "base": signed(BASE_BITS),
                "factor": CODE_BITS, "along": along,
            },
            {"results": codes, "along": along},
            1 + compose_stages(bits) + MULTIPLY + ADD,
        )  # fmt: skip

    def compute(self, pipe: Pipe, **given: Timed) -> dict[str, Timed]:
        """Two multipliers and an adder a lane."""
        found = []
        for lane, accumulator in enumerate(given["accumulators"].value):
            negative, size = pipe.stage(sign_and_size, Timed(accumulator))
            theirs = multiply(pipe, compose(pipe, negative, size, given["base"]), given["factor"])
            mine = multiply(pipe, Timed(given["mine"].value[lane]), given["mine_factor"])
            found.append(add(pipe, mine, theirs))
        return {"results": joined(pipe, found), "along": given["along"]}


class TileScores(wiring.Component):
    """Probabilities of a tile's positions from the accumulators of their scores.

    Accumulators come for as many positions as the array has rows, in order of position; those that
    the mask leaves out are dropped. Throughput: a position a cycle.

    Members
    -------
    mask, bases, scale
        Positions that count, at least one; exponents of their accumulators; the scale. They stay.
    sums
        Stream of accumulators.
    output
        As `TileSoftmax.output`.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        self._scorer = AccumulatorScorer(shape.accumulator_bits)
        self._softmax = TileSoftmax()
        rows = data.ArrayLayout(signed(shape.accumulator_bits), shape.arch.rows)
        super().__init__(
            {
                "mask": In(ATTENTION_TILE),
                "bases": In(data.ArrayLayout(signed(BASE_BITS), ATTENTION_TILE)),
                "scale": In(CODE_BITS),
                "sums": In(stream.Signature(rows)),
                "output": Out(stream.Signature(self._softmax.gives)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Go through rows and positions."""
        m = Module()
        m.submodules.scorer = scorer = self._scorer
        m.submodules.softmax = softmax = self._softmax
        rows = min(self.shape.arch.rows, ATTENTION_TILE)
        place = Signal(range(ATTENTION_TILE))
        counts = self.mask.bit_select(place, 1)
        into, moves = scorer.input, Signal()
        above = Array(
            self.mask[place + 1 :].any() if place + 1 < ATTENTION_TILE else Value.cast(0)
            for place in range(ATTENTION_TILE)
        )
        row = place[: (rows - 1).bit_length()] if rows > 1 else Value.cast(0)
        accumulators = Array(Value.cast(item) for item in self.sums.payload)
        bases = Array(Value.cast(item) for item in self.bases)
        m.d.comb += [
            into.valid.eq(self.sums.valid & counts),
            into.payload.accumulator.eq(accumulators[row].as_signed()),
            into.payload.base.eq(bases[place].as_signed()),
            into.payload.scale.eq(self.scale),
            into.payload.last.eq(~above[place]),
            moves.eq(self.sums.valid & (into.ready | ~counts)),
            self.sums.ready.eq(moves & (row == rows - 1)),
            softmax.input.valid.eq(scorer.output.valid),
            scorer.output.ready.eq(softmax.input.ready),
            softmax.input.payload.score.eq(scorer.output.payload.score),
            softmax.input.payload.last.eq(scorer.output.payload.last),
        ]
        with m.If(moves):
            m.d.sync += place.eq(place + 1)
        wiring.connect(m, softmax.output, wiring.flipped(self.output))
        return m
