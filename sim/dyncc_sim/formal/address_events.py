"""Properties of what joins cores: no event is lost, none is made up, nothing waits forever."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Mux, Signal

from dyncc.arch.neurocorex.cluster import HOST
from dyncc_hw.neurocorex.aer import Inbox, Switch
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced

LINES, CORES = 5, 3


def inbox_counts(design: Design) -> None:
    """What comes into an inbox against what goes out, whatever comes."""
    inbox = Inbox(LINES)
    inside = design.add(inbox, "inbox")
    # Its router goes on when all events of the step were taken.
    design.assume(~inbox.flip | inbox.empty)
    held = [design.signal(inside, f"count_{phase}") for phase in range(2)]
    m = design.m
    kept = [Signal(8, name=f"kept_{phase}") for phase in range(2)]
    given = Signal(8)
    kept_here, kept_next = (Mux(inbox.phase ^ other, kept[1], kept[0]) for other in range(2))
    m.d.sync += given.eq(given + (inbox.events.valid & inbox.events.ready))
    for phase in range(2):
        comes = inbox.put & ~inbox.dropped & (inbox.put_phase == phase)
        m.d.sync += kept[phase].eq(kept[phase] + comes)
        with m.If(inbox.flush | (inbox.flip & (inbox.phase == phase))):
            m.d.sync += kept[phase].eq(0)
        design.claim(held[phase] == kept[phase], "it counts the events of each step")
        design.claim(kept[phase] <= LINES, "it holds no more events of a step than lines")
    with m.If(inbox.flush | inbox.flip):
        m.d.sync += given.eq(0)
    taken = design.signal(inside, "taken")
    design.claim(taken == given + inbox.events.valid, "an event that is read is offered")
    design.claim(given + inbox.events.valid <= kept_here, "it gives no more than it got")
    design.claim(inbox.empty == (given == kept_here), "it is empty when it gave all it got")
    room = Mux(inbox.put_phase == inbox.phase, kept_here, kept_next) < LINES
    refused = inbox.put & inbox.dropped
    design.claim(~refused | (inbox.put_line >= LINES) | ~room, "it drops only surplus")
    design.reaches(inbox.flip & (kept_here == LINES) & (kept_next == LINES), "two full steps")
    design.reaches(refused & (inbox.put_line < LINES), "surplus")


def switch_moves(design: Design) -> None:
    """Words of a switch, whatever its ports offer and take."""
    switch = Switch(CORES)
    design.add(switch, "switch")
    numbers = [*range(CORES), HOST]
    moved: dict[int, list[Any]] = {target: [] for target in range(len(numbers))}
    for source, port in enumerate(switch.sources):
        word, known = (
            port.payload,
            Cat(
                port.payload.target == number for n, number in enumerate(numbers) if n != source
            ).any(),
        )
        design.claim(~port.valid | known | port.ready, "a word that is for nobody is dropped")
        for target, number in enumerate(numbers):
            if target != source:
                moves = port.valid & port.ready & (word.target == number)
                moved[target].append(moves)
                after = switch.targets[target]
                design.claim(
                    ~design.last(moves)
                    | (after.valid & (after.payload.as_value() == design.last(word.as_value()))),
                    "a word that is taken is offered to its target",
                )
    for target, number in enumerate(numbers):
        port, moves = switch.targets[target], Cat(moved[target])
        free = ~port.valid | port.ready
        wanted = Cat(
            other.valid & (other.payload.target == number)
            for source, other in enumerate(switch.sources)
            if source != target
        ).any()
        design.claim((moves & (moves - 1)) == 0, "a target gets one word at a time")
        design.claim(
            moves.any() == (free & wanted), "a target that is free gets one that is for it"
        )
        stays = design.last(port.valid & ~port.ready)
        design.claim(
            ~stays
            | (port.valid & (port.payload.as_value() == design.last(port.payload.as_value()))),
            "a word stays until it is taken",
        )
        design.claim(
            ~port.valid | stays | design.last(moves.any()), "a word that is offered was taken"
        )
    design.reaches(Cat(port.valid for port in switch.targets).all(), "words for all at once")


class _Greedy(Inbox):
    """Takes an event more than there are lines."""

    def elaborate(self, platform: Any) -> Any:
        self.lines += 1
        return super().elaborate(platform)


class _Hasty(Switch):
    """Takes words of a source whether their target is free or not."""

    def elaborate(self, platform: Any) -> Any:
        m = super().elaborate(platform)
        m.d.comb += self.sources[0].ready.eq(1)
        return m


PROPERTIES = [
    Property(
        "inbox",
        "An inbox takes every event that keeps to the protocol, holds no more than fit, and gives "
        "as many as it got.",
        f"lines={LINES}",
        inbox_counts,
        depth=2,
        reach=20,
        faults={"it takes too many": replaced(f"{__name__}.Inbox", _Greedy)},
    ),
    Property(
        "switch",
        "A switch loses, makes up and changes no word, and gives each target that is free one that "
        "is for it: nothing waits for anything but its target.",
        f"cores={CORES}",
        switch_moves,
        depth=2,
        reach=10,
        faults={"it does not wait": replaced(f"{__name__}.Switch", _Hasty)},
    ),
]
