"""Words that begin at any even address, out of words of the bus, and the other way round."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc_hw.skipopu.memory.bursts import Geometry


def even(offset: Any) -> Value:
    """Offset within a word in steps of two bytes: addresses are even."""
    return Value.cast(offset)[1:]


class ReadRealigner(wiring.Component):
    """Shifts words of the bus so that the first one of a request begins at its address.

    A word is held until the next one is there, or until it is the last: so there is one path for
    all alignments. Throughput: a word a cycle, also from a request to the next. Latency: a word
    comes with the one behind it, or a cycle after itself if there is none.

    Parameters
    ----------
    geometry
        Of the bus.
    tags
        Numbers that a request may be marked with.

    Members
    -------
    input
        Stream of a `word`; whether it is the `last` of its request; whether the request has as many
        words when realigned (`full`), or one less; the `offset` of its address in the first word;
        and its `tag`. The last three are the same for all words of a request.
    output
        Stream of a `word`, whether it is the `last` of its request, and its `tag`.
    empty
        Nothing is held.
    """

    def __init__(self, geometry: Geometry, tags: int) -> None:
        self.geometry = geometry
        bits, tag = 8 * geometry.bus_bytes, range(max(2, tags))
        self.takes = data.StructLayout(
            {"word": bits, "last": 1, "full": 1, "offset": geometry.shift, "tag": tag}
        )
        self.gives = data.StructLayout({"word": bits, "last": 1, "tag": tag})
        super().__init__(
            {
                "input": In(stream.Signature(self.takes)),
                "output": Out(stream.Signature(self.gives)),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A register, and a shifter behind it."""
        m = Module()
        given, item, out = self.input, self.input.payload, self.output
        held = Signal(self.takes, reset_less=True)
        holds, final = Signal(), Signal()
        # The last word of a request needs none behind it.
        m.d.comb += [
            final.eq(held.last & held.full),
            out.valid.eq(holds & (final | given.valid)),
            out.payload.tag.eq(held.tag),
            out.payload.last.eq(final | (item.last & ~item.full)),
            given.ready.eq(~holds | out.ready),
            self.empty.eq(~holds),
        ]
        # What is behind the last byte stays while it waits.
        both = Cat(held.word, Mux(final, held.word, item.word))
        m.d.comb += out.payload.word.eq(both >> (even(held.offset) << 4))
        moves = given.valid & given.ready
        with m.If(moves):
            m.d.sync += [held.eq(item), holds.eq(~holds | final | ~item.last | item.full)]
        with m.Elif(out.valid & out.ready):
            m.d.sync += holds.eq(0)
        return m


class WriteRealigner(wiring.Component):
    """Shifts words of a client so that the first one goes to its address, with strobes of bytes.

    Works on one request at a time. Throughput: a word a cycle. Latency: none.

    Parameters
    ----------
    geometry
        Of the bus.
    word_bits
        Bits of numbers of words.

    Members
    -------
    start
        Stream of requests: the `offset` of the address in its first word; the `end`, offset of the
        last byte in its last word; how many `words` of the bus are written; and whether they are as
        many as those of the client (`full`), or one more. Ready while there is none.
    input
        Stream of the client's words.
    output
        Stream of a `word`, and its `strobe`.
    last
        The word at the output is the last of its request.
    """

    def __init__(self, geometry: Geometry, word_bits: int) -> None:
        self.geometry = geometry
        size, offset = geometry.bus_bytes, geometry.shift
        self.asks = data.StructLayout(
            {"offset": offset, "end": offset, "words": word_bits, "full": 1}
        )
        self.gives = data.StructLayout({"word": 8 * size, "strobe": size})
        super().__init__(
            {
                "start": In(stream.Signature(self.asks)),
                "input": In(stream.Signature(8 * size)),
                "output": Out(stream.Signature(self.gives)),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A register for what did not fit the word before."""
        m = Module()
        size = self.geometry.bus_bytes
        given, out, start = self.input, self.output, self.start
        about = Signal(self.asks, reset_less=True)
        active, first, alone = Signal(), Signal(), Signal()
        before = Signal(8 * size, reset_less=True)
        # The last word of the bus may hold nothing but what is left of the one before.
        m.d.comb += [
            start.ready.eq(~active),
            self.last.eq(about.words == 1),
            alone.eq(self.last & ~about.full),
            out.valid.eq(active & (alone | given.valid)),
            given.ready.eq(active & ~alone & out.ready),
        ]
        back = (size // 2 - even(about.offset))[: self.geometry.shift] << 4
        m.d.comb += out.payload.word.eq(Cat(before, given.payload) >> back)
        every = Const((1 << size) - 1, size)
        low = Mux(first, every << about.offset, every)[:size]
        high = Mux(self.last, every >> ~about.end, every)
        m.d.comb += out.payload.strobe.eq(low & high)
        with m.If(start.valid & start.ready):
            m.d.sync += [active.eq(1), first.eq(1), about.eq(start.payload)]
        with m.Elif(out.valid & out.ready):
            m.d.sync += [
                first.eq(0), before.eq(given.payload),
                about.words.eq(about.words - 1), active.eq(~self.last),
            ]  # fmt: skip
        return m
