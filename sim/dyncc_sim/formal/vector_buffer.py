"""The vector buffer: no word is lost, each goes to who asked for it; the first goes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from amaranth import Cat, Const, Mux, Signal, Value

from dyncc_hw.skipopu.vector.buffer import AHEAD, READERS, WRITERS, Answers, VectorBuffer
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced
from dyncc_sim.skipopu.bench.instances import BATCHED

#: The contents do not matter to who reads what, so there are few.
_SPEC = replace(BATCHED, vector_words=64, tokens=2)
_BITS = 3


def answers(design: Design) -> None:
    """Words of one client: any one that it asks for is given in its turn, whenever it is taken."""
    unit, m = Answers(_BITS), design.m
    asked, marks = design.input(1, "asked"), design.input(1, "marks")
    inside = design.add(unit, "unit", asked=asked)
    design.assume(~asked | unit.room)
    kept, older, newer = (design.signal(inside, name) for name in ("kept", "older", "newer"))
    given = unit.numbers.valid & unit.numbers.ready
    value = design.constant(_BITS)
    # Words that were asked for and not given; and how many of them come before the marked one.
    waiting, before = Signal(range(AHEAD + 2)), Signal(range(AHEAD + 2))
    marked, waits, comes, comes_marked = Signal(), Signal(), Signal(), Signal()
    begins = asked & marks & ~marked
    left = Signal(range(AHEAD + 2))
    m.d.comb += left.eq(waiting - given)
    m.d.sync += [waiting.eq(left + asked), comes.eq(asked), comes_marked.eq(begins)]
    with m.If(begins):
        m.d.sync += [marked.eq(1), waits.eq(1), before.eq(left)]
    with m.Elif(given & waits):
        m.d.sync += [before.eq(before - 1), waits.eq(before != 0)]
    design.assume(~comes_marked | (unit.word == value))
    design.claim(waiting <= AHEAD, "no more words wait than there is room for")
    design.claim(unit.numbers.valid == (waiting != 0), "a word is there as soon as it can be")
    turn = waits & (before == 0)
    design.claim(~turn | (unit.numbers.payload == value), "a word is given in its turn")
    design.lemma(waiting == kept + comes, "words come, or are kept")
    design.lemma(design.signal(inside, "comes") == comes, "what is asked for comes")
    design.lemma(~comes_marked | (waits & (before == kept)), "what comes is behind what is kept")
    inner = waits & ~comes_marked
    design.lemma(~inner | (before < kept), "the word is kept")
    design.lemma(~inner | (Mux(before == 0, older, newer) == value), "it is where it should be")
    design.lemma(marked | ~(waits | comes_marked), "no word is marked")
    design.reaches((waiting == AHEAD) & turn & given & (value != 0), "a word before another")
    design.reaches(inner & (before == 1), "a word behind another")


def clients(design: Design) -> None:
    """All who read through the shared port, and all who write."""
    unit = VectorBuffer(_SPEC)
    inside = design.add(unit, "unit")
    store = inside.submodules.others
    read, write = store.read_ports[0], store.write_ports[0]
    readers = [getattr(unit, f"read_{name}").place for name in READERS]
    parts = [getattr(inside.submodules, f"others_{index}") for index in range(len(READERS))]
    taken = _in_order(design, READERS, readers, [part.room for part in parts])
    for part, takes, reader in zip(parts, taken, readers, strict=True):
        design.claim(part.asked == takes, "only who is heard gets a word")
        place = Cat(reader.payload.word, reader.payload.token)
        design.claim(~takes | (read.addr == place), "it is the word of the place")
    writers = [getattr(unit, f"write_{name}").write for name in WRITERS]
    put = _in_order(design, WRITERS, writers, [Const(1, 1)] * len(writers))
    for takes, writer in zip(put, writers, strict=True):
        place = Cat(writer.payload.place.word, writer.payload.place.token)
        same = (write.addr == place) & (write.en == writer.payload.keep)
        same &= Value.cast(write.data) == Value.cast(writer.payload.numbers)
        design.claim(~takes | same, "what is taken is written to its place")
    design.claim(Cat(put).any() | ~Value.cast(write.en).any(), "nothing else is written")


def _in_order(
    design: Design, names: Sequence[str], streams: Sequence[Any], rooms: Sequence[Any]
) -> list[Any]:
    """Which of the streams is taken: the first that is valid and has room, and no other."""
    taken, before = [], Const(0, 1)
    for name, given, room in zip(names, streams, rooms, strict=True):
        taken.append(takes := Signal(name=f"takes_{name}"))
        design.m.d.comb += takes.eq(given.valid & given.ready)
        design.claim(takes == (given.valid & room & ~before), f"{name} goes in its turn")
        design.reaches(takes, f"{name} goes")
        before = before | (given.valid & room)
    return taken


def _all_at_once(m: Any, chosen: Any, given: Sequence[tuple[Any, Any]]) -> list[Any]:
    """`vector_buffer.first_of`, if all were heard at once."""
    value = Value.cast(given[-1][1])
    for wants, payload in reversed(given[:-1]):
        value = Mux(wants, Value.cast(payload), value)
    m.d.comb += Value.cast(chosen).eq(value)
    return [Const(1, 1)] * len(given)


PROPERTIES = [
    Property(
        "skipopu_vector_answers",
        "A client of the vector buffer gets every word that it asked for, in order, at once if it "
        "takes it, and room for words never runs out.",
        f"words of {_BITS} bits",
        answers,
        depth=3,
        reach=8,
        faults={"there is room for one more": replaced("dyncc_hw.skipopu.vector.buffer.AHEAD", 3)},
    ),
    Property(
        "skipopu_vector_clients",
        "Of those who want the same port of the vector buffer the first goes, and nobody else; its "
        "word is read or written.",
        f"{_SPEC.tokens} tokens, words of {_SPEC.vector_lanes} numbers",
        clients,
        depth=1,
        reach=4,
        faults={
            "all go at once": replaced("dyncc_hw.skipopu.vector.buffer.first_of", _all_at_once)
        },
    ),
]
