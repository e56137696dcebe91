"""What a core did, until the host has read it."""

from typing import Any

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import CoreSpec
from dyncc.arch.neurocorex.packets import DRAIN, STEP_END_BIT, log_words
from dyncc_hw.blockmemory import BlockMemory
from dyncc_hw.neurocorex.synapses import index_bits

POSITION_BITS = next(item.bits for item in DRAIN if item.name == "position")

#: How a log is read.
#:
#: start, end
#:     Positions of the first word held, and after the last one.
#: position
#:     A position that the host asks for.
#: inside, available
#:     Whether it is from `start` to `end`, and the number of words from there on if so.
#: free
#:     Forgets the words before `position`, which is inside.
#: read, index, busy, word
#:     Reads a word, counted from `start`, unless it is busy; it comes in the next cycle, and stays.
LOG_PORT = wiring.Signature(
    {
        "start": In(POSITION_BITS),
        "end": In(POSITION_BITS),
        "position": Out(POSITION_BITS),
        "inside": In(1),
        "available": In(POSITION_BITS),
        "free": Out(1),
        "read": Out(1),
        "index": Out(8),
        "busy": In(1),
        "word": In(STEP_END_BIT + 1),
    }
)


class SpikeLog(wiring.Component):
    """A ring of log words. Those of a step appear when the step is over, or not at all.

    Latency: words appear in the cycle after `commit`. After reset the log is empty, from position 0
    on.

    Members
    -------
    log
        See `LOG_PORT`.
    write, neuron
        Adds a neuron that fired to the step.
    mark, decided
        Adds the mark of the step's end.
    commit
        Lets the words of the step appear; in the cycle after its mark.
    discard
        Forgets the words of the step.
    room
        Whether there is room for a step in which all neurons fire. To be looked at between steps.
    """

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        self.words = log_words(spec)
        super().__init__(
            {
                "log": In(LOG_PORT),
                "write": In(1),
                "neuron": In(index_bits(spec.neurons)),
                "mark": In(1),
                "decided": In(1),
                "commit": In(1),
                "discard": In(1),
                "room": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Words hold the number of a neuron or of the decision, and the mark as their top bit."""
        m = Module()
        log, neurons = self.log, self.spec.neurons
        bits = len(self.neuron)
        m.submodules.store = store = BlockMemory(bits + 1, self.words)
        write, read = store.write, store.read
        fresh = Signal(range(neurons + 2))
        held = Signal(range(self.words + 1))
        m.d.comb += [
            held.eq(log.end - log.start),
            self.room.eq(held <= self.words - (neurons + 1)),
            log.available.eq(log.end - log.position),
            log.inside.eq(log.available <= held),
            write.addr.eq(log.end + fresh),
            write.en.eq(self.write | self.mark),
            log.busy.eq(write.en),
            write.data.eq(Cat(self.neuron, Const(0, 1))),
            read.addr.eq(log.start + log.index),
            read.en.eq(log.read),
            log.word.eq(Cat(read.data[:bits], Const(0, STEP_END_BIT - bits), read.data[bits])),
        ]
        with m.If(self.mark):
            m.d.comb += write.data.eq(self.decided | 1 << bits)
        with m.If(write.en):
            m.d.sync += fresh.eq(fresh + 1)
        with m.If(self.commit):
            m.d.sync += log.end.eq(log.end + fresh)
        with m.If(self.commit | self.discard):
            m.d.sync += fresh.eq(0)
        with m.If(log.free):
            m.d.sync += log.start.eq(log.position)
        return m
