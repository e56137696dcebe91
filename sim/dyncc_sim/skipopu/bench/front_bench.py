"""Bench of the front: random programs with engines that take random times."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from dyncc.arch.skipopu.isa import (
    QUEUE_DEPTH,
    REGISTERS,
    RESERVED,
    SEMAPHORE_BITS,
    SEMAPHORES,
    Engine,
    Trap,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.control.front import State, engine_layout
from dyncc_hw.skipopu.control.sequencer import WORKERS
from dyncc_hw.skipopu.interfaces import work_layout
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.bench import instances
from dyncc_sim.skipopu.bench.agents import Agent, ReadMemory
from dyncc_sim.skipopu.bench.burst_memory import Fields

PATIENCE = 3000
_WATCHDOG = 60
_BITS = (1 << SEMAPHORES) - 1
_MOST_RELEASES = (1 << SEMAPHORE_BITS) - 1


class Ports:
    """The ports of the front, which is a part of the top level: `abort` is a word of C++."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self.clk, self.rst = dut.clk, dut.rst

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dut, f"front__{name}")


class FakeEngine(Agent):
    """Takes instructions and is done after some cycles."""

    def __init__(
        self, bench: Bench, engine: Engine, arch: ArchSpec, draw: random.Random, quiet: bool
    ) -> None:
        super().__init__(draw, quiet)
        self.bench, self.name = bench, engine.name
        dut, name = bench.dut, engine.name.lower()
        self.ready, self.valid, self.payload, self.done, self.trap, self.starved = (
            getattr(dut, f"{name}__{pin}")
            for pin in ("start__ready", "start__valid", "start__payload", "done", "trap", "starved")
        )
        self.fields = Fields(work_layout(engine, arch))
        self.clear()

    def clear(self) -> None:
        """Idle."""
        self.work: dict[str, Any] | None = None
        self.left = 0
        self.offers = False
        for pin in (self.ready, self.done, self.trap, self.starved):
            pin.value = 0

    def drive(self) -> None:
        """Pins of the next cycle."""
        self.offers = self.work is None and self.goes()
        self.ready.value = self.offers
        ends = self.work is not None and self.left == 0
        self.done.value = ends
        number = self.bench.started.get(self.name, 0)
        trap = 0
        if ends and self.bench.case.get("at") == [self.name, number - 1]:
            trap = self.bench.case["trap"]
        self.trap.value = trap if ends else self.random.choice((0, 1))
        stuck = self.work is not None and self.left < 0
        self.starved.value = stuck or (not self.quiet and self.random.random() < 0.1)
        if ends:
            assert self.work is not None
            if self.work["route"]:
                self.bench.decide()
            self.work = None
        if self.left > 0:
            self.left -= 1

    def look(self) -> None:
        """Take an instruction, and compare it."""
        if not int(self.valid.value):
            return
        bench = self.bench
        assert bench.ran or bench.runs, f"{self.name}: an instruction while no program runs"
        if not self.offers:
            return
        number = bench.started[self.name] = self.next_number()
        bench.started[self.name] += 1
        works = bench.case["works"][self.name]
        work = works[number]
        found = self.fields(int(self.payload.value))
        told = {name: found[name] for name in work["fields"]}
        assert told == work["fields"], f"{self.name} {number}: {told}, not {work['fields']}"
        bench.coverage["works compared"] += 1
        self.work = work
        self.left = 0 if self.quiet else self.random.choice((0, 1, 3, self.random.randint(0, 40)))
        if self.name == "PE" and bench.case["starved"] == number:
            self.left = -1

    def next_number(self) -> int:
        """The number of the next instruction that is not suppressed."""
        works, number = self.bench.case["works"][self.name], self.bench.started[self.name]
        while number < len(works) and works[number]["suppressed"]:
            number += 1
        assert number < len(works), f"{self.name}: one instruction too many"
        return int(number)


