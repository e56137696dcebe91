"""Reads the table of slots for attention, tile by tile, and tells what is missing on chip."""

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import ATTENTION_TILE, COUNT_BITS, NO_SLOT, REGISTER_BITS, Trap
from dyncc_hw.skipopu.interfaces import (
    REQUEST,
    TRAP_BITS,
    attention_request_layout,
)
from dyncc_hw.skipopu.kv.address import product_signature
from dyncc_hw.skipopu.kv.slots import word_layout
from dyncc_hw.skipopu.kv.store import KvShape
from dyncc_hw.skipopu.kv.tags import SLOT_BITS, look_signature

#: Bytes of an entry of the table.
ENTRY_BYTES = 4
_PIECE_BITS = 16
TILE_BITS = (ATTENTION_TILE - 1).bit_length()
#: A slot that is missing, in which place of the tile, of the even or the odd one; or that with this
#: the tile `ends`, and no slot.
MISS = data.StructLayout({"slot": SLOT_BITS, "place": TILE_BITS, "odd": 1, "ends": 1})


def tile_layout(shape: KvShape) -> data.StructLayout:
    """What attention is told of a tile, see `interfaces.history_signature`."""
    return data.StructLayout(
        {"present": ATTENTION_TILE, "group": range(shape.groups), "last": 1, "trap": TRAP_BITS}
    )


