"""The history: keys and values on chip for attention, fetched where they are not there yet."""

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import ATTENTION_TILE, COUNT_BITS, REGISTER_BITS, Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import history_signature, read_signature
from dyncc_hw.skipopu.kv_address import Address
from dyncc_hw.skipopu.kv_fetch import REQUESTS, SlotFetcher
from dyncc_hw.skipopu.kv_fill import HalfFiller, StoredFiller, filler
from dyncc_hw.skipopu.kv_scan import MISS, TILE_BITS, TableScanner
from dyncc_hw.skipopu.kv_slots import word_layout
from dyncc_hw.skipopu.kv_store import KvShape, KvStore
from dyncc_hw.skipopu.kv_tags import SLOT_BITS, Tags

#: Slots that are being put into places, and ends of tiles behind them.
_FILLS = 4
#: Misses that wait; the scanner asks for a tile's entries only if those of a tile fit.
_MISSES = 2 * ATTENTION_TILE


def keep_signature(arch: ArchSpec) -> wiring.Signature:
    """From the engine of keys and values to the history: a slot that goes into its place too.

    Members
    -------
    begin
        Stream of `place` (the position), `slot`, and the `count` of its keys. From when it is
        taken, the place is not valid, and nothing is fetched.
    words
        Stream of the slot's words, as memory gets them.
    commit
        In one cycle: memory has the slot. Not before the last word.
    kept
        In one cycle, the answer: the place has the slot.
    """
    shape = KvShape(arch)
    begin = data.StructLayout(
        {
            "place": range(max(2, shape.places)), "slot": SLOT_BITS,
            "count": range(arch.kv_width + 1),
        }
    )  # fmt: skip
    return wiring.Signature(
        {
            "begin": Out(stream.Signature(begin)),
            "words": Out(stream.Signature(word_layout(arch.bus_bytes))),
            "commit": Out(1),
            "kept": In(1),
        }
    )


