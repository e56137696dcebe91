"""The learning engine: traces of all sources and neurons, then the columns of those that fired."""

from typing import Any

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import TRACE_BITS, CoreSpec, Rule, Space, memory_depth, row_fields
from dyncc_hw.fixed import layout_of
from dyncc_hw.neurocorex.plasticity import TraceUnit
from dyncc_hw.neurocorex.synapses import SynapseUnit, growth_shape, index_bits


class LearningEngine(wiring.Component):
    """Runs after the neurons of a step; rows were depressed when they were delivered.

    A dense core takes ``sources + 8`` cycles for each neuron that fired; a sparse one looks through
    all of its synapses once, if any neuron fired.

    Parameters
    ----------
    control
        Registers of the core.

    Members
    -------
    arrived, source
        A source is delivered in this step.
    updated, neuron, fired
        A neuron after the step, and whether it fired.
    clear, clear_index
        Forgets the traces of a source and a neuron.
    turn
        Whether a word of synapses may be worked on in this cycle.
    start, done
        Runs; `done` is high in the last cycle. Both are high at once if the rule is off.
    issue, row, word, mask, growth
        What the synapse unit is to do, in column mode.
    find, find_index, pointer
        In a sparse core, asks for the row of a source, which comes in the next cycle.
    depress, depress_index, depression
        For the synapse unit.
    peek, pre, post
        While it does not run: traces of a source and a neuron, in the next cycle.
    """

    #: Cycles of the pass over traces beside its sources, and of a column beside its sources.
    TRACE_OVERHEAD = TraceUnit.LATENCY + 4
    COLUMN_OVERHEAD = SynapseUnit.LATENCY + 3

    def __init__(self, spec: CoreSpec, control: dict[str, Any]) -> None:
        self.spec, self._control = spec, control
        source, neuron = unsigned(index_bits(spec.sources)), unsigned(index_bits(spec.neurons))
        super().__init__(
            {
                "arrived": In(1),
                "source": In(source),
                "updated": In(1),
                "neuron": In(neuron),
                "fired": In(1),
                "clear": In(1),
                "clear_index": In(source),
                "turn": In(1),
                "start": In(1),
                "done": Out(1),
                "issue": Out(1),
                "row": Out(index_bits(max(2, memory_depth(spec, Space.WEIGHTS)))),
                "word": Out(index_bits(spec.row_words)),
                "mask": Out(spec.lanes),
                "growth": Out(growth_shape(spec)),
                "find": Out(1),
                "find_index": Out(source),
                "pointer": In(layout_of(row_fields(spec))),
                "peek": In(source),
                "pre": Out(TRACE_BITS),
                "post": Out(TRACE_BITS),
                "depress": Out(1),
                "depress_index": Out(neuron),
                "depression": Out(17),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the memories, the trace unit and the sequencer."""
        m = Module()
        spec = self.spec
        sources, neurons, words = spec.sources, spec.neurons, spec.row_words
        lane_bits = spec.lanes.bit_length() - 1
        m.submodules.traces = traces = TraceUnit(spec, self._control)
        m.submodules.columns = columns = SyncFIFOBuffered(
            width=index_bits(neurons), depth=neurons + 2
        )

        def ports(name: str, shape: Any, depth: int) -> tuple[Any, Any]:
            store = memory.Memory(shape=shape, depth=max(2, depth), init=[])
            m.submodules[name] = store
            return store.read_port(), store.write_port()

        arrived, arrived_write = ports("arrived_flags", 1, sources)
        fired, fired_write = ports("fired_flags", 1, neurons)
        growth, growth_write = ports("growth", growth_shape(spec), sources)
        pre, pre_write = ports("pre", TRACE_BITS, sources)
        post, post_write = ports("post", TRACE_BITS, neurons)
        active = Signal()
        m.d.comb += active.eq(self._control["rule"] != Rule.OFF)

        # --- sequencer --------------------------------------------------------------------------
        place = Signal(range(sources + 1))
        waiting = Signal(range(16))
        column = Signal(index_bits(neurons))
        passing = Signal()
        row = Signal(range(max(2, memory_depth(spec, Space.WEIGHTS)) + words))
        left = Signal(range(max(2, memory_depth(spec, Space.WEIGHTS) + 1)))
        any_fired = Signal()
        following = "ROW" if spec.sparse else "COLUMN"
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += place.eq(0)
                with m.If(self.start):
                    with m.If(active):
                        m.next = "TRACES"
                    with m.Else():
                        m.d.comb += self.done.eq(1)
            with m.State("TRACES"):
                m.d.comb += passing.eq(1)
                m.d.sync += place.eq(place + 1)
                with m.If(place == sources - 1):
                    m.d.sync += waiting.eq(TraceUnit.LATENCY)
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                # Traces, or the words of a column, are written before they are read again.
                m.d.sync += [waiting.eq(waiting - 1), place.eq(0)]
                with m.If(waiting == 0):
                    m.next = following
            if spec.sparse:
                with m.State("ROW"):
                    m.d.comb += [self.find.eq(1), self.find_index.eq(place)]
                    m.next = "POINTER"
                    with m.If((place == sources) | ~any_fired):
                        m.d.sync += waiting.eq(SynapseUnit.LATENCY - 1)
                        m.next = "LAST"
                with m.State("POINTER"):
                    m.d.sync += [row.eq(self.pointer.first), left.eq(self.pointer.count - 1)]
                    m.next = "WORD"
                    with m.If(self.pointer.count == 0):
                        m.d.sync += place.eq(place + 1)
                        m.next = "ROW"
                with m.State("WORD"), m.If(self.turn):
                    m.d.comb += self.issue.eq(1)
                    m.d.sync += [row.eq(row + 1), left.eq(left - 1)]
                    with m.If(left == 0):
                        m.d.sync += place.eq(place + 1)
                        m.next = "ROW"
                with m.State("LAST"):
                    m.d.sync += [waiting.eq(waiting - 1), any_fired.eq(0)]
                    with m.If(waiting == 0):
                        m.d.comb += self.done.eq(1)
                        m.next = "IDLE"
            else:
                with m.State("COLUMN"):
                    m.d.sync += [column.eq(columns.r_data), row.eq(columns.r_data >> lane_bits)]
                    with m.If(columns.r_rdy):
                        m.d.comb += columns.r_en.eq(1)
                        m.next = "WORD"
                    with m.Elif(columns.level == 0):
                        m.d.comb += self.done.eq(1)
                        m.next = "IDLE"
                with m.State("WORD"), m.If(self.turn):
                    m.d.comb += self.issue.eq(1)
                    m.d.sync += [row.eq(row + words), place.eq(place + 1)]
                    with m.If(place == sources - 1):
                        m.d.sync += waiting.eq(SynapseUnit.LATENCY - 1)
                        m.next = "SETTLE"
        m.d.comb += [
            self.row.eq(row),
            self.word.eq(column >> lane_bits),
            self.mask.eq(1 << (column[:lane_bits] if lane_bits else 0)),
            growth.addr.eq(place),
            self.growth.eq(growth.data),
        ]

        # --- what happened in the step, and traces ------------------------------------------------
        valid = Signal()
        index = Signal(range(sources))
        m.d.sync += [valid.eq(passing), index.eq(place)]
        looked = Mux(passing, place, self.peek)
        m.d.comb += [
            pre.addr.eq(looked),
            post.addr.eq(looked),
            self.pre.eq(pre.data),
            self.post.eq(post.data),
            arrived.addr.eq(place),
            fired.addr.eq(place),
            traces.valid.eq(valid),
            traces.index.eq(index),
            traces.pre.eq(pre.data),
            traces.arrived.eq(arrived.data),
            traces.post.eq(post.data),
            traces.fired.eq(fired.data),
            fired_write.addr.eq(self.neuron),
            fired_write.data.eq(self.fired),
            fired_write.en.eq(self.updated),
            arrived_write.addr.eq(self.source),
            arrived_write.data.eq(1),
            arrived_write.en.eq(self.arrived & active),
            growth_write.addr.eq(traces.growth_index),
            growth_write.data.eq(traces.growth),
            growth_write.en.eq(traces.growth_valid),
            self.depress.eq(traces.depression_valid & (traces.depression_index < neurons)),
            self.depress_index.eq(traces.depression_index),
            self.depression.eq(traces.depression),
            columns.w_data.eq(self.neuron),
            columns.w_en.eq(self.updated & self.fired & active),
        ]
        if spec.sparse:
            m.d.comb += columns.w_en.eq(0)
            with m.If(self.updated & self.fired & active):
                m.d.sync += any_fired.eq(1)
        with m.If(traces.pre_valid):
            m.d.comb += [
                pre_write.addr.eq(traces.pre_index),
                pre_write.data.eq(traces.new_pre),
                pre_write.en.eq(1),
            ]
        with m.If(traces.post_valid & (traces.post_index < neurons)):
            m.d.comb += [
                post_write.addr.eq(traces.post_index),
                post_write.data.eq(traces.new_post),
                post_write.en.eq(1),
            ]
        with m.If(valid):
            m.d.comb += [
                arrived_write.addr.eq(index),
                arrived_write.data.eq(0),
                arrived_write.en.eq(1),
            ]
        with m.If(self.clear):
            m.d.sync += any_fired.eq(0)
            m.d.comb += [
                columns.r_en.eq(1),
                arrived_write.addr.eq(self.clear_index),
                arrived_write.data.eq(0),
                arrived_write.en.eq(1),
                pre_write.addr.eq(self.clear_index),
                pre_write.data.eq(0),
                pre_write.en.eq(1),
            ]
            with m.If(self.clear_index < neurons):
                m.d.comb += [
                    post_write.addr.eq(self.clear_index),
                    post_write.data.eq(0),
                    post_write.en.eq(1),
                    self.depress.eq(1),
                    self.depress_index.eq(self.clear_index),
                    self.depression.eq(0),
                ]
        return m
