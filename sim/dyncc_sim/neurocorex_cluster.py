"""A cluster whose channels take their time."""

from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex.cluster import ClusterSpec
from dyncc_hw.neurocorex.cluster import Cluster


class _Held(Cluster):
    """Passes no word where a bit of `hold` is set: from and to each core, then the host."""

    def __init__(self, spec: ClusterSpec, hold: Any) -> None:
        super().__init__(spec)
        self._bits = iter(hold)

    def link(self, m: Module, source: Any, target: Any) -> None:
        hold = next(self._bits)
        m.d.comb += [
            target.payload.eq(source.payload),
            target.valid.eq(source.valid & ~hold),
            source.ready.eq(target.ready & ~hold),
        ]


class HeldCluster(wiring.Component):  # type: ignore[misc]
    """A `Cluster` for benches.

    Members
    -------
    hold
        A bit for each channel, see `Cluster.link`: while it is set no word passes.
    early
        An event for the step after the next one comes to a core.
    """

    def __init__(self, spec: ClusterSpec) -> None:
        self._hold = Signal(2 * len(spec.cores) + 2)
        self._cluster = _Held(spec, self._hold)
        own = {"hold": In(len(self._hold)), "early": Out(1)}
        super().__init__({**dict(self._cluster.signature.members), **own})

    def elaborate(self, platform: Any) -> Module:
        """Pass the members on."""
        m = Module()
        m.submodules.cluster = cluster = self._cluster
        for name in ("bus", "events_in", "events_out"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(cluster, name))
        m.d.comb += [cluster.start.eq(self.start), self._hold.eq(self.hold)]
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
