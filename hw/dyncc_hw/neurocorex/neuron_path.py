"""Looks up what a neuron is, and updates it."""

from typing import Any

from amaranth import Cat, Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import BUS_BITS, CoreSpec, Space, bus_words, memory_bits
from dyncc_hw.neurocorex.bus import narrow_depth
from dyncc_hw.neurocorex.implementation import Implementation
from dyncc_hw.neurocorex.neuron import NeuronUnit, neuron_members
from dyncc_hw.neurocorex.shared_neuron import SharedNeuronUnit
from dyncc_hw.neurocorex.synapses import index_bits

#: What a unit says of a neuron.
OUTCOME = ("out_valid", "out_tag", "out_state", "fired", "arrives")


class NeuronPath(wiring.Component):
    """From the number of a neuron to what became of it, in `latency` cycles.

    Parameters
    ----------
    implementation
        With shared multipliers, parameter sets are in a narrow memory, see `BusServer`.

    Members
    -------
    issue, index
        A neuron to update; at most one in `interval` cycles.
    assigned, state
        Its words of `Space.ASSIGNMENT` and `Space.STATE`, which come in the cycle after `issue` and
        stay until another neuron is issued.
    taken, taken_index, accumulated
        In that cycle the sum of its weights is taken, and may be cleared.
    find, find_index, parameters
        Reads the memory of parameter sets, whose word comes in the next cycle.
    out_valid, out_tag, out_state, fired, arrives
        As those of `NeuronUnit`.

    Attributes
    ----------
    interval, latency
        Cycles from a neuron to the next, and to its result.
    """

    def __init__(self, spec: CoreSpec, implementation: Implementation) -> None:
        self.spec = spec
        self._shared = implementation.shared
        self._parts = bus_words(spec, Space.PARAMETERS)
        self._unit = SharedNeuronUnit(spec) if self._shared else NeuronUnit(spec)
        self.interval, self.latency = self.cycles(spec, implementation)
        members, neuron = neuron_members(spec), unsigned(index_bits(spec.neurons))
        if self._shared:
            word, depth = BUS_BITS, narrow_depth(spec, Space.PARAMETERS)
        else:
            word, depth = memory_bits(spec, Space.PARAMETERS), spec.parameter_sets
        super().__init__(
            {
                "issue": In(1),
                "index": In(neuron),
                "assigned": In(memory_bits(spec, Space.ASSIGNMENT)),
                "state": members["state"],
                "taken": Out(1),
                "taken_index": Out(neuron),
                "accumulated": In(signed(spec.accumulator_bits)),
                "find": Out(1),
                "find_index": Out(index_bits(depth)),
                "parameters": In(word),
                **{name: members[name] for name in OUTCOME},
            }
        )

    @staticmethod
    def cycles(spec: CoreSpec, implementation: Implementation) -> tuple[int, int]:
        """`interval` and `latency`."""
        if not implementation.shared:
            return 1, 2 + NeuronUnit.LATENCY
        parts = bus_words(spec, Space.PARAMETERS)
        return parts + SharedNeuronUnit.HOLD - 1, parts + 2 + SharedNeuronUnit.LATENCY

    def elaborate(self, platform: Any) -> Module:
        """Read, then update."""
        m = Module()
        m.submodules.unit = unit = self._unit
        if self._shared:
            self._find_parts(m)
        else:
            self._find_whole(m)
        m.d.sync += self.taken.eq(self.issue)
        with m.If(self.issue):
            m.d.sync += self.taken_index.eq(self.index)
        m.d.comb += [getattr(self, name).eq(getattr(unit, name)) for name in OUTCOME]
        return m

    def _find_whole(self, m: Module) -> None:
        unit = self._unit
        m.d.comb += [
            self.find.eq(self.taken),
            self.find_index.eq(self.assigned),
            unit.parameters.as_value().eq(self.parameters),
        ]
        m.d.sync += [
            unit.valid.eq(self.taken),
            unit.tag.eq(self.taken_index),
            unit.accumulated.eq(self.accumulated),
            unit.state.eq(self.state),
        ]

    def _find_parts(self, m: Module) -> None:
        """A part of the set a cycle; each is kept until the next neuron's takes its place."""
        unit, parts = self._unit, self._parts
        # Bit c is high c + 1 cycles after `issue`: part c is asked for, part c - 1 has come.
        cycle = Signal(parts + 2)
        part = Signal(range(parts))
        kept = [Signal(BUS_BITS, name=f"part_{number}") for number in range(parts)]
        m.d.sync += cycle.eq(Cat(self.issue, cycle[:-1]))
        m.d.comb += [
            self.find.eq(cycle[:parts].any()),
            self.find_index.eq(Cat(part, self.assigned)),
            unit.valid.eq(cycle[-1]),
            unit.tag.eq(self.taken_index),
            unit.state.eq(self.state),
            unit.parameters.as_value().eq(Cat(kept)),
        ]
        m.d.sync += part.eq(part + 1)
        with m.If(self.issue):
            m.d.sync += part.eq(0)
        for number, word in enumerate(kept):
            with m.If(cycle[number + 1]):
                m.d.sync += word.eq(self.parameters)
        with m.If(self.taken):
            m.d.sync += unit.accumulated.eq(self.accumulated)
