"""Properties of the link: it finds its place again, and its queues never over- or underflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from amaranth import Signal

from dyncc.arch.link import (
    CRC_BYTES,
    CRC_INVERSION,
    CRC_START,
    DELIMITER,
    MAX_BODY,
    LinkSpec,
)
from dyncc.arch.neurocorex import CoreSpec
from dyncc_hw.link.deframer import Deframer
from dyncc_hw.neurocorex.commands import CommandProcessor
from dyncc_hw.neurocorex.spikelog import SpikeLog
from dyncc_hw.neurocorex.stepper import Stepper
from dyncc_hw.neurocorex.stimulus import StimulusQueue
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced, size_of

LINK = LinkSpec(receive_bytes=512)
CORE = CoreSpec(3, 2)
#: Cycles after which the stepper breaks off, in its proof, and those that it needs beside.
LIMIT, BESIDE = 6, 2


class _Frames:
    """A deframer on a line with any bytes, as fast as it may get them.

    Attributes
    ----------
    state
        All that its decoder knows of the frame that it is in, by name.
    begins
        Values of the state at the first byte of a frame.
    """

    def __init__(self, design: Design) -> None:
        self.unit = Deframer(LINK)
        self.inside = design.add(self.unit, "unit")
        design.assume(~(self.unit.valid & design.last(self.unit.valid)))
        # A receiver has a byte or has lost one.
        design.assume(~(self.unit.valid & self.unit.broken))
        names = ("begun", "bad", "lost", "left", "offset")
        self.state = {name: design.signal(self.inside, name) for name in names}
        self.state["crc"] = self.inside.submodules.crc.crc
        self.begins = dict.fromkeys(self.state, 0)
        self.begins |= {"offset": 1, "crc": CRC_START ^ CRC_INVERSION}


def resynchronisation(design: Design) -> None:
    """After a delimiter nothing is known of what was before, whatever the state was."""
    frames = _Frames(design)
    unit, m = frames.unit, design.m
    delimited = Signal()
    with m.If(unit.valid):
        m.d.sync += delimited.eq(unit.data == DELIMITER)
    commit = design.signal(frames.inside, "commit")
    for name, value in frames.begins.items():
        same = frames.state[name] == value
        design.claim(~(unit.valid & delimited) | same, f"a frame begins with the same {name}")
        # Of a state before the first delimiter nothing is said: any does.
        design.lemma(~delimited | commit | same, f"{name} stays so until there is a byte")
    design.lemma(~commit | ~unit.valid, "the next byte is not there yet")
    design.reaches(unit.valid & delimited & (unit.data != DELIMITER), "a frame after another")
    written = commit & (frames.state["offset"] > 1 + CRC_BYTES)
    design.reaches(written, "a frame that can be read")


def ring(design: Design) -> None:
    """The ring of the deframer: what was not taken is not overwritten, and no more is given."""
    frames = _Frames(design)
    unit, inside, depth = frames.unit, frames.inside, LINK.receive_bytes
    head, tail, place, commit = (
        design.signal(inside, name) for name in ("head", "tail", "place", "commit")
    )
    offset, begun, lost = (frames.state[name] for name in ("offset", "begun", "lost"))
    write = inside.submodules.ring.write
    bits = len(head)

    def behind(position: Any) -> Any:
        """How far a position is behind the tail."""
        return (position - tail)[:bits]

    where = behind(write.addr) % depth
    kept = (where < behind(head)) & (behind(head) != depth)
    design.claim(~write.en | ~kept, "what was not taken stays")
    design.claim(~write.en | (behind(head) < depth), "the ring has room")
    design.claim(behind(head) <= depth, "the ring holds no more than it has bytes")
    taken = unit.bodies.valid & unit.bodies.ready
    design.claim(~taken | (head != tail), "no byte is taken from nothing")
    design.lemma(~unit.bodies.valid | (head != tail), "there is what is offered")
    design.lemma((offset >= 1) & (offset <= MAX_BODY + 1), "a frame has so many bytes")
    open_frame = begun & ~lost
    design.lemma(~open_frame | (behind(place) <= depth), "a frame that is not lost fits")
    design.lemma(~commit | (behind(place) <= depth + CRC_BYTES), "a frame that is kept fits")
    design.lemma(~commit | ((offset > CRC_BYTES) & ~begun), "a frame that is kept is over")
    design.lemma(~commit | ~unit.valid, "the next byte is not there yet")
    design.reaches(taken & (behind(head) == 1), "the last byte is taken")
    design.reaches(commit & (offset > 1 + CRC_BYTES), "a frame that can be read")


def stimulus(design: Design) -> None:
    """The queue of stimulus words, whose source looks at its room."""
    unit = StimulusQueue(CORE)
    inside = design.add(unit, "unit")
    run, store = unit.run, inside.submodules.queue
    head, tail = design.signal(inside, "head"), design.signal(inside, "tail")
    depth = store.depth
    level = (head - tail)[: len(head)]
    design.assume(~run.push | (run.room != 0))
    design.claim(level <= depth, "the queue holds no more than it has words")
    design.claim(run.room == depth - level, "the room is what is left")
    design.claim(~store.read.en | (level != 0), "no word is taken from nothing")
    design.claim(~(store.read.en & store.write.en), "no word is read while one is written")
    design.reaches(run.room == depth - 2, "two words")
    design.reaches(store.read.en, "a word is taken")


def stimulus_credits(design: Design) -> None:
    """The command processor, any requests, and a queue that others only take from."""
    unit = CommandProcessor(CORE, LINK)
    inside = design.add(unit, "unit")
    run, last = unit.run, design.last
    left, part = design.signal(inside, "left"), design.signal(inside, "part")
    ever = Signal()
    design.m.d.sync += ever.eq(1)
    design.assume(~ever | (run.room >= last(run.room) - last(run.push)))
    design.claim(~run.push | (run.room != 0), "a word is pushed when there is room")
    at_first, going = design.state(inside, "EVENTS"), design.state(inside, "EVENT")
    design.lemma(~at_first | (part == 0), "a list begins with its first byte")
    design.lemma(~going | (part <= 2), "a word has two bytes")
    design.lemma(~going | (((left + part) >> 1) <= run.room), "there is room for what is left")
    design.reaches(run.push & going, "an event")
    design.reaches(going & (left == 0) & (run.room == 0), "events that fill the queue")


def spike_log(design: Design) -> None:
    """The log, while steps begin only when it has room, and no neuron fires twice in a step."""
    unit = SpikeLog(CORE)
    inside = design.add(unit, "unit")
    log, words = unit.log, inside.submodules.store.depth
    fresh = design.signal(inside, "fresh")
    adds = unit.write | unit.mark
    design.assume(~(adds & (fresh == 0)) | unit.room)
    design.assume(~adds | (fresh <= CORE.neurons))
    design.assume(~(adds & (unit.commit | unit.discard)))
    design.assume(~log.free | log.inside)
    held = (log.end - log.start)[: len(log.end)]
    design.claim(held + fresh <= words, "the log holds no more than it has words")
    design.claim(~adds | (held + fresh < words), "no word is overwritten")
    design.claim(~log.inside | (log.available <= held), "what is inside is there")
    design.lemma(fresh <= CORE.neurons + 1, "a step has so many words")
    whole = (fresh == 0) | (held + CORE.neurons + 1 <= words)
    design.lemma(whole, "a step that began has room to its end")
    design.reaches(unit.commit & (fresh == CORE.neurons + 1), "a step in which all fire")
    design.reaches(log.free & (held != 0) & (log.position == log.end), "all words are forgotten")


def step(design: Design) -> None:
    """A step of a device, over a core that does what it likes."""
    unit = Stepper(LIMIT)
    left = design.signal(design.add(unit, "unit"), "left")
    count, settled = Signal(8), Signal()
    design.m.d.sync += settled.eq(1)
    with design.m.If(unit.step & ~unit.done):
        design.m.d.sync += count.eq(count + 1)
    with design.m.Else():
        design.m.d.sync += count.eq(0)
    design.claim(count < LIMIT + BESIDE, "a step ends")
    # In the first cycle after reset nothing is left: a step that is there already is broken off.
    design.lemma(~settled | (count + left == LIMIT), "the clock is watched")
    design.lemma(settled | (count == 0), "a step begins after reset")
    design.claim(~unit.commit | unit.done, "a step that is kept is over")
    design.claim(~(unit.commit & unit.broken), "a step is kept or broken off")
    design.reaches(unit.broken, "a step that is broken off")
    design.reaches(unit.commit, "a step that is kept")


@contextmanager
def careless(size: str = "") -> Iterator[None]:
    """Neighbours that do not keep to what is assumed; a queue of this size becomes small."""
    with ExitStack() as patches:
        if size:
            patches.enter_context(patch(f"dyncc_hw.neurocorex.{size}", lambda spec: 4))
        patches.enter_context(patch.object(Design, "assume", lambda design, condition: None))
        yield


class _SmallLink:
    """A link that holds less than a frame, which `LinkSpec` refuses."""

    receive_bytes = 4


PROPERTIES = [
    Property(
        "deframer resynchronises",
        "Whatever came before, and whatever state it was in, after one delimiter the deframer "
        "reads the next frame as if it were the first.",
        "receive_bytes=512",
        resynchronisation,
        depth=4,
        reach=20,
        faults={
            "the CRC goes on": replaced(
                "dyncc_hw.link.deframer.ResetInserter", lambda reset: lambda unit: unit
            )
        },
    ),
    Property(
        "deframer ring",
        "The ring of received bodies never over- or underflows.",
        "receive_bytes=512",
        ring,
        depth=4,
        reach=40,
        faults={"a ring shorter than a frame": replaced(f"{__name__}.LINK", _SmallLink)},
    ),
    Property(
        "stimulus queue",
        "The queue of stimulus words never over- or underflows, if its source looks at its room.",
        size_of(CORE),
        stimulus,
        depth=3,
        reach=12,
        faults={"a source that does not look": partial(careless, "stimulus.queue_words")},
    ),
    Property(
        "stimulus credits",
        "The command processor pushes a stimulus word only when there is room for it.",
        size_of(CORE),
        stimulus_credits,
        depth=3,
        reach=30,
        faults={"a queue that others fill too": careless},
    ),
    Property(
        "spike log",
        "The log never over- or underflows, if steps begin only when it has room.",
        size_of(CORE),
        spike_log,
        depth=3,
        reach=12,
        faults={"steps that begin without room": partial(careless, "spikelog.log_words")},
    ),
    Property(
        "device step",
        "The stepper ends a step within its limit and two cycles, whatever the core does.",
        f"limit={LIMIT}",
        step,
        depth=3,
        reach=LIMIT + 8,
        faults={"a bound two cycles smaller": replaced(f"{__name__}.BESIDE", 0)},
    ),
]
