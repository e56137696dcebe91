"""Softmax over tiles of positions, and how tiles merge.

Twins: `dyncc_models.skipopu.numerics.attention`, whose steps these are.
"""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring

from dyncc.arch.skipopu.formats import PROBABILITY_BITS, ZERO
from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc.arch.skipopu.tables import OUTPUT_BITS, table
from dyncc.core.errors import InternalError
from dyncc_hw.skipopu.arithmetic.f25 import (
    ADD,
    CODE_BITS,
    MULTIPLY,
    add,
    at_most,
    compose,
    fit,
    multiply,
)
from dyncc_hw.skipopu.arithmetic.functions import (
    ONE,
    POWER,
    PROBABILITY,
    TO_FIXED,
    power_of_two,
    probability,
    to_fixed,
)
from dyncc_hw.skipopu.arithmetic.normaliser import TurnBuffer
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit, ports
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS

SCORE_BITS = 32
#: Probabilities reach 1.
P_BITS = PROBABILITY_BITS + 1
TOTAL_BITS = P_BITS + (ATTENTION_TILE - 1).bit_length()


class Scorer(Unit):
    """A score from an F25 dot product: times the scale, to fixed point; step 1, in 4 cycles."""

    def __init__(self) -> None:
        super().__init__(
            {"dot": CODE_BITS, "scale": CODE_BITS},
            {"score": signed(SCORE_BITS)},
            MULTIPLY + TO_FIXED,
        )

    def compute(self, pipe: Pipe, dot: Timed, scale: Timed) -> dict[str, Timed]:
        """Two roundings."""
        product = multiply(pipe, dot, scale)
        return {"score": to_fixed(pipe, product, PROBABILITY_BITS, SCORE_BITS)}


class _Powers(Unit):
    """Step 2 once the tile's largest score is known."""

    def __init__(self) -> None:
        super().__init__(
            {"score": signed(SCORE_BITS), "m": signed(SCORE_BITS), "first": 1, "last": 1},
            {"p": P_BITS, "m": signed(SCORE_BITS), "d": CODE_BITS, "last": 1},
            1 + PROBABILITY + 1 + 2,
        )

    def compute(
        self, pipe: Pipe, score: Timed, m: Timed, first: Timed, last: Timed
    ) -> dict[str, Timed]:
        """Subtract, look up, add up."""
        below = pipe.stage(lambda s, top: fit(s - top, SCORE_BITS + 1), score, m)
        p = probability(pipe, below)
        total = pipe.accumulate(p, first, TOTAL_BITS + 1)
        size = pipe.now(lambda value: value[:TOTAL_BITS], total)
        weight = Timed(Const(-PROBABILITY_BITS, signed(BASE_BITS)))
        return {
            "p": p, "m": m, "last": last,
            "d": compose(pipe, Timed(Const(0, 1)), size, weight),
        }  # fmt: skip


class TileSoftmax(wiring.Component):
    """Probabilities of a tile: ``m = max(s)``, ``p = 2**(s - m)``, ``d = sum(p)``; step 2.

    Throughput: a score a cycle; the probabilities of a tile come while the next tile goes in.
    Latency: 11 cycles from the last score of a tile to its first probability.

    Members
    -------
    input
        `score`, with 16 fraction bits; whether it is the `last` of its tile, which has at most
        `ATTENTION_TILE`.
    output
        `p` with 16 fraction bits; `m`; `d` so far, which is the tile's at the `last`.
    """

    def __init__(self) -> None:
        score = signed(SCORE_BITS)
        self.takes = data.StructLayout({"score": score, "last": 1})
        self._buffer = TurnBuffer(score, ATTENTION_TILE, score)
        self._powers = _Powers()
        self.gives = self._powers.gives
        super().__init__(ports(self.takes, self.gives))

    def elaborate(self, platform: Any) -> Module:
        """The largest score so far goes into the buffer with the scores."""
        m = Module()
        m.submodules.buffer = buffer = self._buffer
        m.submodules.powers = powers = self._powers
        given, into, out = self.input, buffer.input, buffer.output
        score = given.payload.score
        begins, best = Signal(init=1), Signal(signed(SCORE_BITS), reset_less=True)
        m.d.comb += [
            into.valid.eq(given.valid),
            given.ready.eq(into.ready),
            into.payload.item.eq(score.as_unsigned()),
            into.payload.summary.eq(Mux(begins | (score > best), score, best)),
            into.payload.last.eq(given.payload.last),
            powers.input.valid.eq(out.valid),
            out.ready.eq(powers.input.ready),
            powers.input.payload.score.eq(out.payload.item),
            powers.input.payload.m.eq(out.payload.summary),
            powers.input.payload.first.eq(out.payload.first),
            powers.input.payload.last.eq(out.payload.last),
        ]
        with m.If(given.valid & given.ready):
            m.d.sync += [begins.eq(given.payload.last), best.eq(into.payload.summary)]
        wiring.connect(m, powers.output, wiring.flipped(self.output))
        return m


