"""The core: memories, event-driven synapses, and the neuron pipeline under one sequencer."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import (
    BUS_BITS,
    CHUNK_BITS,
    INDEX_BITS,
    SPACE_BITS,
    CoreSpec,
    Space,
    bus_words,
    memory_bits,
    memory_depth,
)
from dyncc_hw.neurocorex.neuron import NeuronUnit

#: The bus by which a core is programmed and read, while it is idle. A memory word that is wider
#: than the bus is written from its lowest part to its highest; the last one stores it.
BUS = wiring.Signature(
    {
        "address": Out(CHUNK_BITS + INDEX_BITS + SPACE_BITS),
        "write": Out(1),
        "read": Out(1),
        "write_data": Out(BUS_BITS),
        "read_data": In(BUS_BITS),
        "done": In(1),
    }
)


def index_bits(depth: int) -> int:
    """Width of an index into `depth` places."""
    return max(1, (depth - 1).bit_length())


class Core(wiring.Component):
    """A NeuroCoreX core without learning.

    A step takes, for every source that spiked, a cycle for each word of its row of weights, then a
    cycle for each neuron: ``spikes * max(row_words, 2) + neurons + OVERHEAD`` at most, see
    `step_cycles`.

    Members
    -------
    bus
        Programming; requests are held until `done`, which comes only while the core is idle.
    events_in
        Input lines that spike in the next step; taken while the core is idle.
    events_out
        Neurons that fired, in order of their number; those of a step come before those of the
        next. The core waits for all of them to be taken before it starts another step.
    start
        Starts a step, while `busy` is low.
    busy
        High from the cycle after `start` until the step is done.
    step_done
        High in the last cycle of a step.
    cycles, spike_count, synaptic_operations
        What the core counted since reset, 32 bits each, wrapping: cycles in which it was busy,
        spikes fired, weights added.
    """

    #: Cycles of a step beside its spikes and neurons.
    OVERHEAD = NeuronUnit.LATENCY + 8

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        super().__init__(
            {
                "bus": In(BUS),
                "events_in": In(stream.Signature(index_bits(max(1, spec.inputs)))),
                "events_out": Out(stream.Signature(index_bits(spec.neurons))),
                "start": In(1),
                "busy": Out(1),
                "step_done": Out(1),
                "cycles": Out(32),
                "spike_count": Out(32),
                "synaptic_operations": Out(32),
            }
        )

    @staticmethod
    def step_cycles(spec: CoreSpec, spikes: int) -> int:
        """Bound on the cycles of a step in which `spikes` sources are delivered."""
        return spikes * max(spec.row_words, 2) + spec.neurons + Core.OVERHEAD

    def elaborate(self, platform: Any) -> Module:
        """Build the memories, the bus, the sequencer."""
        m = Module()
        spec = self.spec
        neurons, words, lanes = spec.neurons, spec.row_words, spec.lanes
        sources = spec.inputs + neurons

        # --- memories: one read and one write port each --------------------------------------
        reads, writes = {}, {}
        for space in Space:
            name = space.name.lower()
            store = memory.Memory(
                shape=unsigned(memory_bits(spec, space)),
                depth=max(2, memory_depth(spec, space)),  # an address has a bit at least
                init=[],
            )
            m.submodules[name] = store
            writes[space] = store.write_port()
            reads[space] = store.read_port()
        sums = m.submodules.sums = memory.Memory(
            shape=unsigned(lanes * spec.accumulator_bits), depth=max(2, words), init=[]
        )
        sums_write = sums.write_port()
        # A row of one word comes back in the next cycle, so the write is passed through.
        sums_read = sums.read_port(transparent_for=(sums_write,))

        m.submodules.queue = queue = SyncFIFOBuffered(width=index_bits(sources), depth=sources + 1)
        m.submodules.fired = fired = SyncFIFOBuffered(width=index_bits(neurons), depth=neurons + 2)
        m.submodules.unit = unit = NeuronUnit(spec)

        m.d.comb += [
            self.events_out.payload.eq(fired.r_data),
            self.events_out.valid.eq(fired.r_rdy),
            fired.r_en.eq(self.events_out.ready),
        ]

        idle = Signal()
        self._bus(m, reads, writes, idle)

        # --- sequencer ------------------------------------------------------------------------
        pending = Signal(range(sources + 2))
        word = Signal(range(max(2, words)))
        row = Signal(range(max(2, sources * words)))
        issue_word, last_word = Signal(), Signal()
        neuron = Signal(range(neurons + 1))
        issue_neuron = Signal()
        in_flight = Signal(range(16))

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                m.d.comb += [
                    self.events_in.ready.eq(queue.w_rdy),
                    queue.w_en.eq(self.events_in.valid),
                    queue.w_data.eq(self.events_in.payload),
                ]
                with m.If(self.start):
                    m.next = "LOAD"
            with m.State("LOAD"):
                # The queue's level is settled now, also after an event of the last cycle.
                m.d.sync += [pending.eq(queue.level), neuron.eq(0)]
                with m.If(~fired.r_rdy & (fired.level == 0)):
                    m.next = "SOURCE"
            with m.State("SOURCE"):
                with m.If(pending == 0):
                    m.next = "DRAIN"
                with m.Elif(queue.r_rdy):
                    m.d.comb += queue.r_en.eq(1)
                    m.d.sync += [row.eq(queue.r_data * words), word.eq(0)]
                    m.d.sync += pending.eq(pending - 1)
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.comb += [issue_word.eq(1), last_word.eq(word == words - 1)]
                m.d.sync += [row.eq(row + 1), word.eq(word + 1)]
                with m.If(last_word):
                    # The next source is fetched in the cycle of the last word.
                    with m.If((pending != 0) & queue.r_rdy):
                        m.d.comb += queue.r_en.eq(1)
                        m.d.sync += [row.eq(queue.r_data * words), word.eq(0)]
                        m.d.sync += pending.eq(pending - 1)
                    with m.Else():
                        m.next = "SOURCE"
            with m.State("DRAIN"):
                # The last sum is written while this cycle passes.
                m.next = "NEURONS"
            with m.State("NEURONS"):
                m.d.comb += issue_neuron.eq(1)
                m.d.sync += neuron.eq(neuron + 1)
                with m.If(neuron == neurons - 1):
                    m.d.sync += in_flight.eq(NeuronUnit.LATENCY + 2)
                    m.next = "FLUSH"
            with m.State("FLUSH"):
                m.d.sync += in_flight.eq(in_flight - 1)
                with m.If(in_flight == 0):
                    m.d.comb += self.step_done.eq(1)
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(~idle)

        # --- synapses: read a word of weights and of sums, add, write back -----------------------
        adding, added_word = Signal(), Signal.like(word)
        m.d.sync += [adding.eq(issue_word), added_word.eq(word)]
        with m.If(issue_word):
            m.d.comb += [
                reads[Space.WEIGHTS].addr.eq(row),
                reads[Space.WEIGHTS].en.eq(1),
                sums_read.addr.eq(word),
            ]
        weights, old = reads[Space.WEIGHTS].data, sums_read.data
        width = spec.accumulator_bits
        total = Cat(
            (
                old.word_select(lane, width).as_signed()
                + weights.word_select(lane, spec.weight_bits).as_signed()
            )[:width]
            for lane in range(lanes)
        )

        # --- neurons: assignment, then parameters, then the pipeline -----------------------------
        lane_bits = lanes.bit_length() - 1
        first, second = Signal(), Signal()
        tag_1, tag_2 = Signal(range(max(2, neurons))), Signal(range(max(2, neurons)))
        m.d.sync += [first.eq(issue_neuron), second.eq(first), tag_1.eq(neuron), tag_2.eq(tag_1)]
        with m.If(issue_neuron):
            m.d.comb += [
                reads[Space.ASSIGNMENT].addr.eq(neuron),
                reads[Space.ASSIGNMENT].en.eq(1),
                reads[Space.STATE].addr.eq(neuron),
                reads[Space.STATE].en.eq(1),
                sums_read.addr.eq(neuron >> lane_bits),
            ]
        with m.If(first):
            m.d.comb += [
                reads[Space.PARAMETERS].addr.eq(reads[Space.ASSIGNMENT].data),
                reads[Space.PARAMETERS].en.eq(1),
            ]
        state_2, sum_2 = Signal(unit.state_layout), Signal(signed(width))
        lane = tag_1[:lane_bits] if lane_bits else 0
        m.d.sync += [
            state_2.as_value().eq(reads[Space.STATE].data),
            sum_2.eq(old.word_select(lane, width).as_signed() if lane_bits else old.as_signed()),
        ]
        m.d.comb += [
            unit.valid.eq(second),
            unit.tag.eq(tag_2),
            unit.accumulated.eq(sum_2),
            unit.state.eq(state_2),
            unit.parameters.as_value().eq(reads[Space.PARAMETERS].data),
        ]

        # The sums of a word are cleared when its last neuron has read them.
        last_lane = (tag_1 == neurons - 1) | ((lane == lanes - 1) if lane_bits else 1)
        with m.If(adding):
            m.d.comb += [sums_write.addr.eq(added_word), sums_write.data.eq(total)]
            m.d.comb += sums_write.en.eq(1)
        with m.Elif(first & last_lane):
            m.d.comb += [sums_write.addr.eq(tag_1 >> lane_bits), sums_write.data.eq(0)]
            m.d.comb += sums_write.en.eq(1)

        # --- results -----------------------------------------------------------------------------
        with m.If(unit.out_valid):
            m.d.comb += [
                writes[Space.STATE].addr.eq(unit.out_tag),
                writes[Space.STATE].data.eq(unit.out_state),
                writes[Space.STATE].en.eq(1),
            ]
            with m.If(unit.fired):
                m.d.comb += [
                    queue.w_en.eq(1),
                    queue.w_data.eq(unit.out_tag + spec.inputs),
                    fired.w_en.eq(1),
                    fired.w_data.eq(unit.out_tag),
                ]
                m.d.sync += self.spike_count.eq(self.spike_count + 1)
        lanes_now = Mux(word == words - 1, neurons - (words - 1) * lanes, lanes)
        m.d.sync += self.cycles.eq(self.cycles + self.busy)
        with m.If(issue_word):
            m.d.sync += self.synaptic_operations.eq(self.synaptic_operations + lanes_now)
        return m

    def _bus(self, m: Module, reads: dict[Space, Any], writes: dict[Space, Any], idle: Any) -> None:
        """Serve a request in two cycles: read the memory word, then write it or pick a part."""
        bus, spec = self.bus, self.spec
        chunk = bus.address[:CHUNK_BITS]
        index = bus.address[CHUNK_BITS : CHUNK_BITS + INDEX_BITS]
        space = bus.address[CHUNK_BITS + INDEX_BITS :]
        # Lower parts of a word that is being written.
        staged = Signal(max(bus_words(spec, item) for item in Space) * BUS_BITS)
        asked = Signal()
        request = idle & (bus.read | bus.write) & ~asked & ~bus.done
        m.d.sync += [asked.eq(request & bus.read), bus.done.eq(asked | (request & bus.write))]
        for item in Space:
            bits = memory_bits(spec, item)
            last = bus_words(spec, item) - 1
            with m.If(request & (space == item)):
                m.d.comb += [
                    reads[item].addr.eq(index),
                    reads[item].en.eq(bus.read),
                    writes[item].addr.eq(index),
                    writes[item].data.eq(Cat(staged[: last * BUS_BITS], bus.write_data)[:bits]),
                    writes[item].en.eq(bus.write & (chunk == last)),
                ]
            with m.If(asked & (space == item)):
                data = reads[item].data
                padded = Cat(data, Signal((last + 1) * BUS_BITS - bits or 1))
                m.d.sync += bus.read_data.eq(padded.word_select(chunk, BUS_BITS))
        with m.If(request & bus.write):
            m.d.sync += staged.word_select(chunk, BUS_BITS).eq(bus.write_data)
