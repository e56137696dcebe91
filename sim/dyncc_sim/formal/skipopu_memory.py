"""Properties of the memory port of SkipOPU: windows, boundaries of bursts, room for what comes."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from amaranth import Cat, Const, Signal, Value
from amaranth.lib import data

from dyncc_hw.skipopu.memory import port, requests
from dyncc_hw.skipopu.memory.bursts import Geometry
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced
from dyncc_sim.skipopu.bench.instances import SINGLE

#: Words of a byte pair, bursts of four words, two on their way.
ARCH = replace(SINGLE, burst_bytes=8, memory_requests=2, memory_latency_cycles=4)
GEOMETRY = Geometry.of(ARCH)
_SIZE = f"{GEOMETRY.bus_bytes} bytes a word, bursts of {GEOMETRY.burst_bytes} bytes, 2 on their way"


def boundaries(design: Design) -> None:
    """Any requests, cut."""
    cutter = requests.Cutter(GEOMETRY, 2)
    inside = design.add(cutter, "cutter")
    request, command = design.signal(inside, "request"), cutter.command
    words, final = design.signal(inside, "words"), design.signal(inside, "final")
    given = cutter.input
    design.assume(~given.valid | given.payload.words.any())
    most = GEOMETRY.burst_words
    within = command.payload.address[: (most - 1).bit_length()]
    fits = (within + command.payload.words <= most) & command.payload.words.any()
    design.claim(~command.valid | fits, "a burst does not cross a multiple of the largest one")

    # What is left of the request, and where.
    place, left = Signal.like(request.address), Signal.like(request.words)
    free, offered = design.state(inside, "FREE"), design.state(inside, "OFFER")
    taken = command.valid & command.ready
    with design.m.If(given.valid & given.ready):
        design.m.d.sync += [place.eq(given.payload.address), left.eq(given.payload.words)]
    with design.m.Elif(taken):
        design.m.d.sync += [place.eq(place + words), left.eq(left - words)]
    same = (command.payload.address == place) & (command.payload.words <= left)
    design.claim(~command.valid | same, "bursts follow each other, and not beyond the request")
    ends = cutter.about.last == (command.payload.words == left)
    design.claim(~command.valid | ends, "the last burst is the one that ends the request")
    design.lemma(free | ((request.address == place) & (request.words == left)), "the request")
    design.lemma(free | left.any(), "something is left")
    design.lemma(~offered | (words.any() & (words <= left)), "words of a burst")
    design.lemma(~offered | (final == (words == left)), "the last burst")
    design.lemma(~offered | (within + words <= most), "a burst")
    design.lemma(design.states(inside), "a state")
    design.reaches(
        taken & ~final & (within != 0), "a request that begins within a burst, and goes on"
    )
    design.reaches(taken & final & (words < most) & (within == 0), "the rest of a request")


def _port(design: Design) -> tuple[Any, Any]:
    found = port.Port(ARCH, ("reads",), ("writes",))
    inside = design.add(found, "port", **_constants(design, found))
    for client in (found.reads, found.writes):
        _asks(design, client.request)
    return found, inside


def _asks(design: Design, request: Any) -> None:
    """Requests stay until they are taken, and have even lengths."""
    asks = Cat(request.valid, Value.cast(request.payload))
    held = design.last(request.valid & ~request.ready)
    design.assume(~held | (asks == design.last(asks)))
    design.assume(~request.payload.bytes[0])


def _constants(design: Design, found: Any) -> dict[str, Any]:
    return {
        "memory_bytes": design.constant(found.memory_bytes.shape()),
        "windows": design.constant(len(Value.cast(found.windows))),
    }


#: Bits of addresses and lengths for which windows are proved; nothing else depends on them.
_ADDRESS, _LENGTH = 8, 5


def _narrow() -> ExitStack:
    """The intake with narrower numbers, while it is built."""
    request = data.StructLayout({"address": _ADDRESS, "bytes": _LENGTH})
    window = data.StructLayout({"start": _ADDRESS, "end": _ADDRESS})
    stack, base = ExitStack(), "dyncc_hw.skipopu.memory"
    for name, value in (
        ("requests.ADDRESS_BITS", _ADDRESS), ("bursts.ADDRESS_BITS", _ADDRESS),
        ("requests.LENGTH_BITS", _LENGTH), ("requests.REQUEST", request),
        ("requests.WINDOW", window),
    ):  # fmt: skip
        stack.enter_context(patch(f"{base}.{name}", value))
    return stack


def windows(design: Design) -> None:
    """All addresses, lengths, windows and sizes of memory; `boundaries` does the rest."""
    with _narrow():
        intake = requests.Intake(GEOMETRY, (False, True), None)
        inside = design.add(intake, "intake", **_constants(design, intake))
    for client in intake.requests:
        _asks(design, client)
    given = intake.output.payload
    shift = GEOMETRY.shift
    start = Cat(Const(0, shift), given.address)
    end = start + Cat(Const(0, shift), given.words)
    allowed = Cat(
        (start >= window.start) & (end <= window.end)
        for window in (intake.windows[number] for number in range(requests.WINDOWS))
    ).any()
    valid = intake.output.valid
    design.claim(~valid | (end <= intake.memory_bytes), "what is carried out is within memory")
    design.claim(~valid | ~given.write | allowed, "what is written is in a window")
    asked, last = design.signal(inside, "request"), design.signal(inside, "end")
    words, checked = design.signal(inside, "words"), design.signal(inside, "inside")
    writable = design.signal(inside, "writable")
    judged, compared = design.state(inside, "JUDGE"), design.state(inside, "COMPARE")
    summed, odd = judged | compared, asked.address[0]
    design.lemma(~summed | (last == asked.address + asked.bytes), "where a request ends")
    design.lemma(~summed | odd | ((words << shift) == asked.bytes), "its words")
    design.lemma(~summed | odd | (end == last), "where its words end")
    design.lemma(~(summed | design.state(inside, "ADD")) | ~asked.bytes[0], "an even length")
    design.lemma(~judged | (checked == ((last <= intake.memory_bytes) & asked.bytes.any() & ~odd)),
                 "within memory")  # fmt: skip
    for number in range(requests.WINDOWS):
        window = intake.windows[number]
        held = (asked.address >= window.start) & (last <= window.end)
        design.lemma(~judged | ~writable[number] | held, "within a window")
    design.lemma(design.states(inside), "a state")
    design.reaches(valid & given.write & (given.words > 1), "a request that writes")
    design.reaches(intake.refused & checked, "a request that is refused for its window")


def credits_kept(design: Design) -> None:
    """A bus that acknowledges only what was written; anything else."""
    found, inside = _port(design)
    cutter = design.submodule(inside, "cutter")
    reads, writes = inside.submodules.reads, inside.submodules.writes
    design.assume(~found.bus.written | writes.r_rdy)
    most = GEOMETRY.requests
    on_way = design.signal(inside, "on_way")
    design.claim(on_way <= most, "no more bursts are on their way than may be")
    for queue in (reads, writes):
        design.claim(~queue.w_en | queue.w_rdy, "there is room for what is known of a burst")
    design.lemma(on_way == reads.level + writes.level, "bursts on their way are known")
    design.lemma(~design.state(cutter, "OFFER") | (on_way < most), "a burst is offered if it may")
    design.lemma(design.states(cutter), "a state")
    design.reaches((on_way == most) & reads.r_rdy & writes.r_rdy, "a read and a write")
    design.reaches((on_way == most) & (reads.level == most), "two reads")


class Hasty(requests.Cutter):
    """A cutter that offers bursts however many there are."""

    def elaborate(self, platform: Any) -> Any:
        """Without what holds it."""
        self.hold = Const(0, 1)
        return super().elaborate(platform)


PROPERTIES = [
    Property(
        "skipopu_bursts",
        "Bursts do not cross multiples of the largest one; those of a request follow each other, "
        "and are all of it.",
        _SIZE,
        boundaries,
        depth=2,
        faults={
            "they are as long as they can be": replaced(
                "dyncc_hw.skipopu.memory.requests.room_of",
                lambda geometry, _: Const(geometry.burst_words),
            )
        },
    ),
    Property(
        "skipopu_windows",
        "No request that is carried out leaves memory, and none that writes leaves the windows; "
        "nor do its bursts, as skipopu_bursts says.",
        f"{_SIZE}; {_ADDRESS}-bit addresses, {_LENGTH}-bit lengths, any windows",
        windows,
        depth=1,
        reach=12,
        faults={
            "only where it begins is looked at": replaced(
                "dyncc_hw.skipopu.memory.requests.allows",
                lambda window, start, end: start >= window.start,
            )
        },
    ),
    Property(
        "skipopu_credits",
        "No more bursts are on their way than may be, and the port knows of each of them.",
        _SIZE,
        credits_kept,
        depth=2,
        reach=26,
        faults={"bursts are not counted": replaced("dyncc_hw.skipopu.memory.port.Cutter", Hasty)},
    ),
]
