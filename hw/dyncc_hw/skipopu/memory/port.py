"""The memory port: many who read and write, one bus.

Requests are carried out one after the other, in turn among those who wait, and last of all those of
the stream of matrices, which are short. So words of two requests never mix, and one realigner of
each kind is enough. While a request is cut into bursts the next one is checked.
"""

from collections.abc import Sequence
from typing import Any

from amaranth import Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.interfaces import (
    ADDRESS_BITS,
    LENGTH_BITS,
    TRAP_BITS,
    read_signature,
    write_signature,
)
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature
from dyncc_hw.skipopu.memory.realign import ReadRealigner, WriteRealigner
from dyncc_hw.skipopu.memory.requests import WINDOW, WINDOWS, Cutter, Intake
from dyncc_hw.skipopu.skid import SkidBuffer


class Port(wiring.Component):
    """Carries out requests of its clients as bursts.

    A request is checked before any of it is carried out; what leaves memory, is written outside of
    the windows, or has an odd address is trapped. Bursts do not cross multiples of
    ``arch.burst_bytes``, and at most ``arch.memory_requests`` are on their way.

    A client that requests has to take its answers, and to give its data, without waiting for any
    other request: until then the port does nothing else.

    Latency: 5 cycles from a request of an idle port to its first burst; from a word's arrival to
    the client one, and it waits for the one behind it if there is one; from the client to the bus
    one. Throughput: a word a cycle within a request, and from one to the next if each takes 5
    cycles at least.

    After a trap no more bursts begin, until `abort`. While `abort` is high the port takes no
    requests, forgets those that it has, writes nothing more (words of bursts that have begun go to
    the bus without strobes), and drops what is read. When it is `idle`, clients can be reset, and
    `abort` be released.

    Parameters
    ----------
    arch
        The instance.
    readers, writers
        Names of clients, which are members.
    last
        The reader that gets what others leave, or None. Its requests have to be short.

    Members
    -------
    <reader>
        See `interfaces.read_signature`.
    <writer>
        See `interfaces.write_signature`.
    bus
        To the master of a bus, see `bursts.burst_signature`.
    memory_bytes
        Addresses from this one on do not exist.
    windows
        What may be written.
    abort
        See above.
    trap
        In one cycle: `Trap.MEMORY` or `Trap.BUS`; else 0.
    taken
        In one cycle for each request that passed the check: `valid`, the number of the `client`
        (readers first), and `bytes`.
    busy
        A word is moved in this cycle.
    idle
        There is nothing to do.
    waiting
        Memory owes an answer, and gives none in this cycle.

    Raises
    ------
    ConfigError
        If there are no clients, names occur twice or are taken, or the bus cannot be made.
    """

    def __init__(
        self, arch: ArchSpec, readers: Sequence[str], writers: Sequence[str],
        last: str | None = None,
    ) -> None:  # fmt: skip
        self.geometry = Geometry.of(arch)
        self.readers, self.writers = tuple(readers), tuple(writers)
        names = (*self.readers, *self.writers)
        if not names or len({*names}) < len(names):
            raise ConfigError("a memory port has clients, each with a name of its own")
        if last is not None and last not in self.readers:
            raise ConfigError(f"{last} is not among the readers {', '.join(self.readers)}")
        self.last = last
        size = self.geometry.bus_bytes
        members: dict[str, Any] = {
            "bus": Out(burst_signature(self.geometry)),
            "memory_bytes": In(ADDRESS_BITS),
            "windows": In(data.ArrayLayout(WINDOW, WINDOWS)),
            "abort": In(1),
            "trap": Out(TRAP_BITS),
            "taken": Out(
                data.StructLayout(
                    {"valid": 1, "client": range(max(2, len(names))), "bytes": LENGTH_BITS}
                )
            ),
            "busy": Out(1),
            "idle": Out(1),
            "waiting": Out(1),
        }
        if members.keys() & {*names}:
            raise ConfigError(f"{', '.join(sorted(members.keys() & {*names}))} is no client's name")
        members |= dict.fromkeys(self.readers, In(read_signature(size)))
        members |= dict.fromkeys(self.writers, In(write_signature(size)))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """From requests to bursts, from answers to clients, from clients to the bus."""
        m = Module()
        geometry, bus = self.geometry, self.bus
        clients = [getattr(self, name) for name in (*self.readers, *self.writers)]
        writes = [False] * len(self.readers) + [True] * len(self.writers)
        last = None if self.last is None else self.readers.index(self.last)
        m.submodules.intake = intake = Intake(geometry, writes, last)
        m.submodules.cutter = cutter = Cutter(geometry, len(clients))
        realigner = ReadRealigner(geometry, len(clients))
        writer = WriteRealigner(geometry, LENGTH_BITS)
        stopped, draining, clear = Signal(), Signal(), Signal()
        m.submodules.realigner = ResetInserter(clear)(realigner)
        m.submodules.writer = ResetInserter(clear)(writer)
        m.d.comb += clear.eq(self.abort | draining)

        # From the check to the bus: a write begins when the one before has given all its words.
        checked, begin = intake.output, writer.start
        begins = Signal()
        m.d.comb += [
            intake.memory_bytes.eq(self.memory_bytes),
            intake.windows.eq(self.windows),
            intake.stop.eq(clear | stopped),
            cutter.stop.eq(clear | stopped),
            begins.eq(~checked.payload.write | begin.ready),
            cutter.input.valid.eq(checked.valid & begins),
            checked.ready.eq(cutter.input.ready & begins),
            begin.valid.eq(checked.valid & cutter.input.ready & checked.payload.write),
            Value.cast(cutter.input.payload).eq(Value.cast(checked.payload)),
            self.taken.valid.eq(checked.valid & checked.ready),
            self.taken.client.eq(checked.payload.tag),
            self.taken.bytes.eq(intake.bytes),
        ]
        m.d.comb += [begin.payload[name].eq(checked.payload[name]) for name in writer.asks.members]
        for port, client in zip(intake.requests, clients, strict=True):
            wiring.connect(m, wiring.flipped(client.request), port)
        wiring.connect(m, cutter.command, wiring.flipped(bus.command))

        # What is on its way.
        most, about = geometry.requests, cutter.about_layout
        depth = max(2, most)
        m.submodules.reads = reads = fifo.SyncFIFO(width=about.size, depth=depth)
        m.submodules.writes = kept = fifo.SyncFIFO(width=about.size, depth=depth)
        read, written = data.View(about, reads.r_data), data.View(about, kept.r_data)
        on_way, beat = Signal(range(most + 1)), Signal(geometry.words)
        issued, arrives, ends, ended = Signal(), Signal(), Signal(), Signal()
        is_write = bus.command.payload.write
        m.d.comb += [
            issued.eq(bus.command.valid & bus.command.ready),
            arrives.eq(bus.answer.valid & bus.answer.ready),
            ends.eq(beat + 1 == read.words),
            ended.eq((arrives & ends) | bus.written),
            # The next burst need not wait for the counter.
            cutter.hold.eq((on_way == most) & ~ended),
            reads.w_data.eq(cutter.about), kept.w_data.eq(cutter.about),
            reads.w_en.eq(issued & ~is_write), kept.w_en.eq(issued & is_write),
            reads.r_en.eq(arrives & ends), kept.r_en.eq(bus.written),
        ]  # fmt: skip
        m.d.sync += on_way.eq(on_way + issued - (arrives & ends) - bus.written)
        with m.If(arrives):
            m.d.sync += beat.eq(Mux(ends, 0, beat + 1))
        m.submodules.came = came = ResetInserter(clear)(SkidBuffer(realigner.takes))
        self._answer(m, read, ends, reads.r_rdy, came, realigner, clear)
        promised = self._give(m, writer, checked.payload.tag, issued & is_write, clear)
        done = bus.written & written.last & ~bus.failed & ~clear
        for number, name in enumerate(self.writers, len(self.readers)):
            m.d.comb += getattr(self, name).done.eq(done & (written.tag == number))

        bad, quiet = Signal(), Signal()
        m.d.comb += [
            bad.eq((arrives & bus.answer.payload.error) | (bus.written & bus.failed)),
            quiet.eq((on_way == 0) & ~bus.command.valid & ~promised),
        ]
        with m.If(~clear & ~stopped):
            m.d.comb += self.trap.eq(Mux(bad, Trap.BUS, Mux(intake.refused, Trap.MEMORY, 0)))
        m.d.sync += [
            stopped.eq((stopped | self.trap.any()) & ~clear),
            draining.eq(clear & ~(quiet & intake.idle)),
        ]
        moves, heard = Signal(), Signal()
        m.d.comb += [
            moves.eq(arrives | (bus.data.valid & bus.data.ready)),
            heard.eq(moves | issued | bus.answer.valid | bus.written),
            self.busy.eq(moves),
            self.idle.eq(
                quiet
                & ~draining
                & intake.idle
                & cutter.idle
                & begin.ready
                & ~came.output.valid
                & realigner.empty
            ),
            # Memory cannot be blamed for data that a client does not give.
            self.waiting.eq(~quiet & ~heard & ~(promised & ~bus.data.valid)),
        ]
        return m

    def _answer(
        self, m: Module, read: Any, ends: Any, known: Any, came: Any, realigner: Any, clear: Any
    ) -> None:
        """Words that were read, to their client; memory does not see whether it takes them."""
        answer, into, out = self.bus.answer, came.input, realigner.output
        wiring.connect(m, came.output, realigner.input)
        m.d.comb += [
            into.valid.eq(answer.valid & known & ~clear),
            answer.ready.eq(known & (into.ready | clear)),
            into.payload.word.eq(answer.payload.word),
            into.payload.last.eq(ends & read.last),
            into.payload.full.eq(read.full),
            into.payload.offset.eq(read.offset),
            into.payload.tag.eq(read.tag),
        ]
        for number, name in enumerate(self.readers):
            client = getattr(self, name).data
            mine = out.payload.tag == number
            m.d.comb += [
                client.valid.eq(out.valid & mine & ~clear),
                client.payload.word.eq(out.payload.word),
                client.payload.last.eq(out.payload.last),
            ]
            with m.If(mine):
                m.d.comb += out.ready.eq(client.ready)

    def _give(self, m: Module, writer: Any, tag: Any, issued: Any, clear: Any) -> Any:
        """Words that are written, from their client; returns whether any are owed to the bus."""
        bus, geometry = self.bus, self.geometry
        # A client does not see whether memory takes its words.
        m.submodules.goes = goes = ResetInserter(clear)(SkidBuffer(writer.gives))
        wiring.connect(m, writer.output, goes.input)
        word = goes.output
        owed = Signal(range(geometry.requests * geometry.burst_words + 1))
        promised = Signal()
        moves = bus.data.valid & bus.data.ready
        m.d.sync += owed.eq(owed + Mux(issued, bus.command.payload.words, 0) - moves)
        m.d.comb += [
            promised.eq(owed != 0),
            # Bursts that have begun are carried out, but write nothing.
            bus.data.valid.eq(promised & (word.valid | clear)),
            bus.data.payload.word.eq(word.payload.word),
            bus.data.payload.strobe.eq(Mux(clear, 0, word.payload.strobe)),
            word.ready.eq(promised & bus.data.ready & ~clear),
        ]
        source = Signal.like(tag, reset_less=True)
        with m.If(writer.start.valid & writer.start.ready):
            m.d.sync += source.eq(tag)
        for number, name in enumerate(self.writers, len(self.readers)):
            client = getattr(self, name).data
            with m.If(source == number):
                m.d.comb += [
                    writer.input.valid.eq(client.valid & ~clear),
                    writer.input.payload.eq(client.payload),
                    client.ready.eq(writer.input.ready & ~clear),
                ]
        return promised
