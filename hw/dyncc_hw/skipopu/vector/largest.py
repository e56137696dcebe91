"""The largest element of a vector, and its number."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import COUNT_BITS
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS, compose, compose_stages, order
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit
from dyncc_hw.skipopu.interfaces import numbers, place_layout, vector_read_signature

NUMBER_BITS = COUNT_BITS + 1
#: Bits of a binary32's significand.
_SINGLE_BITS = 24


class LargestOfWord(Unit):
    """The first of the largest numbers of a word, in a cycle, and one for each doubling of lanes.

    Parameters
    ----------
    lanes
        Numbers of a word, a power of two.

    Members
    -------
    input
        `codes`, and which of them to `keep`, from the first on; whether they are the `last`.
    output
        `key`, see `f25.order`, and its `lane`; `last`.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        super().__init__(
            {"codes": data.ArrayLayout(CODE_BITS, lanes), "keep": lanes, "last": 1},
            {"key": signed(CODE_BITS), "lane": range(max(2, lanes)), "last": 1},
            1 + (lanes - 1).bit_length(),
        )

    def compute(self, pipe: Pipe, codes: Timed, keep: Timed, last: Timed) -> dict[str, Timed]:
        """A tree of comparisons, in which the first one wins."""

        def larger(a: Any, a_lane: Any, b: Any, b_lane: Any, keep: Any) -> Any:
            wins = pipe.wire((b > a) & keep)
            return Mux(wins, b, a), Mux(wins, b_lane, a_lane)

        bits = max(1, (self._lanes - 1).bit_length())
        found = [
            (pipe.stage(order, Timed(code)), Timed(Const(lane, bits)))
            for lane, code in enumerate(codes.value)
        ]
        step = 1
        while len(found) > 1:
            found = [
                pipe.stage(larger, *found[n], *found[n + 1], Timed(keep.value[(n + 1) * step]))
                for n in range(0, len(found), 2)
            ]
            step *= 2
        key, lane = found[0]
        return {"key": key, "lane": lane, "last": last}


class FromCount(Unit):
    """``result = first + place``, as a binary32 and then as an F25, in 3 cycles."""

    def __init__(self) -> None:
        super().__init__(
            {"first": COUNT_BITS, "place": COUNT_BITS},
            {"result": CODE_BITS},
            1 + compose_stages(NUMBER_BITS),
        )

    def compute(self, pipe: Pipe, first: Timed, place: Timed) -> dict[str, Timed]:
        """The two roundings of the twin."""

        def total(first: Any, place: Any) -> Any:
            exact = pipe.wire((first + place)[:NUMBER_BITS])
            # A bit too long for a binary32: halves go to even.
            even = Cat(Const(0, 1), (exact[1:] + exact[1])[: NUMBER_BITS - 1])
            return Mux(exact[_SINGLE_BITS] & exact[0], even, exact)

        positive, weight = Timed(Const(0, 1)), Timed(Const(0, signed(2)))
        return {"result": compose(pipe, positive, pipe.stage(total, first, place), weight)}


class Largest(wiring.Component):
    """The largest element of each token's vector.

    Throughput: a word in each cycle, and 5 cycles for each token (6 with one lane), in which the
    next token's words wait. Latency: 5 cycles and one for each doubling of lanes from the last word
    to the first result.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    first
        Number of the first element; 0 if what was found before does not count.
    input
        Stream of words `a`; which numbers to `keep`; whether they are the `last` of a token.
    place
        Where what was found before is, of the token whose turn it is.
    before
        To the vector buffer.
    output
        Stream of words to write: `numbers`, and which to `keep`: none if what was found before
        stays. With one lane there are two words: the number comes in the second one.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self._arch = arch
        lanes = arch.vector_lanes
        word = {"a": numbers(arch), "keep": lanes, "last": 1}
        written = data.StructLayout({"numbers": numbers(arch), "keep": lanes})
        super().__init__(
            {
                "first": In(COUNT_BITS),
                "input": In(stream.Signature(data.StructLayout(word))),
                "place": In(place_layout(arch)),
                "before": Out(vector_read_signature(arch)),
                "output": Out(stream.Signature(written)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """The best so far; when a token is over, it is compared with what was there before."""
        m = Module()
        lanes = self._arch.vector_lanes
        m.submodules.tree = tree = LargestOfWord(lanes)
        m.submodules.number = number = FromCount()
        given, word = self.input, tree.output
        count = COUNT_BITS - (lanes - 1).bit_length()
        begins, index, best_index = Signal(init=1), Signal(count), Signal(count, reset_less=True)
        best = Signal(signed(CODE_BITS), reset_less=True)
        best_lane = Signal.like(word.payload.lane, reset_less=True)
        found = Signal()
        accepted = word.valid & word.ready
        m.d.comb += [
            tree.input.valid.eq(given.valid),
            given.ready.eq(tree.input.ready),
            tree.input.payload.codes.eq(given.payload.a),
            tree.input.payload.keep.eq(given.payload.keep),
            tree.input.payload.last.eq(given.payload.last),
            word.ready.eq(~found),
        ]
        with m.If(accepted):
            m.d.sync += [begins.eq(word.payload.last), found.eq(word.payload.last)]
            m.d.sync += index.eq(Mux(word.payload.last, 0, index + 1))
            with m.If(begins | (word.payload.key > best)):
                m.d.sync += [
                    best.eq(word.payload.key), best_index.eq(index),
                    best_lane.eq(word.payload.lane),
                ]  # fmt: skip
        place = best_index if lanes == 1 else Cat(best_lane, best_index)
        before, out = self.before, self.output
        wins, old = Signal(), Signal(signed(CODE_BITS), reset_less=True)
        m.d.comb += [
            number.input.payload.first.eq(self.first),
            number.input.payload.place.eq(place),
            before.place.payload.eq(self.place),
            wins.eq((self.first == 0) | (best > old)),
            out.payload.keep.eq(Mux(wins, 3 if lanes > 1 else 1, 0)),
        ]
        code = order(best)
        result = number.output.payload.result
        if lanes > 1:
            m.d.comb += [out.payload.numbers[0].eq(code), out.payload.numbers[1].eq(result)]
        with m.FSM():
            with m.State("SEARCH"), m.If(found):
                m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += before.place.valid.eq(1)
                with m.If(before.place.ready):
                    m.d.comb += number.input.valid.eq(1)
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.comb += before.numbers.ready.eq(1)
                with m.If(before.numbers.valid):
                    m.d.sync += old.eq(order(before.numbers.payload[0]))
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += out.valid.eq(number.output.valid)
                if lanes == 1:
                    m.d.comb += [out.valid.eq(1), out.payload.numbers[0].eq(code)]
                else:
                    m.d.comb += number.output.ready.eq(out.ready)
                with m.If(out.valid & out.ready):
                    if lanes == 1:
                        m.next = "NUMBER"
                    else:
                        m.d.sync += found.eq(0)
                        m.next = "SEARCH"
            if lanes == 1:
                with m.State("NUMBER"):
                    m.d.comb += [
                        out.valid.eq(number.output.valid),
                        number.output.ready.eq(out.ready),
                        out.payload.numbers[0].eq(result),
                    ]
                    with m.If(out.valid & out.ready):
                        m.d.sync += found.eq(0)
                        m.next = "SEARCH"
        return m
