"""Address events between cores: the port of a core, and the switch that joins them.

The protocol is that of `dyncc.arch.neurocorex.cluster`. A port is a stream of words to the switch,
and one from it.

Nothing waits for a core, so nothing waits forever:

- An `Inbox` takes every word at once. In a step each line spikes once at most, and words come for
  two steps at most, so that memory for twice as many events as there are lines is enough; what does
  not keep to this is dropped, and counted.
- So every word that a port offers is taken in the end: the switch has no cycle, its registers empty
  into inboxes or into the host's stream, and each source has finitely many words for a step, so
  that the fixed order of priority holds none back for more than a step.
- A core ends its step without the switch: its queue has room for all neurons. So all cores send all
  ends, and then all go on.

Only the host can hold the cluster up, by not taking events.
"""

from typing import Any

from amaranth import Array, Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex.cluster import HOST, WORD
from dyncc_hw.fixed import layout_of
from dyncc_hw.neurocorex.synapses import index_bits

#: Stream of words.
PORT = stream.Signature(layout_of(WORD))


def word(**fields: Any) -> Value:
    """A word of its fields, unsigned values that may be narrower."""
    return Cat((Value.cast(fields[item.name]) | Const(0, item.bits))[: item.bits] for item in WORD)


class Inbox(wiring.Component):
    """Holds the events that come for a step and the one after it.

    Takes an event a cycle, and gives one a cycle; an event can be taken out two cycles after it
    came.

    Parameters
    ----------
    lines
        Input lines of the core.

    Members
    -------
    put, put_phase, put_line
        An event, of the step with that phase. Never refused.
    dropped
        High if it is dropped: there is no such line, or as many events as lines came before.
    events
        Lines of the step to come.
    empty
        Whether all of its events that came were taken.
    phase
        The lowest bit of its number.
    flip
        Goes on to the step after it; when `empty`.
    flush
        Forgets all events.
    """

    def __init__(self, lines: int) -> None:
        self.lines = lines
        super().__init__(
            {
                "put": In(1),
                "put_phase": In(1),
                "put_line": In(WORD[0].bits),
                "dropped": Out(1),
                "events": Out(stream.Signature(index_bits(max(1, lines)))),
                "empty": Out(1),
                "phase": Out(1),
                "flip": In(1),
                "flush": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A half of a memory for each phase, filled from its beginning."""
        m = Module()
        bits = index_bits(max(1, self.lines))
        store = memory.Memory(shape=unsigned(bits), depth=2 << bits, init=[])
        m.submodules.store = store
        write, read = store.write_port(), store.read_port()
        counts = Array(Signal(bits + 1, name=f"count_{phase}") for phase in range(2))
        taken = Signal(bits + 1, name="taken")
        held, ask, take = Signal(), Signal(), Signal()
        count, left = counts[self.put_phase], counts[self.phase] != taken
        fits = (self.put_line < self.lines) & (count < self.lines)
        m.d.comb += [
            take.eq(self.put & fits),
            self.dropped.eq(self.put & ~fits),
            write.addr.eq(Cat(count[:bits], self.put_phase)),
            write.data.eq(self.put_line),
            write.en.eq(take),
            ask.eq(left & (~held | self.events.ready)),
            read.addr.eq(Cat(taken[:bits], self.phase)),
            read.en.eq(ask),
            self.events.valid.eq(held),
            self.events.payload.eq(read.data),
            self.empty.eq(~held & ~left),
        ]
        m.d.sync += [
            held.eq(ask | (held & ~self.events.ready)),
            taken.eq(taken + ask),
        ]
        with m.If(take):
            m.d.sync += count.eq(count + 1)
        with m.If(self.flip):
            m.d.sync += [counts[self.phase].eq(0), taken.eq(0), self.phase.eq(~self.phase)]
        with m.If(self.flush):
            m.d.sync += [taken.eq(0), held.eq(0), *(value.eq(0) for value in counts)]
        return m


class Switch(wiring.Component):
    """Takes words from any port to any other, those of a port in their order.

    A word takes a cycle if its target takes no other; in a cycle each source gives one, and each
    target gets one, the source of the lowest number first. Words to targets that do not exist are
    dropped.

    Parameters
    ----------
    cores
        Ports of cores; the last one is the host's.

    Members
    -------
    sources, targets
        Ports, of the cores in order and of the host.
    empty
        Whether no word is in it.
    """

    def __init__(self, cores: int) -> None:
        self.cores = cores
        super().__init__(
            {
                "sources": In(PORT).array(cores + 1),
                "targets": Out(PORT).array(cores + 1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A register and an arbiter for each target."""
        m = Module()
        numbers = [*range(self.cores), HOST]
        granted: list[list[Any]] = [[] for _ in numbers]
        known: list[list[Any]] = [[] for _ in numbers]
        for target, number in enumerate(numbers):
            out = self.targets[target]
            free = ~out.valid | out.ready
            with m.If(free):
                m.d.sync += out.valid.eq(0)
            before: Any = Const(0)
            for source in (other for other in range(len(numbers)) if other != target):
                port = self.sources[source]
                here, wants = port.payload.target == number, Signal(name=f"{source}_to_{target}")
                m.d.comb += wants.eq(port.valid & here)
                known[source].append(here)
                granted[source].append(wants & free & ~before)
                with m.If(granted[source][-1]):
                    m.d.sync += [out.valid.eq(1), out.payload.eq(port.payload)]
                before = before | wants
        m.d.comb += self.empty.eq(~Cat(port.valid for port in self.targets).any())
        for source, port in enumerate(self.sources):
            m.d.comb += port.ready.eq(Cat(granted[source]).any() | ~Cat(known[source]).any())
        return m
