"""Requests of the memory port: chosen, checked, and cut into bursts."""

from collections.abc import Sequence
from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.csr import WINDOWS as WINDOWS
from dyncc_hw.skipopu.interfaces import ADDRESS_BITS, LENGTH_BITS, REQUEST
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature

#: Addresses `start` to `end` - 1 that may be written; none if both are equal.
WINDOW = data.StructLayout({"start": ADDRESS_BITS, "end": ADDRESS_BITS})


def checked_layout(geometry: Geometry, clients: int) -> data.StructLayout:
    """A request that may be carried out.

    Members
    -------
    tag
        Number of the client.
    write
        Whether it writes.
    address, words
        Words of the bus that it touches.
    offset, end
        Of its first byte in the first word, and of its last byte in the last one.
    full
        Whether it has as many words when realigned, or one less.
    """
    offset = geometry.shift
    return data.StructLayout(
        {
            "tag": range(max(2, clients)), "write": 1, "address": geometry.word_address_bits,
            "words": LENGTH_BITS, "offset": offset, "end": offset, "full": 1,
        }
    )  # fmt: skip


def allows(window: Any, start: Any, end: Any) -> Value:
    """Whether a window holds all addresses from `start` to `end` - 1."""
    return (start >= window.start) & (end <= window.end)


def room_of(geometry: Geometry, address: Any) -> Value:
    """Words from one up to the next multiple of the largest burst."""
    most = geometry.burst_words
    within = Value.cast(address)[: (most - 1).bit_length()]
    return Value.cast(most - within)


