"""A cluster whose channels take their time."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.fields import width
from dyncc.arch.neurocorex.cluster import HOST, WORD, ClusterSpec
from dyncc_hw.neurocorex.aer import PORT
from dyncc_hw.neurocorex.cluster import Cluster


class HeldChannel(wiring.Component):  # type: ignore[misc]
    """A channel of a `Cluster` in which words for different targets overtake each other.

    Members
    -------
    into, out, empty
        As `Cluster` wants them.
    hold
        A bit for each core and the host: while it is set, no word for it passes.
    direct
        Makes it as if there were no channel.
    """

    def __init__(self, cores: int) -> None:
        self._numbers = [*range(cores), HOST]
        super().__init__(
            {
                "into": In(PORT),
                "out": Out(PORT),
                "empty": Out(1),
                "hold": In(cores + 1),
                "direct": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A register for each target, then one for all."""
        m = Module()
        into, out = self.into, self.out
        full, word, room = Signal(), Signal(width(WORD)), Signal()
        free = ~full | out.ready
        m.d.comb += [
            out.valid.eq(Mux(self.direct, into.valid, full)),
            out.payload.eq(Mux(self.direct, into.payload, word)),
            into.ready.eq(Mux(self.direct, out.ready, room)),
            # Words for targets that do not exist are dropped.
            room.eq(1),
        ]
        with m.If(free):
            m.d.sync += full.eq(0)
        waits = Signal(len(self._numbers))
        before: Any = Const(0)
        for place, number in enumerate(self._numbers):
            waiting, passes, leaves = Signal(width(WORD)), Signal(), Signal()
            m.d.comb += [
                passes.eq(waits[place] & ~self.hold[place]),
                leaves.eq(free & passes & ~before),
            ]
            with m.If(leaves):
                m.d.sync += [full.eq(1), word.eq(waiting), waits[place].eq(0)]
            with m.If(into.payload.target == number):
                m.d.comb += room.eq(~waits[place] | leaves)
                with m.If(into.valid & ~self.direct & room):
                    m.d.sync += [waiting.eq(into.payload), waits[place].eq(1)]
            before = before | passes
        m.d.comb += self.empty.eq(~full & (waits == 0))
        return m


class HeldCluster(wiring.Component):  # type: ignore[misc]
    """A `Cluster` for benches.

    Members
    -------
    hold
        For each core and the host, a bit for each: while it is set no word passes from the one to
        the other.
    direct
        Makes it a cluster without channels.
    early
        An event for the step after the next one comes to a core.
    """

    def __init__(self, spec: ClusterSpec) -> None:
        ports = len(spec.cores) + 1
        self._channels = [HeldChannel(len(spec.cores)) for _ in range(ports)]
        self._cluster = Cluster(spec, channels=self._channels)
        own = {"hold": In(ports * ports), "direct": In(1), "early": Out(1)}
        super().__init__({**dict(self._cluster.signature.members), **own})

    def elaborate(self, platform: Any) -> Module:
        """Pass the members on."""
        m = Module()
        m.submodules.cluster = cluster = self._cluster
        for name in ("bus", "events_in", "events_out"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(cluster, name))
        m.d.comb += cluster.start.eq(self.start)
        m.d.comb += Cat(channel.hold for channel in self._channels).eq(self.hold)
        m.d.comb += [channel.direct.eq(self.direct) for channel in self._channels]
        m.d.comb += [
            getattr(self, name).eq(getattr(cluster, name))
            for name in ("busy", "step_done", "decided", "winner")
        ]
        early = [
            router.inbox.put & (router.inbox.put_phase != router.inbox.phase)
            for router in cluster.routers
        ]
        m.d.comb += self.early.eq(Cat(early).any())
        return m
