"""Properties of what is around the sequencer of SkipOPU: decoder, semaphores, loops."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from amaranth import Const, Mux, Signal, Value

from dyncc.arch.skipopu.isa import LOOP_DEPTH, SEMAPHORES
from dyncc_hw.skipopu.control import decoder, registers, semaphores
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced, stateless

#: Opcodes with the engine of each, the registers that it reads, and bits of its body.
_KNOWN = {
    0: (0, 0, 0), 1: (0, 1, 45), 2: (1, 5, 29), 3: (2, 4, 20), 4: (3, 4, 27), 5: (3, 4, 27),
    6: (3, 8, 40), 7: (4, 5, 32), 8: (4, 3, 19), 9: (5, 7, 35), 10: (5, 2, 11), 11: (0, 1, 21),
    12: (0, 0, 0), 15: (0, 0, 0),
}  # fmt: skip
#: Fields that have less values than their bits: opcode, lowest bit, bits, values.
_LIMITED = ((1, 10, 3, 5), (2, 0, 2, 3), (7, 0, 4, 9))
_CLIENTS = 3
#: Of a semaphore.
_BITS = 2


def totality(design: Design) -> None:
    """The decoder against the format, which is written here once more, as numbers."""
    word = design.input(64, "word")
    inside = decoder.Decoder()
    design.add(inside, "decoder", word=word)
    op, pred, body = word[60:64], word[57:60], word[:45]
    defined: Value = Const(0, 1)
    for code, (engine, count, used) in _KNOWN.items():
        right = (pred <= 4) & ~(body >> used).any()
        for its, low, bits, values in _LIMITED:
            if its == code:
                right = right & (body[low : low + bits] < values)
        defined = defined | ((op == code) & right)
        found = (inside.engine == engine) & (inside.count == count)
        design.claim((op != code) | found, "an engine, and registers that are read")
    design.claim(inside.defined == defined, "a word is defined, or it is not")
    header = word[45:]
    design.claim(Value.cast(inside.header) == header, "the header is a part of the word")
    design.reaches(inside.defined & (op == 1), "one that is")
    design.reaches(~inside.defined & (op == 7) & (pred == 0), "one that is not")


def counting(design: Design) -> None:
    """Any releases; any clients that go on asking for the same until they are granted."""
    with patch.object(semaphores, "SEMAPHORE_BITS", _BITS):
        part = semaphores.Semaphores(_CLIENTS, _CLIENTS)
        inside = design.add(part, "semaphores")
    design.lemma(design.signal(inside, "last") < _CLIENTS, "the last one is a client")
    m, granted = design.m, part.granted
    some = design.signal(inside, "some")
    for bit in range(SEMAPHORES):
        design.lemma(some[bit] == part.counts[bit].any(), "it is known which are at zero")
    for client in range(_CLIENTS):
        asked = design.last(part.asks[client] & ~granted[client])
        same = part.wait[client] == design.last(part.wait[client])
        design.assume(~asked | (part.asks[client] & same))
    design.claim(~(granted & ~part.asks).any(), "only who asks starts")
    design.claim((granted & (granted - 1)) == 0, "one at a time")
    able = Signal(_CLIENTS)
    for client in range(_CLIENTS):
        lacks = Signal(SEMAPHORES, name=f"lacks_{client}")
        for bit in range(SEMAPHORES):
            m.d.comb += lacks[bit].eq(part.wait[client][bit] & (part.counts[bit] == 0))
        m.d.comb += able[client].eq(part.asks[client] & ~lacks.any())
        design.claim(~granted[client] | ~lacks.any(), "nobody takes what is not there")
        # Who could start in this and the cycles before, had a turn.
        waits = able[client] & ~granted[client]
        before = design.history(waits, 2 * _CLIENTS - 1)
        passed = Value.cast(waits)
        for item in before:
            passed = passed & item
        design.claim(~passed, "nobody is passed over for ever")
    could = design.last(able.any() & ~granted.any())
    design.claim(~could | granted.any(), "somebody starts if anybody can")
    for bit in range(SEMAPHORES):
        gives = sum(part.releases[i] & part.release[i][bit] for i in range(_CLIENTS))
        takes = sum(granted[i] & part.wait[i][bit] for i in range(_CLIENTS))
        wanted = Signal(_BITS + 2, name=f"wanted_{bit}")
        known = Signal(name=f"known_{bit}")
        m.d.sync += [wanted.eq(part.counts[bit] + gives - takes), known.eq(~part.over)]
        design.claim(~known | (part.counts[bit] == wanted), "what is released is counted")
    design.reaches(granted[0] & part.wait[0].all(), "one takes from all")
    design.reaches(part.over, "a semaphore counts too far")


def _careless(wait: Any, some: Any) -> Value:
    """As if the first semaphore did not count."""
    return ~(wait & ~some)[1:].any()


def nesting(design: Design) -> None:
    """Any loops that are begun while there is room."""
    part = registers.LoopStack()
    inside = design.add(part, "loops")
    m = design.m
    design.assume(~part.push | (~part.full & part.turns.any()))
    design.assume(~(part.push & part.turn))
    depth = Signal(8)
    ends = part.turn & part.ends & ~part.again
    m.d.sync += depth.eq(Mux(part.clear, 0, depth + part.push - ends))
    design.claim(depth <= LOOP_DEPTH, "not deeper than there is room")
    design.claim(part.full == (depth == LOOP_DEPTH), "it is known to be full")
    design.claim(~part.ends | (depth != 0), "only what was begun ends")
    for level in range(LOOP_DEPTH):
        used = Value.cast(design.signal(inside, f"level_{level}"))[0]
        design.lemma(used == (depth > level), "loops fill levels from the innermost one")
    # The loop that was begun last takes its turns.
    pushed = design.last(part.push & ~part.clear)
    first, last, turns = (design.last(port) for port in (part.first, part.last, part.turns))
    at_end = pushed & (part.at == last)
    design.claim(~at_end | (part.ends & (part.again == (turns != 1))), "turns of a new loop")
    design.claim(~(at_end & part.again) | (part.back == first), "it goes back to its beginning")
    design.reaches(part.full & part.ends & ~part.again, "the innermost of four ends")


def _narrow() -> AbstractContextManager[Any]:
    return patch.object(registers, "LOOP_DEPTH", LOOP_DEPTH + 1)


PROPERTIES = [
    stateless(
        "skipopu_decoder",
        "Each word of 64 bits is defined or not, as the format says; its parts are the format's.",
        "all words",
        totality,
        faults={
            "one predicate too many": replaced("dyncc_hw.skipopu.control.decoder.Pred", range(6))
        },
    ),
    Property(
        "skipopu_semaphores",
        "Nobody takes from a semaphore at zero; what is released is counted; all have their turn.",
        f"{_CLIENTS} clients that take and release, semaphores of {_BITS} bits",
        counting,
        depth=2 * _CLIENTS + 1,
        reach=8,
        faults={
            "one need not wait": replaced(
                "dyncc_hw.skipopu.control.semaphores.are_there", _careless
            )
        },
    ),
    Property(
        "skipopu_loops",
        "Loops are as deep as they were begun and not ended, and a new one takes its turns.",
        f"{LOOP_DEPTH} levels",
        nesting,
        depth=2,
        reach=12,
        faults={"there is one level more": _narrow},
    ),
]