class History(wiring.Component):
    """Serves attention with tiles of slots.

    A tile's table entries are read and compared with the tags; slots that are missing are fetched,
    and the tile is offered when all are there. Meanwhile the next tile is prepared, while attention
    reads the one that is offered. Positions that have no place of their own share two groups of
    places that take turns.

    Who fills places: fetched slots and `keep` take turns, a slot each at least; neither begins
    while the other has a slot on its way, and `keep` goes first. Neither waits for memory on behalf
    of the other, so that memory that does one thing at a time cannot be blocked.

    Tags are true whatever happens: a place is invalid from before its first word changes until the
    last one is there, and its tag is set only then. A reset of the component keeps tags.

    Throughput: a slot takes as long as its filler takes (see `kv_fill`), and 3 cycles.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    history
        From attention, see `interfaces.history_signature`.
    keep
        From the engine of keys and values, see `keep_signature`.
    memory
        Client of the port: table and slots.
    slot_limit
        Slots of the pool.
    forget
        No place is valid any more, nor will be one that is being filled.
    resident, fetched
        In one cycle each, for every slot that attention reads: it was on chip, or was not.

    Raises
    ------
    ConfigError
        As `KvShape`.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch, self.shape = arch, KvShape(arch)
        super().__init__(
            {
                "history": In(history_signature(arch)),
                "keep": In(keep_signature(arch)),
                "memory": Out(read_signature(arch.bus_bytes)),
                "slot_limit": In(REGISTER_BITS), "forget": In(1),
                "resident": Out(1), "fetched": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The scanner makes misses; these become requests, what comes back goes into places."""
        m = Module()
        shape = self.shape
        m.submodules.store = store = KvStore(shape)
        m.submodules.tags = tags = Tags(shape)
        m.submodules.scanner = scanner = TableScanner(shape)
        m.submodules.filler = fill = filler(shape)
        m.submodules.product = product = Address(REGISTER_BITS, COUNT_BITS)
        m.submodules.misses = misses = fifo.SyncFIFO(width=MISS.size, depth=_MISSES)
        wiring.connect(m, fill.write, store.write)
        wiring.connect(m, wiring.flipped(self.history.request), scanner.request)
        wiring.connect(m, scanner.look, tags.look)
        m.d.comb += [
            store.enable.eq(self.history.enable),
            store.group.eq(self.history.group),
            store.word.eq(self.history.word),
            self.history.mantissas.eq(store.mantissas),
            self.history.exponents.eq(store.exponents),
            scanner.slot_limit.eq(self.slot_limit),
            scanner.room.eq(misses.level < _MISSES - ATTENTION_TILE),
            misses.w_en.eq(scanner.miss.valid),
            misses.w_data.eq(scanner.miss.payload),
            scanner.miss.ready.eq(misses.w_rdy),
            tags.forget.eq(self.forget),
            self.resident.eq(scanner.resident), self.fetched.eq(scanner.fetched),
        ]  # fmt: skip
        m.submodules.fetcher = fetcher = SlotFetcher(shape)
        wiring.connect(m, scanner.ask, fetcher.ask)
        wiring.connect(m, fetcher.table, scanner.words)
        wiring.connect(m, fetcher.memory, wiring.flipped(self.memory))
        m.d.comb += [
            fetcher.miss.valid.eq(misses.r_rdy),
            fetcher.miss.payload.eq(misses.r_data),
            misses.r_en.eq(fetcher.miss.ready),
            fetcher.pool.eq(scanner.pool),
            fetcher.slot_bytes.eq(shape.slot_bytes(scanner.count)),
        ]
        self._share(m, product, scanner.product, fetcher.product)
        m.submodules.fills = fills = fifo.SyncFIFO(width=MISS.size, depth=_FILLS)
        whole = self._fill(m, scanner, fetcher, fill, tags, fills)
        ends = self._offer(m, scanner, fetcher, fills)
        m.d.comb += fills.r_en.eq(whole | ends)
        return m

    def _share(self, m: Module, product: Address, scanner: Any, fetcher: Any) -> None:
        """The scanner needs products only while there are no misses."""
        port = product.port
        m.d.comb += port.start.eq(scanner.start | fetcher.start)
        for name in ("a", "b", "base"):
            chosen = Mux(scanner.start, getattr(scanner, name), getattr(fetcher, name))
            m.d.comb += getattr(port, name).eq(chosen)
        for client in (scanner, fetcher):
            for name in ("busy", "result", "overflow"):
                m.d.comb += getattr(client, name).eq(getattr(port, name))

    def _fill(
        self, m: Module, scanner: TableScanner, fetcher: SlotFetcher,
        fill: StoredFiller | HalfFiller, tags: Tags,
        fills: fifo.SyncFIFO,
    ) -> Signal:  # fmt: skip
        """Who fills a place, and the place's tag."""
        shape, keep = self.shape, self.keep
        # Slots that were asked for and are not whole; a slot of `keep`, and how far it is.
        flying = Signal(range(REQUESTS + _FILLS + 2))
        keeping, whole, acknowledged = Signal(), Signal(), Signal()
        slot, place, stale = Signal(SLOT_BITS), Signal.like(tags.set_place), Signal()
        begin, into = fetcher.begin, fill.begin
        group = Array(tile.group for tile in scanner.tiles)[begin.payload.odd]
        taken, keep_begins = Signal(), Signal()
        filled = data.View(MISS, fills.r_data)
        groups = shape.places // ATTENTION_TILE
        m.d.comb += [
            fetcher.enable.eq(~keeping & ~keep.begin.valid),
            fills.w_data.eq(begin.payload),
            fills.w_en.eq(begin.valid & begin.ready),
            fill.words.valid.eq(Mux(keeping, keep.words.valid, fetcher.words.valid)),
            fill.words.payload.eq(Mux(keeping, keep.words.payload, fetcher.words.payload)),
            keep.words.ready.eq(keeping & fill.words.ready),
            fetcher.words.ready.eq(~keeping & fill.words.ready),
            keep.begin.ready.eq(~keeping & (flying == 0) & into.ready),
            keep_begins.eq(keep.begin.valid & keep.begin.ready),
            begin.ready.eq(fills.w_rdy & (begin.payload.ends | into.ready)),
            taken.eq(begin.valid & begin.ready & ~begin.payload.ends),
            into.valid.eq(keep_begins | (begin.valid & fills.w_rdy & ~begin.payload.ends)),
        ]
        # Who asks for a place while `flying` is not 0 is the fetcher.
        with m.If(keep_begins):
            m.d.comb += [
                into.payload.group.eq(keep.begin.payload.place >> TILE_BITS),
                into.payload.place.eq(keep.begin.payload.place),
                into.payload.count.eq(keep.begin.payload.count),
                tags.clear.eq(1),
                tags.clear_place.eq(keep.begin.payload.place),
            ]
            m.d.sync += [
                keeping.eq(1), whole.eq(0), acknowledged.eq(0),
                slot.eq(keep.begin.payload.slot), place.eq(keep.begin.payload.place),
            ]  # fmt: skip
        with m.Else():
            m.d.comb += [
                into.payload.group.eq(group),
                into.payload.place.eq(begin.payload.place),
                into.payload.count.eq(scanner.count),
                tags.clear.eq(taken & (group < groups)),
                tags.clear_place.eq(Cat(begin.payload.place, group)),
            ]
        fetched = Signal()
        m.d.comb += fetched.eq(fill.filled & ~keeping)
        m.d.sync += flying.eq(flying + fetcher.asked - fetched)
        # What was on its way when all was to be forgotten gets no tag.
        with m.If(self.forget):
            m.d.sync += stale.eq(1)
        with m.Elif((flying == 0) & ~keeping):
            m.d.sync += stale.eq(0)
        with m.If(keeping):
            m.d.sync += [
                whole.eq(whole | fill.filled), acknowledged.eq(acknowledged | keep.commit),
            ]  # fmt: skip
            m.d.comb += [
                keep.kept.eq(whole & acknowledged),
                tags.set.eq(keep.kept & ~stale),
                tags.set_place.eq(place),
                tags.set_slot.eq(slot),
            ]
            with m.If(keep.kept):
                m.d.sync += keeping.eq(0)
        with m.Else():
            own = Array(tile.group for tile in scanner.tiles)[filled.odd]
            m.d.comb += [
                tags.set.eq(fill.filled & (own < groups) & ~stale),
                tags.set_place.eq(Cat(filled.place, own)),
                tags.set_slot.eq(filled.slot),
            ]
        return fetched

    def _offer(
        self, m: Module, scanner: TableScanner, fetcher: SlotFetcher, fills: fifo.SyncFIFO
    ) -> Signal:
        """A tile once all before its end is filled; after one with a trap there are no others."""
        filled, tile = data.View(MISS, fills.r_data), self.history.tile
        shown, valid, dead = Signal.like(tile.payload), Signal(), Signal()
        # Tiles with a slot that has no address.
        bad, ends = Signal(2), Signal()
        ready = Signal.like(scanner.tiles[0])
        trapped = shown.trap != Trap.NONE
        m.d.comb += [
            tile.valid.eq(valid),
            tile.payload.eq(shown),
            # Slots behind the end of a tile are not asked for before the tile before was taken.
            ends.eq(fills.r_rdy & filled.ends & ~valid),
            ready.eq(Array(scanner.tiles)[filled.odd]),
            scanner.taken.eq((valid & tile.ready) | (ends & dead)),
            scanner.stop.eq(dead | bad.any() | (valid & trapped)),
        ]
        with m.If(tile.ready & valid):
            m.d.sync += [valid.eq(0), dead.eq(trapped)]
        with m.If(fetcher.overflow):
            m.d.sync += bad.bit_select(fetcher.miss.payload.odd, 1).eq(1)
        with m.If(ends):
            m.d.sync += [
                valid.eq(~dead), shown.eq(ready), bad.bit_select(filled.odd, 1).eq(0),
            ]  # fmt: skip
            with m.If(bad.bit_select(filled.odd, 1)):
                m.d.sync += [shown.last.eq(1), shown.trap.eq(Trap.MEMORY)]
        with m.If(scanner.request.valid & scanner.request.ready):
            m.d.sync += dead.eq(0)
        return ends
