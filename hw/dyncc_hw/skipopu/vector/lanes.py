"""Element by element: a multiply-add for each lane, and what comes before it."""

from typing import Any

from amaranth import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import Function
from dyncc_hw.skipopu.arithmetic.f25 import ADD, CODE_BITS, MULTIPLY, add, multiply, negate
from dyncc_hw.skipopu.arithmetic.functions import ONE, POWER, RECIPROCAL, TO_FIXED, silu
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit, joined

FUNCTION_BITS = max(Function).bit_length()


class SiluLanes(Unit):
    """``a = silu(a)`` in each lane, in 21 cycles; `b` stays beside it.

    Parameters
    ----------
    lanes
        Numbers of a word.
    """

    def __init__(self, lanes: int) -> None:
        word = data.ArrayLayout(CODE_BITS, lanes)
        stages = MULTIPLY + TO_FIXED + POWER + ADD + RECIPROCAL + MULTIPLY
        members = {"a": word, "b": word}
        super().__init__(members, members, stages)

    def compute(self, pipe: Pipe, a: Timed, b: Timed) -> dict[str, Timed]:
        """Three multipliers and two tables a lane."""
        found = [silu(pipe, Timed(code)) for code in a.value]
        return {"a": joined(pipe, found), "b": Timed(Value.cast(b.value))}


class MultiplyAddLanes(Unit):
    """``result = p q + s t`` in each lane, in 7 cycles: all three are rounded.

    Parameters
    ----------
    lanes
        Numbers of a word.
    """

    def __init__(self, lanes: int) -> None:
        word = data.ArrayLayout(CODE_BITS, lanes)
        super().__init__(dict.fromkeys("pqst", word), {"result": word}, MULTIPLY + ADD)

    def compute(self, pipe: Pipe, **given: Timed) -> dict[str, Timed]:
        """Two multipliers and an adder a lane."""
        found = [
            add(pipe, *(multiply(pipe, Timed(x), Timed(y)) for x, y in ((p, q), (s, t))))
            for p, q, s, t in zip(*(given[name].value for name in "pqst"), strict=True)
        ]
        return {"result": joined(pipe, found)}


