"""Dynamic termination: whether the scores of a run are clear enough to stop."""

from typing import Any

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import TABLE_ENTRIES, TABLE_FRACTION_BITS, CoreSpec, Test
from dyncc_hw.neurocorex.synapses import index_bits


class TerminationUnit(wiring.Component):
    """The test of `dyncc_models.spiking.termination` on the potentials of a step.

    Best and second score are found as the neurons go by; the sum of the softmax test takes
    ``class_count + LATENCY`` cycles after `test`.

    Parameters
    ----------
    control
        Registers of the core.

    Members
    -------
    begin
        A step begins.
    valid, index, potential
        A neuron after the step.
    test, steps
        All neurons went by; the steps carried out with this one.
    look_up, entry, table
        Reads the exponent table; its entry comes in the next cycle.
    done
        High for a cycle when `decided` and `winner` are those of this step.
    """

    LATENCY = 6

    def __init__(self, spec: CoreSpec, control: dict[str, Any]) -> None:
        self.spec, self._control = spec, control
        super().__init__(
            {
                "begin": In(1),
                "valid": In(1),
                "index": In(index_bits(spec.neurons)),
                "potential": In(signed(spec.state_bits)),
                "test": In(1),
                "steps": In(32),
                "look_up": Out(1),
                "entry": Out(index_bits(TABLE_ENTRIES)),
                "table": In(TABLE_FRACTION_BITS + 1),
                "done": Out(1),
                "decided": Out(1),
                "winner": Out(index_bits(spec.classes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Find the best, then add up the table."""
        m = Module()
        spec, control = self.spec, self._control
        m.submodules.scores = scores = memory.Memory(
            shape=signed(spec.state_bits), depth=max(2, spec.classes), init=[]
        )
        write, read = scores.write_port(), scores.read_port()
        best = Signal(signed(spec.state_bits))
        second = Signal(signed(spec.state_bits))
        seen = Signal(range(spec.classes + 1))
        count = control["class_count"]
        with m.If(self.begin):
            m.d.sync += [seen.eq(0), self.decided.eq(0), self.winner.eq(0), second.eq(0)]
        watched = self.valid & (self.index >= control["first_class"]) & (seen < count)
        with m.If(watched):
            m.d.comb += [write.addr.eq(seen), write.data.eq(self.potential), write.en.eq(1)]
            m.d.sync += seen.eq(seen + 1)
            with m.If((seen == 0) | (self.potential > best)):
                m.d.sync += [best.eq(self.potential), self.winner.eq(seen)]
                with m.If(seen != 0):
                    m.d.sync += second.eq(best)
            with m.Elif((seen == 1) | (self.potential > second)):
                m.d.sync += second.eq(self.potential)

        # The table's entries come four cycles after a score is asked for.
        place = Signal(range(spec.classes + 1))
        asking = Signal()
        asked = Signal(4)
        distance = Signal(unsigned(spec.state_bits + 1))
        near = Signal()
        near_2 = Signal()
        total = Signal(range((spec.classes + 1) << TABLE_FRACTION_BITS))
        waiting = Signal(range(self.LATENCY))
        dropped = distance >> control["shift"]
        m.d.sync += [
            asked.eq((asked << 1) | asking),
            distance.eq(best - read.data),
            near.eq(dropped < TABLE_ENTRIES),
            near_2.eq(near),
        ]
        m.d.comb += read.addr.eq(place)
        m.d.sync += self.entry.eq(dropped)
        m.d.comb += self.look_up.eq(asked[2])
        with m.If(asked[3] & near_2):
            m.d.sync += total.eq(total + self.table)

        limit = control["limit"]
        clear = Mux(
            control["test"] == Test.SOFTMAX,
            total <= limit,
            (control["test"] == Test.MARGIN) & (best - second >= limit),
        )
        with m.FSM():
            with m.State("IDLE"), m.If(self.test):
                m.d.sync += [place.eq(0), total.eq(0), waiting.eq(self.LATENCY - 1)]
                m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += asking.eq(place != count)
                with m.If(place == count):
                    m.d.sync += waiting.eq(waiting - 1)
                    with m.If(waiting == 0):
                        m.d.sync += self.decided.eq(clear & (self.steps >= control["least_steps"]))
                        m.next = "DONE"
                with m.Else():
                    m.d.sync += place.eq(place + 1)
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m