class Intake(wiring.Component):
    """Takes a request of one client after the other, and checks it.

    Latency: 4 cycles; throughput: a request in 5.

    Parameters
    ----------
    geometry
        Of the bus.
    writes
        Of each client, whether it writes.
    last
        Number of the client that comes after all others; the others take turns.

    Members
    -------
    requests
        Of each client, a stream of `interfaces.REQUEST`.
    memory_bytes, windows
        As of `port.Port`.
    stop
        No request is taken, and what was taken is forgotten before it is `idle`.
    output
        Stream of `checked_layout`. What waits goes away with `stop`.
    refused
        In one cycle: a request may not be carried out, and is forgotten.
    bytes
        Of the request at the output.
    idle
        There is no request.
    """

    def __init__(self, geometry: Geometry, writes: Sequence[bool], last: int | None) -> None:
        self.geometry, self.writes, self.last = geometry, tuple(writes), last
        self.gives = checked_layout(geometry, len(self.writes))
        super().__init__(
            {
                "requests": In(stream.Signature(REQUEST)).array(len(self.writes)),
                "memory_bytes": In(ADDRESS_BITS),
                "windows": In(data.ArrayLayout(WINDOW, WINDOWS)),
                "stop": In(1),
                "output": Out(stream.Signature(self.gives)),
                "refused": Out(1),
                "bytes": Out(LENGTH_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A sum, then comparisons, each between registers."""
        m = Module()
        geometry, size = self.geometry, self.geometry.bus_bytes
        clients = len(self.writes)
        tag = Signal(range(max(2, clients)))
        request = Signal(REQUEST, reset_less=True)
        end = Signal(ADDRESS_BITS + 1, reset_less=True)
        allowed = Signal()
        writes = Array(self.writes)[tag]
        start = request.address

        valid = Cat(port.valid for port in self.requests)
        chosen, turn = self._choose(m, valid, tag)
        span = Signal(LENGTH_BITS + 1)
        m.d.comb += span.eq(start[: geometry.shift] + request.bytes + (size - 1))
        plain = Signal(LENGTH_BITS + 1)
        m.d.comb += plain.eq(request.bytes + (size - 1))
        out = self.output.payload
        m.d.comb += [
            self.bytes.eq(request.bytes),
            out.tag.eq(tag), out.write.eq(writes),
            out.address.eq(start[geometry.shift :]), out.offset.eq(start[: geometry.shift]),
        ]  # fmt: skip
        words, full = Signal(LENGTH_BITS, reset_less=True), Signal(reset_less=True)
        m.d.comb += [out.words.eq(words), out.full.eq(full), out.end.eq(end[: geometry.shift] - 1)]

        inside = Signal(reset_less=True)
        writable = Signal(WINDOWS, reset_less=True)
        with m.FSM():
            with m.State("PICK"):
                m.d.comb += self.idle.eq(self.stop | ~valid.any())
                with m.If(valid.any() & ~self.stop):
                    m.d.sync += tag.eq(chosen)
                    with m.If(1 if self.last is None else chosen != self.last):
                        m.d.sync += turn.eq(chosen)
                    m.next = "TAKE"
            with m.State("TAKE"):
                with m.Switch(tag):
                    for number, port in enumerate(self.requests):
                        with m.Case(number):
                            m.d.comb += port.ready.eq(1)
                            m.d.sync += request.eq(port.payload)
                m.next = "ADD"
            with m.State("ADD"):
                m.d.sync += [
                    end.eq(start + request.bytes),
                    words.eq(span >> geometry.shift),
                    full.eq((span >> geometry.shift) == (plain >> geometry.shift)),
                ]
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += inside.eq(
                    (end <= self.memory_bytes) & request.bytes.any() & ~request.address[0]
                )
                for number in range(WINDOWS):
                    m.d.sync += writable[number].eq(allows(self.windows[number], start, end))
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.comb += [
                    allowed.eq(inside & (~writes | writable.any())),
                    self.output.valid.eq(allowed & ~self.stop),
                    self.refused.eq(~allowed & ~self.stop),
                ]
                with m.If(~allowed | self.output.ready | self.stop):
                    m.next = "PICK"
        return m

    def _choose(self, m: Module, valid: Any, tag: Any) -> tuple[Any, Any]:
        """The next client that waits, and a register for the one in turn that was served last."""
        turn, chosen = Signal.like(tag), Signal.like(tag)
        ring = [number for number in range(len(self.writes)) if number != self.last]
        if self.last is not None:
            m.d.comb += chosen.eq(self.last)
        with m.Switch(turn):
            for place, number in enumerate(ring):
                with m.Case(number):
                    # The last assignment counts.
                    for other in reversed(ring[place + 1 :] + ring[: place + 1]):
                        with m.If(valid[other]):
                            m.d.comb += chosen.eq(other)
        return chosen, turn


class Cutter(wiring.Component):
    """Cuts requests into bursts that do not cross multiples of their largest size.

    Latency: 2 cycles from a request to its first burst; throughput: a burst in 2 cycles.

    Parameters
    ----------
    geometry
        Of the bus.
    clients
        How many there are.

    Members
    -------
    input
        Stream of `checked_layout`.
    command
        Of `bursts.burst_signature`.
    about
        Of the burst at `command`: the request's `tag`, `offset`, `full`; its `words`; and whether
        it is the `last` of its request.
    hold
        No burst begins, except one that is offered already.
    stop
        The same, and the request is forgotten.
    idle
        There is no request.
    """

    def __init__(self, geometry: Geometry, clients: int) -> None:
        self.geometry = geometry
        self.takes = checked_layout(geometry, clients)
        self.about_layout = data.StructLayout(
            {
                "tag": range(max(2, clients)), "offset": geometry.shift, "full": 1,
                "words": geometry.words, "last": 1,
            }
        )  # fmt: skip
        super().__init__(
            {
                "input": In(stream.Signature(self.takes)),
                "command": burst_signature(geometry).members["command"],
                "about": Out(self.about_layout),
                "hold": In(1),
                "stop": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Words up to the boundary, or to the end of the request."""
        m = Module()
        request = Signal(self.takes, reset_less=True)
        words, final = Signal(self.geometry.words, reset_less=True), Signal(reset_less=True)
        room = Signal(self.geometry.words)
        m.d.comb += room.eq(room_of(self.geometry, request.address))
        command = self.command
        m.d.comb += [
            command.payload.write.eq(request.write),
            command.payload.address.eq(request.address),
            command.payload.words.eq(words),
            self.about.tag.eq(request.tag), self.about.offset.eq(request.offset),
            self.about.full.eq(request.full), self.about.words.eq(words), self.about.last.eq(final),
        ]  # fmt: skip
        with m.FSM():
            with m.State("FREE"):
                m.d.comb += [self.input.ready.eq(~self.stop), self.idle.eq(1)]
                with m.If(self.input.valid & ~self.stop):
                    m.d.sync += request.eq(self.input.payload)
                    m.next = "CUT"
            with m.State("CUT"):
                fits = request.words <= room
                m.d.sync += [final.eq(fits), words.eq(Mux(fits, request.words, room))]
                with m.If(self.stop):
                    m.next = "FREE"
                with m.Elif(~self.hold):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += command.valid.eq(1)
                with m.If(command.ready):
                    m.d.sync += [
                        request.address.eq(request.address + words),
                        request.words.eq(request.words - words),
                    ]
                    m.next = "CUT"
                    with m.If(final | self.stop):
                        m.next = "FREE"
        return m