class Operands(wiring.Component):
    """Makes operands of `MultiplyAddLanes` of those of an instruction.

    Throughput: a word in each cycle. Latency: 1 cycle; with one lane, `Function.ROPE` has one word
    in two cycles and then two, since a pair is two words.

    Parameters
    ----------
    lanes
        Numbers of a word: one, or an even number.

    Members
    -------
    function
        Of an instruction; functions that do nothing with elements count as `Function.COPY`.
    input
        Stream of words `a` and `b`, and whether they are the `last` of a token.
    turn
        A word of rotations is read in a cycle with `enable`, the `last` one of the token with
        `last`; only if `ready`. In the next cycle, until the one after the next `enable`, there are
        `cosines` and `sines`, one for each pair.
    output
        Stream of `p`, `q`, `s` and `t`.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        word = data.ArrayLayout(CODE_BITS, lanes)
        super().__init__(
            {
                "function": In(FUNCTION_BITS),
                "input": In(stream.Signature(data.StructLayout({"a": word, "b": word, "last": 1}))),
                "turn": Out(turn_signature(lanes)),
                "output": Out(stream.Signature(data.StructLayout(dict.fromkeys("pqst", word)))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A register for a word of each operand; with one lane, for a pair."""
        m = Module()
        given, out, turn = self.input, self.output, self.turn
        adds, turns = Signal(), Signal()
        multiplies = Signal()
        m.d.comb += [
            adds.eq(self.function == Function.ADD),
            turns.eq(self.function == Function.ROPE),
            multiplies.eq(
                (self.function == Function.MUL)
                | (self.function == Function.SWIGLU)
                | (self.function == Function.TO_BFP_GAIN)
            ),
        ]
        full, loads, more = Signal(), Signal(), Signal()
        a = Signal(given.payload.a.shape(), reset_less=True)
        b = Signal(given.payload.b.shape(), reset_less=True)
        accepted = given.valid & given.ready
        free = ~full | (out.ready & ~more)
        m.d.comb += out.valid.eq(full)
        with m.If(out.ready & ~more):
            m.d.sync += full.eq(0)
        with m.If(loads):
            m.d.sync += [full.eq(1), a.eq(given.payload.a), b.eq(given.payload.b)]
        m.d.comb += [turn.enable.eq(loads & turns), turn.last.eq(given.payload.last)]
        if self._lanes > 1:
            m.d.comb += [loads.eq(accepted), given.ready.eq(free & (turn.ready | ~turns))]
            pairs = [(a[lane & ~1], a[lane | 1], lane % 2) for lane in range(self._lanes)]
        else:
            # The even number waits beside the pair, which stays for two results.
            even, waits, second = Signal(CODE_BITS, reset_less=True), Signal(), Signal()
            m.d.comb += [
                more.eq(turns & ~second),
                given.ready.eq(Mux(turns & ~waits, 1, free & (turn.ready | ~turns))),
                loads.eq(accepted & ~(turns & ~waits)),
            ]
            with m.If(accepted & turns):
                m.d.sync += waits.eq(~waits)
                with m.If(~waits):
                    m.d.sync += even.eq(given.payload.a[0])
            with m.If(full & out.ready):
                m.d.sync += second.eq(turns & ~second)
            kept = Signal(CODE_BITS, reset_less=True)
            with m.If(loads):
                m.d.sync += kept.eq(even)
            pairs = [(kept, a[0], second)]
        for lane, (first, last, odd) in enumerate(pairs):
            cosine, sine = turn.cosines[lane // 2], turn.sines[lane // 2]
            m.d.comb += [
                out.payload.p[lane].eq(Mux(turns, first, a[lane])),
                out.payload.q[lane].eq(
                    Mux(turns, Mux(odd, sine, cosine), Mux(multiplies, b[lane], ONE))
                ),
                out.payload.s[lane].eq(Mux(turns, last, b[lane])),
                out.payload.t[lane].eq(
                    Mux(turns, Mux(odd, cosine, negate(sine)), Mux(adds, ONE, Const(0)))
                ),
            ]
        return m


def turn_signature(lanes: int) -> wiring.Signature:
    """From `Operands` to the rotations, see there."""
    pairs = data.ArrayLayout(CODE_BITS, max(1, lanes // 2))
    return wiring.Signature(
        {
            "ready": In(1), "enable": Out(1), "last": Out(1),
            "cosines": In(pairs), "sines": In(pairs),
        }
    )  # fmt: skip


class Lanes(wiring.Component):
    """What instructions do with each element.

    Throughput: a word in each cycle. Latency: 8 cycles; 29 for `Function.SWIGLU`; with one lane, 9
    for `Function.ROPE`.

    Parameters
    ----------
    lanes
        Numbers of a word.

    Members
    -------
    function, input, turn
        As of `Operands`.
    output
        Stream of words of results.
    """

    def __init__(self, lanes: int) -> None:
        self._silu, self._operands = SiluLanes(lanes), Operands(lanes)
        self._sums = MultiplyAddLanes(lanes)
        members = self._operands.signature.members
        super().__init__(
            {
                **{name: members[name] for name in ("function", "input", "turn")},
                "output": Out(stream.Signature(data.ArrayLayout(CODE_BITS, lanes))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """SiLU is left out by all others. A result that is not taken waits behind the lanes.

        So who takes results is not in the path of what moves operands: a word of the buffer may be
        refused late in a cycle.
        """
        m = Module()
        m.submodules.silu = silu_lanes = self._silu
        m.submodules.operands = operands = self._operands
        m.submodules.sums = sums = self._sums
        given, into, out = self.input, operands.input, self.output
        gates = self.function == Function.SWIGLU
        between, found = silu_lanes.output, sums.output
        waits, kept = Signal(), Signal.like(out.payload, reset_less=True)
        wiring.connect(m, operands.turn, wiring.flipped(self.turn))
        wiring.connect(m, operands.output, sums.input)
        m.d.comb += [
            operands.function.eq(self.function),
            silu_lanes.input.valid.eq(given.valid & gates),
            silu_lanes.input.payload.a.eq(given.payload.a),
            silu_lanes.input.payload.b.eq(given.payload.b),
            given.ready.eq(Mux(gates, silu_lanes.input.ready, into.ready)),
            between.ready.eq(into.ready),
            into.valid.eq(Mux(gates, between.valid, given.valid)),
            into.payload.a.eq(Mux(gates, between.payload.a, given.payload.a)),
            into.payload.b.eq(Mux(gates, between.payload.b, given.payload.b)),
            into.payload.last.eq(given.payload.last),
            out.valid.eq(waits | found.valid),
            found.ready.eq(~waits),
            out.payload.eq(Mux(waits, Value.cast(kept), Value.cast(found.payload.result))),
        ]
        with m.If(out.ready):
            m.d.sync += waits.eq(0)
        with m.Elif(found.valid & ~waits):
            m.d.sync += [waits.eq(1), kept.eq(found.payload.result)]
        return m
