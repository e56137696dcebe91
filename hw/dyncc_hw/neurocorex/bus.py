"""The bus by which a core is programmed and read, and what serves it."""

from typing import Any

from amaranth import Module, Signal, signed, unsigned
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


class BusServer(wiring.Component):
    """Registers of a core, and requests to its memories while it is idle.

    A request takes two cycles: read the memory word, then pick a part; or write it.

    Members
    -------
    bus
        Requests.
    idle
        Whether memories are free.
    space, index, read, write, data
        Access to a memory word, in this cycle.
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

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        self.control = {
            item.name: Signal(
                signed(item.bits) if item.signed else unsigned(item.bits), name=item.name
            )
            for item in control_registers(spec)
        }
        self._words = {space: bus_words(spec, space) for space in spaces(spec)}
        width = max(self._words.values()) * BUS_BITS
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
        chunk = bus.address[:CHUNK_BITS]
        index = bus.address[CHUNK_BITS : CHUNK_BITS + INDEX_BITS]
        space = bus.address[CHUNK_BITS + INDEX_BITS :]
        staged = Signal(len(self.data))
        asked, last = Signal(), Signal(CHUNK_BITS)
        request = self.idle & (bus.read | bus.write) & ~asked & ~bus.done
        m.d.sync += [asked.eq(request & bus.read), bus.done.eq(asked | (request & bus.write))]
        with m.Switch(space):
            for item, words in self._words.items():
                with m.Case(item):
                    m.d.comb += last.eq(words - 1)
        m.d.comb += [
            self.space.eq(space),
            self.index.eq(index),
            self.read.eq(request & bus.read),
            self.write.eq(request & bus.write & (chunk == last)),
            # The last part completes the lower ones that came before.
            self.data.eq(staged),
            self.data.word_select(chunk, BUS_BITS).eq(bus.write_data),
        ]
        with m.If(request & bus.write):
            m.d.sync += staged.word_select(chunk, BUS_BITS).eq(bus.write_data)
        with m.If(asked):
            m.d.sync += bus.read_data.eq(self.word.word_select(chunk, BUS_BITS))

        controls = list(self.control.values())
        with m.If(request & bus.write & (space == Space.CONTROL)), m.Switch(index):
            with m.Case(0):
                m.d.comb += self.clear.eq(bus.write_data[0])
            for place, register in enumerate(controls[1:], 1):
                with m.Case(place):
                    m.d.sync += register.eq(bus.write_data[: len(register)])
        with m.If(asked & (space == Space.CONTROL)), m.Switch(index):
            for place, register in enumerate(controls):
                with m.Case(place):
                    m.d.sync += bus.read_data.eq(register[: len(register)])
        with m.If(asked & (space == Space.COUNTERS)):
            m.d.sync += bus.read_data.eq(self.counters.word_select(index, BUS_BITS))
        return m
