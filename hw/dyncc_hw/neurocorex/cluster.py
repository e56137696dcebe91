"""Several cores that make a larger net."""

from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import BUS_BITS
from dyncc.arch.neurocorex.cluster import (
    ADDRESS_EVENT,
    CLUSTER_ADDRESS_BITS,
    CORE_ADDRESS_BITS,
    HOST,
    ClusterSpec,
)
from dyncc_hw.fixed import layout_of
from dyncc_hw.neurocorex.aer import PORT, Switch, word
from dyncc_hw.neurocorex.core import Core
from dyncc_hw.neurocorex.implementation import STANDARD, Implementation
from dyncc_hw.neurocorex.router import Router

#: As the bus of a core, with the core above the address on it; requests to cores that do not exist
#: are done at once, and read as zero.
CLUSTER_BUS = wiring.Signature(
    {
        "address": Out(CLUSTER_ADDRESS_BITS),
        "write": Out(1),
        "read": Out(1),
        "write_data": Out(BUS_BITS),
        "read_data": In(BUS_BITS),
        "done": In(1),
    }
)
EVENTS = stream.Signature(layout_of(ADDRESS_EVENT))


class Gateway(wiring.Component):
    """The host's port: makes words of its spikes, and of its start of a step.

    Members
    -------
    events_in, events_out, start, busy, step_done
        As those of `Cluster`.
    open, hold
        `open` is high until a step begins, which `hold` puts off.
    sent, received
        Words, as in `dyncc.arch.neurocorex.cluster`.
    """

    def __init__(self, cores: int) -> None:
        self.cores = cores
        super().__init__(
            {
                "events_in": In(EVENTS),
                "events_out": Out(EVENTS),
                "start": In(1),
                "busy": Out(1),
                "step_done": Out(1),
                "open": Out(1),
                "hold": In(1),
                "sent": Out(PORT),
                "received": In(PORT),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Events, then ends to all cores, then those of all cores."""
        m = Module()
        full, event, phase = Signal(), Signal(layout_of(ADDRESS_EVENT)), Signal()
        core, ended, ending = Signal(range(max(2, self.cores))), Signal(self.cores), Signal()
        got = self.received.payload
        m.d.comb += [
            self.sent.valid.eq(full | ending),
            self.sent.payload.eq(
                word(
                    index=Mux(ending, 0, event.index),
                    target=Mux(ending, core, event.core),
                    source=HOST,
                    end=ending,
                    phase=phase,
                )
            ),
            self.busy.eq(1),
            self.events_out.valid.eq(self.received.valid & ~got.end),
            self.events_out.payload.index.eq(got.index),
            self.events_out.payload.core.eq(got.source),
            self.received.ready.eq(got.end | self.events_out.ready),
        ]
        with m.If(self.sent.ready):
            m.d.sync += full.eq(0)
        with m.If(self.received.valid & got.end):
            m.d.sync += ended.eq(ended | (1 << got.source))
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.open.eq(1),
                    self.busy.eq(0),
                    self.events_in.ready.eq(~full | self.sent.ready),
                ]
                with m.If(self.events_in.valid & self.events_in.ready):
                    m.d.sync += [full.eq(1), event.eq(self.events_in.payload)]
                with m.If(self.start):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.open.eq(1)
                with m.If(~full & ~self.hold):
                    m.next = "ENDS"
            with m.State("ENDS"):
                m.d.comb += ending.eq(1)
                with m.If(self.sent.ready):
                    m.d.sync += core.eq(core + 1)
                    with m.If(core == self.cores - 1):
                        m.d.sync += [core.eq(0), phase.eq(~phase)]
                        m.next = "STEP"
            with m.State("STEP"), m.If(ended.all()):
                m.d.comb += self.step_done.eq(1)
                m.d.sync += ended.eq(0)
                m.next = "IDLE"
        return m


class Cluster(wiring.Component):
    """A cluster of cores, each with a `Router`, joined by a `Switch`.

    To its user it is like a `Core`, but that events and addresses also name the core.

    Parameters
    ----------
    implementation
        Of all cores.
    channels
        What takes the words of each core and of the host to the switch; by default nothing is
        between. Components with streams `into` and `out`, and `empty`, which says whether no word
        is in it; words for one target stay in order.

    Members
    -------
    bus
        Programming of cores and routers; requests are held until `done`, which comes only while no
        step is under way, and when events that were taken before have come to their cores.
    events_in
        Core and input line of spikes in the next step; taken while no step is under way. Lines of
        other cores' neurons are not for the host. Events for cores that do not exist are dropped.
    events_out
        Core and number of neurons that fired, of each core in order; those of a step come before
        its end, which waits until all were taken.
    start
        Starts a step, while `busy` is low.
    busy
        High from the cycle after `start` until the step is done: all cores are, and have all spikes
        of each other for the next step.
    step_done
        High in the last cycle of a step.
    decided, winner
        Whether the test of dynamic termination holds on a core after the last step, and for which
        class.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        implementation: Implementation = STANDARD,
        channels: Sequence[Any] = (),
    ) -> None:
        self.spec, self._channels = spec, channels
        self.cores = [Core(core, implementation) for core in spec.cores]
        self.routers = [Router(spec, number) for number in range(len(spec.cores))]
        super().__init__(
            {
                "bus": In(CLUSTER_BUS),
                "events_in": In(EVENTS),
                "events_out": Out(EVENTS),
                "start": In(1),
                "busy": Out(1),
                "step_done": Out(1),
                "decided": Out(1),
                "winner": Out(max(len(core.winner) for core in self.cores)),
            }
        )

    #: Cycles of a step in which no word goes from port to port, and no core is in its step.
    LATENCY = 11

    @classmethod
    def step_cycles(cls, core_cycles: Sequence[int], arrivals: Sequence[int], events: int) -> int:
        """Bound on the cycles of a step, if the host takes events at once.

        The host's ends start the cores; each takes in what came for it and carries out its step,
        during which it sends; then the ends go round. At worst all words wait for each other.

        Parameters
        ----------
        core_cycles
            Of each core, see `Core.step_cycles`.
        arrivals
            Events that come to each core for the step.
        events
            Events that all cores send in the step, to other cores and to the host.
        """
        cores = len(core_cycles)
        steps = (sum(both) for both in zip(core_cycles, arrivals, strict=True))
        return max(steps) + events + cores * (cores + 1) + cls.LATENCY

    def elaborate(self, platform: Any) -> Module:
        """Wire it up."""
        m = Module()
        m.submodules.switch = switch = Switch(len(self.cores))
        m.submodules.gateway = gateway = Gateway(len(self.cores))
        for name in ("events_in", "events_out"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(gateway, name))
        m.d.comb += [
            gateway.start.eq(self.start),
            self.busy.eq(gateway.busy),
            self.step_done.eq(gateway.step_done),
        ]
        for number, (core, router) in enumerate(zip(self.cores, self.routers, strict=True)):
            m.submodules[f"core_{number}"] = core
            m.submodules[f"router_{number}"] = router
            wiring.connect(m, router.core_bus, core.bus)
            wiring.connect(m, router.core_events_in, core.events_in)
            wiring.connect(m, router.core_events_out, core.events_out)
            m.d.comb += [
                core.start.eq(router.core_start),
                router.core_busy.eq(core.busy),
                router.core_step_done.eq(core.step_done),
            ]
        ports: list[Any] = [*self.routers, gateway]
        for number, port in enumerate(ports):
            wiring.connect(m, switch.targets[number], port.received)
            if not self._channels:
                wiring.connect(m, port.sent, switch.sources[number])
        for number, (port, channel) in enumerate(zip(ports, self._channels, strict=False)):
            m.submodules[f"channel_{number}"] = channel
            wiring.connect(m, port.sent, channel.into)
            wiring.connect(m, channel.out, switch.sources[number])
        # Between steps all words are the host's.
        empty = Cat(switch.empty, *(channel.empty for channel in self._channels)).all()
        self._serve(m, gateway, gateway.sent.valid | ~empty)
        m.d.comb += self.decided.eq(Cat(core.decided for core in self.cores).any())
        for core in self.cores:
            with m.If(core.decided):
                m.d.comb += self.winner.eq(core.winner)
        return m

    def _serve(self, m: Module, gateway: Gateway, travelling: Any) -> None:
        """Requests go to the core that they name, behind events; a step begins behind them."""
        bus, request = self.bus, self.bus.read | self.bus.write
        chosen = bus.address[CORE_ADDRESS_BITS:]
        passed, begun, absent, missing = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            passed.eq(gateway.open & request & (begun | ~travelling)),
            gateway.hold.eq(request & ~bus.done),
            absent.eq(1),
            bus.done.eq(missing),
        ]
        m.d.sync += [begun.eq(passed & ~bus.done), missing.eq(passed & absent & ~missing)]
        for number, router in enumerate(self.routers):
            m.d.comb += [
                router.bus.address.eq(bus.address),
                router.bus.write_data.eq(bus.write_data),
            ]
            with m.If(chosen == number):
                m.d.comb += [
                    absent.eq(0),
                    router.bus.read.eq(bus.read & passed),
                    router.bus.write.eq(bus.write & passed),
                    bus.read_data.eq(router.bus.read_data),
                    bus.done.eq(router.bus.done),
                ]
