"""One memory for the machine and the host."""

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature

#: Bursts of the machine for which the host waits at most.
TURNS = 16


class Arbiter(wiring.Component):
    """Lets a host use the memory when the machine does not, and now and then when it does.

    The machine has priority: the host's burst goes before one of the machine only if it waited for
    `turns` of them. Bursts go on in the order in which they were taken; what is read, and what is
    told of writes, goes to the one whose burst it was.

    Latency: of the machine's bursts none, except that one that comes while the host's is offered
    waits for it; of the host's a cycle. A word that is written goes on in the cycle after its burst
    at the earliest. Throughput: a burst a cycle, a word a cycle. After reset nothing is on its way.

    Parameters
    ----------
    geometry
        Of all three ports. The machine has at most ``geometry.requests`` bursts on its way, the
        host one.
    turns
        See above, at least 1.

    Members
    -------
    machine, host, bus
        See `bursts.burst_signature`.

    Raises
    ------
    ConfigError
        If `turns` is less than 1.
    """

    def __init__(self, geometry: Geometry, turns: int = TURNS) -> None:
        if turns < 1:
            raise ConfigError(f"a host waits for 1 burst of the machine or more, not {turns}")
        self.geometry, self.turns = geometry, turns
        signature = burst_signature(geometry)
        super().__init__({"machine": In(signature), "host": In(signature), "bus": Out(signature)})

    def elaborate(self, platform: Any) -> Module:
        """Choose, and remember whose bursts are on their way."""
        m = Module()
        machine, host, bus = self.machine.command, self.host.command, self.bus.command
        # Whether the host's command is passed on: a register, so that the machine's path is short.
        turn, waited = Signal(), Signal(range(self.turns))
        taken = Signal()
        m.d.comb += [
            bus.valid.eq(Mux(turn, host.valid, machine.valid)),
            Value.cast(bus.payload).eq(
                Mux(turn, Value.cast(host.payload), Value.cast(machine.payload))
            ),
            host.ready.eq(turn & bus.ready),
            machine.ready.eq(~turn & bus.ready),
            taken.eq(bus.valid & bus.ready),
        ]
        overdue = waited == self.turns - 1
        with m.If(turn):
            m.d.sync += waited.eq(0)
            with m.If(bus.ready | ~host.valid):
                m.d.sync += turn.eq(0)
        with m.Elif(host.valid):
            # An offer that is not taken stays.
            m.d.sync += turn.eq(~machine.valid | (machine.ready & overdue))
            with m.If(taken & ~overdue):
                m.d.sync += waited.eq(waited + 1)

        writes = bus.payload.write
        reads = self._queue(m, "reads", taken & ~writes, turn)
        given = self._queue(m, "given", taken & writes, turn)
        self._answer(m, *reads)
        self._give(m, *given)
        m.submodules.written = written = fifo.SyncFIFO(width=1, depth=self.geometry.requests + 1)
        m.d.comb += [
            written.w_en.eq(taken & writes),
            written.w_data.eq(turn),
            written.r_en.eq(self.bus.written),
            self.host.written.eq(self.bus.written & written.r_data),
            self.machine.written.eq(self.bus.written & ~written.r_data),
            self.host.failed.eq(self.bus.failed),
            self.machine.failed.eq(self.bus.failed),
        ]
        return m

    def _queue(self, m: Module, name: str, taken: Any, turn: Any) -> tuple[Any, Any, Any]:
        """Bursts on their way: whether there is one, whose it is, and what says a word moved."""
        words = self.geometry.words
        layout = data.StructLayout({"host": 1, "words": words})
        m.submodules[name] = kept = fifo.SyncFIFO(
            width=layout.size, depth=self.geometry.requests + 1
        )
        first, begun = data.View(layout, kept.r_data), data.View(layout, kept.w_data)
        moves, beat = Signal(name=f"{name}_move"), Signal(words, name=f"{name}_beat")
        ends = beat + 1 == first.words
        m.d.comb += [
            kept.w_en.eq(taken),
            begun.host.eq(turn),
            begun.words.eq(self.bus.command.payload.words),
            kept.r_en.eq(moves & ends),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(ends, 0, beat + 1))
        return kept.r_rdy, first.host, moves

    def _answer(self, m: Module, known: Any, is_host: Any, moves: Any) -> None:
        """Words that were read."""
        answer = self.bus.answer
        m.d.comb += [
            answer.ready.eq(
                known & Mux(is_host, self.host.answer.ready, self.machine.answer.ready)
            ),
            moves.eq(answer.valid & answer.ready),
        ]
        for port, mine in ((self.host, is_host), (self.machine, ~is_host)):
            m.d.comb += [
                port.answer.valid.eq(answer.valid & known & mine),
                Value.cast(port.answer.payload).eq(Value.cast(answer.payload)),
            ]

    def _give(self, m: Module, known: Any, is_host: Any, moves: Any) -> None:
        """Words that are written."""
        out = self.bus.data
        host, machine = self.host.data, self.machine.data
        m.d.comb += [
            out.valid.eq(known & Mux(is_host, host.valid, machine.valid)),
            Value.cast(out.payload).eq(
                Mux(is_host, Value.cast(host.payload), Value.cast(machine.payload))
            ),
            host.ready.eq(known & is_host & out.ready),
            machine.ready.eq(known & ~is_host & out.ready),
            moves.eq(out.valid & out.ready),
        ]
