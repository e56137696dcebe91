"""Semaphores: who may start, and what is released."""

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import SEMAPHORE_BITS, SEMAPHORES


def are_there(wait: Value, some: Value) -> Value:
    """Whether none of the semaphores that are waited for is at zero."""
    return ~(wait & ~some).any()


class Semaphores(wiring.Component):
    """Counters from which one client a cycle takes, and to which all may add.

    Clients take turns: the one behind the last that was granted goes first. A client is granted in
    the cycle after that in which it asks, or later, and has to go on asking for the same until
    then; none is passed over for ever while its semaphores stay. Nobody is chosen in a cycle in
    which another is granted, when counts change.

    Parameters
    ----------
    takers, givers
        Clients that take, and that release.

    Members
    -------
    asks, wait, granted
        Of each taker: whether it wants to take, one from which semaphores, whether it does.
    releases, release
        Of each giver.
    counts
        Of each semaphore.
    over
        A semaphore would have counted too far; it stays at its most.
    """

    def __init__(self, takers: int, givers: int) -> None:
        self._takers, self._givers = takers, givers
        super().__init__(
            {
                "asks": In(takers), "wait": In(data.ArrayLayout(SEMAPHORES, takers)),
                "granted": Out(takers),
                "releases": In(givers), "release": In(data.ArrayLayout(SEMAPHORES, givers)),
                "counts": Out(data.ArrayLayout(SEMAPHORE_BITS, SEMAPHORES)),
                "over": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """A taker may start if none of its semaphores is at zero."""
        m = Module()
        # Whether each count is other than 0.
        some = Signal(SEMAPHORES)
        chosen = Signal(self._takers)
        m.d.sync += self.granted.eq(Mux(self.granted.any(), 0, chosen))
        able, last = Signal(self._takers), Signal(range(self._takers))
        for client in range(self._takers):
            m.d.comb += able[client].eq(self.asks[client] & are_there(self.wait[client], some))
        taken = Signal(SEMAPHORES)
        with m.Switch(last):
            for before in range(self._takers):
                with m.Case(before):
                    free = 1
                    for step in range(self._takers):
                        client = (before + 1 + step) % self._takers
                        m.d.comb += chosen[client].eq(able[client] & free)
                        free = free & ~able[client]
        for client in range(self._takers):
            with m.If(self.granted[client]):
                m.d.comb += taken.eq(self.wait[client])
                m.d.sync += last.eq(client)
        for bit in range(SEMAPHORES):
            given = sum(
                self.releases[client] & self.release[client][bit] for client in range(self._givers)
            )
            after = Signal(SEMAPHORE_BITS + 1, name=f"after_{bit}")
            m.d.comb += after.eq(self.counts[bit] + given - taken[bit])
            m.d.sync += [
                self.counts[bit].eq(Mux(after[-1], (1 << SEMAPHORE_BITS) - 1, after)),
                some[bit].eq(after.any()),
            ]
            with m.If(after[-1]):
                m.d.comb += self.over.eq(1)
        return m
