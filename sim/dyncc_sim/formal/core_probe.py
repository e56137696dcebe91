"""A core in a design, with what goes on inside of it."""

from __future__ import annotations

from typing import Any

from amaranth import Const, Signal

from dyncc.arch.neurocorex import CoreSpec, Space, bus_words
from dyncc_hw.neurocorex.core import Core
from dyncc_hw.neurocorex.implementation import Implementation
from dyncc_hw.neurocorex.synapses import SynapseUnit
from dyncc_hw.neurocorex.termination import TerminationUnit
from dyncc_sim.formal.design import Design

#: States of a step, in their order; not each core has all of them.
FETCH = ("SOURCE", "POINTER", "ROW")
AFTER = ("LEARN", "LEARNING", "TEST", "TESTING", "DONE")


class CoreProbe:
    """A core with free inputs, and whose neurons fire as they like.

    What its memories hold is free too. What is proved of it holds for every network and every host.

    Attributes
    ----------
    core, inside
        The component and its module.
    queue, fired, path
        FIFOs of sources and of neurons that fired; what updates neurons.
    done
        Neurons that were updated in this step.
    flight
        Whether a neuron went into `path` one cycle ago, two, and so on.
    words
        Whether a word of synapses went into the synapse unit one cycle ago, two, and so on.
    row_words
        Words of the row that comes, in a sparse core.
    engine, tester
        Inside of the learning engine, if the core learns, and of dynamic termination, if it has
        classes.
    """

    def __init__(self, design: Design, spec: CoreSpec, implementation: Implementation) -> None:
        self.design, self.spec = design, spec
        self.core = Core(spec, implementation)
        self.inside = design.add(self.core, "core")
        parts = self.inside.submodules
        self.queue, self.fired, self.path = parts.queue, parts.fired, parts.path
        design.free(self.path.fired, self.path.arrives)
        if spec.sparse:
            # The words of a row, as the memory of rows says.
            pointer = self.signal("pointer")
            design.free(pointer)
            self.row_words = pointer.count
        self.states = list(self.inside._generated["fsm"].encoding)
        self.done = Signal(range(spec.neurons + 1))
        self.flight: list[Any] = []
        self.words: list[Any] = []
        self._follow_neurons()
        if spec.learning:
            self.engine = design.submodule(self.inside, "learning")
            self._follow_learning()
        if spec.classes:
            self.tester = design.submodule(self.inside, "termination")
            self._follow_termination()

    def signal(self, name: str) -> Any:
        """A signal of the core."""
        return self.design.signal(self.inside, name)

    def at(self, *names: str) -> Any:
        """Whether the core is in one of these states; those that it lacks are left out."""
        found = Const(0)
        for name in names:
            if name in self.states:
                found = found | self.design.state(self.inside, name)
        return found

    def _follow_neurons(self) -> None:
        """Lemmas about states and the order of neurons, on which all others build."""
        design, spec, path = self.design, self.spec, self.path
        place, waiting, issue = (self.signal(name) for name in ("place", "waiting", "issue_neuron"))
        neurons, latency = spec.neurons, path.latency
        design.lemma(design.states(self.inside), "the core is in one of its states")
        with design.m.If(self.at("DRAIN")):
            design.m.d.sync += self.done.eq(0)
        with design.m.If(path.out_valid):
            design.m.d.sync += self.done.eq(self.done + 1)
        self.flight = flight = design.history(issue, latency)
        design.lemma(path.out_valid == flight[-1], "a neuron comes after the latency")
        updating = self.at("NEURONS", "FLUSH")
        design.lemma(updating | ~sum(flight).any(), "neurons come only in their time")
        under_way = self.done + sum(flight)
        design.lemma(~self.at("NEURONS") | (under_way == place), "each neuron comes once")
        design.lemma(~self.at("FLUSH", *AFTER) | (under_way == neurons), "all neurons come")
        design.lemma(~self.at("NEURONS") | (place < neurons), "no neuron beyond the last")
        design.lemma(self.at("NEURONS", "CLEAR") | (place == 0) | self.at("IDLE"), "place is 0")
        design.lemma(~self.at("FLUSH") | (waiting <= latency), "the pipeline is waited for")
        # The last neuron went ``latency + 1 - waiting`` cycles ago.
        for cycles, bit in enumerate(flight):
            gone = (waiting + cycles >= latency) | ~bit
            design.lemma(~self.at("FLUSH") | gone, "the pipeline runs empty")
        design.lemma(place <= spec.sources, "place is one of a source, or after the last")
        parts = bus_words(spec, Space.PARAMETERS) if self.core.implementation.shared else 1
        design.lemma(path.find == sum(flight[:parts]).any(), "parameters are read for a neuron")

    def _follow_learning(self) -> None:
        """Lemmas about the learning engine and the words that it and the core work on."""
        design, engine, at = self.design, self.engine, self.at
        synapses = self.inside.submodules.synapses
        active, waiting = self.signal("active"), self.signal("waiting")
        design.lemma(design.states(engine), "the engine is in one of its states")
        learning = ~design.state(engine, "IDLE")
        design.lemma(learning == at("LEARNING"), "the engine runs when the core waits for it")
        design.lemma(~learning | active, "it runs only if the core learns")
        changes = active != design.last(active)
        design.lemma(~changes | design.last(at("IDLE")), "rules stay in a step")

        latency = SynapseUnit.LATENCY
        self.words = words = design.history(synapses.issue, latency)
        written = design.last(synapses.issue & active, latency)
        design.lemma(synapses.write == written, "words are written after the latency")
        working = at("POINTER", "ROW", "SOURCE", "DRAIN", "LEARNING")
        design.lemma(working | ~sum(words).any(), "words are worked on only in their time")
        settling = design.signal(engine, "waiting")
        pauses = [(at("DRAIN"), waiting)]
        pauses += [
            (design.state(engine, name), settling)
            for name in ("SETTLE", "LAST")
            if name in engine._generated["fsm"].encoding
        ]
        if "COLUMN" in engine._generated["fsm"].encoding:
            pauses.append((design.state(engine, "COLUMN"), Const(0) - 1))
        for pause, left in pauses:
            # The last word went ``latency - left`` cycles ago, or earlier.
            for cycles, bit in enumerate(words):
                gone = (left + cycles + 1 >= latency) | ~bit
                design.lemma(~pause | gone, "the pipeline runs empty")

    def _follow_termination(self) -> None:
        """Lemmas about dynamic termination: when it looks into its table."""
        design, tester = self.design, self.tester
        adds, asked, place, waiting = (
            design.state(tester, "ADD"),
            *(design.signal(tester, name) for name in ("asked", "place", "waiting")),
        )
        design.lemma(design.states(tester), "the test is in one of its states")
        testing = ~design.state(tester, "IDLE")
        design.lemma(testing == self.at("TESTING"), "it tests when the core waits for it")
        design.lemma(adds | (asked == 0), "it looks up only while it adds")
        last = TerminationUnit.LATENCY - 1
        count = self.inside.submodules.server.control["class_count"]
        design.lemma(~adds | (place == count) | (waiting == last), "it waits after the last class")
        design.lemma(~adds | (waiting <= last), "it waits for the pipeline")
        for cycles in range(len(asked)):
            gone = (waiting + cycles >= last) | ~asked[cycles]
            design.lemma(~adds | gone, "the pipeline runs empty")
