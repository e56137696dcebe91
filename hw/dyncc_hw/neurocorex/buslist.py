"""Lists of bus words, as requests name them."""

from typing import Any

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import (
    CHUNK_BITS,
    INDEX_BITS,
    READ_ONLY,
    SPACE_BITS,
    CoreSpec,
    Space,
    bus_words,
    memory_depth,
    spaces,
)

ADDRESS_BITS = CHUNK_BITS + INDEX_BITS + SPACE_BITS


class BusList(wiring.Component):
    """An address that goes on at the next part, then at the next memory word.

    After reset it is where nothing is.

    Members
    -------
    load, first
        Takes an address.
    counters
        Goes to the first of the core's counters.
    advance
        Goes on.
    address
        Where it is.
    exists, writable
        Whether the core has such a bus word, and whether it can be written.
    """

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        super().__init__(
            {
                "load": In(1),
                "first": In(ADDRESS_BITS),
                "counters": In(1),
                "advance": In(1),
                "address": Out(ADDRESS_BITS),
                "exists": Out(1),
                "writable": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Count; compare with the sizes of the memory."""
        m = Module()
        spec = self.spec
        depths = {space: memory_depth(spec, space) for space in spaces(spec)}
        # One bit more than an index needs: going on from the last word leads out of the memory.
        bits = max(depths.values()).bit_length()
        chunk, index, space = Signal(CHUNK_BITS), Signal(bits), Signal(SPACE_BITS)
        beyond = Signal()
        last, depth = Signal(CHUNK_BITS), Signal(bits)
        m.d.comb += [
            self.address.eq(Cat(chunk, index, Const(0, INDEX_BITS - bits), space)),
            self.exists.eq(~beyond & (index < depth) & (chunk <= last)),
            self.writable.eq(1),
        ]
        with m.Switch(space):
            for item, size in depths.items():
                with m.Case(item):
                    m.d.comb += [
                        last.eq(bus_words(spec, item) - 1),
                        depth.eq(size),
                        self.writable.eq(item not in READ_ONLY),
                    ]
        with m.If(self.load):
            high = self.first[CHUNK_BITS + bits : CHUNK_BITS + INDEX_BITS]
            m.d.sync += [
                Cat(chunk, index).eq(self.first),
                beyond.eq(high != 0),
                space.eq(self.first[CHUNK_BITS + INDEX_BITS :]),
            ]
        with m.Elif(self.counters):
            m.d.sync += [chunk.eq(0), index.eq(0), space.eq(Space.COUNTERS)]
        with m.Elif(self.advance):
            m.d.sync += chunk.eq(chunk + 1)
            with m.If(chunk == last):
                m.d.sync += [chunk.eq(0), index.eq(index + 1)]
        return m
