"""What joins a core to others: sends its spikes, takes in those that come, keeps step."""

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import BUS_BITS, CHUNK_BITS, INDEX_BITS, Space, address
from dyncc.arch.neurocorex.cluster import (
    HOST,
    TRAFFIC,
    ClusterSpace,
    ClusterSpec,
    cluster_bus_words,
)
from dyncc_hw.neurocorex.aer import PORT, Inbox
from dyncc_hw.neurocorex.bus import BUS
from dyncc_hw.neurocorex.sender import Sender
from dyncc_hw.neurocorex.stepper import Stepper
from dyncc_hw.neurocorex.synapses import index_bits

#: Writing 1 there makes a core forget what it was doing.
CLEAR = address(Space.CONTROL, 0)


class Router(wiring.Component):
    """The router of a core.

    When the core is told to forget what it was doing, it forgets events and what it counted.

    Parameters
    ----------
    number
        Of the core in the cluster.

    Members
    -------
    bus
        Programming, of the core and the router; requests are held until `done`, which comes only
        between steps.
    core_bus, core_events_in, core_events_out, core_start, core_busy, core_step_done
        The core's members of those names.
    sent, received
        Words, as in `dyncc.arch.neurocorex.cluster`; `received` is always ready.
    """

    def __init__(self, spec: ClusterSpec, number: int) -> None:
        self.cluster, self.number, self.spec = spec, number, spec.cores[number]
        self.inbox = Inbox(self.spec.inputs)
        super().__init__(
            {
                "bus": In(BUS),
                "core_bus": Out(BUS),
                "core_events_in": Out(stream.Signature(index_bits(max(1, self.spec.inputs)))),
                "core_events_out": In(stream.Signature(index_bits(self.spec.neurons))),
                "core_start": Out(1),
                "core_busy": In(1),
                "core_step_done": In(1),
                "sent": Out(PORT),
                "received": In(PORT),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """The order of things in a step."""
        m = Module()
        cores = len(self.cluster.cores)
        m.submodules.inbox = inbox = self.inbox
        m.submodules.sender = sender = Sender(self.cluster, self.number)
        wiring.connect(m, wiring.flipped(self.core_events_in), inbox.events)
        wiring.connect(m, wiring.flipped(self.core_events_out), sender.fired)
        wiring.connect(m, wiring.flipped(self.sent), sender.sent)
        m.d.comb += sender.phase.eq(inbox.phase)
        peers = sum(1 << core for core in self.cluster.others(self.number))

        # --- what comes ---------------------------------------------------------------------------
        word = self.received.payload
        start, ended = Signal(), Array(Signal(cores, name=f"ended_{phase}") for phase in range(2))
        m.d.comb += [
            self.received.ready.eq(1),
            inbox.put.eq(self.received.valid & ~word.end),
            inbox.put_phase.eq(word.phase),
            inbox.put_line.eq(word.index),
        ]
        with m.If(self.received.valid & word.end):
            with m.If(word.source == HOST):
                m.d.sync += start.eq(1)
            with m.Else():
                m.d.sync += ended[word.phase].eq(ended[word.phase] | (1 << word.source))

        # --- counters -----------------------------------------------------------------------------
        idle, clear = Signal(), Signal()
        m.d.comb += inbox.flush.eq(clear)
        traffic = {item.name: Signal(item.bits, name=item.name) for item in TRAFFIC}
        counted = (sender.event, inbox.put & ~inbox.dropped, inbox.dropped)
        for counter, by in zip(traffic.values(), counted, strict=True):
            m.d.sync += counter.eq(Mux(clear, 0, counter + by))
        self._serve(m, idle, clear, sender, Cat(traffic.values()))

        # --- sequencer ----------------------------------------------------------------------------
        stepped, settling = Signal(), Signal(range(Stepper.SETTLE))
        with m.If(self.core_step_done):
            m.d.sync += stepped.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                with m.If(start & inbox.empty):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.core_start.eq(1)
                with m.If(self.core_busy):
                    m.d.comb += inbox.flip.eq(1)
                    m.d.sync += [
                        start.eq(0),
                        ended[inbox.phase].eq(0),
                        stepped.eq(0),
                        settling.eq(Stepper.SETTLE - 1),
                    ]
                    m.next = "SCAN" if self.spec.max_delay > 1 else "SERVE"
            if self.spec.max_delay > 1:
                with m.State("SCAN"):
                    m.d.comb += sender.scan.eq(1)
                    with m.If(sender.scanned):
                        m.next = "SCANNED"
                # The last neuron of the scan may be the first that fires.
                with m.State("SCANNED"), m.If(sender.quiet):
                    m.next = "SERVE"
            with m.State("SERVE"):
                m.d.comb += sender.serve.eq(1)
                with m.If(~stepped | self.core_events_out.valid):
                    m.d.sync += settling.eq(Stepper.SETTLE - 1)
                with m.Elif(settling != 0):
                    m.d.sync += settling.eq(settling - 1)
                with m.Elif(sender.quiet):
                    m.d.comb += sender.ends.eq(peers)
                    m.next = "ENDS"
            with m.State("ENDS"), m.If(sender.quiet & (ended[inbox.phase] == peers)):
                m.d.comb += sender.ends.eq(1 << cores)
                m.next = "END"
            with m.State("END"), m.If(sender.quiet):
                m.next = "IDLE"
        return m

    def _serve(self, m: Module, idle: Any, clear: Any, sender: Sender, traffic: Any) -> None:
        """Requests: of the router here, the others by the core."""
        bus, core = self.bus, self.core_bus
        chunk = bus.address[:CHUNK_BITS]
        index = bus.address[CHUNK_BITS : CHUNK_BITS + INDEX_BITS]
        space = bus.address[CHUNK_BITS + INDEX_BITS :]
        last = cluster_bus_words(self.cluster, self.number, ClusterSpace.ROUTES) - 1
        routes, counters, spikes = (space == own for own in ClusterSpace)
        own = routes | counters | spikes
        staged, data = Signal(BUS_BITS * (last + 1)), Signal(BUS_BITS * (last + 1))
        asked, done, found = Signal(), Signal(), Signal(BUS_BITS)
        request = idle & (bus.read | bus.write) & own & ~asked & ~done
        m.d.sync += [asked.eq(request & bus.read), done.eq(asked | (request & bus.write))]
        m.d.comb += [
            core.address.eq(bus.address),
            core.write_data.eq(bus.write_data),
            core.read.eq(bus.read & idle & ~own),
            core.write.eq(bus.write & idle & ~own),
            bus.done.eq(done | core.done),
            bus.read_data.eq(Mux(done, found, core.read_data)),
            # The last part completes the lower ones that came before.
            data.eq(staged),
            data.word_select(chunk, BUS_BITS).eq(bus.write_data),
            sender.index.eq(index),
            sender.read.eq(request & bus.read),
            sender.data.eq(Mux(spikes, bus.write_data, data)),
            sender.route_write.eq(request & bus.write & routes & (chunk == last)),
            sender.spikes_write.eq(request & bus.write & spikes),
            clear.eq(core.done & bus.write & bus.write_data[0] & (bus.address == CLEAR)),
        ]
        with m.If(request & bus.write):
            m.d.sync += staged.eq(data)
        with m.If(asked):
            m.d.sync += found.eq(sender.route.word_select(chunk, BUS_BITS))
            with m.If(counters):
                m.d.sync += found.eq(traffic.word_select(index, BUS_BITS))
            with m.If(spikes):
                m.d.sync += found.eq(sender.spikes_word)
