"""Words of one width out of words of another, and items of any even length out of words."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import ConfigError


def _check(narrow: int, wide: int) -> int:
    """Units of a word; raises ConfigError unless they are a power of two."""
    units, rest = divmod(wide, narrow) if narrow > 0 else (0, 1)
    if rest or not units or units & (units - 1):
        raise ConfigError(f"words of {wide} bits are no power of two of units of {narrow} bits")
    return units


class Serialiser(wiring.Component):
    """Units out of words, the lowest first; a unit a cycle, also from a word to the next.

    Latency: a cycle. With words of one unit it is a wire.

    Parameters
    ----------
    wide, narrow
        Bits of a word, and of a unit: a power of two of them is a word.

    Members
    -------
    input, output
        Streams of words and of units.
    """

    def __init__(self, wide: int, narrow: int) -> None:
        self.units = _check(narrow, wide)
        self.narrow = narrow
        super().__init__(
            {"input": In(stream.Signature(wide)), "output": Out(stream.Signature(narrow))}
        )

    def elaborate(self, platform: Any) -> Module:
        """A word, and which unit is next."""
        m = Module()
        given, out = self.input, self.output
        if self.units == 1:
            wiring.connect(m, wiring.flipped(given), wiring.flipped(out))
            return m
        word = Signal(self.narrow * self.units, reset_less=True)
        place, holds = Signal(range(self.units)), Signal()
        ends = out.ready & (place == self.units - 1)
        m.d.comb += [
            out.valid.eq(holds),
            out.payload.eq(word.word_select(place, self.narrow)),
            given.ready.eq(~holds | ends),
        ]
        with m.If(out.valid & out.ready):
            m.d.sync += [place.eq(place + 1), holds.eq(~ends)]
        with m.If(given.valid & given.ready):
            m.d.sync += [word.eq(given.payload), holds.eq(1)]
        return m


class Collector(wiring.Component):
    """Words out of units, the first lowest; a unit a cycle.

    Latency: a word comes a cycle after its last unit. With words of one unit it is a wire.

    Parameters
    ----------
    narrow, wide
        As of `Serialiser`.

    Members
    -------
    input
        Stream of a `unit`, and whether it is the `last`: what would follow it in its word is not
        defined.
    output
        Stream of words.
    """

    def __init__(self, narrow: int, wide: int) -> None:
        self.units = _check(narrow, wide)
        self.narrow = narrow
        unit = data.StructLayout({"unit": narrow, "last": 1})
        super().__init__(
            {"input": In(stream.Signature(unit)), "output": Out(stream.Signature(wide))}
        )

    def elaborate(self, platform: Any) -> Module:
        """A register for each unit."""
        m = Module()
        given, out = self.input, self.output
        if self.units == 1:
            m.d.comb += [
                out.valid.eq(given.valid), out.payload.eq(given.payload.unit),
                given.ready.eq(out.ready),
            ]  # fmt: skip
            return m
        word = Signal(self.narrow * self.units, reset_less=True)
        place, full = Signal(range(self.units)), Signal()
        ends = given.payload.last | (place == self.units - 1)
        m.d.comb += [
            out.valid.eq(full), out.payload.eq(word), given.ready.eq(~full | out.ready),
        ]  # fmt: skip
        with m.If(out.valid & out.ready):
            m.d.sync += full.eq(0)
        with m.If(given.valid & given.ready):
            m.d.sync += [
                word.word_select(place, self.narrow).eq(given.payload.unit),
                place.eq(Mux(ends, 0, place + 1)), full.eq(ends),
            ]  # fmt: skip
        return m


class Gearbox(wiring.Component):
    """Items of varying lengths out of words: the first begins with the first word.

    Words go through a line of registers, the newest at its end; an item is shifted to the end of
    the line, so that its last bytes are always at the same place. For words of two bytes nothing is
    shifted. Latency: a cycle from its last word to the item. Throughput: a word a cycle, or an item
    a cycle if that is less.

    Parameters
    ----------
    word_bytes
        A power of two, 2 at least.
    most
        Bytes of the longest item, even.
    tag
        Shape of what goes with an item.

    Members
    -------
    input
        Stream of words.
    enable
        There is an item to come; the following say which.
    length
        Pairs of bytes of the item, at most half of `most`, at least 1.
    after
        The same of the item behind it. 0 for none: the rest of the word is dropped.
    tag
        What goes with it.
    moves
        The item leaves in this cycle: from the next on the inputs say about the next one.
    output
        Stream of `item`, `most` bytes with the item at their end; and its `tag`.

    Raises
    ------
    ConfigError
        If the sizes are not as above.
    """

    def __init__(self, word_bytes: int, most: int, tag: Any) -> None:
        if word_bytes < 2 or word_bytes & (word_bytes - 1):
            raise ConfigError(f"words have a power of two of bytes, 2 at least, not {word_bytes}")
        if most < 2 or most % 2:
            raise ConfigError(f"items have an even number of bytes, not {most}")
        self.word_pairs, self.most_pairs = word_bytes // 2, most // 2
        self.gives = data.StructLayout({"item": 8 * most, "tag": tag})
        pairs = range(self.most_pairs + 1)
        super().__init__(
            {
                "input": In(stream.Signature(8 * word_bytes)),
                "enable": In(1),
                "length": In(pairs),
                "after": In(pairs),
                "tag": In(tag),
                "moves": Out(1),
                "output": Out(stream.Signature(self.gives)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """How much of the line is an item's, or of those behind it."""
        m = Module()
        given, out = self.input, self.output
        words = self.word_pairs
        line = Signal(16 * (self.most_pairs + words - 1), reset_less=True)
        # An item is complete, or a word of it is missing: never more than a word is too much.
        fill = Signal(range(self.most_pairs + words))
        rest, missing = Signal.like(fill), Signal()
        complete, accepts = Signal(), Signal()
        m.d.comb += [
            complete.eq(self.enable & (fill >= self.length)),
            self.moves.eq(complete & (~out.valid | out.ready)),
            rest.eq(fill - Mux(self.moves, self.length, 0)),
            missing.eq(rest < Mux(self.moves, self.after, self.length)),
            accepts.eq(self.enable & missing),
            given.ready.eq(accepts),
        ]
        # Pairs of bytes behind the item.
        over = (fill - self.length)[: (words - 1).bit_length()]
        aligned = line >> (~over << 4) if words > 1 else line
        with m.If(self.moves):
            m.d.sync += [
                out.payload.item.eq(aligned), out.payload.tag.eq(self.tag), out.valid.eq(1),
            ]  # fmt: skip
        with m.Elif(out.ready):
            m.d.sync += out.valid.eq(0)
        with m.If(given.valid & accepts):
            m.d.sync += [
                line.eq(Cat(line, given.payload)[-len(line) :]), fill.eq(rest + words),
            ]  # fmt: skip
        with m.Else():
            m.d.sync += fill.eq(rest)
        with m.If(self.moves & (self.after == 0)):
            m.d.sync += fill.eq(0)
        return m
