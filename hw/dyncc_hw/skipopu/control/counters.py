"""Counters of events: 64 bits each, in one memory with one adder."""

from typing import Any

from amaranth import Array, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import ConfigError

TOTAL_BITS = 64
_EVENT_BITS = 8
#: Cycles from one amount to the next, at least.
_APART = 4


def check(sums: int, events: int, bits: int) -> None:
    """Raise `ConfigError` for parameters that `Counters` cannot have."""
    if sums < 1 or events < 1 or not 1 <= bits <= TOTAL_BITS:
        raise ConfigError(f"no {sums} sums of {bits} bits and {events} events")
    # Of the cycles, half may be reads, and a part amounts; in the others each has its turn.
    if events * 2 * _APART // (_APART - 2) >= 1 << _EVENT_BITS:
        raise ConfigError(f"{events} events are too many to be counted")


class Counters(wiring.Component):
    """Counts events, and adds up amounts by who they belong to.

    Events go to small counters, amounts to a register. In each cycle one of these is added to its
    total in memory, in turn; amounts come before events, and what is read before both. So what is
    read is exact: all that happened before the cycle of `read`.

    A total may be read in every other cycle at most, and amounts may come in every fourth.

    Parameters
    ----------
    sums, events
        Totals of amounts, and of events. A total's number counts sums first.
    bits
        Bits of an amount.

    Members
    -------
    clear
        All totals are 0 from the next cycle on.
    amount
        Add `bytes` to the total of a `client`, in a cycle with `valid`.
    events
        Add one to the totals of events, by bits.
    number, read, value
        Two cycles after `read` the total `number` is there, for a cycle.

    Raises
    ------
    ConfigError
        If there is nothing to count, or so much that small counters may overflow.
    """

    def __init__(self, sums: int, events: int, bits: int) -> None:
        check(sums, events, bits)
        self.sums, self.count, self.bits = sums, sums + events, bits
        taken = data.StructLayout({"valid": 1, "client": range(max(2, sums)), "bytes": bits})
        super().__init__(
            {
                "clear": In(1), "amount": In(taken), "events": In(events),
                "number": In(range(self.count)), "read": In(1), "value": Out(TOTAL_BITS),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """A total in each cycle: chosen in one, changed in the next."""
        m = Module()
        sums, count = self.sums, self.count
        m.submodules.store = store = memory.Memory(shape=TOTAL_BITS, depth=count, init=[])
        into, out = store.write_port(), store.read_port(domain="comb")
        pending = Signal(self.amount.shape())
        valid = Signal(count)
        scan, step = Signal(range(count), init=sums), Signal(range(count))
        small = [Signal(_EVENT_BITS, name=f"small_{number}") for number in range(count - sums)]
        added = Signal(max(self.bits, _EVENT_BITS))
        hit = pending.valid & (pending.client == step)
        place, known, changes = Signal.like(step), Signal(), Signal()
        m.d.comb += step.eq(Mux(self.read, self.number, Mux(pending.valid, pending.client, scan)))
        m.d.sync += [
            added.eq(Mux(step < sums, Mux(hit, pending.bytes, 0), Array([0] * sums + small)[step])),
            # Memory holds anything after a clear.
            place.eq(step), known.eq(valid.bit_select(step, 1)), changes.eq(1),
            valid.eq(valid | (1 << step)),
            self.value.eq(into.data),
        ]  # fmt: skip
        m.d.comb += [
            out.addr.eq(place), into.addr.eq(place), into.en.eq(changes),
            into.data.eq(Mux(known, out.data, 0) + added),
        ]  # fmt: skip
        for number, counter in enumerate(small):
            kept = Mux(step == sums + number, 0, counter)
            m.d.sync += counter.eq(kept + self.events[number])
        with m.If(~self.read & ~pending.valid):
            m.d.sync += scan.eq(Mux(scan == count - 1, sums, scan + 1))
        with m.If(self.amount.valid):
            m.d.sync += pending.eq(self.amount)
        with m.Elif((step < sums) & hit):
            m.d.sync += pending.valid.eq(0)
        with m.If(self.clear):
            m.d.sync += [valid.eq(0), pending.valid.eq(0), *(counter.eq(0) for counter in small)]
        return m
