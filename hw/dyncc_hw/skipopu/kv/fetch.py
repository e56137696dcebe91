"""Requests for the table of slots and for slots, and where the answers go."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import COUNT_BITS, REGISTER_BITS
from dyncc_hw.skipopu.interfaces import REQUEST, read_signature
from dyncc_hw.skipopu.kv.address import product_signature
from dyncc_hw.skipopu.kv.scan import MISS
from dyncc_hw.skipopu.kv.slots import word_layout
from dyncc_hw.skipopu.kv.store import KvShape

#: Requests that may be on their way.
REQUESTS = 4
_ORDER = data.StructLayout({"about": MISS, "table": 1})


class SlotFetcher(wiring.Component):
    """Asks memory for what is missing, in order; up to `REQUESTS` requests are on their way.

    Parameters
    ----------
    shape
        Sizes.

    Members
    -------
    ask, table
        Stream of requests for entries of the table, and of the words that come; these go first.
    miss
        Stream of `kv_scan.MISS`.
    pool, slot_bytes
        Address of slot 0, and bytes of a slot.
    product
        For addresses.
    enable
        Whether slots may be asked for.
    asked, overflow
        In one cycle, for a `miss` that is taken: a slot was asked for, or it has no address.
    begin, words
        Stream of what was asked for or ends, in order; after each that is a slot, its words.
    memory
        Client of the port.
    """

    def __init__(self, shape: KvShape) -> None:
        self.shape = shape
        words = stream.Signature(word_layout(shape.arch.bus_bytes))
        super().__init__(
            {
                "ask": In(stream.Signature(REQUEST)), "table": Out(words),
                "miss": In(stream.Signature(MISS)),
                "pool": In(REGISTER_BITS), "slot_bytes": In(shape.slot_bits),
                "product": Out(product_signature(REGISTER_BITS, COUNT_BITS)),
                "enable": In(1), "asked": Out(1), "overflow": Out(1),
                "begin": Out(stream.Signature(MISS)), "words": Out(words),
                "memory": Out(read_signature(shape.arch.bus_bytes)),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """A register for the next request; a queue of what the answers are."""
        m = Module()
        m.submodules.order = order = fifo.SyncFIFO(width=_ORDER.size, depth=REQUESTS)
        request, waits = Signal(REQUEST), Signal()
        put, head = data.View(_ORDER, order.w_data), data.View(_ORDER, order.r_data)
        miss, product = self.miss, self.product
        room = Signal()
        m.d.comb += [
            self.memory.request.valid.eq(waits),
            self.memory.request.payload.eq(request),
            room.eq(order.w_rdy & (~waits | self.memory.request.ready)),
            self.ask.ready.eq(room),
            put.about.eq(miss.payload),
            put.table.eq(self.ask.valid),
            product.a.eq(miss.payload.slot),
            product.b.eq(self.slot_bytes),
            product.base.eq(self.pool),
        ]
        with m.If(self.memory.request.ready):
            m.d.sync += waits.eq(0)
        with m.If(self.ask.valid & room):
            m.d.comb += order.w_en.eq(1)
            m.d.sync += [waits.eq(1), request.eq(self.ask.payload)]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(miss.valid & ~miss.payload.ends):
                    m.d.comb += product.start.eq(1)
                    m.next = "ADDRESS"
                with m.If(miss.valid & miss.payload.ends & order.w_rdy & ~self.ask.valid):
                    m.d.comb += [order.w_en.eq(1), miss.ready.eq(1)]
            with m.State("ADDRESS"):
                with m.If(~product.busy & product.overflow):
                    m.d.comb += [miss.ready.eq(1), self.overflow.eq(1)]
                    m.next = "IDLE"
                with m.Elif(~product.busy & self.enable & room & ~self.ask.valid):
                    m.d.comb += [miss.ready.eq(1), self.asked.eq(1), order.w_en.eq(1)]
                    m.d.sync += [
                        waits.eq(1),
                        request.address.eq(product.result),
                        request.bytes.eq(self.slot_bytes),
                    ]
                    m.next = "IDLE"
        # What comes back.
        given, begun = self.memory.data, Signal()
        is_slot = ~head.table & ~head.about.ends
        m.d.comb += [
            self.begin.valid.eq(order.r_rdy & ~head.table & ~begun),
            self.begin.payload.eq(head.about),
            self.table.payload.eq(given.payload),
            self.words.payload.eq(given.payload),
        ]
        with m.If(order.r_rdy & head.table):
            m.d.comb += [self.table.valid.eq(given.valid), given.ready.eq(self.table.ready)]
        with m.If(order.r_rdy & is_slot & begun):
            m.d.comb += [self.words.valid.eq(given.valid), given.ready.eq(self.words.ready)]
        with m.If(given.valid & given.ready & given.payload.last):
            m.d.comb += order.r_en.eq(1)
            m.d.sync += begun.eq(0)
        with m.If(self.begin.valid & self.begin.ready):
            m.d.comb += order.r_en.eq(head.about.ends)
            m.d.sync += begun.eq(~head.about.ends)
        return m
