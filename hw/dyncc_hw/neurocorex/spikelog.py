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


class SpikeLog(wiring.Component):
    """A ring of log words. Those of a step appear when the step is over, or not at all.

    Latency: a word is read in the cycle after its index; words appear in the cycle after `commit`.
    After reset the log is empty, from position 0 on.

    Members
    -------
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
    start, end
        Positions of the first word held, and after the last one.
    position
        A position that the host asks for.
    inside, available
        Whether it is from `start` to `end`, and the number of words from there on if so.
    free
        Forgets the words before `position`, which is inside.
    read, index, word
        Reads a log word, counted from `start`; it comes in the next cycle, and stays. Not while a
        word is added.
    """

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        self.words = log_words(spec)
        super().__init__(
            {
                "write": In(1),
                "neuron": In(index_bits(spec.neurons)),
                "mark": In(1),
                "decided": In(1),
                "commit": In(1),
                "discard": In(1),
                "room": Out(1),
                "start": Out(POSITION_BITS),
                "end": Out(POSITION_BITS),
                "position": In(POSITION_BITS),
                "inside": Out(1),
                "available": Out(POSITION_BITS),
                "free": In(1),
                "read": In(1),
                "index": In(8),
                "word": Out(STEP_END_BIT + 1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Words hold the number of a neuron or of the decision, and the mark as their top bit."""
        m = Module()
        neurons = self.spec.neurons
        bits = len(self.neuron)
        m.submodules.store = store = BlockMemory(bits + 1, self.words)
        write, read = store.write, store.read
        fresh = Signal(range(neurons + 2))
        held = Signal(range(self.words + 1))
        m.d.comb += [
            held.eq(self.end - self.start),
            self.room.eq(held <= self.words - (neurons + 1)),
            self.available.eq(self.end - self.position),
            self.inside.eq(self.available <= held),
            write.addr.eq(self.end + fresh),
            write.en.eq(self.write | self.mark),
            write.data.eq(Cat(self.neuron, Const(0, 1))),
            read.addr.eq(self.start + self.index),
            read.en.eq(self.read),
            self.word.eq(Cat(read.data[:bits], Const(0, STEP_END_BIT - bits), read.data[bits])),
        ]
        with m.If(self.mark):
            m.d.comb += write.data.eq(self.decided | 1 << bits)
        with m.If(write.en):
            m.d.sync += fresh.eq(fresh + 1)
        with m.If(self.commit):
            m.d.sync += self.end.eq(self.end + fresh)
        with m.If(self.commit | self.discard):
            m.d.sync += fresh.eq(0)
        with m.If(self.free):
            m.d.sync += self.start.eq(self.position)
        return m
