"""Carries out stimulus words: spikes to the core, and steps."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import CoreSpec
from dyncc.arch.neurocorex.packets import STEPS_BIT, queue_words
from dyncc_hw.blockmemory import BlockMemory
from dyncc_hw.neurocorex.synapses import index_bits


class Runner(wiring.Component):
    """The queue of stimulus words, and what empties it.

    A spike takes two cycles, a step one more than it does by itself. It waits for the host only
    where the log is full, and then `hold`, `stop` and `clear` work.

    After reset the queue is empty, and no flag is set.

    Members
    -------
    word, push
        A stimulus word, which is taken always: its source looks at `room`.
    room
        Number of words for which there is room.
    hold, held
        While `hold` is high no step begins; `held` is high when none is under way.
    stop
        Drops all words, and the steps left of one, while it is held.
    clear
        Begins anew, as the core does: forgets flags and the order of spikes. Not while it runs.
    running, decided, log_full, disordered, watchdog
        The flags of `dyncc.arch.neurocorex.packets.SNAPSHOT`.
    lines
        Input lines that spike in the next step, ascending.
    step
        High until `step_done`: a step is to be carried out.
    step_done, step_broken, step_decided
        Whether it is over, was broken off, and was the last by dynamic termination.
    log_room
        Whether the log has room for a step.
    """

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        self.queue_words = queue_words(spec)
        super().__init__(
            {
                "word": In(STEPS_BIT + 1),
                "push": In(1),
                "room": Out(range(self.queue_words + 1)),
                "hold": In(1),
                "held": Out(1),
                "stop": In(1),
                "clear": In(1),
                "running": Out(1),
                "decided": Out(1),
                "log_full": Out(1),
                "disordered": Out(1),
                "watchdog": Out(1),
                "lines": Out(stream.Signature(index_bits(max(1, spec.inputs)))),
                "step": Out(1),
                "step_done": In(1),
                "step_broken": In(1),
                "step_decided": In(1),
                "log_room": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A queue, and a sequencer of its words."""
        m = Module()
        depth, inputs = self.queue_words, self.spec.inputs
        m.submodules.queue = queue = BlockMemory(STEPS_BIT + 1, depth)
        write, read = queue.write, queue.read
        # Positions have a bit more than an address: a full queue is not an empty one.
        head, tail = Signal(range(2 * depth)), Signal(range(2 * depth))
        drop, empty = Signal(), Signal()
        m.d.comb += [
            write.addr.eq(head),
            write.data.eq(self.word),
            write.en.eq(self.push),
            read.addr.eq(tail),
            empty.eq(head == tail),
            self.room.eq(tail + depth - head),
            drop.eq(self.stop | self.decided | self.watchdog),
        ]
        with m.If(self.push & ~drop):
            m.d.sync += head.eq(head + 1)

        line, is_steps = read.data[:STEPS_BIT], read.data[STEPS_BIT]
        least = Signal(range(inputs + 1))
        steps = Signal(STEPS_BIT)
        m.d.comb += [read.en.eq(0), self.lines.payload.eq(line)]
        with m.FSM() as sequencer:
            with m.State("IDLE"):
                m.d.comb += self.held.eq(self.hold)
                with m.If(~self.hold & ~drop & ~empty & ~self.push):
                    m.d.comb += read.en.eq(1)
                    m.d.sync += tail.eq(tail + 1)
                    m.next = "WORD"
            with m.State("WORD"):
                m.d.sync += steps.eq(line)
                m.next = "IDLE"
                with m.If(is_steps):
                    m.next = "STEPS"
                with m.Elif((line < least) | (line >= inputs)):
                    m.d.sync += self.disordered.eq(1)
                with m.Else():
                    m.d.comb += self.lines.valid.eq(1)
                    with m.If(self.lines.ready):
                        m.d.sync += least.eq(line + 1)
                    with m.Else():
                        m.next = "WORD"
            with m.State("STEPS"):
                m.d.comb += self.held.eq(self.hold)
                with m.If(drop | (steps == 0)):
                    m.next = "IDLE"
                with m.Else():
                    m.d.comb += self.log_full.eq(~self.log_room)
                    with m.If(~self.hold & self.log_room):
                        m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += self.step.eq(1)
                with m.If(self.step_done):
                    m.d.sync += [
                        steps.eq(steps - 1),
                        least.eq(0),
                        self.decided.eq(self.step_decided & ~self.step_broken),
                        self.watchdog.eq(self.step_broken),
                    ]
                    m.next = "STEPS"
        m.d.comb += self.running.eq(~empty | ~sequencer.ongoing("IDLE"))
        with m.If(drop):
            m.d.sync += tail.eq(head)
        with m.If(self.clear):
            m.d.sync += [
                self.decided.eq(0),
                self.disordered.eq(0),
                self.watchdog.eq(0),
                least.eq(0),
            ]
        return m
