"""The core: memories, event-driven synapses, the neuron pipeline and learning, in sequence."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import (
    BUS_BITS,
    COUNTERS,
    DECIDED_BIT,
    CoreSpec,
    Rule,
    Space,
    memory_depth,
    row_fields,
)
from dyncc_hw.fixed import layout_of, saturate
from dyncc_hw.neurocorex.bus import BUS, BusServer
from dyncc_hw.neurocorex.implementation import STANDARD, Implementation
from dyncc_hw.neurocorex.learning import LearningEngine
from dyncc_hw.neurocorex.memories import CoreMemories, narrow_spaces
from dyncc_hw.neurocorex.neuron_path import NeuronPath
from dyncc_hw.neurocorex.synapses import SynapseUnit, index_bits
from dyncc_hw.neurocorex.termination import TerminationUnit


class Core(wiring.Component):
    """A NeuroCoreX core.

    After reset, and after a write of 1 to the register ``clear``, it forgets spikes, sums and
    traces, in as many cycles as it has sources.

    Parameters
    ----------
    implementation
        Multipliers and memories: changes cycles and resources, and no result.

    Members
    -------
    bus
        Programming; requests are held until `done`, which comes only while the core is idle.
    events_in
        Input lines that spike in the next step; taken while the core is idle. Numbers beyond the
        last line are dropped.
    events_out
        Neurons that fired, in order of their number; those of a step come before those of the
        next. The core waits for all of them to be taken before it starts another step.
    start
        Starts a step, while `busy` is low.
    busy
        High from the cycle after `start` until the step is done.
    step_done
        High in the last cycle of a step.
    decided, winner
        Whether the test of dynamic termination holds after the last step, and for which class.
    """

    def __init__(self, spec: CoreSpec, implementation: Implementation = STANDARD) -> None:
        self.spec, self.implementation = spec, implementation
        super().__init__(
            {
                "bus": In(BUS),
                "events_in": In(stream.Signature(index_bits(max(1, spec.inputs)))),
                "events_out": Out(stream.Signature(index_bits(spec.neurons))),
                "start": In(1),
                "busy": Out(1),
                "step_done": Out(1),
                "decided": Out(1),
                "winner": Out(index_bits(max(1, spec.classes))),
            }
        )

    @staticmethod
    def step_cycles(
        spec: CoreSpec,
        spikes: int,
        fired: int = 0,
        words: int = 0,
        classes: int = 0,
        implementation: Implementation = STANDARD,
    ) -> int:
        """Bound on the cycles of a step.

        Parameters
        ----------
        spikes
            Sources that are delivered.
        fired
            Neurons that fire, if the core learns in this step.
        words
            In a sparse core, words of synapses of the sources that are delivered.
        classes
            Neurons that dynamic termination watches.
        """
        interval, latency = NeuronPath.cycles(spec, implementation)
        pace = 2 if spec.learning and implementation.single else 1
        row = words * pace + 3 * spikes if spec.sparse else spikes * max(spec.row_words * pace, 2)
        found = row + spec.neurons * interval + latency + SynapseUnit.LATENCY + 4 + pace
        if spec.learning:
            found += spec.sources + LearningEngine.TRACE_OVERHEAD
            if spec.sparse:
                scan = spec.synapse_words * pace + 3 * spec.sources
                found += LearningEngine.COLUMN_OVERHEAD + (scan if fired else 0)
            else:
                column = (spec.sources + 1) * pace - 1 + LearningEngine.COLUMN_OVERHEAD
                found += fired * column
        return found + (classes + TerminationUnit.LATENCY + 3 if spec.classes else 0)

    def elaborate(self, platform: Any) -> Module:
        """Build the memories, the bus, the units, the sequencer."""
        m = Module()
        spec, single = self.spec, self.implementation.single
        neurons, words, lanes, sources = spec.neurons, spec.row_words, spec.lanes, spec.sources
        m.submodules.server = server = BusServer(spec, narrow_spaces(self.implementation))
        control = server.control
        wiring.connect(m, wiring.flipped(self.bus), server.bus)
        memories = CoreMemories(m, spec, self.implementation, server)
        reads, writes, read = memories.reads, memories.writes, memories.read
        # A FIFO of depth 2 has memory addresses of no bits, which Verilog does not know.
        depth = max(3, sources + 1)
        m.submodules.queue = queue = SyncFIFOBuffered(width=index_bits(sources), depth=depth)
        m.submodules.fired = fired = SyncFIFOBuffered(width=index_bits(neurons), depth=neurons + 2)
        m.submodules.path = path = NeuronPath(spec, self.implementation)
        m.submodules.synapses = synapses = SynapseUnit(spec)
        m.d.comb += [
            self.events_out.payload.eq(fired.r_data),
            self.events_out.valid.eq(fired.r_rdy),
            fired.r_en.eq(self.events_out.ready),
        ]

        pointer = Signal(layout_of(row_fields(spec)))
        if spec.sparse:
            m.d.comb += pointer.as_value().eq(reads[Space.ROWS].data)

        # --- sequencer ------------------------------------------------------------------------
        # Amaranth takes the names of signals from assignments of one.
        idle = Signal()
        begin = Signal()
        clearing = Signal()
        place = Signal(range(sources + 1))
        issue_row = Signal()
        issue_neuron = Signal()
        start_learning = Signal()
        learning_done = Signal()
        pending = Signal(range(sources + 2))
        word = Signal(range(max(2, words)))
        row = Signal(range(max(2, memory_depth(spec, Space.WEIGHTS) + 1)))
        left = Signal(range(max(2, memory_depth(spec, Space.WEIGHTS) + 1)))
        waiting = Signal(range(max(SynapseUnit.LATENCY, path.latency + 1)))
        beat = Signal(range(max(2, path.interval)))
        # Whether words of synapses may be worked on. With one port they are written by learning an
        # odd number of cycles after they were read, so that reads are kept to even cycles.
        turn = Signal()
        active = Signal()
        if single:
            m.d.sync += turn.eq(~turn | ~active)
        else:
            m.d.comb += turn.eq(1)
        pop = Signal()
        source = Signal(index_bits(sources))
        m.d.comb += [queue.r_en.eq(pop), source.eq(queue.r_data)]
        counters = {
            item.name: Signal(
                signed(BUS_BITS) if item.signed else unsigned(BUS_BITS), name=item.name
            )
            for item in COUNTERS[:-1]
        }
        with m.If(pop):
            m.d.sync += pending.eq(pending - 1)

        def fetch(index: Any) -> None:
            """Begin with the row of a source of a dense core."""
            m.d.sync += [row.eq(index * words), word.eq(0), left.eq(words - 1)]

        with m.FSM(init="CLEAR"):
            with m.State("CLEAR"):
                m.d.comb += [clearing.eq(1), queue.r_en.eq(1), fired.r_en.eq(1)]
                m.d.sync += place.eq(place + 1)
                with m.If(place == sources):
                    m.d.sync += [counter.eq(0) for counter in counters.values()]
                    m.d.sync += place.eq(0)
                    m.next = "IDLE"
            with m.State("IDLE"):
                accepted = self.events_in.payload < spec.inputs if spec.inputs else Const(0)
                m.d.comb += [
                    idle.eq(1),
                    self.events_in.ready.eq(queue.w_rdy),
                    queue.w_en.eq(self.events_in.valid & accepted),
                    queue.w_data.eq(self.events_in.payload),
                ]
                m.d.sync += place.eq(0)
                with m.If(queue.w_en & queue.w_rdy):
                    m.d.sync += counters["input_spikes"].eq(counters["input_spikes"] + 1)
                with m.If(server.clear):
                    m.next = "CLEAR"
                with m.Elif(self.start):
                    m.next = "LOAD"
            with m.State("LOAD"):
                # The queue's level is settled now, also after an event of the last cycle.
                m.d.sync += pending.eq(queue.level)
                with m.If(~fired.r_rdy & (fired.level == 0)):
                    m.d.comb += begin.eq(1)
                    m.d.sync += counters["steps"].eq(counters["steps"] + 1)
                    m.next = "SOURCE"
            with m.State("SOURCE"):
                m.d.sync += waiting.eq(SynapseUnit.LATENCY - 1)
                with m.If(pending == 0):
                    m.next = "DRAIN"
                with m.Elif(queue.r_rdy):
                    m.d.comb += pop.eq(1)
                    fetch(source)
                    m.next = "POINTER" if spec.sparse else "ROW"
            if spec.sparse:
                with m.State("POINTER"):
                    m.d.sync += [row.eq(pointer.first), left.eq(pointer.count - 1)]
                    m.next = "ROW"
                    with m.If(pointer.count == 0):
                        m.next = "SOURCE"
            with m.State("ROW"), m.If(turn):
                m.d.comb += issue_row.eq(1)
                m.d.sync += [row.eq(row + 1), word.eq(word + 1), left.eq(left - 1)]
                with m.If(left == 0):
                    if spec.sparse:
                        m.next = "SOURCE"
                    else:
                        # The next source is fetched in the cycle of the last word.
                        with m.If((pending != 0) & queue.r_rdy):
                            m.d.comb += pop.eq(1)
                            fetch(source)
                        with m.Else():
                            m.next = "SOURCE"
            with m.State("DRAIN"):
                m.d.sync += [waiting.eq(waiting - 1), beat.eq(0)]
                with m.If(waiting == 0):
                    m.next = "NEURONS"
            with m.State("NEURONS"):
                m.d.sync += beat.eq(beat - 1)
                with m.If(beat == 0):
                    m.d.comb += issue_neuron.eq(1)
                    m.d.sync += [place.eq(place + 1), beat.eq(path.interval - 1)]
                    with m.If(place == neurons - 1):
                        m.d.sync += [waiting.eq(path.latency), place.eq(0)]
                        m.next = "FLUSH"
            after = "LEARN" if spec.learning else "TEST" if spec.classes else "DONE"
            with m.State("FLUSH"):
                m.d.sync += waiting.eq(waiting - 1)
                with m.If(waiting == 0):
                    m.next = after
            if spec.learning:
                with m.State("LEARN"):
                    m.d.comb += start_learning.eq(1)
                    m.next = "LEARNING"
                    with m.If(learning_done):
                        m.next = "TEST" if spec.classes else "DONE"
                with m.State("LEARNING"), m.If(learning_done):
                    m.next = "TEST" if spec.classes else "DONE"
            if spec.classes:
                tester = TerminationUnit(spec, control)
                m.submodules.termination = tester
                m.d.comb += [
                    tester.table.eq(reads[Space.TABLE].data),
                    tester.begin.eq(begin | clearing),
                    tester.valid.eq(path.out_valid),
                    tester.index.eq(path.out_tag),
                    tester.potential.eq(path.out_state.v),
                    tester.steps.eq(counters["steps"]),
                    self.decided.eq(tester.decided),
                    self.winner.eq(tester.winner),
                ]
                with m.State("TEST"):
                    m.d.comb += tester.test.eq(1)
                    m.next = "TESTING"
                with m.State("TESTING"), m.If(tester.done):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.step_done.eq(1)
                m.next = "IDLE"
        if spec.classes:
            read(tester.look_up, Space.TABLE, tester.entry)
        if spec.sparse:
            read(pop, Space.ROWS, source)
        m.d.comb += [
            server.idle.eq(idle),
            self.busy.eq(~idle & ~clearing),
        ]

        # --- synapses ---------------------------------------------------------------------------
        m.d.comb += [
            synapses.issue.eq(issue_row),
            synapses.address.eq(row),
            synapses.word.eq(word),
            synapses.weights.eq(reads[Space.WEIGHTS].data),
        ]
        read(synapses.issue, Space.WEIGHTS, synapses.address)
        traces: dict[Space, Any] = {}
        if spec.learning:
            m.d.comb += active.eq(control["rule"] != Rule.OFF)
            m.submodules.learning = engine = LearningEngine(spec, control)
            drift = counters["drift"]
            m.d.comb += [
                engine.arrived.eq(pop & ~clearing),
                engine.source.eq(source),
                engine.updated.eq(path.out_valid),
                engine.neuron.eq(path.out_tag),
                engine.fired.eq(path.fired),
                engine.clear.eq(clearing & (place < sources)),
                engine.clear_index.eq(place),
                engine.pointer.eq(pointer),
                engine.peek.eq(server.index),
                engine.start.eq(start_learning),
                engine.turn.eq(turn),
                learning_done.eq(engine.done),
                synapses.active.eq(active),
                synapses.rule.eq(control["rule"]),
                synapses.low.eq(control["weight_min"]),
                synapses.high.eq(control["weight_max"]),
                synapses.drift.eq(drift),
                synapses.growth.eq(engine.growth),
                synapses.depress.eq(engine.depress),
                synapses.depress_index.eq(engine.depress_index),
                synapses.depression.eq(engine.depression),
                synapses.mark.eq(path.out_valid),
                synapses.mark_index.eq(path.out_tag),
                synapses.marked.eq(path.fired),
            ]
            with m.If(engine.issue):
                m.d.comb += [
                    synapses.issue.eq(1),
                    synapses.column.eq(1),
                    synapses.address.eq(engine.row),
                    synapses.word.eq(engine.word),
                    synapses.mask.eq(engine.mask),
                ]
            with m.If(synapses.write):
                m.d.comb += [
                    writes[Space.WEIGHTS].addr.eq(synapses.write_address),
                    writes[Space.WEIGHTS].data.eq(synapses.write_data),
                    writes[Space.WEIGHTS].en.eq(1),
                ]
            traces = {Space.PRE: engine.pre, Space.POST: engine.post}
            if spec.sparse:
                read(engine.find, Space.ROWS, engine.find_index)
            with m.If(start_learning & active):
                gained = saturate(drift + control["drift"], len(synapses.drift))
                m.d.sync += drift.eq(gained)

        memories.answer(server, traces)

        # --- neurons ------------------------------------------------------------------------------
        lane_bits, total = lanes.bit_length() - 1, spec.accumulator_bits
        lane = path.taken_index[:lane_bits] if lane_bits else 0
        read(issue_neuron, Space.ASSIGNMENT, place)
        read(issue_neuron, Space.STATE, place)
        read(path.find, Space.PARAMETERS, path.find_index)
        m.d.comb += [
            path.issue.eq(issue_neuron),
            path.index.eq(place),
            path.assigned.eq(reads[Space.ASSIGNMENT].data),
            path.state.eq(reads[Space.STATE].data),
            path.parameters.eq(reads[Space.PARAMETERS].data),
            synapses.sum_word.eq(place >> lane_bits),
            path.accumulated.eq(synapses.sums.word_select(lane, total)),
            synapses.clear.eq(path.taken | (clearing & (place < neurons))),
            synapses.clear_index.eq(Mux(clearing, place, path.taken_index)),
        ]

        # --- results -----------------------------------------------------------------------------
        with m.If(path.out_valid):
            m.d.comb += [
                writes[Space.STATE].addr.eq(path.out_tag),
                writes[Space.STATE].data.eq(path.out_state),
                writes[Space.STATE].en.eq(1),
                queue.w_en.eq(path.arrives),
                queue.w_data.eq(path.out_tag + spec.inputs),
                fired.w_en.eq(path.fired),
                fired.w_data.eq(path.out_tag),
            ]
            with m.If(path.fired):
                m.d.sync += counters["spikes"].eq(counters["spikes"] + 1)

        # --- counters ----------------------------------------------------------------------------
        lanes_now = Mux(word == words - 1, neurons - (words - 1) * lanes, lanes)
        added = synapses.added if spec.sparse else Mux(issue_row, lanes_now, 0)
        status = Cat(self.winner, Const(0, DECIDED_BIT - len(self.winner)), self.decided)
        values = [*counters.values(), status]
        m.d.comb += server.counters.eq(Cat(values))
        increments = {
            "cycles": self.busy,
            "synaptic_operations": added,
            "weight_reads": synapses.issue,
            "weight_writes": synapses.issue & active,
        }
        with m.If(self.busy):
            m.d.sync += [counters[name].eq(counters[name] + by) for name, by in increments.items()]
        return m
