"""The engine of keys and values: slots of the pool, and the table of slots."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import COUNT_BITS, NO_SLOT, REGISTER_BITS, Engine, Op, Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import (
    read_signature,
    vector_read_signature,
    work_signature,
    write_signature,
)
from dyncc_hw.skipopu.kv.address import Address
from dyncc_hw.skipopu.kv.places import keep_signature
from dyncc_hw.skipopu.kv.scan import ENTRY_BYTES
from dyncc_hw.skipopu.kv.slots import SlotWriter
from dyncc_hw.skipopu.kv.store import KvShape
from dyncc_hw.skipopu.kv.tags import SLOT_BITS


class KvEngine(wiring.Component):
    """KVAPP and KVSEL, token by token.

    A token's slot is written, then its entry of the table; the next token begins when memory has
    both, and the history too if the position has a place there.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    work
        From the sequencer.
    vector
        Client of the vector buffer.
    read, write
        Clients of the port.
    keep
        To the history.
    load_slots, slot_start
        In a cycle with `load_slots`: the number of the next slot.
    slot_limit
        Slots of the pool.
    next_slot
        The first slot that is free.

    Raises
    ------
    ConfigError
        As `KvShape` and `SlotWriter`.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch, self.shape = arch, KvShape(arch)
        self._writer = SlotWriter(self.shape)
        super().__init__(
            {
                "work": In(work_signature(Engine.KV, arch)),
                "vector": Out(vector_read_signature(arch)),
                "read": Out(read_signature(arch.bus_bytes)),
                "write": Out(write_signature(arch.bus_bytes)),
                "keep": Out(keep_signature(self.shape)),
                "load_slots": In(1), "slot_start": In(REGISTER_BITS),
                "slot_limit": In(REGISTER_BITS), "next_slot": Out(REGISTER_BITS),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """A state machine; numbers and bytes pass beside it."""
        m = Module()
        arch, shape, work = self.arch, self.shape, self.work
        kept = Signal.like(work.start.payload)
        m.submodules.product = unit = Address(REGISTER_BITS, COUNT_BITS)
        product = unit.port
        # What the instruction still works on: tokens, the first one's position and entry.
        active = Signal(arch.tokens)
        token = Signal(range(max(2, arch.tokens)))
        position, entry = Signal(COUNT_BITS + 1), Signal(REGISTER_BITS + 1)
        address, beyond = Signal(REGISTER_BITS), Signal()
        count, size = Signal(range(arch.kv_width + 1)), Signal(shape.slot_bits)
        slot = Signal(SLOT_BITS)
        too_wide, outside = Signal(), Signal()
        ends = [Signal(COUNT_BITS + 2, name=f"end_{name}", reset_less=True) for name in "kv"]
        appends, has_place, trap = Signal(), Signal(), Signal.like(work.trap)
        awaited = Signal(2)
        asks = Signal()
        m.d.comb += [
            appends.eq(kept.op == Op.KVAPP),
            has_place.eq(position < shape.places),
            size.eq(shape.slot_bytes(count)),
            asks.eq(self.write.request.valid & self.write.request.ready),
            work.trap.eq(trap),
            self.keep.begin.payload.place.eq(position),
            self.keep.begin.payload.slot.eq(self.next_slot),
            self.keep.begin.payload.count.eq(count),
            self.read.request.payload.bytes.eq(ENTRY_BYTES),
            self.read.request.payload.address.eq(entry - kept.context * ENTRY_BYTES),
        ]
        m.d.sync += awaited.eq(awaited + asks - self.write.done)
        with m.If(self.load_slots):
            m.d.sync += self.next_slot.eq(self.slot_start)
        # Numbers are read from the vector buffer; bytes pass on; an entry of the table is read and
        # written, in parts if the bus is narrow.
        reads, passes, passed, sent = Signal(), Signal(), Signal(), Signal()
        self._read_numbers(m, reads, kept, count, token)
        self._pass_bytes(m, passes, passed, has_place)
        parts = max(1, ENTRY_BYTES // arch.bus_bytes)
        part = Signal(range(max(2, parts)))
        part_bits = 8 * min(ENTRY_BYTES, arch.bus_bytes)
        wrong = self._is_wrong(kept, appends)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += work.start.ready.eq(1)
                m.d.sync += [
                    kept.eq(work.start.payload), active.eq(work.start.payload.active),
                    position.eq(work.start.payload.position), token.eq(0), trap.eq(Trap.NONE),
                ]  # fmt: skip
                with m.If(work.start.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += [
                    product.start.eq(1),
                    product.a.eq(kept.layer * ENTRY_BYTES),
                    product.b.eq(kept.context),
                    product.base.eq(kept.table),
                ]
                m.next = "ROW"
                with m.If(wrong):
                    m.d.sync += trap.eq(Trap.SHAPE)
                    m.next = "DONE"
            with m.State("ROW"):
                m.d.sync += entry.eq(product.result + position * ENTRY_BYTES)
                m.d.comb += [
                    product.start.eq(~product.busy & appends),
                    product.a.eq(kept.kv_heads),
                    product.b.eq(kept.head_size),
                ]
                with m.If(~product.busy):
                    m.next = "TOKEN"
                    with m.If(appends):
                        m.next = "COUNT"
                    with m.If(product.overflow):
                        m.d.sync += trap.eq(Trap.MEMORY)
                        m.next = "DONE"
            with m.State("COUNT"):
                m.d.sync += [
                    count.eq(product.result), too_wide.eq(product.result > arch.kv_width),
                    *(
                        end.eq(product.result[: COUNT_BITS + 1] + place)
                        for end, place in zip(ends, (kept.k, kept.v), strict=True)
                    ),
                ]  # fmt: skip
                with m.If(~product.busy):
                    m.next = "ENDS"
            with m.State("ENDS"):
                m.d.sync += outside.eq(Cat(end > arch.vector_words for end in ends).any())
                m.next = "SLOT"
            with m.State("SLOT"):
                m.d.comb += [
                    product.start.eq(~too_wide & ~outside),
                    product.a.eq(self.next_slot),
                    product.b.eq(size),
                    product.base.eq(kept.pool),
                ]
                m.next = "ADDRESS"
                with m.If(too_wide | outside):
                    m.d.sync += trap.eq(Mux(too_wide, Trap.SHAPE, Trap.BUFFER))
                    m.next = "DONE"
            with m.State("ADDRESS"):
                m.d.sync += [address.eq(product.result), beyond.eq(product.overflow)]
                with m.If(~product.busy):
                    m.next = "TOKEN"
            with m.State("TOKEN"):
                m.d.sync += [slot.eq(Mux(appends, self.next_slot, NO_SLOT)), sent.eq(0)]
                with m.If(active == 0):
                    m.next = "DONE"
                with m.Elif(~active[0]):
                    m.next = "NEXT"
                with m.Elif((position >= kept.context) | entry[-1] | (appends & beyond)):
                    m.d.sync += trap.eq(Trap.MEMORY)
                    m.next = "DONE"
                with m.Elif(appends & (self.next_slot >= self.slot_limit)):
                    m.d.sync += trap.eq(Trap.SLOTS)
                    m.next = "DONE"
                with m.Elif(appends):
                    m.d.comb += reads.eq(1)
                    m.next = "KEEP"
                with m.Elif(kept.evict):
                    m.next = "ENTRY"
                with m.Else():
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.comb += self.read.request.valid.eq(~sent)
                with m.If(self.read.request.ready):
                    m.d.sync += sent.eq(1)
                m.d.comb += self.read.data.ready.eq(1)
                with m.If(self.read.data.valid):
                    piece = self.read.data.payload.word[:part_bits]
                    m.d.sync += slot.eq(Cat(slot[part_bits:], piece))
                    with m.If(self.read.data.payload.last):
                        m.next = "ENTRY"
            with m.State("KEEP"):
                m.d.comb += self.keep.begin.valid.eq(has_place)
                with m.If(~has_place | self.keep.begin.ready):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += [
                    self.write.request.valid.eq(1),
                    self.write.request.payload.address.eq(address),
                    self.write.request.payload.bytes.eq(size),
                ]
                with m.If(self.write.request.ready):
                    m.next = "BYTES"
            with m.State("BYTES"):
                m.d.comb += passes.eq(1)
                with m.If(passed):
                    m.next = "ENTRY"
            with m.State("ENTRY"):
                m.d.comb += [
                    self.write.request.valid.eq(1),
                    self.write.request.payload.address.eq(entry),
                    self.write.request.payload.bytes.eq(ENTRY_BYTES),
                ]
                with m.If(self.write.request.ready):
                    m.next = "WORD"
            with m.State("WORD"):
                m.d.comb += [
                    self.write.data.valid.eq(1),
                    self.write.data.payload.eq(slot.word_select(part, part_bits)),
                ]
                with m.If(self.write.data.ready):
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == parts - 1):
                        m.d.sync += part.eq(0)
                        m.next = "WAIT"
            with m.State("WAIT"), m.If(awaited == 0):
                m.d.comb += self.keep.commit.eq(appends & has_place)
                m.next = "NEXT"
                with m.If(self.keep.commit):
                    m.next = "KEPT"
            with m.State("KEPT"), m.If(self.keep.kept):
                m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [
                    active.eq(active >> 1), token.eq(token + 1), position.eq(position + 1),
                    entry.eq(entry + ENTRY_BYTES),
                ]  # fmt: skip
                with m.If(active[0] & appends):
                    m.d.sync += [
                        self.next_slot.eq(self.next_slot + 1),
                        Cat(address, beyond).eq(Cat(address, beyond) + size),
                    ]
                m.next = "TOKEN"
            with m.State("DONE"):
                m.d.comb += work.done.eq(1)
                m.next = "IDLE"
        return m

    def _is_wrong(self, kept: Any, appends: Value) -> Value:
        """Whether sizes or places are none, as far as no product is needed to know it."""
        shape, lanes = self.shape, self.arch.vector_lanes
        lane_bits, block_bits = lanes.bit_length() - 1, shape.block.bit_length() - 1
        sizes = [
            (value == 0) | (value > self.arch.kv_width) for value in (kept.kv_heads, kept.head_size)
        ]
        places = Cat(kept.k[:lane_bits], kept.v[:lane_bits])
        head = sizes[0] | sizes[1] | kept.head_size[:block_bits].any() | places.any()
        return Mux(appends, head, kept.layer == 0)

    def _read_numbers(
        self, m: Module, starts: Value, kept: Any, count: Value, token: Value
    ) -> None:
        """Keys of a token, then its values, to the writer of slots."""
        lane_bits = self.arch.vector_lanes.bit_length() - 1
        busy, values = Signal(), Signal()
        word = Signal(range(self.arch.kv_width // self.arch.vector_lanes + 1))
        place, writer = self.vector.place, self._writer
        first = Mux(values, kept.v, kept.k)[lane_bits:]
        m.d.comb += [
            place.valid.eq(busy),
            place.payload.token.eq(token),
            place.payload.word.eq(first + word),
            writer.count.eq(count),
            writer.input.valid.eq(self.vector.numbers.valid),
            writer.input.payload.eq(self.vector.numbers.payload),
            self.vector.numbers.ready.eq(writer.input.ready),
        ]
        with m.If(starts):
            m.d.sync += busy.eq(1)
        with m.If(busy & place.ready):
            m.d.sync += word.eq(word + 1)
            with m.If(word == (count >> lane_bits) - 1):
                m.d.sync += [word.eq(0), values.eq(~values), busy.eq(~values)]

    def _pass_bytes(self, m: Module, passes: Value, passed: Value, has_place: Value) -> None:
        """Words of a slot to memory, and to the history if the position has a place there."""
        m.submodules.writer = writer = self._writer
        out, memory, keep = writer.output, self.write.data, self.keep.words
        # Two words between, so that no path goes from memory to the vector buffer.
        m.submodules.words = words = fifo.SyncFIFO(width=len(out.payload.as_value()), depth=2)
        word = data.View(out.payload.shape(), words.r_data)
        written, told = Signal(), Signal()
        m.d.comb += [
            words.w_data.eq(out.payload),
            words.w_en.eq(out.valid),
            out.ready.eq(words.w_rdy),
            memory.payload.eq(word.word),
            keep.payload.eq(word),
        ]
        with m.If(passes & words.r_rdy):
            m.d.comb += [
                memory.valid.eq(~written),
                keep.valid.eq(has_place & ~told),
                words.r_en.eq((written | memory.ready) & (told | keep.ready | ~has_place)),
                passed.eq(words.r_en & word.last),
            ]
            m.d.sync += [
                written.eq(~words.r_en & (written | memory.ready)),
                told.eq(~words.r_en & (told | keep.ready)),
            ]
