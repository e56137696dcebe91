"""The history: keys and values on chip for attention, fetched where they are not there yet."""

from typing import Any

from amaranth import Array, Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import ATTENTION_TILE, COUNT_BITS, REGISTER_BITS, Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import history_signature, read_signature
from dyncc_hw.skipopu.kv.address import Address
from dyncc_hw.skipopu.kv.fetch import SlotFetcher
from dyncc_hw.skipopu.kv.places import Places, keep_signature
from dyncc_hw.skipopu.kv.scan import MISS, TableScanner
from dyncc_hw.skipopu.kv.store import KvShape

#: Slots that are being put into places, and ends of tiles behind them.
_FILLS = 4
_FILL = data.StructLayout({"odd": 1, "ends": 1})
#: Misses that wait; the scanner asks for a tile's entries only if those of a tile fit.
_MISSES = 2 * ATTENTION_TILE


class History(wiring.Component):
    """Serves attention with tiles of slots.

    A tile's table entries are read and compared with the tags; slots that are missing are fetched,
    and the tile is offered when all are there. Meanwhile the next tile is prepared, while attention
    reads the one that is offered. Positions that have no place of their own share two groups of
    places that take turns.

    Slots that are fetched, and those of `keep`, take turns; tags are true even after a reset in the
    middle, see `kv_places.Places`.

    Throughput: a slot takes as long as its filler takes (see `fill`), and 3 cycles.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    history
        From attention, see `interfaces.history_signature`.
    keep
        From the engine of keys and values, see `kv_places.keep_signature`.
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
                "keep": In(keep_signature(self.shape)),
                "memory": Out(read_signature(arch.bus_bytes)),
                "slot_limit": In(REGISTER_BITS), "forget": In(1),
                "resident": Out(1), "fetched": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The scanner makes misses; these become requests, what comes back goes into places."""
        m = Module()
        shape = self.shape
        m.submodules.places = places = Places(shape)
        m.submodules.scanner = scanner = TableScanner(shape)
        m.submodules.fetcher = fetcher = SlotFetcher(shape)
        m.submodules.product = product = Address(REGISTER_BITS, COUNT_BITS)
        m.submodules.misses = misses = fifo.SyncFIFO(width=MISS.size, depth=_MISSES)
        wiring.connect(m, wiring.flipped(self.keep), places.keep)
        wiring.connect(m, wiring.flipped(self.history.request), scanner.request)
        wiring.connect(m, scanner.look, places.look)
        wiring.connect(m, scanner.ask, fetcher.ask)
        wiring.connect(m, fetcher.table, scanner.words)
        wiring.connect(m, fetcher.words, places.fetch.words)
        wiring.connect(m, fetcher.memory, wiring.flipped(self.memory))
        m.d.comb += [
            places.enable.eq(self.history.enable),
            places.group.eq(self.history.group),
            places.word.eq(self.history.word),
            places.forget.eq(self.forget),
            self.history.mantissas.eq(places.mantissas),
            self.history.exponents.eq(places.exponents),
            scanner.slot_limit.eq(self.slot_limit),
            scanner.room.eq(misses.level < _MISSES - ATTENTION_TILE - 1),
            self.resident.eq(scanner.resident),
            self.fetched.eq(scanner.fetched),
            misses.w_en.eq(scanner.miss.valid),
            misses.w_data.eq(scanner.miss.payload),
            scanner.miss.ready.eq(misses.w_rdy),
            fetcher.miss.valid.eq(misses.r_rdy),
            fetcher.miss.payload.eq(misses.r_data),
            misses.r_en.eq(fetcher.miss.ready),
            fetcher.pool.eq(scanner.pool),
            fetcher.slot_bytes.eq(shape.slot_bytes(scanner.count)),
            fetcher.enable.eq(places.fetch.enable),
            places.fetch.asked.eq(fetcher.asked),
        ]
        self._share(m, product, scanner.product, fetcher.product)
        # Slots that are being put into places, and ends of tiles, in order.
        m.submodules.fills = fills = fifo.SyncFIFO(width=_FILL.size, depth=_FILLS)
        put, into = data.View(_FILL, fills.w_data), places.fetch.begin
        begin = fetcher.begin
        m.d.comb += [
            put.odd.eq(begin.payload.odd),
            put.ends.eq(begin.payload.ends),
            fills.w_en.eq(begin.valid & begin.ready),
            begin.ready.eq(fills.w_rdy & (begin.payload.ends | into.ready)),
            into.valid.eq(begin.valid & fills.w_rdy & ~begin.payload.ends),
            into.payload.group.eq(Array(tile.group for tile in scanner.tiles)[begin.payload.odd]),
            into.payload.place.eq(begin.payload.place),
            into.payload.slot.eq(begin.payload.slot),
            into.payload.count.eq(scanner.count),
        ]
        ends = self._offer(m, scanner, fetcher, fills)
        m.d.comb += fills.r_en.eq(places.fetch.whole | ends)
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

    def _offer(
        self, m: Module, scanner: TableScanner, fetcher: SlotFetcher, fills: fifo.SyncFIFO
    ) -> Signal:
        """A tile once all before its end is filled; after one with a trap there are no others."""
        filled, tile = data.View(_FILL, fills.r_data), self.history.tile
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
