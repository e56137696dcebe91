"""Places of the vector engine's instructions: word by word, token by token."""

from typing import Any

from amaranth import Const, Module, Mux, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import numbers, place_layout, vector_read_signature


def token_shape(arch: ArchSpec) -> range:
    """Of the number of a token."""
    return range(max(2, arch.tokens))


class Walk(wiring.Component):
    """Goes through the words of all active tokens, one in each cycle.

    Parameters
    ----------
    arch
        The instance.
    bits
        Of the number of a word.

    Members
    -------
    begin
        Go through the tokens of `active`: `count` words of each from `first` on. The latter two
        must stay as they are.
    steps
        Stream of `token` and `word`; whether it is the token's `last` one; and the `end`.
    """

    def __init__(self, arch: ArchSpec, bits: int) -> None:
        self._tokens = arch.tokens
        step = data.StructLayout({"token": token_shape(arch), "word": bits, "last": 1, "end": 1})
        super().__init__(
            {
                "begin": In(1),
                "active": In(arch.tokens),
                "first": In(bits),
                "count": In(bits + 1),
                "steps": Out(stream.Signature(step)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Tokens that are left; the word, and how many follow."""
        m = Module()
        out = self.steps
        left = Signal(self._tokens)
        word, more = Signal.like(self.first, reset_less=True), Signal.like(self.count)
        rest = Signal(self._tokens)
        m.d.comb += [
            rest.eq(left & (left - 1)),
            out.valid.eq(left.any()),
            out.payload.word.eq(word),
            out.payload.last.eq(more == 1),
            out.payload.end.eq(out.payload.last & ~rest.any()),
        ]
        for token in reversed(range(self._tokens)):
            with m.If(left[token]):
                m.d.comb += out.payload.token.eq(token)
        again = Signal()
        with m.If(out.valid & out.ready):
            m.d.sync += [word.eq(word + 1), more.eq(more - 1)]
            with m.If(out.payload.last):
                m.d.comb += again.eq(1)
                m.d.sync += left.eq(rest)
        with m.If(self.begin):
            m.d.comb += again.eq(1)
            m.d.sync += left.eq(self.active)
        with m.If(again):
            m.d.sync += [word.eq(self.first), more.eq(self.count)]
        return m


class Source(wiring.Component):
    """Operands of an instruction, from the vector buffer.

    Throughput: a word in each cycle. Latency: 2 cycles from `begin`.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    begin, active, count
        As of `Walk`.
    two
        Whether there is a second operand.
    a, b
        First words of the operands.
    first, second
        To the vector buffer.
    operands
        Stream of words `a` and `b`, and whether they are the `last` of a token.
    """

    def __init__(self, arch: ArchSpec) -> None:
        read = vector_read_signature(arch)
        bits = Shape.cast(place_layout(arch)["word"].shape).width
        self._walks = [Walk(arch, bits) for _ in range(2)]
        operands = data.StructLayout({"a": numbers(arch), "b": numbers(arch), "last": 1})
        super().__init__(
            {
                "begin": In(1),
                "active": In(arch.tokens),
                "count": In(bits + 1),
                "two": In(1),
                "a": In(bits),
                "b": In(bits),
                "first": Out(read),
                "second": Out(read),
                "operands": Out(stream.Signature(operands)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A walk for each operand; words are counted again as they come."""
        m = Module()
        sides = ((self.first, self.a, Const(1, 1)), (self.second, self.b, self.two))
        for index, (walk, (port, first, when)) in enumerate(zip(self._walks, sides, strict=True)):
            m.submodules[f"walk_{index}"] = walk
            steps = walk.steps
            m.d.comb += [
                walk.begin.eq(self.begin & when),
                walk.active.eq(self.active),
                walk.first.eq(first),
                walk.count.eq(self.count),
                port.place.valid.eq(steps.valid),
                steps.ready.eq(port.place.ready),
                port.place.payload.token.eq(steps.payload.token),
                port.place.payload.word.eq(steps.payload.word),
            ]
        out = self.operands
        a, b = self.first.numbers, self.second.numbers
        more = Signal.like(self.count)
        m.d.comb += [
            out.valid.eq(a.valid & (b.valid | ~self.two)),
            a.ready.eq(out.ready & (b.valid | ~self.two)),
            b.ready.eq(out.ready & a.valid & self.two),
            out.payload.a.eq(a.payload),
            out.payload.b.eq(b.payload),
            out.payload.last.eq(more == 1),
        ]
        with m.If(out.valid & out.ready):
            m.d.sync += more.eq(Mux(out.payload.last, self.count, more - 1))
        with m.If(self.begin):
            m.d.sync += more.eq(self.count)
        return m
