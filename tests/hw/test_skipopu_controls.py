"""Control and status registers: what a host writes, reads and counts."""

from __future__ import annotations

import queue
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from amaranth.sim import Simulator

from dyncc.arch.fields import unpack
from dyncc.arch.skipopu import csr
from dyncc.arch.skipopu.csr import Place, State
from dyncc.arch.skipopu.isa import Engine, Op, Trap
from dyncc.core.errors import ConfigError, ToolError
from dyncc_hw.skipopu.control.control import READ_CYCLES, Registers
from dyncc_hw.skipopu.control.counters import check
from dyncc_hw.skipopu.control.front import State as HardwareState
from dyncc_sim.skipopu.bench.instances import BATCHED
from dyncc_sim.skipopu.controls import Controls
from dyncc_sim.skipopu.trap import TrapError


class Simulated:
    """The registers under Amaranth's simulator, in a thread of its own, and a machine that is none.

    What the machine does changes in each cycle at random; what is to be counted is counted here.
    """

    def __init__(self) -> None:
        self.registers = Registers(BATCHED)
        self.draw = random.Random(1)
        self.state = HardwareState.IDLE
        self.trap, self.pc = 0, 0
        self.r = [0] * 32
        self.wanted: Counter[str] = Counter()
        #: What was counted when a counter was read last.
        self.seen: Counter[str] = Counter()
        self.starts = self.forgets = 0
        self.since = 0
        self._orders: queue.Queue[Any] = queue.Queue()
        self._answers: queue.Queue[int] = queue.Queue()

    def read(self, address: int) -> int:
        return self._order(address, None)

    def write(self, address: int, value: int) -> None:
        self._order(address, value)

    def _order(self, address: int, value: int | None) -> int:
        self._orders.put((address, value))
        return self._answers.get(timeout=60)

    @contextmanager
    def running(self) -> Iterator[None]:
        simulator = Simulator(self.registers)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self._bench)
        thread = threading.Thread(target=simulator.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._orders.put(None)
            thread.join(timeout=60)

    async def _bench(self, ctx: Any) -> None:
        bus = self.registers.registers
        while (order := self._orders.get()) is not None:
            address, value = order
            # Some cycles in which the host does nothing.
            for _ in range(self.draw.choice((1, 1, 2, 5))):
                self._drive(ctx)
                await self._tick(ctx)
            self._drive(ctx)
            ctx.set(bus.address, address)
            ctx.set(bus.read, value is None)
            ctx.set(bus.write, value is not None)
            ctx.set(bus.write_data, value or 0)
            # A counter is read a cycle after it was asked for, and counts a cycle late.
            if value is None and not address % 2:
                self.seen = Counter(self.wanted)
            await self._tick(ctx)
            ctx.set(bus.read, 0)
            ctx.set(bus.write, 0)
            for _ in range(READ_CYCLES - 1 if value is None else 0):
                self._drive(ctx)
                await self._tick(ctx)
            self._answers.put(ctx.get(bus.read_data))

    def _drive(self, ctx: Any) -> None:
        """A cycle of the machine."""
        its, draw = self.registers, self.draw
        ctx.set(its.state, self.state)
        ctx.set(its.trap, self.trap)
        ctx.set(its.pc, self.pc)
        self.events: Counter[str] = Counter()
        events = self.events
        bits = {name: draw.getrandbits(1) for name in ("dispatched", "busy", "resident", "fetched")}
        for name, bit in bits.items():
            ctx.set(getattr(its, name), bit)
        events["instructions"] += bits["dispatched"]
        events["port_cycles"] += bits["busy"]
        events["resident"] += bits["resident"]
        events["fetched"] += bits["fetched"]
        events["cycles"] += 1
        finished = draw.getrandbits(len(csr.WORKERS))
        ctx.set(its.finished, finished)
        for index, engine in enumerate(csr.WORKERS):
            busy, suppressed, starved = (draw.getrandbits(1) for _ in range(3))
            name, done = engine.name.lower(), finished >> index & 1
            ctx.set(its.engines[index].busy, busy)
            ctx.set(its.engines[index].suppressed, suppressed)
            ctx.set(its.engines[index].starved, starved)
            events[f"{name}_cycles"] += busy
            events[f"{name}_starved"] += starved
            events[f"{name}_instructions"] += done
            events[f"{name}_suppressed"] += done & suppressed
        self.since += 1
        taken = self.since >= 5 and draw.random() < 0.7
        ctx.set(its.taken.valid, taken)
        if taken:
            self.since = 0
            client, size = draw.randrange(len(csr.CLIENTS)), draw.getrandbits(24)
            ctx.set(its.taken.client, client)
            ctx.set(its.taken.bytes, size)
            events[f"{csr.CLIENTS[client]}_requests"] += 1
            events[f"{csr.CLIENTS[client]}_bytes"] += size

    async def _tick(self, ctx: Any) -> None:
        its = self.registers
        ctx.set(its.read, self.r[ctx.get(its.number)])
        if ctx.get(its.write):
            self.r[ctx.get(its.number)] = ctx.get(its.value)
        if self.state == HardwareState.RUNNING:
            self.wanted.update(self.events)
        self.forgets += ctx.get(its.forget)
        if ctx.get(its.start):
            self.starts += 1
            self.wanted.clear()
        await ctx.tick()


@pytest.fixture
def simulated() -> Iterator[tuple[Simulated, Controls]]:
    found = Simulated()
    with found.running():
        yield found, Controls(found)


def test_registers_are_written_and_read(simulated: tuple[Simulated, Controls]) -> None:
    words, controls = simulated
    windows = [(0x12_3456_7890, 0xFF_FFFF_FFFF), (2, 4), (0, 0), (0xAB_0000_0000, 0xAB_0000_0001)]
    controls.configure(0x98_7654_3210, windows, 0xDEAD_BEEF)
    controls.start(0x55_AAAA_AAAA, 0xABCDEF, {1: 3, 4: 0xFF_0000_0001}, forget=True)
    assert (words.starts, words.forgets) == (1, 1)
    assert words.r[:6] == [0, 3, 0, 0, 0xFF_0000_0001, 0]
    wanted = {Place.BASE: 0x55_AAAA_AAAA, Place.LENGTH: 0xABCDEF, Place.WATCHDOG: 0xDEAD_BEEF,
              Place.MEMORY_BYTES: 0x98_7654_3210}  # fmt: skip
    for index, (start, end) in enumerate(windows):
        wanted |= {Place.WINDOWS + 2 * index: start, Place.WINDOWS + 2 * index + 1: end}
    for number, value in wanted.items():
        assert words.read(2 * number) | words.read(2 * number + 1) << 32 == value, number
    assert controls.register(4) == 0xFF_0000_0001
    # What is not there.
    for address in (2 * Place.CONTROL, 2 * 30, 2 * (Place.COUNTERS + len(csr.COUNTERS)), 255):
        assert words.read(address) == 0


def test_nothing_is_written_while_a_program_runs(simulated: tuple[Simulated, Controls]) -> None:
    words, controls = simulated
    controls.configure(1000, [])
    for state in (HardwareState.STARTING, HardwareState.RUNNING):
        words.state = state
        with pytest.raises(ConfigError, match="a program runs already"):
            controls.start(0, 1, {})
        controls.configure(2000, [(1, 2)], 3)
        words.write(2 * Place.REGISTERS + 2, 1)
        words.write(2 * Place.REGISTERS + 3, 1)
        words.write(2 * Place.CONTROL, 3)
    words.state = HardwareState.HALTED
    assert words.read(2 * Place.MEMORY_BYTES) == 1000
    assert (words.starts, words.forgets, words.r) == (0, 0, [0] * 32)


def test_counters_are_exact(simulated: tuple[Simulated, Controls]) -> None:
    words, controls = simulated
    for _ in range(2):
        controls.start(0, 1, {})
        words.state = HardwareState.RUNNING
        for _ in range(60):
            index = words.draw.randrange(len(csr.COUNTERS))
            name, number = csr.COUNTERS[index].name, Place.COUNTERS + index
            found = words.read(2 * number)
            wanted = words.seen[name]
            assert found | words.read(2 * number + 1) << 32 == wanted, name
        words.state = HardwareState.HALTED
        found = controls.counters()
        assert found == {item.name: words.wanted[item.name] for item in csr.COUNTERS}
        assert found["cycles"] > 200
        assert min(found[f"{name}_requests"] for name in csr.CLIENTS) > 0


def test_a_trap_is_told(simulated: tuple[Simulated, Controls]) -> None:
    words, controls = simulated
    words.state = HardwareState.HALTED
    assert controls.ended()
    words.state, words.trap, words.pc = HardwareState.TRAPPED, int(Trap.SHAPE), 0xABCDEF
    with pytest.raises(TrapError, match="trap SHAPE at instruction 11259375: sizes") as caught:
        controls.ended()
    assert (caught.value.trap, caught.value.pc) == (Trap.SHAPE, 0xABCDEF)
    assert caught.value.engines.startswith("semaphores [0, 0, 0, 0, 0, 0]")


# --- the host's side alone ----------------------------------------------------------------------


class Fixed:
    """Words of given registers."""

    def __init__(self, **registers: int) -> None:
        self._found = {Place[name].value: value for name, value in registers.items()}
        self.engine: dict[int, int] = {}

    def read(self, address: int) -> int:
        found = self._found.get(address // 2, self.engine.get(address // 2, 0))
        return found >> 32 * (address % 2) & 0xFFFF_FFFF

    def write(self, address: int, value: int) -> None:
        raise AssertionError("nothing is to be written")


def test_engines_by_name() -> None:
    words = Fixed(IDENTITY=csr.IDENTITY, STATUS=4 | Trap.DEADLOCK << 4 | 77 << 8, SEMAPHORES=5 << 8)
    pe = Place.ENGINES + csr.WORKERS.index(Engine.PE)
    words.engine[pe] = 0b101 | Op.GEMM << 3 | 8 << 7 | 41 << 32
    status = Controls(words).status()
    assert (status.state, status.trap, status.pc) == (State.TRAPPED, Trap.DEADLOCK, 77)
    assert status.semaphores == (0, 5, 0, 0, 0, 0)
    error = status.error()
    assert error is not None
    assert error.engines == (
        "semaphores [0, 5, 0, 0, 0, 0]; PE: works on GEMM of 41, "
        "waits for rows, or room for them, 8 queued"
    )
    assert unpack(csr.ENGINE, words.engine[pe])["reserved"] == 0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda c: c.configure(1 << 40, []), "does not fit the 40 bits of register 7"),
        (lambda c: c.configure(0, [(0, 0)] * 5), "there are 4 windows, not 5"),
        (lambda c: c.start(1, 1, {}), "an even address, not 0x1"),
        (lambda c: c.start(0, 1, {6: 1}), "R6 cannot be given to a program"),
    ],
)
def test_what_cannot_be_written(act: Callable[[Controls], None], message: str) -> None:
    controls = Controls(Fixed(IDENTITY=csr.IDENTITY))
    with pytest.raises(ConfigError, match=message):
        act(controls)


def test_something_else() -> None:
    with pytest.raises(ToolError, match="no SkipOPU answers"):
        Controls(Fixed(IDENTITY=1))


def test_registers_do_not_overlap() -> None:
    rows = csr.rows()
    assert len({row.number for row in rows}) == len(rows)
    assert max(row.number for row in rows) < csr.REGISTERS


@pytest.mark.parametrize("sizes", [(0, 1, 24), (1, 0, 24), (1, 1, 65), (1, 64, 24)])
def test_counters_that_cannot_be(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError):
        check(*sizes)
