"""A step of a core ends within its documented cycles, whatever the network and the host do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth import Const, Mux, Signal

from dyncc.arch.neurocorex import CoreSpec
from dyncc_hw.neurocorex.core import Core
from dyncc_hw.neurocorex.implementation import STANDARD, Implementation
from dyncc_hw.neurocorex.neuron_path import NeuronPath
from dyncc_hw.neurocorex.plasticity import TraceUnit
from dyncc_hw.neurocorex.synapses import SynapseUnit
from dyncc_hw.neurocorex.termination import TerminationUnit
from dyncc_sim.formal.core_probe import FETCH, CoreProbe
from dyncc_sim.formal.core_queues import learning_queue, spike_queue
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced, size_of


def bound(spec: CoreSpec, implementation: Implementation) -> Callable[[Design], None]:
    """Counts the cycles of a step, and those that are left at most.

    What is left falls by one in each cycle at least, and what a step may take grows only with the
    words and neurons that it meets. So a step ends.
    """

    def build(design: Design) -> None:
        probe = CoreProbe(design, spec, implementation)
        spike_queue(probe)
        if spec.learning and not spec.sparse:
            learning_queue(probe)
        steps = _Cycles(probe)
        within = steps.cycles < steps.bound
        design.claim(~steps.running | within, "a step ends within its bound")
        for name, left in steps.left().items():
            design.lemma(~probe.at(name) | (steps.cycles + left <= steps.bound), f"left in {name}")
        done = probe.at("DONE")
        design.reaches(done & (steps.spikes == spec.sources), "all sources deliver")
        design.reaches(done & (steps.fired != 0), "a neuron fires")

    return build


class _Cycles:
    """Ghost counters of a step.

    Attributes
    ----------
    running
        From the cycle after the step began to its last.
    cycles
        Cycles before this one.
    spikes, words, fired, scanned
        Sources delivered, words of their rows, neurons that fired while the core learns, words
        that the learning engine looked through.
    bound
        The documented bound for a step that meets no more than that.
    """

    def __init__(self, probe: CoreProbe) -> None:
        self.probe = probe
        self.spec, self.implementation = probe.spec, probe.core.implementation
        self.cycles, self.spikes = Signal(12), Signal(8)
        self.words, self.fired, self.scanned = Signal(10), Signal(8), Signal(10)
        self.pace = 2 if self.spec.learning and self.implementation.single else 1
        at, m = probe.at, probe.design.m
        begin = probe.signal("begin")
        self.running = ~at("IDLE", "CLEAR", "LOAD")
        with m.If(begin):
            m.d.sync += [
                self.cycles.eq(1),
                self.spikes.eq(probe.queue.level),
                *(ghost.eq(0) for ghost in (self.words, self.fired, self.scanned)),
            ]
        with m.Elif(self.running):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        if self.spec.sparse:
            with m.If(at("POINTER")):
                m.d.sync += self.words.eq(self.words + probe.row_words)
        learns = probe.signal("active") if self.spec.learning else 1
        with m.If(probe.path.out_valid & probe.path.fired & learns):
            m.d.sync += self.fired.eq(self.fired + 1)
        if self.spec.learning and self.spec.sparse:
            with m.If(probe.design.state(probe.engine, "POINTER")):
                m.d.sync += self.scanned.eq(self.scanned + probe.row_words)
        self.bound = self._bound()
        design = probe.design
        design.lemma(~at(*FETCH, "DRAIN") | (self.fired == 0), "no neuron fired yet")
        later = at("NEURONS", "FLUSH")
        design.lemma(~later | (self.fired <= probe.done), "a neuron fires once")
        design.lemma(self.spikes <= probe.queue.depth, "no more spikes than the queue holds")
        if self.spec.sparse:
            most = (1 << len(probe.row_words)) - 1
            coming = probe.signal("pending") + at("POINTER")
            known = self.words + coming * most <= self.spikes * most
            design.lemma(~at(*FETCH) | known, "words of as many rows")

    def _bound(self) -> Any:
        """`Core.step_cycles`, which is affine in all but whether a neuron fired."""

        def of(spikes: int, fired: int, words: int, classes: int) -> int:
            numbers = (spikes, fired, words, classes)
            return Core.step_cycles(self.spec, *numbers, self.implementation)

        least = of(0, 0, 0, 0)
        found = (
            least
            + self.spikes * (of(1, 0, 0, 0) - least)
            + self.words * (of(0, 0, 1, 0) - least)
            + self.classes * (of(0, 0, 0, 1) - least)
        )
        a_column = of(0, 1, 0, 0) - least
        if not self.spec.sparse:
            return found + self.fired * a_column
        # A host may have the engine look through more words than there are.
        beyond = Mux(
            self.scanned > self.spec.synapse_words, self.scanned - self.spec.synapse_words, 0
        )
        return found + Mux(self.fired != 0, a_column, 0) + beyond * self.pace

    @property
    def classes(self) -> Any:
        """Neurons that dynamic termination watches."""
        if not self.spec.classes:
            return Const(0)
        return self.probe.inside.submodules.server.control["class_count"]

    def left(self) -> dict[str, Any]:
        """Most cycles that are left in a state, with this one, if nothing more is met."""
        probe, spec, pace = self.probe, self.spec, self.pace
        path, signal = probe.path, probe.signal
        waiting, pending, turn = signal("waiting"), signal("pending"), signal("turn")
        place, beat, row = signal("place"), signal("beat"), signal("left")
        found: dict[str, Any] = {"DONE": Const(1)}
        after = found["DONE"]
        if spec.classes:
            found["TESTING"] = self._testing() + after
            after = self.classes + TerminationUnit.LATENCY + 2 + after
            found["TEST"] = after
        if spec.learning:
            found["LEARNING"] = self._learning() + after
            after = 1 + Mux(signal("active"), self._all_learning(), 0) + after
            found["LEARN"] = after
        found["FLUSH"] = waiting + 1 + after
        pipeline = path.latency + 1 + after
        found["NEURONS"] = beat + 1 + (spec.neurons - 1 - place) * path.interval + pipeline
        neurons = 1 + (spec.neurons - 1) * path.interval + pipeline
        found["DRAIN"] = waiting + 1 + neurons
        rest = SynapseUnit.LATENCY + neurons
        if spec.sparse:
            found["SOURCE"] = 1 + 2 * pending + rest
            found["POINTER"] = 1 + found["SOURCE"]
            found["ROW"] = (row + 1) * pace - (pace - 1) * turn + found["SOURCE"]
        else:
            rows = pending * spec.row_words
            found["SOURCE"] = 1 + Mux(pending == 0, 0, rows * pace + 1) + rest
            found["ROW"] = (row + 1 + rows) * pace - (pace - 1) * turn + 1 + rest
            in_row = ~probe.at("ROW") | (row < spec.row_words)
            probe.design.lemma(in_row, "a row has so many words")
        probe.design.lemma(beat < path.interval, "a neuron goes when its time comes")
        return found

    def _testing(self) -> Any:
        """Cycles left of dynamic termination."""
        design, tester = self.probe.design, self.probe.tester
        adds = design.state(tester, "ADD")
        place, waiting = design.signal(tester, "place"), design.signal(tester, "waiting")
        design.lemma(~adds | (place <= self.classes), "classes are counted")
        return Mux(adds, self.classes - place + waiting + 2, 1)

    def _all_learning(self) -> Any:
        """Cycles of the learning engine after its start."""
        spec = self.spec
        traces = spec.sources + TraceUnit.LATENCY + 1
        if spec.sparse:
            rows = Mux(self.fired != 0, 2 * spec.sources + self._unseen(), 0)
            return traces + rows + 1 + SynapseUnit.LATENCY
        return traces + self.fired * self._column() + 1

    def _unseen(self) -> Any:
        """Cycles for the words that the learning engine may still look through."""
        words = self.spec.synapse_words
        return Mux(self.scanned < words, words - self.scanned, 0) * self.pace

    def _column(self) -> int:
        return 1 + self.spec.sources * self.pace + SynapseUnit.LATENCY

    def _learning(self) -> Any:
        """Cycles left of the learning engine."""
        design, engine, spec, pace = self.probe.design, self.probe.engine, self.spec, self.pace
        place, waiting = design.signal(engine, "place"), design.signal(engine, "waiting")
        turn, sources = self.probe.signal("turn"), spec.sources
        before = self.probe.at("NEURONS", "FLUSH", "LEARN", "LEARNING")

        def at(name: str) -> Any:
            return design.state(engine, name)

        design.lemma(~at("TRACES") | (place < sources), "traces of sources")
        if spec.sparse:
            some = design.signal(engine, "any_fired")
            knows = before & ~at("LAST")
            design.lemma(~knows | (some == (self.fired != 0)), "the engine knows who fired")
            design.lemma(before | ~some, "nobody fired between steps")
            idle = ~before | self.probe.signal("active") | ~some
            design.lemma(idle, "nobody counts if the core does not learn")
            row = design.signal(engine, "left")
            end = 1 + SynapseUnit.LATENCY
            unseen = self._unseen()
            rows = Mux(some, 2 * sources + unseen, 0) + end
            later = 2 * (sources - 1 - place) + unseen + end
            states = {
                "ROW": Mux(some, 2 * (sources - place) + unseen, 0) + end,
                "POINTER": 1 + later,
                "WORD": (row + 1) * pace - (pace - 1) * turn + later,
                "LAST": waiting + 1,
            }
            design.lemma(~at("ROW") | (place <= sources), "rows of sources")
            most = (1 << len(self.probe.row_words)) - 1
            seen = Mux(at("WORD"), place + 1, Mux(at("ROW") | at("POINTER"), place, 0))
            looked = self.probe.at("LEARNING") & ~at("LAST")
            design.lemma(~looked | (self.scanned <= seen * most), "words of as many rows")
            earlier = self.probe.at(*FETCH, "DRAIN", "NEURONS", "FLUSH", "LEARN")
            design.lemma(~earlier | (self.scanned == 0), "no words looked through yet")
            design.lemma(~(at("POINTER") | at("WORD")) | (place < sources), "a row of a source")
        else:
            columns = engine.submodules.columns
            known = self.probe.at("NEURONS", "FLUSH", "LEARN")
            design.lemma(~known | (columns.level == self.fired), "the engine knows who fired")
            there = columns.r_rdy == (columns.level != 0)
            design.lemma(~self.probe.at("LEARNING") | there, "the next column is there")
            rows = columns.level * self._column() + 1
            words = (sources - place) * pace - (pace - 1) * turn
            states = {"COLUMN": rows, "WORD": words + SynapseUnit.LATENCY + rows}
            design.lemma(~at("WORD") | (place < sources), "a column of sources")
            design.lemma(~at("COLUMN") | (place == 0), "a column from its beginning")
        states["SETTLE"] = waiting + 1 + rows
        states["TRACES"] = sources - place + TraceUnit.LATENCY + 1 + rows
        found = Const(0)
        for name, left in states.items():
            found = Mux(at(name), left, found)
        return found


def closer(by: int) -> Callable[..., int]:
    """A bound that is so many cycles smaller."""
    right = Core.step_cycles
    return lambda *numbers, **how: right(*numbers, **how) - by


#: Core, how it is built, cycles by which the bound is too large or 1 if it is not, cycles in which
#: a step of it ends after reset.
CASES = {
    "dense": (CoreSpec(2, 1), STANDARD, 1, 35),
    "sparse": (CoreSpec(2, 1, synapse_words=1), STANDARD, 2, 40),
    "classes": (CoreSpec(2, 1, classes=2), STANDARD, 2, 42),
    "learning": (CoreSpec(2, 1, learning=True), STANDARD, 2, 50),
    "sparse learning": (CoreSpec(2, 1, learning=True, synapse_words=1), STANDARD, 6, 55),
    "small": (CoreSpec(1, 1, learning=True), Implementation("shared", "single"), 20, 70),
}

PROPERTIES = [
    Property(
        f"step bound, {name}",
        "A step ends within Core.step_cycles.",
        size_of(spec, implementation),
        bound(spec, implementation),
        depth=NeuronPath.cycles(spec, implementation)[1] + 3,
        reach=reach,
        faults={
            f"a bound {slack} cycles smaller": replaced(
                "dyncc_hw.neurocorex.core.Core.step_cycles", closer(slack)
            )
        },
        slow=spec.learning or spec.classes > 0,
    )
    for name, (spec, implementation, slack, reach) in CASES.items()
]
