"""From a program in memory to instructions of engines: all that is common to the machine.

A program begins in this order: what is left of the one before is aborted until the port is idle;
engines are reset for a cycle; registers other than those with a fixed meaning become 0; then the
first instruction is fetched. It ends with `Op.HALT`, or with a trap, which stops everything. While
no program runs the port is aborted, so that the bus is free.
"""

from typing import Any

from amaranth import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu import csr
from dyncc.arch.skipopu.isa import (
    COUNT_BITS,
    QUEUE_DEPTH,
    REGISTER_BITS,
    REGISTERS,
    RESERVED,
    SEMAPHORE_BITS,
    SEMAPHORES,
    Engine,
    Op,
    Trap,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.control.fetch import Fetch
from dyncc_hw.skipopu.control.queues import EngineQueue
from dyncc_hw.skipopu.control.semaphores import Semaphores
from dyncc_hw.skipopu.control.sequencer import WORKERS, Sequencer
from dyncc_hw.skipopu.interfaces import (
    ADDRESS_BITS,
    OP_BITS,
    TRAP_BITS,
    read_signature,
    work_signature,
)

#: Cycles in which nothing moves, and nothing is on its way, after which nothing ever will.
STUCK_CYCLES = 255


class State(enum.Enum, shape=3):  # type: ignore[call-arg]  # Amaranth has no types
    """What the machine does, see `csr.State`."""

    IDLE = int(csr.State.IDLE)
    STARTING = int(csr.State.STARTING)
    RUNNING = int(csr.State.RUNNING)
    HALTED = int(csr.State.HALTED)
    TRAPPED = int(csr.State.TRAPPED)


def engine_layout(arch: ArchSpec) -> data.StructLayout:
    """What an engine does: whether it is `busy`, with what, and how many more are `waiting`."""
    return data.StructLayout(
        {
            "busy": 1, "suppressed": 1, "starved": 1, "op": OP_BITS, "pc": COUNT_BITS,
            "active": arch.tokens, "waiting": range(QUEUE_DEPTH + 1),
        }
    )  # fmt: skip


class Front(wiring.Component):
    """Fetches, dispatches, starts engines, counts semaphores; starts and stops the machine.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    start
        In one cycle: run the program.
    base, length
        Its address, and its instructions.
    watchdog
        Cycles that memory may take for an answer; 0 for any.
    number, value, write, read
        Registers, while no program runs.
    memory
        Client of the port.
    <engine>
        To the engines, by their names in lower case.
    attention, mlp
        Predicates.
    load_slots, slot_start, slot_limit, next_slot
        To and from the engine of keys and values.
    abort, clear
        To the port; and to all engines, which are reset in a cycle with `clear`.
    port_idle, port_waiting, port_trap, stream_trap
        From the port and the load engine.
    state, trap, pc
        What the machine does; why it stopped, and where.
    begun, finished
        In one cycle for each engine, a bit in the order of `WORKERS`: an instruction starts, or is
        done.
    dispatched
        In one cycle: an instruction was dispatched.
    engines
        What each engine does, see `engine_layout`; stays after a trap.
    counts
        Of the semaphores.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch = arch
        engines = len(WORKERS)
        super().__init__(
            {
                "start": In(1), "base": In(ADDRESS_BITS), "length": In(COUNT_BITS),
                "watchdog": In(32),
                "number": In(range(REGISTERS)), "value": In(REGISTER_BITS), "write": In(1),
                "read": Out(REGISTER_BITS),
                "memory": Out(read_signature(arch.bus_bytes)),
                **{
                    engine.name.lower(): Out(work_signature(engine, arch)) for engine in WORKERS
                },
                "attention": In(arch.tokens), "mlp": In(arch.tokens),
                "load_slots": Out(1), "slot_start": Out(REGISTER_BITS),
                "slot_limit": Out(REGISTER_BITS), "next_slot": In(REGISTER_BITS),
                "abort": Out(1), "clear": Out(1),
                "port_idle": In(1), "port_waiting": In(1), "port_trap": In(TRAP_BITS),
                "stream_trap": In(TRAP_BITS),
                "state": Out(State), "trap": Out(TRAP_BITS), "pc": Out(COUNT_BITS),
                "begun": Out(engines), "finished": Out(engines), "dispatched": Out(1),
                "engines": Out(data.ArrayLayout(engine_layout(arch), engines)),
                "counts": Out(data.ArrayLayout(SEMAPHORE_BITS, SEMAPHORES)),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Connect the parts; look for what stops them."""
        m = Module()
        arch = self.arch
        stopped = Signal()
        sequencer, fetch = Sequencer(arch), Fetch(arch)
        semaphores = Semaphores(1 + len(WORKERS), 1 + len(WORKERS))
        m.submodules.sequencer = ResetInserter(stopped)(sequencer)
        m.submodules.fetch = ResetInserter(stopped)(fetch)
        m.submodules.semaphores = ResetInserter(stopped)(semaphores)
        queues = [EngineQueue(engine, arch) for engine in WORKERS]
        wiring.connect(m, fetch.memory, wiring.flipped(self.memory))
        wiring.connect(m, fetch.words, sequencer.words)
        asks, waits, releases, releasing = [sequencer.asks], [sequencer.wait], [], []
        for engine, queue in zip(WORKERS, queues, strict=True):
            name = engine.name.lower()
            m.submodules[f"queue_{name}"] = ResetInserter(stopped)(queue)
            wiring.connect(m, getattr(sequencer, f"put_{name}"), queue.put)
            wiring.connect(m, queue.work, wiring.flipped(getattr(self, name)))
            asks.append(queue.asks)
            waits.append(queue.wait)
            releasing.append(queue.finished)
            releases.append(queue.release)
        open_count, routes = Signal(range(64)), Signal(range(16))
        finished = Cat(releasing)
        vector = WORKERS.index(Engine.VECTOR)
        is_route = queues[vector].op == Op.ROUTE
        put_route = Signal()
        m.d.comb += [
            sequencer.begin.eq(0), sequencer.length.eq(self.length),
            sequencer.number.eq(self.number), sequencer.value.eq(self.value),
            sequencer.write.eq(self.write), self.read.eq(sequencer.read),
            sequencer.attention.eq(self.attention), sequencer.mlp.eq(self.mlp),
            sequencer.next_slot.eq(self.next_slot), sequencer.idle.eq(open_count == 0),
            sequencer.routes.eq(routes != 0),
            self.slot_start.eq(sequencer.slot_start), self.slot_limit.eq(sequencer.slot_limit),
            fetch.base.eq(self.base), fetch.length.eq(self.length),
            fetch.jump.eq(sequencer.jump), fetch.target.eq(sequencer.target),
            fetch.enable.eq(self.state == State.RUNNING),
            semaphores.asks.eq(Cat(asks)),
            *(semaphores.wait[i].eq(wait) for i, wait in enumerate(waits)),
            sequencer.granted.eq(semaphores.granted[0]),
            *(queue.granted.eq(semaphores.granted[1 + i]) for i, queue in enumerate(queues)),
            self.begun.eq(Cat(queue.begun for queue in queues)), self.finished.eq(finished),
            self.dispatched.eq(sequencer.dispatched),
            put_route.eq(
                sequencer.put_vector.valid & sequencer.put_vector.ready
                & (sequencer.put_vector.payload.work.op == Op.ROUTE)
            ),
        ]  # fmt: skip
        # A cycle later: who finishes is known late in a cycle.
        m.d.sync += [
            semaphores.releases.eq(Mux(stopped, 0, Cat(sequencer.releases, finished))),
            *(
                semaphores.release[i].eq(release)
                for i, release in enumerate([sequencer.release, *releases])
            ),
        ]
        puts = Cat(
            getattr(sequencer, f"put_{engine.name.lower()}").valid
            & getattr(sequencer, f"put_{engine.name.lower()}").ready
            for engine in WORKERS
        )
        m.d.sync += [
            open_count.eq(open_count + puts.any() - sum(finished)),
            routes.eq(routes + put_route - (queues[vector].finished & is_route)),
        ]
        # After a trap they show what was going on.
        now = Signal.like(self.engines)
        for index, queue in enumerate(queues):
            for name in ("busy", "suppressed", "starved", "op", "pc", "active", "waiting"):
                m.d.comb += getattr(now[index], name).eq(getattr(queue, name))
        kept, kept_counts = Signal.like(self.engines), Signal.like(self.counts)
        trapped = Signal()
        with m.If((self.state == State.RUNNING) & ~trapped):
            m.d.comb += [self.engines.eq(now), self.counts.eq(semaphores.counts)]
            m.d.sync += [kept.eq(now), kept_counts.eq(semaphores.counts)]
        with m.Else():
            m.d.comb += [self.engines.eq(kept), self.counts.eq(kept_counts)]
        self._control(m, sequencer, queues, semaphores, stopped, open_count, routes, trapped)
        return m

    def _control(
        self, m: Module, sequencer: Sequencer, queues: list[EngineQueue], semaphores: Semaphores,
        stopped: Signal, open_count: Signal, routes: Signal, trapped: Signal,
    ) -> None:  # fmt: skip
        """Start, run, stop."""
        number = Signal(range(REGISTERS))
        still, waited = Signal(range(STUCK_CYCLES + 1)), Signal(32)
        moving = self.begun.any() | self.finished.any() | self.dispatched | ~sequencer.stuck
        working = Cat(queue.busy & ~queue.starved for queue in queues).any()
        busy_pc: Value = sequencer.pc
        for queue in reversed(queues):
            busy_pc = Mux(queue.busy & ~queue.suppressed, queue.pc, busy_pc)
        # From far away, or late in their cycle: seen in the next one.
        port_trap, stream_trap = Signal(TRAP_BITS), Signal(TRAP_BITS)
        over, port_idle, port_waiting = Signal(), Signal(), Signal()
        m.d.sync += [
            port_trap.eq(self.port_trap), stream_trap.eq(self.stream_trap),
            over.eq(semaphores.over), port_idle.eq(self.port_idle),
            port_waiting.eq(self.port_waiting),
            still.eq(Mux(moving | working | ~port_idle, 0, still + 1)),
            waited.eq(Mux(port_waiting, waited + 1, 0)),
        ]  # fmt: skip
        # The first of these counts.
        causes = [
            *((queue.trap.any(), queue.trap, queue.pc) for queue in queues),
            (sequencer.trap.any(), sequencer.trap, sequencer.pc),
            (port_trap.any(), port_trap, busy_pc),
            (stream_trap.any(), stream_trap, busy_pc),
            (over, Trap.SEMAPHORE, sequencer.pc),
            (still == STUCK_CYCLES, Trap.DEADLOCK, sequencer.pc),
            (self.watchdog.any() & (waited == self.watchdog), Trap.WATCHDOG, busy_pc),
        ]
        m.d.comb += [
            stopped.eq(self.state != State.RUNNING),
            # After the end too: nobody takes instructions and rows that were fetched ahead.
            self.abort.eq(stopped),
        ]
        with m.Switch(self.state):
            with m.Case(State.IDLE, State.HALTED, State.TRAPPED):
                m.d.sync += [open_count.eq(0), routes.eq(0), still.eq(0), number.eq(0)]
                with m.If(self.start):
                    m.d.sync += [self.state.eq(State.STARTING), self.trap.eq(0)]
            with m.Case(State.STARTING), m.If(port_idle | number.any()):
                m.d.sync += [number.eq(number + 1), self.clear.eq(number == 0)]
                m.d.comb += [
                    self.load_slots.eq(number == 2),
                    sequencer.number.eq(number), sequencer.value.eq(0),
                    sequencer.write.eq(number >= len(RESERVED)),
                ]  # fmt: skip
                with m.If(number == REGISTERS - 1):
                    m.d.sync += self.state.eq(State.RUNNING)
            with m.Case(State.RUNNING):
                begun = Signal()
                m.d.sync += begun.eq(1)
                m.d.comb += [sequencer.begin.eq(~begun), trapped.eq(self.trap.any())]
                with m.If(trapped | sequencer.halted):
                    m.d.sync += [
                        self.state.eq(Mux(trapped, State.TRAPPED, State.HALTED)), begun.eq(0),
                    ]  # fmt: skip
                with m.Else():
                    for cause, code, place in reversed(causes):
                        with m.If(cause):
                            m.d.sync += [self.trap.eq(code), self.pc.eq(place)]
