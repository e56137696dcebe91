"""Makes words for other cores and the host of the spikes of a core."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.fields import width
from dyncc.arch.neurocorex.cluster import HOST, WORD, ClusterSpec, route_fields
from dyncc_hw.blockmemory import BlockMemory
from dyncc_hw.fixed import layout_of
from dyncc_hw.neurocorex.aer import PORT, word
from dyncc_hw.neurocorex.synapses import index_bits


class Travelling(wiring.Component):
    """Spikes with a delay: for each neuron a bit for each step, the nearest lowest.

    As in the core's state, where they are for synapses of its own. What it holds after reset is not
    defined.

    Members
    -------
    look, index, scan
        Looks at a neuron: in a `scan` through all neurons, or because it fired.
    now, late
        From the next cycle on: whether a spike of this neuron is sent in this step, and whether it
        was fired in an earlier one.
    keep, delay
        Ends the look at the neuron: in a scan its spikes move on, else a spike is added, whose
        delay this is.
    word
        The neuron's spikes.
    write, write_index, data
        Sets the spikes of a neuron.
    """

    def __init__(self, neurons: int, max_delay: int) -> None:
        self._shape, self._depth = unsigned(max_delay - 1), max(2, neurons)
        neuron = index_bits(neurons)
        super().__init__(
            {
                "look": In(1),
                "index": In(neuron),
                "scan": In(1),
                "now": Out(1),
                "late": Out(1),
                "keep": In(1),
                "delay": In(4),
                "word": Out(self._shape),
                "write": In(1),
                "write_index": In(neuron),
                "data": In(self._shape),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Read, then write back."""
        m = Module()
        m.submodules.spikes = store = memory.Memory(shape=self._shape, depth=self._depth, init=[])
        read, write = store.read_port(), store.write_port()
        number = Signal(len(self.index))
        with m.If(self.look):
            m.d.sync += [number.eq(self.index), self.late.eq(self.scan)]
        m.d.comb += [
            read.addr.eq(self.index),
            read.en.eq(self.look),
            self.now.eq(Mux(self.late, read.data[0], self.delay == 0)),
            self.word.eq(read.data),
            write.addr.eq(Mux(self.write, self.write_index, number)),
            write.data.eq(Mux(self.late, read.data >> 1, read.data | ((1 << self.delay) >> 1))),
            write.en.eq(self.keep | self.write),
        ]
        with m.If(self.write):
            m.d.comb += write.data.eq(self.data)
        return m