class _Weigher(Unit):
    """Step 3 once the shared exponent is known."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__(
            {"p": P_BITS, "own": signed(BASE_BITS), "top": signed(BASE_BITS), "last": 1},
            {"weight": signed(bits), "shared": signed(BASE_BITS), "last": 1},
            2,
        )

    def compute(
        self, pipe: Pipe, p: Timed, own: Timed, top: Timed, last: Timed
    ) -> dict[str, Timed]:
        """Shift; round to nearest, halves up; saturate."""
        # One bit more than the mantissa has without its sign.
        room, limit = self.bits - 2, (1 << (self.bits - 1)) - 1

        def shift(p: Any, own: Any, top: Any) -> Any:
            # By the block's exponent less the own one, and up by the room.
            down = pipe.wire(top - own - 1)
            amount = Mux(down < 0, 0, at_most(pipe, down, 6))
            # One more bit below, which rounds.
            value = Cat(Const(0, room + 1), Mux(own == ZERO, 0, p)) >> amount
            return value[: P_BITS + room + 1]

        def finish(value: Any) -> Any:
            size = pipe.wire((value + 1) >> 1)
            return fit(Mux(size > limit, limit, size), self.bits)

        weight = pipe.stage(finish, pipe.stage(shift, p, own, top))
        shared = pipe.stage(lambda top: fit(top - (self.bits - 1), BASE_BITS), top)
        return {"weight": weight, "shared": shared, "last": last}


class ProbabilityBlocks(wiring.Component):
    """Probabilities times powers of two as one block of mantissas over a tile; step 3.

    Throughput: a position a cycle. Latency: 4 cycles from the last position of a tile to its first
    weight.

    Parameters
    ----------
    bits
        Of a mantissa.

    Members
    -------
    input
        `p`; `own`, the exponent of the position's block of values or `ZERO`; whether it is the
        `last` of its tile.
    output
        `weight`; `shared`, the block's exponent, of a number without p's 16 fraction bits; `last`.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        exponent = signed(BASE_BITS)
        self.takes = data.StructLayout({"p": P_BITS, "own": exponent, "last": 1})
        item = data.StructLayout({"p": P_BITS, "own": exponent})
        self._buffer = TurnBuffer(item, ATTENTION_TILE, exponent)
        self._weigher = _Weigher(bits)
        self.gives = self._weigher.gives
        super().__init__(ports(self.takes, self.gives))

    def elaborate(self, platform: Any) -> Module:
        """The largest exponent so far goes into the buffer."""
        m = Module()
        m.submodules.buffer = buffer = self._buffer
        m.submodules.weigher = weigher = self._weigher
        given, into, out = self.input, buffer.input, buffer.output
        p, own = given.payload.p, given.payload.own
        begins, best = Signal(init=1), Signal(signed(BASE_BITS), reset_less=True)
        length, needed = Signal(range(P_BITS + 1)), Signal(signed(BASE_BITS))
        for bit in range(P_BITS):
            with m.If(p[bit]):
                m.d.comb += length.eq(bit + 1)
        # The highest exponents of numbers: that of a block is less by its mantissas' bits.
        none = ZERO + (self._bits - 1)
        before = Mux(begins, none, best)
        nothing = (p == 0) | (own == ZERO)
        m.d.comb += [
            needed.eq(Mux(nothing, none, own + length)),
            into.valid.eq(given.valid),
            given.ready.eq(into.ready),
            into.payload.item.p.eq(p),
            into.payload.item.own.eq(own),
            into.payload.summary.eq(Mux(needed > before, needed, before)),
            into.payload.last.eq(given.payload.last),
            weigher.input.valid.eq(out.valid),
            out.ready.eq(weigher.input.ready),
            weigher.input.payload.p.eq(out.payload.item.p),
            weigher.input.payload.own.eq(out.payload.item.own),
            weigher.input.payload.top.eq(out.payload.summary),
            weigher.input.payload.last.eq(out.payload.last),
        ]
        with m.If(given.valid & given.ready):
            m.d.sync += [begins.eq(given.payload.last), best.eq(into.payload.summary)]
        wiring.connect(m, weigher.output, wiring.flipped(self.output))
        return m


class Merger(Unit):
    """Merges an element of a tile's state into that of the tiles before; step 4, in 13 cycles.

    The element is the sum d or an output o; all elements of a head come with both tiles' m.

    Members
    -------
    input
        `mine_m` and `mine`, of the tiles before; `theirs_m` and `theirs`, of the tile; `fresh` if
        there was no tile before.
    output
        `m` and `result`.
    """

    def __init__(self) -> None:
        score = signed(SCORE_BITS)
        super().__init__(
            {
                "mine_m": score, "mine": CODE_BITS, "theirs_m": score, "theirs": CODE_BITS,
                "fresh": 1,
            },
            {"m": score, "result": CODE_BITS},
            1 + POWER + MULTIPLY + ADD,
        )  # fmt: skip
        # The larger m's state is multiplied by 2^0, so one table serves both.
        if table("exp2").bases[0] != 1 << OUTPUT_BITS:
            raise InternalError("the table of 2^x does not begin with 1")

    def compute(self, pipe: Pipe, **given: Timed) -> dict[str, Timed]:
        """Scale the state of the smaller m; add."""

        def compare(mine: Any, theirs: Any, fresh: Any) -> Any:
            up = fresh | (theirs > mine)
            below = Mux(up, mine - theirs, theirs - mine)
            return up, fit(below, SCORE_BITS + 1), Mux(up, theirs, mine)

        up, below, m = pipe.stage(compare, given["mine_m"], given["theirs_m"], given["fresh"])
        power = power_of_two(pipe, below)

        # What there was not before counts as 0, and adding 0 changes nothing.
        before = pipe.now(lambda value, fresh: Mux(fresh, 0, value), given["mine"], given["fresh"])
        mine = multiply(pipe, before, pipe.now(lambda up, power: Mux(up, power, ONE), up, power))
        theirs = multiply(
            pipe, given["theirs"], pipe.now(lambda up, power: Mux(up, ONE, power), up, power)
        )
        return {"m": m, "result": add(pipe, mine, theirs)}
