"""The bus by which a core is programmed and read, and what serves it."""

from collections.abc import Collection
from typing import Any

from amaranth import Cat, Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import (
    BUS_BITS,
    CHUNK_BITS,
    COUNTERS,
    INDEX_BITS,
    SPACE_BITS,
    CoreSpec,
    Space,
    bus_words,
    control_registers,
    memory_depth,
    spaces,
)

#: Requests are held until `done`, which comes only while the core is idle. A memory word that is
#: wider than the bus is written from its lowest part to its highest; the last one stores it.
BUS = wiring.Signature(
    {
        "address": Out(CHUNK_BITS + INDEX_BITS + SPACE_BITS),
        "write": Out(1),
        "read": Out(1),
        "write_data": Out(BUS_BITS),
        "read_data": In(BUS_BITS),
        "done": In(1),
    }
)


def narrow_depth(spec: CoreSpec, space: Space) -> int:
    """Words of a memory of bus words for a space, see `BusServer`."""
    return memory_depth(spec, space) << part_bits(bus_words(spec, space))


def part_bits(words: int) -> int:
    """Bits that number the parts of a memory word of so many bus words."""
    return (words - 1).bit_length()


class BusServer(wiring.Component):
    """Registers of a core, and requests to its memories while it is idle.

    A write takes two cycles. A read takes three: it asks for a memory word, keeps it, picks a part.

    Parameters
    ----------
    narrow
        Spaces whose memory holds bus words: the parts of word ``n`` are at ``n << part_bits`` and
        after it. Each part is stored as it comes.

    Members
    -------
    bus
        Requests.
    idle
        Whether memories are free.
    space, index, read, write, data
        Access to a word of a memory, in this cycle.
    word
        What was read, in the next cycle; zeros above its width.
    counters
        Values to be read in `Space.COUNTERS`, in their order.
    clear
        High for a cycle when a host wants the core to forget what it was doing.

    Attributes
    ----------
    control
        Signal of each register of `Space.CONTROL`, by name.
    """

    def __init__(self, spec: CoreSpec, narrow: Collection[Space] = ()) -> None:
        self.spec, self._narrow = spec, frozenset(narrow)
        self.control = {
            item.name: Signal(
                signed(item.bits) if item.signed else unsigned(item.bits), name=item.name
            )
            for item in control_registers(spec)
        }
        self._words = {space: bus_words(spec, space) for space in spaces(spec)}
        width = BUS_BITS * max(
            words for space, words in self._words.items() if space not in self._narrow
        )
        super().__init__(
            {
                "bus": In(BUS),
                "idle": In(1),
                "space": Out(SPACE_BITS),
                "index": Out(INDEX_BITS),
                "read": Out(1),
                "write": Out(1),
                "data": Out(width),
                "word": In(width),
                "counters": In(BUS_BITS * len(COUNTERS)),
                "clear": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Decode, stage wide words, answer."""
        m = Module()
        bus = self.bus
        address_chunk = bus.address[:CHUNK_BITS]
        index = bus.address[CHUNK_BITS : CHUNK_BITS + INDEX_BITS]
        space = bus.address[CHUNK_BITS + INDEX_BITS :]
        staged, word = Signal(len(self.data)), Signal(len(self.word))
        asked, kept = Signal(), Signal()
        chunk, last = Signal(CHUNK_BITS), Signal(CHUNK_BITS)
        request = self.idle & (bus.read | bus.write) & ~asked & ~kept & ~bus.done
        m.d.sync += [
            asked.eq(request & bus.read),
            kept.eq(asked),
            word.eq(self.word),
            bus.done.eq(kept | (request & bus.write)),
        ]
        m.d.comb += [chunk.eq(address_chunk), self.index.eq(index)]
        with m.Switch(space):
            for item, words in self._words.items():
                with m.Case(item):
                    if item in self._narrow:
                        part = address_chunk[: part_bits(words)]
                        m.d.comb += [chunk.eq(0), self.index.eq(Cat(part, index))]
                    else:
                        m.d.comb += last.eq(words - 1)
        m.d.comb += [
            self.space.eq(space),
            self.read.eq(request & bus.read),
            self.write.eq(request & bus.write & (chunk == last)),
            # The last part completes the lower ones that came before.
            self.data.eq(staged),
            self.data.word_select(chunk, BUS_BITS).eq(bus.write_data),
        ]
        with m.If(request & bus.write):
            m.d.sync += staged.word_select(chunk, BUS_BITS).eq(bus.write_data)
        with m.If(kept):
            m.d.sync += bus.read_data.eq(word.word_select(chunk, BUS_BITS))

        controls = list(self.control.values())
        with m.If(request & bus.write & (space == Space.CONTROL)), m.Switch(index):
            with m.Case(0):
                m.d.comb += self.clear.eq(bus.write_data[0])
            for place, register in enumerate(controls[1:], 1):
                with m.Case(place):
                    m.d.sync += register.eq(bus.write_data[: len(register)])
        with m.If(kept & (space == Space.CONTROL)), m.Switch(index):
            for place, register in enumerate(controls):
                with m.Case(place):
                    m.d.sync += bus.read_data.eq(register[: len(register)])
        with m.If(kept & (space == Space.COUNTERS)):
            m.d.sync += bus.read_data.eq(self.counters.word_select(index, BUS_BITS))
        return m
