"""Properties of the bus server: each request is answered once, and changes things once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.lib.wiring import In

from dyncc.arch.neurocorex import (
    BUS_BITS,
    CHUNK_BITS,
    INDEX_BITS,
    CoreSpec,
    Space,
    bus_words,
    spaces,
)
from dyncc_hw.neurocorex.bus import BusServer
from dyncc_sim.formal.core_queues import impatient
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced, size_of

SPEC = CoreSpec(3, 2, lanes=4, learning=True, classes=2)
#: Cycles from when a request is taken to its answer.
WRITE_LATENCY, READ_LATENCY = 1, 3


def requests(narrow: Collection[Space]) -> Callable[[Design], None]:
    """A host that holds each request until it is done, and asks for one thing at a time."""

    def build(design: Design) -> None:
        server = BusServer(SPEC, narrow)
        design.add(server, "server")
        bus, m = server.bus, design.m
        asks = Cat(bus.read, bus.write, bus.address, bus.write_data)
        design.assume(~(bus.read & bus.write))
        held = design.last((bus.read | bus.write) & ~bus.done)
        design.assume(~held | (asks == design.last(asks)))
        space = bus.address[CHUNK_BITS + INDEX_BITS :]
        index = bus.address[CHUNK_BITS : CHUNK_BITS + INDEX_BITS]
        chunk = bus.address[:CHUNK_BITS]

        # A request is taken in the first cycle in which the core is idle.
        under_way = Signal()
        taken = server.idle & (bus.read | bus.write) & ~under_way & ~bus.done
        m.d.sync += under_way.eq((under_way | taken) & ~bus.done)
        wrote = design.last(taken & bus.write, WRITE_LATENCY)
        read = design.last(taken & bus.read, READ_LATENCY)
        design.claim(bus.done == (wrote | read), "each request is answered once, and in time")
        touches = server.read | server.write | server.clear
        design.claim(~touches | server.idle, "a busy core is left alone")
        design.claim(~server.read | (taken & bus.read), "a request reads once")
        design.claim(~server.write | (taken & bus.write), "a request writes once")
        design.claim(~server.clear | (taken & bus.write), "a request clears once")
        for place, register in enumerate(server.control.values()):
            chosen = (space == Space.CONTROL) & (index == place)
            written = design.last(taken & bus.write & chosen)
            same = register == design.last(register)
            design.claim(same | written, "a register changes when it is written")

        # What is read.
        word = Signal(len(server.word))
        with m.If(design.last(server.read)):
            m.d.sync += word.eq(server.word)
        for item in spaces(SPEC):
            if item in (Space.CONTROL, Space.COUNTERS):
                continue
            part = 0 if item in narrow else chunk
            wanted = word.word_select(part, BUS_BITS)
            there = (space == item) & (chunk < bus_words(SPEC, item))
            answer = ~(bus.done & read & there) | (bus.read_data == wanted)
            design.claim(answer, f"a part of {item.name}")

        design.lemma(~under_way | bus.read | bus.write, "a request is held")
        flight = design.history(taken & bus.read, READ_LATENCY)
        design.lemma(sum(flight) + wrote <= 1, "one request at a time")
        design.lemma(under_way == (Cat(flight).any() | wrote), "a request is under way")
        design.reaches(bus.done & read & (space == Space.PARAMETERS), "a read")
        design.reaches(bus.done & wrote & design.last(bus.done, 2), "two in a row")

    return build


_RIGHT = BusServer


class LateServer(BusServer):
    """A bus server that answers a cycle late, when it already takes the request again."""

    def elaborate(self, platform: Any) -> Module:
        """Put a register behind the answer."""
        m = Module()
        m.submodules.server = server = _RIGHT(self.spec, self._narrow)
        for path, member, port in self.signature.flatten(self):
            inner = server
            for name in path:
                inner = getattr(inner, name)
            if member.flow == In:
                m.d.comb += inner.eq(port)
            elif path[-1] == "done":
                m.d.sync += port.eq(inner)
            else:
                m.d.comb += port.eq(inner)
        for name, register in self.control.items():
            m.d.comb += register.eq(server.control[name])
        return m


PROPERTIES = [
    Property(
        f"bus requests, {name}",
        "While the core is idle each request of its bus is answered once and in time; it reads or "
        "writes once, and what is not asked for stays.",
        size_of(SPEC),
        requests(narrow),
        depth=READ_LATENCY + 3,
        reach=READ_LATENCY + 5,
        faults={
            "requests are served while it works": replaced(f"{__name__}.BusServer", impatient),
            "answers come late": replaced(f"{__name__}.BusServer", LateServer),
        },
    )
    for name, narrow in (("whole words", ()), ("bus words", (Space.PARAMETERS,)))
]