class TableScanner(wiring.Component):
    """Goes through the entries of a layer: two tiles at most until the first of them was taken.

    Throughput: an entry in as many cycles as it takes to come, 2 at least, and one more.

    Parameters
    ----------
    shape
        Sizes.

    Members
    -------
    request
        As of `interfaces.history_signature`.
    slot_limit
        Slots of the pool.
    ask, words
        Where a tile's entries are, and these.
    look
        Tags.
    product
        For addresses; used only before the first `miss` of a request.
    room
        Whether all misses of a tile, and its end, will be taken at once, and one that may come in
        this cycle.
    miss
        Stream of `MISS`, in order.
    tiles
        The even and the odd tile: its group before the first of its misses, the rest once its end
        was told.
    count, pool
        Of the request: keys of a slot, address of slot 0. They do not change before all its tiles
        are taken.
    taken
        The oldest tile was taken.
    stop
        A tile has a trap: no others are wanted.
    resident, fetched
        In one cycle for each slot.
    """

    def __init__(self, shape: KvShape) -> None:
        self.shape = shape
        super().__init__(
            {
                "request": In(stream.Signature(attention_request_layout())),
                "slot_limit": In(REGISTER_BITS),
                "ask": Out(stream.Signature(REQUEST)),
                "words": In(stream.Signature(word_layout(shape.arch.bus_bytes))),
                "look": Out(look_signature(shape)),
                "product": Out(product_signature(REGISTER_BITS, COUNT_BITS)),
                "room": In(1),
                "miss": Out(stream.Signature(MISS)),
                "tiles": Out(data.ArrayLayout(tile_layout(shape), 2)),
                "count": Out(range(shape.arch.kv_width + 1)),
                "pool": Out(REGISTER_BITS),
                "taken": In(1), "stop": In(1),
                "resident": Out(1), "fetched": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """One entry at a time; its tag is read while it comes."""
        m = Module()
        shape = self.shape
        kept = Signal(attention_request_layout())
        entry, first = Signal(REGISTER_BITS), Signal(COUNT_BITS)
        odd, bad = Signal(), Signal()
        place, left = Signal(TILE_BITS), Signal(range(ATTENTION_TILE + 1))
        present, slot = Signal(ATTENTION_TILE), Signal(SLOT_BITS)
        open_tiles, opens = Signal(2), Signal()
        # Positions from the tile's first one on.
        position, rest = Signal(COUNT_BITS), Signal(COUNT_BITS + 1)
        size, ends = Signal(range(ATTENTION_TILE + 1)), Signal()
        product = self.product
        m.d.comb += [
            position.eq(first + place),
            ends.eq(rest <= ATTENTION_TILE),
            size.eq(Mux(ends, rest, ATTENTION_TILE)),
            self.ask.payload.address.eq(entry),
            self.ask.payload.bytes.eq(size * ENTRY_BYTES),
            self.look.place.eq(position),
            self.look.slot.eq(slot),
            self.pool.eq(kept.pool),
            self.miss.payload.slot.eq(slot),
        ]
        m.d.sync += open_tiles.eq(open_tiles + opens - self.taken)
        # Entries come in pieces, low half first.
        pieces = 8 * shape.arch.bus_bytes // _PIECE_BITS
        index, upper = Signal(range(max(2, pieces))), Signal()
        piece = self.words.payload.word.word_select(index, _PIECE_BITS)
        in_history = position < shape.places
        there = slot != NO_SLOT
        beyond = there & (slot >= self.slot_limit)
        # Whether a place has the slot is known late, so what is missing is told a cycle later.
        looks, counts, good, hit, over = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            looks.eq(0), over.eq(0), counts.eq(there & ~beyond), good.eq(~bad),
            hit.eq(in_history & self.look.hit),
            self.miss.payload.place.eq(place), self.miss.payload.odd.eq(odd),
        ]  # fmt: skip
        m.d.comb += [
            self.resident.eq(looks & counts & hit),
            self.fetched.eq(looks & counts & ~hit),
            self.miss.valid.eq((self.fetched & good) | over),
            self.miss.payload.ends.eq(over),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.request.ready.eq(1)
                m.d.sync += [first.eq(0), odd.eq(0), bad.eq(0), place.eq(0), present.eq(0)]
                m.d.sync += kept.eq(self.request.payload)
                with m.If(self.request.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += [
                    product.start.eq(1),
                    product.a.eq(kept.kv_heads),
                    product.b.eq(kept.head_size),
                ]
                m.d.sync += rest.eq(kept.last + 1)
                m.next = "COUNT"
                with m.If(kept.last >= kept.context):
                    m.d.sync += bad.eq(1)
                    m.next = "END"
            with m.State("COUNT"):
                m.d.comb += [
                    product.start.eq(~product.busy),
                    product.a.eq(kept.layer * ENTRY_BYTES),
                    product.b.eq(kept.context),
                    product.base.eq(kept.table),
                ]
                with m.If(~product.busy):
                    m.d.sync += self.count.eq(product.result)
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [entry.eq(product.result), bad.eq(product.overflow)]
                with m.If(~product.busy):
                    m.next = "TILE"
                    with m.If(product.overflow):
                        m.next = "END"
            with m.State("TILE"):
                m.d.comb += self.ask.valid.eq((open_tiles < 2) & self.room & ~self.stop)
                m.d.sync += [left.eq(size), index.eq(0), upper.eq(0), place.eq(0), present.eq(0)]
                changing = shape.places // ATTENTION_TILE + odd
                group = Mux(first < shape.places, first >> TILE_BITS, changing)
                with m.If(self.ask.valid & self.ask.ready):
                    m.d.sync += Array(tile.group for tile in self.tiles)[odd].eq(group)
                    m.next = "ENTRIES"
                with m.If(self.stop):
                    m.next = "DRAIN"
            with m.State("ENTRIES"):
                m.d.comb += self.words.ready.eq((index == pieces - 1) | (upper & (left == 1)))
                with m.If(self.words.valid):
                    m.d.sync += [
                        slot.eq(Cat(slot[_PIECE_BITS:], piece)), upper.eq(~upper),
                        index.eq(Mux(index == pieces - 1, 0, index + 1)),
                    ]  # fmt: skip
                    with m.If(upper):
                        m.next = "LOOK"
            with m.State("LOOK"):
                m.d.sync += [
                    looks.eq(1), present.bit_select(place, 1).eq(there), bad.eq(bad | beyond),
                    place.eq(place + 1), left.eq(left - 1),
                ]  # fmt: skip
                m.next = "ENTRIES"
                with m.If(left == 1):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += opens.eq(1)
                m.d.sync += over.eq(1)
                for number in range(2):
                    with m.If(odd == number):
                        tile = self.tiles[number]
                        m.d.sync += [
                            tile.present.eq(present),
                            tile.last.eq(ends | bad),
                            tile.trap.eq(Mux(bad, Trap.MEMORY, Trap.NONE)),
                        ]  # fmt: skip
                m.d.sync += [
                    odd.eq(~odd), first.eq(first + ATTENTION_TILE),
                    rest.eq(rest - ATTENTION_TILE),
                    entry.eq(entry + ATTENTION_TILE * ENTRY_BYTES),
                ]  # fmt: skip
                m.next = "TILE"
                with m.If(ends | bad):
                    m.next = "DRAIN"
            with m.State("DRAIN"), m.If(open_tiles == 0):
                m.next = "IDLE"
        return m
