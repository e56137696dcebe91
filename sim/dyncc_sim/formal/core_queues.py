"""The FIFOs of a core never over- or underflow, and memories of one port are used once a cycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth import Const, Module
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In

from dyncc.arch.neurocorex import CoreSpec, spaces
from dyncc_hw.blockmemory import BlockMemory
from dyncc_hw.neurocorex.bus import BusServer
from dyncc_hw.neurocorex.implementation import STANDARD, Implementation
from dyncc_hw.neurocorex.memories import SinglePortMemory
from dyncc_hw.neurocorex.neuron_path import NeuronPath
from dyncc_hw.neurocorex.synapses import SynapseUnit
from dyncc_sim.formal.core_probe import AFTER, FETCH, CoreProbe
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced, size_of


def queues(spec: CoreSpec, implementation: Implementation) -> Callable[[Design], None]:
    """Any host, any network, any reset."""

    def build(design: Design) -> None:
        probe = CoreProbe(design, spec, implementation)
        queue, fired, path, at = probe.queue, probe.fired, probe.path, probe.at
        pop, pending = probe.signal("pop"), probe.signal("pending")
        design.claim(~(path.out_valid & path.arrives) | queue.w_rdy, "the spike queue has room")
        design.claim(~(path.out_valid & path.fired) | fired.w_rdy, "the fired FIFO has room")
        design.claim(~pop | (queue.r_rdy & (pending != 0)), "no source is taken from nothing")
        design.claim(~at("DRAIN") | (queue.level == 0), "all sources are delivered")
        cleared = design.last(at("CLEAR")) & at("IDLE")
        design.claim(~cleared | (queue.level + fired.level == 0), "clear forgets all spikes")
        spike_queue(probe)
        if spec.learning and not spec.sparse:
            columns = probe.engine.submodules.columns
            design.claim(~columns.w_en | columns.w_rdy, "the FIFO of columns has room")
            learning_queue(probe)

        taken = design.last(probe.core.events_in.ready & probe.core.events_in.valid)
        before = design.last(queue.level, spec.sources + 1)
        design.reaches(at("DONE") & (queue.level == spec.neurons), "all neurons spike")
        design.reaches(~queue.w_rdy, "a queue full of input spikes")
        design.reaches(taken & (queue.level == 2), "input spikes")
        design.reaches(cleared & (before != 0), "clear with spikes")

    return build


def spike_queue(probe: CoreProbe) -> None:
    """Lemmas about the spike queue and the FIFO of neurons that fired."""
    design, at, done = probe.design, probe.at, probe.done
    queue, fired, pending = probe.queue, probe.fired, probe.signal("pending")
    place, spec = probe.signal("place"), probe.spec
    design.lemma(~at(*FETCH) | (queue.level == pending), "pending counts the sources")
    design.lemma(~at(*FETCH) | (queue.r_rdy == (pending != 0)), "the next source is there")
    design.lemma(~at("DRAIN") | (queue.level == 0), "all sources are delivered")
    design.lemma(~at(*FETCH, "DRAIN") | (fired.level == 0), "events of one step")
    updating = at("NEURONS", "FLUSH", *AFTER)
    design.lemma(~updating | (queue.level <= done), "a spike of each neuron at most")
    design.lemma(~updating | (fired.level <= done), "an event of each neuron at most")
    design.lemma(~at("IDLE", "LOAD") | (fired.level <= spec.neurons), "events of one step")
    left = spec.sources + 1 - place
    clearing = at("CLEAR") & (place != 0)
    design.lemma(~clearing | (queue.level <= left), "the queue runs empty")
    design.lemma(~clearing | (queue.r_rdy == (queue.level != 0)), "the next source is there")
    design.lemma(~at("CLEAR") | (fired.level <= left), "the FIFO runs empty")


def learning_queue(probe: CoreProbe) -> None:
    """Lemmas about the FIFO of columns, in the learning engine of a dense core."""
    design, at, done = probe.design, probe.at, probe.done
    columns, active = probe.engine.submodules.columns, probe.signal("active")
    filled = at("NEURONS", "FLUSH", "LEARN")
    design.lemma(filled | at("LEARNING") | (columns.level == 0), "it is empty between steps")
    design.lemma(~filled | (columns.level <= done), "a column of each neuron at most")
    design.lemma(~filled | active | (columns.level == 0), "no column if the core does not learn")
    design.lemma(~at("LEARNING") | (columns.level <= probe.spec.neurons), "no more columns come")


def ports(spec: CoreSpec, implementation: Implementation) -> Callable[[Design], None]:
    """Any host that asks for one thing at a time, any network, any reset."""

    def build(design: Design) -> None:
        probe = CoreProbe(design, spec, implementation)
        bus = probe.core.bus
        design.assume(~(bus.read & bus.write))
        for space in spaces(spec):
            store = getattr(probe.inside.submodules, space.name.lower(), None)
            if isinstance(store, BlockMemory | SinglePortMemory):
                both = store.read.en & store.write.en
                design.claim(~both, f"{space.name} is read or written")
                design.reaches(store.read.en, f"{space.name} is read")
                design.reaches(store.write.en, f"{space.name} is written")
        if implementation.single and spec.learning:
            # Words are read in even cycles and written in odd ones.
            turn, active = probe.signal("turn"), probe.signal("active")
            for cycles, bit in enumerate(probe.words):
                design.lemma(~(bit & active) | (turn == cycles % 2), "words keep to their turns")

    return build


def shorter(by: int) -> Callable[..., Any]:
    """FIFOs with fewer places."""
    return lambda width, depth: SyncFIFOBuffered(width=width, depth=depth - by)


def impatient(*arguments: Any) -> Any:
    """A bus server that serves while the core works."""
    server: Any = BusServer(*arguments)
    right, idle = server.elaborate, server.idle

    def elaborate(platform: Any) -> Any:
        server.idle = Const(1)
        module = right(platform)
        server.idle = idle
        return module

    server.elaborate = elaborate
    return server


class SlowSynapseUnit(SynapseUnit):
    """A synapse unit that writes words a cycle too late."""

    def elaborate(self, platform: Any) -> Module:
        """Put a register behind the outputs."""
        m = Module()
        m.submodules.unit = unit = SynapseUnit(self.spec)
        for path, member, port in self.signature.flatten(self):
            (name,) = path
            inner = getattr(unit, name)
            if member.flow == In:
                m.d.comb += inner.eq(port)
            elif name.startswith("write"):
                m.d.sync += port.eq(inner)
            else:
                m.d.comb += port.eq(inner)
        return m


FIFO = "dyncc_hw.neurocorex.core.SyncFIFOBuffered"
CASES = {
    "dense": (CoreSpec(2, 1, lanes=2), STANDARD),
    "sparse": (CoreSpec(2, 1, synapse_words=1), STANDARD),
    "learning": (CoreSpec(2, 1, learning=True), STANDARD),
    "small": (CoreSpec(2, 1, learning=True), Implementation("shared", "single")),
}
#: Has a memory that no other has.
TABLES = {"classes": (CoreSpec(2, 1, classes=1), STANDARD)}
SERVES_ALWAYS = {
    "requests are served while it works": replaced("dyncc_hw.neurocorex.core.BusServer", impatient)
}
WRITES_LATE = {
    "words are written a cycle late": replaced(
        "dyncc_hw.neurocorex.core.SynapseUnit", SlowSynapseUnit
    )
}


def _depth(spec: CoreSpec, implementation: Implementation) -> int:
    return NeuronPath.cycles(spec, implementation)[1] + 3


PROPERTIES = [
    *(
        Property(
            f"core queues, {name}",
            "The spike queue and the FIFO of fired neurons never over- or underflow, and clear "
            "empties them.",
            size_of(*case),
            queues(*case),
            depth=_depth(*case),
            reach=50,
            faults={"FIFOs are three places shorter": replaced(FIFO, shorter(3))},
            slow=name == "small",
        )
        for name, case in CASES.items()
    ),
    *(
        Property(
            f"memory ports, {name}",
            "No memory with one port is read and written in the same cycle.",
            size_of(*case),
            ports(*case),
            depth=_depth(*case),
            reach=50,
            faults=SERVES_ALWAYS | (WRITES_LATE if case[1].single else {}),
            slow=name == "small",
        )
        for name, case in (CASES | TABLES).items()
        if name != "learning"
    ),
]