class Bench:
    """The front with what is around it."""

    def __init__(self, dut: Any, options: dict[str, Any]) -> None:
        self.dut = dut
        self.draw = random.Random(options["seed"])
        self.coverage = Coverage(options["coverage"])
        self.arch: ArchSpec = next(
            item
            for item in vars(instances).values()
            if isinstance(item, ArchSpec) and item.name == options["name"]
        )
        layout = engine_layout(self.arch)
        self.engine, self.engine_bits = Fields(layout), layout.size
        self.content = numpy.zeros(1 << 16, numpy.uint8)
        self.runs = self.ran = False
        self.case: dict[str, Any] = {}
        self.next_slot = 0
        self.use(False)

    def use(self, quiet: bool) -> None:
        """Neighbours that wait, or never do."""
        self.quiet = quiet
        bus = self.arch.bus_bytes
        self.memory = ReadMemory(
            self.dut, "memory", self.draw, quiet, self.coverage, self.content, bus
        )
        self.engines = [FakeEngine(self, e, self.arch, self.draw, quiet) for e in WORKERS]
        self.routing = False

    def decide(self) -> None:
        """A ROUTE is done."""
        self.masks = self.case["decisions"][self.routes]
        self.routes += 1

    def _begin(self, case: dict[str, Any]) -> None:
        self.case = case
        self.started = {engine.name: 0 for engine in WORKERS}
        self.begun = {engine.name: 0 for engine in WORKERS}
        self.ended = {engine.name: 0 for engine in WORKERS}
        self.counts, self.released = [0] * SEMAPHORES, list[int]()
        self.routes = self.step = self.still = 0
        self.masks = (-1, -1)
        self.last = self.cycle = self.grants = 0
        self.silent = False

    async def once(self) -> None:
        """A cycle."""
        dut, most = self.dut, (1 << self.arch.tokens) - 1
        if not self.silent:
            self.memory.drive()
        for fake in self.engines:
            fake.drive()
        vector = self.engines[WORKERS.index(Engine.VECTOR)]
        # While a ROUTE is carried out predicates may be anything.
        wild = vector.work is not None and vector.work["route"] and not self.quiet
        for pin, mask in zip((dut.attention, dut.mlp), self.masks, strict=True):
            pin.value = self.draw.getrandbits(self.arch.tokens) if wild else mask & most
        words = self.memory.words
        owes = self.silent or bool(self.memory._latency or words.queue or words._offers)
        dut.port_idle.value = not owes
        dut.port_waiting.value = owes and not words._offers
        await ReadOnly()
        if not self.silent:
            self.memory.look()
        self.ran, self.runs = self.runs, State(int(dut.state.value)) == State.RUNNING
        for fake in self.engines:
            fake.look()
        # What goes on while the trap is seen is of no interest.
        if self.runs and not int(dut.trap.value):
            self._look()
        self.cycle += 1
        self.clears = int(dut.clear.value)
        self.aborts = int(dut.abort.value)
        await RisingEdge(dut.clk)
        if self.clears:
            for fake in self.engines:
                fake.clear()
            self.masks = (-1, -1)
        if self.aborts and (self.quiet or self.draw.random() < 0.2):
            # A port forgets what it was asked for.
            self.memory.clear()
            self.silent = False

    def _look(self) -> None:
        """Semaphores, what starts and what is done, and what is dispatched."""
        dut = self.dut
        counts = int(dut.counts.value)
        found = [counts >> SEMAPHORE_BITS * bit & ((1 << SEMAPHORE_BITS) - 1) for bit in range(6)]
        limited = [min(count, _MOST_RELEASES) for count in self.counts]
        assert found == limited, f"semaphores {found}, not {limited}"
        begun, finished = int(dut.begun.value), int(dut.finished.value)
        engines = int(dut.engines.value)
        added: list[int] = []
        taken = 0
        for index, engine in enumerate(WORKERS):
            state = self.engine(engines >> self.engine_bits * index & ((1 << self.engine_bits) - 1))
            works = self.case["works"][engine.name]
            self.coverage["full queue"] += state["waiting"] == QUEUE_DEPTH
            if begun >> index & 1:
                assert self.begun[engine.name] == self.ended[engine.name], f"{engine.name}: two"
                taken |= works[self.begun[engine.name]]["wait"]
                self.begun[engine.name] += 1
            if finished >> index & 1:
                work = works[self.ended[engine.name]]
                told = (state["busy"], state["pc"], state["suppressed"], state["op"])
                wanted = (1, work["pc"], work["suppressed"], work["fields"]["op"])
                assert told == wanted, f"{engine.name}: {told}, not {wanted}"
                self.ended[engine.name] += 1
                added.append(work["release"])
            assert (
                state["busy"] == (self.begun[engine.name] > self.ended[engine.name])
                or (begun | finished) >> index & 1
            )
        if int(dut.dispatched.value):
            steps, where = self.case["steps"], f"fault {self.case['fault']!r}, step {self.step}"
            assert self.step < len(steps), f"{where}: one instruction too many is dispatched"
            step = steps[self.step]
            if step["engine"] == Engine.SEQUENCER:
                assert not taken & step["wait"], "two take from one semaphore"
                taken |= step["wait"]
                added.append(step["release"])
            self._time(step)
            self.grants = 0
            self.step += 1
            self.last = self.cycle
        for bit in range(SEMAPHORES):
            if taken >> bit & 1:
                assert self.counts[bit], f"semaphore {bit} is taken from at zero"
                self.counts[bit] -= 1
            self.counts[bit] += sum(mask >> bit & 1 for mask in self.released)
        # What is released is counted a cycle later.
        self.released = added
        # An engine that starts may make the sequencer's own instruction wait for two cycles.
        self.grants += bool(begun)
        if begun or finished:
            self.still = self.cycle

    def _time(self, step: dict[str, Any]) -> None:
        """Cycles since the one before."""
        if self.step == 0:
            return
        before = self.case["steps"][self.step - 1]
        own = step["engine"] == Engine.SEQUENCER
        waits = own and step["wait"] != 0
        took, least = self.cycle - self.last, step["cycles"] + before["ended"] + waits
        where = f"pc {step['pc']}: {took} cycles, {least} are needed"
        assert took >= least, where
        if self.case["plain"] and not before["jumps"]:
            most = least + (2 * self.grants if waits else 0)
            assert took <= most, where
            self.coverage["timed"] += took == least

    async def run(self, case: dict[str, Any]) -> None:
        """A program; compare what it leaves."""
        dut, draw = self.dut, self.draw
        self._begin(case)
        fault = case["fault"]
        where = f"a program with the fault {fault!r}"
        words = numpy.array([int(word, 16) for word in case["program"]], "<u8").view(numpy.uint8)
        base = 2 * draw.randrange((len(self.content) - len(words)) // 2)
        self.content[base : base + len(words)] = words
        dut.base.value, dut.length.value = base, len(words) // 8
        dut.watchdog.value = _WATCHDOG if fault == "watchdog" else draw.choice((0, 5000))
        self.next_slot = dut.next_slot.value = draw.getrandbits(40)
        for number in range(len(RESERVED)):
            dut.number.value, dut.write.value = number, 1
            dut.value.value = case["registers"].get(str(number), draw.getrandbits(40))
            await self.once()
        dut.write.value = 0
        dut.start.value = 1
        await self.once()
        dut.start.value = 0
        slots = 0
        state, began = State.STARTING, self.cycle
        injected = None
        while state in (State.STARTING, State.RUNNING):
            if state == State.RUNNING and "after" in case and self.step > case["after"]:
                injected = await self._inject(fault, injected)
            await self.once()
            dut.port_trap.value = dut.stream_trap.value = 0
            if int(dut.load_slots.value):
                assert int(dut.slot_start.value) == case["registers"]["5"], "the first free slot"
                assert int(dut.slot_limit.value) == case["registers"]["4"], "slots of the pool"
                slots += 1
            if fault == "reset" and injected is not None:
                return
            state = State(int(dut.state.value))
            # A start while one runs means nothing.
            dut.start.value = state == State.STARTING and draw.random() < 0.1
            recent = max(began, self.last, self.still)
            assert self.cycle - recent < PATIENCE, f"{where} hangs in {state}"
        dut.start.value = 0
        assert slots == 1, f"slots are loaded {slots} times"
        trap, pc = int(dut.trap.value), int(dut.pc.value)
        assert trap == case["trap"], f"{where}: trap {trap} at {pc}, not {case['trap']}"
        assert (state == State.TRAPPED) == bool(trap)
        if injected is not None and injected >= 0:
            assert pc == injected, f"{where}: trap at {pc}, not {injected}"
        elif trap and "after" not in case:
            assert pc == case["pc"], f"{where}: trap at {pc}, not {case['pc']}"
        self.coverage[f"trap {Trap(trap).name}"] += 1
        self._finish(case, where)
        for _ in range(draw.randint(0, 60)):
            await self.once()
        if not trap:
            for number in range(REGISTERS):
                dut.number.value = number
                await self.once()
                wanted = self.next_slot if number == 5 else case["left"][number]
                found = int(dut.read.value)
                assert found == wanted, f"{where}: r{number} = {found:#x}, not {wanted:#x}"
            self.coverage["registers compared"] += 1

    def _finish(self, case: dict[str, Any], where: str) -> None:
        """How far engines came."""
        if case["trap"] in (Trap.NONE, Trap.DEADLOCK):
            for name, count in self.ended.items():
                assert count == case["done"][name], f"{where}: {name} did {count}"
            assert self.step == len(case["steps"]), f"{where}: {self.step} dispatched"
        elif "after" not in case and "at" not in case:
            assert self.step == len(case["steps"]), f"{where}: {self.step} dispatched"
        if "at" in case:
            name, number = case["at"]
            # It is done in the cycle of the trap.
            assert self.ended[name] == number + 1, f"{where}: {name} did {self.ended[name]}"

    async def _inject(self, fault: str, before: int | None) -> int | None:
        """A trap from outside, or silence; where it is to be said to come from."""
        dut = self.dut
        if fault == "watchdog":
            self.silent = True
            return -1
        if fault == "reset":
            dut.rst.value = 1
            await RisingEdge(dut.clk)
            dut.rst.value = 0
            self.memory.clear()
            for fake in self.engines:
                fake.clear()
            self.coverage["reset"] += 1
            return 0
        if before is not None:
            return before
        pin = dut.port_trap if fault == "port" else dut.stream_trap
        engines = int(dut.engines.value)
        for index in range(len(WORKERS)):
            state = self.engine(engines >> self.engine_bits * index & ((1 << self.engine_bits) - 1))
            if state["busy"] and not state["suppressed"] and self.engines[index].left > 2:
                pin.value = self.case["trap"]
                self.coverage["trap with its place"] += 1
                return int(state["pc"])
            if state["busy"]:
                break
        if self.quiet or self.step > self.case["after"] + 1:
            # No engine can be blamed for sure.
            pin.value = self.case["trap"]
            return -1
        return None


@cocotb.test()
async def programs(dut: Any) -> None:
    """All programs, one after the other."""
    dut = Ports(dut)
    options = settings()
    cases = json.loads(Path(options["cases"]).read_text(encoding="utf-8"))
    Clock(dut.clk, 10, "ns").start()
    for name in (
        "start", "write", "number", "value", "base", "length", "watchdog", "port_trap",
        "stream_trap", "port_waiting", "next_slot", "attention", "mlp",
    ):  # fmt: skip
        getattr(dut, name).value = 0
    dut.port_idle.value = 1
    dut.rst.value = 1
    bench = Bench(dut, options)
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    for case in cases:
        bench.use(case["plain"] or bench.draw.random() < 0.2)
        await bench.run(case)
    bench.coverage.finish("front", options["required"])
