"""Properties of keys and values on chip: a tag is never wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from amaranth import Const, Mux, ResetSignal, Signal

from dyncc.arch.skipopu.formats import KvType
from dyncc_hw.skipopu.kv import fill as kv_fill
from dyncc_hw.skipopu.kv import places, store
from dyncc_hw.skipopu.kv import tags as kv_tags
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced

#: Keys of a slot in the proof, which are one block; its bytes and words of the bus.
KEYS = 4
PART_BYTES = KEYS + 1
SLOT_BYTES, BUS_BYTES = 2 * PART_BYTES, 2
WORDS = SLOT_BYTES // BUS_BYTES
#: An instance that is smaller than any that may be built.
ARCH = SimpleNamespace(
    kv=KvType.BFP8, kv_tokens=16, kv_width=KEYS, columns=2, bus_bytes=BUS_BYTES, mantissa_bits=8,
    block=KEYS, vector_lanes=1,
)  # fmt: skip


def coherence(design: Design) -> None:
    """Any slots that are fetched or kept, in any order, with any reset; one of them is looked at.

    What memory holds of that slot is any constant. Of the place that is looked at, a word and an
    exponent are followed as they are written.
    """
    with patch.object(store, "KV_BLOCK", KEYS), patch.object(kv_fill, "KV_BLOCK", KEYS):
        shape: Any = store.KvShape(ARCH)  # type: ignore[arg-type]
        chip = places.Places(shape)
        where, slot = design.constant(4), design.constant(kv_tags.SLOT_BITS)
        content = design.constant(8 * SLOT_BYTES)
        inside = design.add(chip, "places", look__place=where, look__slot=slot)
        tags, fill = design.submodule(inside, "tags"), design.submodule(inside, "filler")
    m, filler = design.m, inside.submodules.filler
    fetch, keep = chip.fetch, chip.keep

    # --- the environment
    design.assume(~fetch.asked | fetch.enable)
    for begin in (fetch.begin, keep.begin):
        design.assume(begin.payload.count == KEYS)
    begins = filler.begin.valid & filler.begin.ready
    takes = filler.words.valid & filler.words.ready
    taken, now = Signal(range(WORDS + 1)), Signal.like(filler.begin.payload)
    with m.If(takes):
        m.d.sync += taken.eq(taken + 1)
    with m.If(begins):
        m.d.sync += [taken.eq(0), now.eq(filler.begin.payload)]
    word = filler.words.payload
    design.assume(~takes | (word.last == (taken == WORDS - 1)))
    wanted = content.word_select(taken, 8 * BUS_BYTES)
    design.assume(~takes | (now.slot != slot) | (word.word == wanted))

    # --- what is in the place
    part, pair = design.constant(1), design.constant(1)
    write = filler.write
    numbers = Signal(16, reset_less=True)
    exponent = Signal(8, reset_less=True)
    mine = (write.group == 0) & (write.place == where)
    with m.If(write.enable & mine & (write.word == part * (KEYS // 2) + pair)):
        m.d.sync += numbers.eq(write.mantissas.as_value())
    with m.If(write.closes & mine & (write.block == part)):
        m.d.sync += exponent.eq(write.exponent)
    part_bytes = Mux(part, content[8 * PART_BYTES :], content[: 8 * PART_BYTES])
    numbers_right = numbers == part_bytes.word_select(pair, 16)
    exponent_right = exponent == part_bytes[8 * KEYS :]
    right = numbers_right & exponent_right
    held = Signal(kv_tags.SLOT_BITS, reset_less=True)
    of_tags = inside.submodules.tags
    with m.If(of_tags.set & (of_tags.set_place == where)):
        m.d.sync += held.eq(of_tags.set_slot)
    valid = design.signal(tags, "valid").bit_select(where, 1)
    design.claim(~valid | (held != slot) | right, "a tag says what the place holds")
    design.claim(~chip.look.hit | right, "what is found is there")

    # --- what makes that inductive: the tags
    was_valid, before = Signal(reset_less=True), Signal.like(held, reset_less=True)
    m.d.sync += [was_valid.eq(valid), before.eq(held)]
    design.lemma(tags.submodules.slots.read_ports[0].data == held, "the memory of tags")
    design.lemma(design.signal(tags, "found") == before, "a tag that was read")
    design.lemma(design.signal(tags, "was_valid") == was_valid, "whether it was valid")

    # The filler: bytes that were taken, and are in its buffer, are the next of the slot.
    busy, flushing, ended, closing, values, count, block, level, buffer, target = (
        design.signal(fill, name)
        for name in (
            "busy", "flushing", "ended", "closing", "values", "count", "block", "level", "buffer",
            "target",
        )
    )  # fmt: skip
    done = Signal(range(SLOT_BYTES + 1))
    m.d.comb += done.eq(Mux(values, PART_BYTES, 0) + Mux(closing, KEYS, count))
    active = busy | flushing
    design.lemma(~(busy & flushing), "filling or flushing")
    design.lemma(level < 2 * BUS_BYTES, "the buffer has room")
    design.lemma((count == 0) | (~closing & (count == 2)), "numbers")
    design.lemma(block == 0, "one block")
    design.lemma(design.signal(fill, "index") == 0, "one piece in a word")
    design.lemma(active | ((count == 0) & ~closing & ~values & (level == 0)), "at rest")
    design.lemma(active | ~ended, "at rest there is no word")
    design.lemma(~flushing | ((count == 0) & ~closing & ~values), "a slot is over")
    design.lemma(taken <= WORDS, "words of a slot")
    design.lemma(~active | (ended == (taken == WORDS)), "the last word")
    design.lemma(~busy | (taken * BUS_BYTES == done + level), "bytes are somewhere")
    design.lemma(~flushing | ended | (taken == WORDS - 1), "all bytes, or all but the last word")
    design.lemma(~active | (target == now), "the slot that began")
    design.lemma(now.count == Mux(active | (now.count != 0), KEYS, 0), "its size")
    one = busy & (now.slot == slot)
    rest = content >> (done << 3)
    for byte in range(2 * BUS_BYTES - 1):
        found = buffer[8 * byte : 8 * byte + 8]
        design.lemma(~active | (level > byte) | flushing | (found == 0), "zeros behind them")
        design.lemma(active | (found == 0), "zeros at rest")
        there = one & (level > byte)
        design.lemma(~there | (found == rest[8 * byte : 8 * byte + 8]), "bytes of the slot")
    here = (now.group == 0) & (now.place == where)
    begin = Mux(part, PART_BYTES, 0)
    in_place = one & here
    design.lemma(
        ~in_place | (done < begin + (pair << 1) + 2) | numbers_right, "numbers that were written"
    )
    design.lemma(~in_place | (done < begin + PART_BYTES) | exponent_right, "a written exponent")

    # Who fills places, and that a place that changes has no tag.
    keeping, whole, flying, kept = (
        design.signal(inside, name) for name in ("keeping", "whole", "flying", "kept")
    )
    design.lemma(~keeping | (flying == 0), "one of both")
    design.lemma(~busy | keeping | (flying != 0), "a slot that was asked for")
    design.lemma(~keeping | (busy ^ whole), "a slot that is kept")
    design.lemma(~(keeping & busy) | (kept == now), "the slot that is kept")
    keeps_here = keeping & (kept.group == 0) & (kept.place == where)
    design.lemma(~keeping | (kept.group == 0), "it has a place")
    design.lemma(~(keeps_here & whole) | (kept.slot != slot) | right, "it is whole")
    design.lemma(~((busy & here) | keeps_here) | ~valid, "a place that changes has no tag")

    held_here = valid & (held == slot)
    aborted, appended = Signal(reset_less=True), Signal(reset_less=True)
    m.d.sync += [
        aborted.eq(aborted | (busy & in_place & (taken > 2) & ResetSignal())),
        appended.eq(appended | keep.kept),
    ]
    design.reaches(held_here & appended, "a slot that was kept")
    design.reaches(held_here & ~appended, "a slot that was fetched")
    design.reaches(held_here & aborted, "a slot after a reset in its middle")
    design.reaches(chip.look.hit, "a slot is found")


PROPERTIES = [
    Property(
        "skipopu_tags",
        "A place on chip that has the tag of a slot holds its keys and values, whatever was "
        "fetched, kept or broken off by a reset.",
        f"slots of {KEYS} keys in BFP8, a bus of {BUS_BYTES} bytes",
        coherence,
        depth=2,
        reach=22,
        faults={
            "a tag is set before the last word": replaced(
                "dyncc_hw.skipopu.kv.fill.is_whole", lambda values, ends: ends
            ),
            "a place that changes keeps its tag": replaced(
                "dyncc_hw.skipopu.kv.tags.Tags._clears", lambda self: Const(0)
            ),
        },
    )
]