class Sender(wiring.Component):
    """Looks up where spikes go, and sends a word a cycle.

    A spike takes as many cycles as it has targets, and one at least; its first word is there three
    cycles after it.

    Parameters
    ----------
    number
        Of the core in the cluster.

    Members
    -------
    fired
        Neurons that fired; taken while `serve` is high.
    scan, scanned
        While `scan` is high, goes through the neurons, from the first one on, for spikes whose time
        has come, and moves those that travel; `scanned` is high when it is at the last one. Only in
        cores with delays.
    ends
        Targets to send ends to, in a cycle in which it is `quiet`; a bit for each core, and the
        highest for the host.
    quiet
        Whether all was sent.
    phase
        Of words.
    index, read, data
        Access to words of a neuron, while it is `quiet`; what is read comes in the next cycle.
    route_write, route
        Its route.
    spikes_write, spikes_word
        Its spikes that travel, in cores with delays.
    sent
        Words.
    event
        High in the cycle in which an event to another core is taken.
    """

    def __init__(self, spec: ClusterSpec, number: int) -> None:
        self.cluster, self.number, self.spec = spec, number, spec.cores[number]
        self.layout = layout_of(route_fields(spec, number))
        neuron, route = index_bits(self.spec.neurons), width(route_fields(spec, number))
        travelling = max(1, self.spec.max_delay - 1)
        super().__init__(
            {
                "fired": In(stream.Signature(neuron)),
                "scan": In(1),
                "scanned": Out(1),
                "serve": In(1),
                "ends": In(len(spec.cores) + 1),
                "quiet": Out(1),
                "phase": In(1),
                "index": In(neuron),
                "read": In(1),
                "data": In(max(route, travelling)),
                "route_write": In(1),
                "route": Out(route),
                "spikes_write": In(1),
                "spikes_word": Out(travelling),
                "sent": Out(PORT),
                "event": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Ask for a route, look at it, send its words."""
        m = Module()
        neurons, cores = self.spec.neurons, len(self.cluster.cores)
        others = self.cluster.others(self.number)
        # Routes are read in steps, and written between them.
        m.submodules.routes = store = BlockMemory(len(self.route), max(2, neurons))
        read, write = store.read, store.write
        ask, looked, load = Signal(), Signal(), Signal()
        place, number = Signal(index_bits(neurons)), Signal(index_bits(neurons))
        # What is sent: targets that are left, the spike's neuron and lines, or ends.
        left, rest = Signal(cores + 1), Signal(cores + 1)
        neuron, lines, ending = Signal(index_bits(neurons)), Signal(self.layout), Signal()
        route = data.View(self.layout, read.data)
        m.d.comb += [
            write.addr.eq(self.index),
            write.data.eq(self.data),
            write.en.eq(self.route_write),
            self.route.eq(read.data),
            ask.eq((self.scan | (self.serve & self.fired.valid)) & (~looked | load)),
            self.fired.ready.eq(self.serve & ~self.scan & (~looked | load)),
            self.scanned.eq(self.scan & ask & (place == neurons - 1)),
            read.addr.eq(Mux(self.scan, place, self.fired.payload)),
            read.en.eq(ask | self.read),
            load.eq(looked & (rest == 0)),
            rest.eq(Mux(self.sent.valid & self.sent.ready, left & (left - 1), left)),
            self.quiet.eq(~looked & (left == 0)),
        ]
        with m.If(self.read):
            m.d.comb += read.addr.eq(self.index)
        with m.If(ask):
            m.d.sync += number.eq(read.addr)
        m.d.sync += [
            looked.eq(ask | (looked & ~load)),
            left.eq(rest),
            place.eq(Mux(self.scan, place + ask, 0)),
        ]
        targets = Cat(route[f"to_{core}"] if core in others else 0 for core in range(cores))
        now, late = Const(1), Const(0)
        if self.spec.max_delay > 1:
            m.submodules.travelling = travelling = Travelling(neurons, self.spec.max_delay)
            now, late = travelling.now, travelling.late
            m.d.comb += [
                travelling.look.eq(read.en),
                travelling.index.eq(read.addr),
                travelling.scan.eq(self.scan),
                travelling.keep.eq(load),
                travelling.delay.eq(route.delay),
                self.spikes_word.eq(travelling.word),
                travelling.write.eq(self.spikes_write),
                travelling.write_index.eq(self.index),
                travelling.data.eq(self.data),
            ]
        with m.If(load):
            m.d.sync += [
                left.eq(Cat(Mux(now, targets, 0), route.report & ~late)),
                lines.eq(route),
                neuron.eq(number),
                ending.eq(0),
            ]
        with m.If(self.ends != 0):
            m.d.sync += [left.eq(self.ends), ending.eq(1)]

        target, index = Signal(WORD[1].bits), Signal(WORD[0].bits)
        # The lowest bit that is left decides: the host's comes last.
        m.d.comb += [target.eq(HOST), index.eq(neuron)]
        for core in reversed(others):
            with m.If(left[core]):
                m.d.comb += [target.eq(core), index.eq(lines[f"line_{core}"])]
        m.d.comb += [
            self.sent.valid.eq(left != 0),
            self.sent.payload.eq(
                word(
                    index=Mux(ending, 0, index),
                    target=target,
                    source=self.number,
                    end=ending,
                    phase=self.phase,
                )
            ),
            self.event.eq(self.sent.valid & self.sent.ready & ~ending & (target != HOST)),
        ]
        return m
