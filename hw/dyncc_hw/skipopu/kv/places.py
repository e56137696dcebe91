"""Places on chip, their tags, and who fills them."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS
from dyncc_hw.skipopu.kv.fill import begin_layout, filler
from dyncc_hw.skipopu.kv.slots import word_layout
from dyncc_hw.skipopu.kv.store import KvShape, KvStore
from dyncc_hw.skipopu.kv.tags import SLOT_BITS, Tags, look_signature

#: Slots that may have been asked for and not be whole.
_FLYING = 15


def keep_signature(shape: KvShape) -> wiring.Signature:
    """From the engine of keys and values: a slot that goes into its place too.

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
    begin = data.StructLayout(
        {
            "place": range(max(2, shape.places)), "slot": SLOT_BITS,
            "count": range(shape.arch.kv_width + 1),
        }
    )  # fmt: skip
    return wiring.Signature(
        {
            "begin": Out(stream.Signature(begin)),
            "words": Out(stream.Signature(word_layout(shape.arch.bus_bytes))),
            "commit": Out(1),
            "kept": In(1),
        }
    )


def fetch_signature(shape: KvShape) -> wiring.Signature:
    """From who fetches slots from memory.

    Members
    -------
    enable
        Whether slots may be asked for.
    asked
        In a cycle with `enable`: one was asked for, and will come.
    begin, words
        See `fill`.
    whole
        In one cycle for each slot, in order: it is there from the next cycle on.
    """
    return wiring.Signature(
        {
            "enable": In(1), "asked": Out(1),
            "begin": Out(stream.Signature(begin_layout(shape))),
            "words": Out(stream.Signature(word_layout(shape.arch.bus_bytes))),
            "whole": In(1),
        }
    )  # fmt: skip


class Places(wiring.Component):
    """Places with tags, filled by `fetch` and `keep` in turn.

    Neither begins while the other has a slot on its way, and `keep` goes first. A slot is asked for
    only if `fetch` may put it into a place, and `keep` begins before its words go to memory: so
    neither holds memory up while it waits for the other.

    Tags are true whatever happens: a place is invalid from before its first word changes, and gets
    a tag only when the last one is there. A reset of the component keeps tags, and what is stored.

    Parameters
    ----------
    shape
        Sizes.

    Members
    -------
    fetch, keep
        See `fetch_signature` and `keep_signature`.
    look
        Tags, see `kv_tags.look_signature`.
    forget
        No place is valid any more, nor will be one that is being filled.
    enable, group, word, mantissas, exponents
        As of `KvStore`.
    """

    def __init__(self, shape: KvShape) -> None:
        self.shape = shape
        arch = shape.arch
        mantissas = data.ArrayLayout(signed(arch.mantissa_bits), arch.columns)
        super().__init__(
            {
                "fetch": In(fetch_signature(shape)), "keep": In(keep_signature(shape)),
                "look": In(look_signature(shape)), "forget": In(1),
                "enable": In(1), "group": In(range(shape.groups)),
                "word": In(range(shape.words)),
                "mantissas": Out(data.ArrayLayout(mantissas, ATTENTION_TILE)),
                "exponents": Out(data.ArrayLayout(signed(BASE_BITS), ATTENTION_TILE)),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """One filler, whose slots are those of `keep` or of `fetch`."""
        m = Module()
        shape, fetch, keep = self.shape, self.fetch, self.keep
        m.submodules.store = store = KvStore(shape)
        m.submodules.tags = tags = Tags(shape)
        m.submodules.filler = fill = filler(shape)
        wiring.connect(m, fill.write, store.write)
        wiring.connect(m, wiring.flipped(self.look), tags.look)
        m.d.comb += [
            store.enable.eq(self.enable), store.group.eq(self.group), store.word.eq(self.word),
            self.mantissas.eq(store.mantissas), self.exponents.eq(store.exponents),
            tags.forget.eq(self.forget),
        ]  # fmt: skip
        # Slots that were asked for and are not whole; whether one of `keep` is on its way.
        flying, keeping = Signal(range(_FLYING + 1)), Signal()
        keep_begins, begins = Signal(), Signal()
        into, wanted = fill.begin, keep.begin.payload
        m.d.comb += [
            fetch.enable.eq(~keeping & ~keep.begin.valid & (flying != _FLYING)),
            fetch.begin.ready.eq(into.ready & ~keeping & (flying != 0)),
            keep.begin.ready.eq(into.ready & ~keeping & (flying == 0)),
            keep_begins.eq(keep.begin.valid & keep.begin.ready),
            into.valid.eq(keep_begins | (fetch.begin.valid & fetch.begin.ready)),
            begins.eq(into.valid & into.ready),
            fill.words.valid.eq(Mux(keeping, keep.words.valid, fetch.words.valid)),
            fill.words.payload.eq(Mux(keeping, keep.words.payload, fetch.words.payload)),
            keep.words.ready.eq(keeping & fill.words.ready),
            fetch.words.ready.eq(~keeping & fill.words.ready),
            fetch.whole.eq(fill.filled & ~keeping),
            into.payload.eq(fetch.begin.payload),
        ]
        with m.If(flying == 0):
            m.d.comb += [
                into.payload.group.eq(wanted.place >> (ATTENTION_TILE - 1).bit_length()),
                into.payload.place.eq(wanted.place),
                into.payload.slot.eq(wanted.slot),
                into.payload.count.eq(wanted.count),
            ]
        m.d.sync += flying.eq(flying + fetch.asked - fetch.whole)
        # What was on its way when all was to be forgotten gets no tag.
        stale, gets_tag = Signal(), Signal()
        with m.If(self.forget):
            m.d.sync += stale.eq(1)
        with m.Elif((flying == 0) & ~keeping):
            m.d.sync += stale.eq(0)
        # A slot of `keep` gets its tag when it is whole, and memory has it.
        whole, acknowledged = Signal(), Signal()
        kept = Signal(begin_layout(shape))
        with m.If(keep_begins):
            m.d.sync += [keeping.eq(1), whole.eq(0), acknowledged.eq(0), kept.eq(into.payload)]
        with m.If(keeping):
            m.d.sync += [whole.eq(whole | fill.filled), acknowledged.eq(acknowledged | keep.commit)]
            m.d.comb += keep.kept.eq(whole & acknowledged)
        with m.If(keep.kept):
            m.d.sync += keeping.eq(0)
        target = Mux(keeping, kept, fill.target)
        target = data.View(begin_layout(shape), target)
        groups = shape.places // ATTENTION_TILE
        m.d.comb += [
            tags.clear.eq(begins & (into.payload.group < groups)),
            tags.clear_place.eq(Cat(into.payload.place, into.payload.group)),
            gets_tag.eq(keep.kept | fetch.whole),
            tags.set.eq(gets_tag & (target.group < groups) & ~stale),
            tags.set_place.eq(Cat(target.place, target.group)),
            tags.set_slot.eq(target.slot),
        ]
        return m
