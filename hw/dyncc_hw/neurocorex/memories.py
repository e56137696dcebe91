"""The memories of a core."""

from typing import Any

from amaranth import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import Out

from dyncc.arch.neurocorex import (
    BUS_BITS,
    CoreSpec,
    Space,
    memory_bits,
    memory_depth,
    spaces,
)
from dyncc.core.errors import ConfigError
from dyncc_hw.blockmemory import BlockMemory
from dyncc_hw.neurocorex.bus import BusServer, narrow_depth
from dyncc_hw.neurocorex.implementation import Implementation
from dyncc_hw.neurocorex.synapses import index_bits

#: SPRAM of an iCE40UP: words and bits of one, and how many there are.
SPRAM_WORDS, SPRAM_BITS, SPRAMS = 1 << 14, 16, 4


def sprams(width: int, depth: int) -> tuple[int, int]:
    """SPRAMs that a memory takes: above each other, and side by side.

    Raises
    ------
    ConfigError
        If the device has fewer.
    """
    rows, columns = -(-depth // SPRAM_WORDS), -(-width // SPRAM_BITS)
    if rows * columns > SPRAMS:
        raise ConfigError(
            f"{depth} words of weights of {width} bits take {rows * columns} SPRAMs "
            f"of {SPRAM_WORDS} words of {SPRAM_BITS} bits, the device has {SPRAMS}",
            hint="Choose fewer neurons or inputs, or other lanes.",
        )
    return rows, columns


class SinglePortMemory(wiring.Component):
    """A memory that is read or written in a cycle, never both; a write comes first.

    On an iCE40UP it is SPRAM, elsewhere what the tools make of a memory with one address. Its
    content is not initialised; a word that is read comes in the next cycle, and only then.

    Members
    -------
    read, write
        Ports as those of `amaranth.lib.memory`.

    Raises
    ------
    ConfigError
        When elaborated for an iCE40UP, as `sprams` does.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        shape, address = unsigned(width), index_bits(depth)
        super().__init__(
            {
                "read": Out(memory.ReadPort.Signature(addr_width=address, shape=shape)),
                "write": Out(memory.WritePort.Signature(addr_width=address, shape=shape)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Share an address among both ports."""
        m = Module()
        read, write = self.read, self.write
        if getattr(platform, "device", "").startswith("iCE40UP"):
            address = Mux(write.en, write.addr, read.addr)
            m.d.comb += read.data.eq(self._spram(m, address))
            return m
        m.submodules.store = store = BlockMemory(self.width, self.depth)
        m.d.comb += [
            store.read.addr.eq(read.addr),
            store.read.en.eq(read.en),
            store.write.addr.eq(write.addr),
            store.write.data.eq(write.data),
            store.write.en.eq(write.en),
            read.data.eq(store.read.data),
        ]
        return m

    def _spram(self, m: Module, address: Any) -> Any:
        rows, columns = sprams(self.width, self.depth)
        read, write = self.read, self.write
        in_row = index_bits(SPRAM_WORDS)
        row, read_row = address[in_row:], Signal(range(max(2, rows)))
        m.d.sync += read_row.eq(row)
        words = []
        for number in range(rows):
            found = [Signal(SPRAM_BITS, name=f"word_{number}_{part}") for part in range(columns)]
            chosen = row == number if rows > 1 else Const(1)
            for part, word in enumerate(found):
                m.submodules[f"spram_{number}_{part}"] = Instance(
                    "SB_SPRAM256KA",
                    i_ADDRESS=(address | Const(0, in_row))[:in_row],
                    i_DATAIN=write.data[part * SPRAM_BITS : (part + 1) * SPRAM_BITS],
                    i_MASKWREN=Const(15, 4),
                    i_WREN=write.en,
                    i_CHIPSELECT=chosen & (read.en | write.en),
                    i_CLOCK=ClockSignal("sync"),
                    i_STANDBY=Const(0),
                    i_SLEEP=Const(0),
                    i_POWEROFF=Const(1),
                    o_DATAOUT=word,
                )
            words.append(Cat(found))
        chosen_word = Signal(self.width)
        with m.Switch(read_row):
            for number, word in enumerate(words):
                with m.Case(number):
                    m.d.comb += chosen_word.eq(word)
        return chosen_word


def narrow_spaces(implementation: Implementation) -> tuple[Space, ...]:
    """Spaces whose memory holds bus words, see `BusServer`."""
    return (Space.PARAMETERS,) if implementation.shared else ()


class CoreMemories:
    """The memories of a core, all of which its bus reaches.

    Attributes
    ----------
    reads, writes
        Ports by space.
    """

    def __init__(
        self, m: Module, spec: CoreSpec, implementation: Implementation, server: BusServer
    ) -> None:
        self._m = m
        self.reads: dict[Space, Any] = {}
        self.writes: dict[Space, Any] = {}
        # Memories that are read and written in the same cycle.
        both = set() if implementation.shared else {Space.STATE}
        if spec.learning and not implementation.single:
            both.add(Space.WEIGHTS)
        elsewhere = (Space.CONTROL, Space.COUNTERS, Space.PRE, Space.POST)
        for space in spaces(spec):
            if space in elsewhere:
                continue
            bits, depth = memory_bits(spec, space), memory_depth(spec, space)
            if space in narrow_spaces(implementation):
                bits, depth = BUS_BITS, narrow_depth(spec, space)
            depth = max(2, depth)
            if space in both:
                store: Any = memory.Memory(shape=unsigned(bits), depth=depth, init=[])
                self.reads[space], self.writes[space] = store.read_port(), store.write_port()
            else:
                single = implementation.single and space == Space.WEIGHTS
                store = (SinglePortMemory if single else BlockMemory)(bits, depth)
                self.reads[space], self.writes[space] = store.read, store.write
            m.submodules[space.name.lower()] = store
            # Without this a port would read in every cycle, and lose the word that it holds.
            m.d.comb += self.reads[space].en.eq(0)
            self.read((server.space == space) & server.read, space, server.index)
            with m.If(server.space == space):
                m.d.comb += [
                    self.writes[space].addr.eq(server.index),
                    self.writes[space].data.eq(server.data[:bits]),
                    self.writes[space].en.eq(server.write),
                ]

    def answer(self, server: BusServer, words: dict[Space, Any]) -> None:
        """Give the bus what was read, from these memories and others."""
        read = {space: port.data for space, port in self.reads.items()}
        with self._m.Switch(server.space):
            for space, word in (read | words).items():
                with self._m.Case(space):
                    self._m.d.comb += server.word.eq(word)

    def read(self, when: Any, space: Space, index: Any) -> None:
        """Ask for a word of a memory, which comes in the next cycle."""
        with self._m.If(when):
            port = self.reads[space]
            self._m.d.comb += [port.addr.eq(index), port.en.eq(1)]
