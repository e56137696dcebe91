"""Carries out stimulus words: spikes to the core, and steps."""

from typing import Any

from amaranth import Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import CoreSpec
from dyncc.arch.neurocorex.packets import STEPS_BIT, queue_words
from dyncc_hw.blockmemory import BlockMemory
from dyncc_hw.neurocorex.synapses import index_bits

WORD_BITS = STEPS_BIT + 1

#: What makes a core run, and says how it does.
#:
#: word, push
#:     A stimulus word, which is taken always: its source looks at `room`.
#: room
#:     Number of words for which there is room.
#: hold, held
#:     While `hold` is high no step begins; `held` is high when none is under way.
#: stop
#:     Drops all words, and the steps left of one, while it is held.
#: clear
#:     Begins anew, as the core does: forgets flags and the order of spikes. Not while it runs.
#: running, decided, log_full, disordered, watchdog
#:     The flags of `dyncc.arch.neurocorex.packets.SNAPSHOT`.
RUN_PORT = wiring.Signature(
    {
        "word": Out(WORD_BITS),
        "push": Out(1),
        "room": In(16),
        "hold": Out(1),
        "held": In(1),
        "stop": Out(1),
        "clear": Out(1),
        "running": In(1),
        "decided": In(1),
        "log_full": In(1),
        "disordered": In(1),
        "watchdog": In(1),
    }
)


class StimulusQueue(wiring.Component):
    """Stimulus words, and what empties them.

    A spike takes two cycles, a step one more than it does by itself. It waits for the host only
    where the log is full, and then `hold`, `stop` and `clear` work.

    After reset the queue is empty, and no flag is set.

    Members
    -------
    run
        See `RUN_PORT`.
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
        super().__init__(
            {
                "run": In(RUN_PORT),
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
        run, inputs, depth = self.run, self.spec.inputs, queue_words(self.spec)
        m.submodules.queue = queue = BlockMemory(WORD_BITS, depth)
        write, read = queue.write, queue.read
        # Positions have a bit more than an address: a full queue is not an empty one.
        head, tail = Signal(range(2 * depth)), Signal(range(2 * depth))
        drop, empty = Signal(), Signal()
        m.d.comb += [
            write.addr.eq(head),
            write.data.eq(run.word),
            write.en.eq(run.push),
            read.addr.eq(tail),
            empty.eq(head == tail),
            run.room.eq((tail + depth - head)[: len(head)]),
            drop.eq(run.stop | run.decided | run.watchdog),
        ]
        with m.If(run.push & ~drop):
            m.d.sync += head.eq(head + 1)

        line, is_steps = read.data[:STEPS_BIT], read.data[STEPS_BIT]
        least = Signal(range(max(2, inputs + 1)))
        in_order = (line >= least) & (line < inputs) if inputs else Const(0)
        steps = Signal(STEPS_BIT)
        m.d.comb += [read.en.eq(0), self.lines.payload.eq(line)]
        with m.FSM() as sequencer:
            with m.State("IDLE"):
                m.d.comb += run.held.eq(run.hold)
                with m.If(~run.hold & ~drop & ~empty & ~run.push):
                    m.d.comb += read.en.eq(1)
                    m.d.sync += tail.eq(tail + 1)
                    m.next = "WORD"
            with m.State("WORD"):
                m.d.sync += steps.eq(line)
                m.next = "IDLE"
                with m.If(is_steps):
                    m.next = "STEPS"
                with m.Elif(in_order):
                    m.d.comb += self.lines.valid.eq(1)
                    with m.If(self.lines.ready):
                        m.d.sync += least.eq(line + 1)
                    with m.Else():
                        m.next = "WORD"
                with m.Else():
                    m.d.sync += run.disordered.eq(1)
            with m.State("STEPS"):
                m.d.comb += run.held.eq(run.hold)
                with m.If(drop | (steps == 0)):
                    m.next = "IDLE"
                with m.Else():
                    m.d.comb += run.log_full.eq(~self.log_room)
                    with m.If(~run.hold & self.log_room):
                        m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += self.step.eq(1)
                with m.If(self.step_done):
                    m.d.sync += [
                        steps.eq(steps - 1),
                        least.eq(0),
                        run.decided.eq(self.step_decided & ~self.step_broken),
                        run.watchdog.eq(self.step_broken),
                    ]
                    m.next = "STEPS"
        m.d.comb += run.running.eq(~empty | ~sequencer.ongoing("IDLE"))
        with m.If(drop):
            m.d.sync += tail.eq(head)
        with m.If(run.clear):
            m.d.sync += [
                run.decided.eq(0),
                run.disordered.eq(0),
                run.watchdog.eq(0),
                least.eq(0),
            ]
        return m
