"""Keys and values on chip and in memory beside the simulator's executor, cycle by cycle."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import numpy
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc.arch.skipopu.formats import kv_slot_bytes
from dyncc.arch.skipopu.isa import NO_SLOT, R_NEXT_SLOT, R_SLOT_LIMIT, Engine, Instruction, Op, Trap
from dyncc_hw.skipopu.interfaces import work_layout
from dyncc_hw.skipopu.kv.store import KvShape
from dyncc_models.skipopu.numerics.kv import from_slots
from dyncc_sim.pins import Coverage
from dyncc_sim.skipopu.bench.instances import BATCHED, SINGLE
from dyncc_sim.skipopu.bench.kv_attention import Attention, Expected
from dyncc_sim.skipopu.bench.kv_pins import Pins, Reads, VectorReads, Writes
from dyncc_sim.skipopu.bench.rig import packed
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.history import History
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.sequencer import Work
from dyncc_sim.skipopu.trap import Fault

#: Those of the simulator, and either on another bus.
INSTANCES = {
    arch.name: arch
    for arch in (
        SINGLE,
        BATCHED,
        replace(SINGLE, name="single_wide", memory_bytes_s=1.6e9),
        replace(BATCHED, name="batched_narrow", memory_bytes_s=200e6),
    )
}
LAYERS, CONTEXT = 3, 75
TABLE, POOL = 0x40, 0x1000
#: Slots that memory has in the beginning, and all.
FIRST, SLOTS = 180, 600
#: Cycles in which nothing ends, after which something hangs.
PATIENCE = 60_000


@dataclass
class Sizes:
    """Of all slots of a run."""

    kv_heads: int
    head_size: int

    @property
    def count(self) -> int:
        """Keys of a slot."""
        return self.kv_heads * self.head_size


class Bench:
    """The rig, those around it, and the executor that does the same."""

    def __init__(self, dut: Any, options: dict[str, Any]) -> None:
        self.dut, self.arch = dut, INSTANCES[options["instance"]]
        self.random = random.Random(options["seed"])
        self.numpy = numpy.random.default_rng(options["seed"])
        steady = options.get("steady", False)
        self.coverage = Coverage()
        shapes = [(2, 32)] if steady else [(1, 64), (2, 32), (1, 32)]
        shape = self.random.choice(shapes)
        self.sizes = Sizes(*shape)
        slot_bytes = kv_slot_bytes(self.arch.kv, *shape)
        memory = Memory(POOL + SLOTS * slot_bytes)
        self.executor = Executor(self.arch, memory)
        self._fill(memory)
        self.content = memory.content.copy()
        draw, latency = self.random, options.get("latency", 12)
        size = self.arch.bus_bytes
        args = (draw, steady, self.content, size, latency)
        self.reads, self.slots = Reads(dut, "read", *args), Reads(dut, "memory", *args)
        self.writes = Writes(dut, "write", *args)
        self.vector = VectorReads(dut, "vector", draw, steady, self.arch, self.executor.vector)
        self.attention = Attention(dut, draw, steady, self.arch, self.coverage)
        self.work = Pins(dut, "work", draw, steady)
        self._around = (self.reads, self.slots, self.writes, self.vector, self.attention)
        self.fetched = self.resident = 0
        #: What is expected wrongly, to see that it is told.
        self.spoils = options.get("spoils")
        self._pending: int | None = None
        self.trap: int | None = None
        self.cycle = self._taken_at = 0
        self.cycles = 0
        self._since = 0

    def _fill(self, memory: Memory) -> None:
        """Anything in the pool, slots and holes in the table, all kinds of numbers."""
        draw = self.numpy
        memory.content[:] = draw.integers(0, 256, len(memory.content))
        table = draw.integers(0, FIRST, (LAYERS, CONTEXT)).astype("<u4")
        # Neighbouring layers share slots, as after a reuse.
        same = draw.random((LAYERS, CONTEXT)) < 0.4
        for layer in range(1, LAYERS):
            table[layer] = numpy.where(same[layer], table[layer - 1], table[layer])
        table[draw.random((LAYERS, CONTEXT)) < 0.2] = NO_SLOT
        table[1, 32:48] = NO_SLOT
        raw = table.reshape(-1).view(numpy.uint8)
        memory.content[TABLE : TABLE + len(raw)] = raw

    def numbers(self) -> None:
        """New numbers in the vector buffer."""
        draw, shape = self.numpy, self.executor.vector.shape
        spread = draw.choice([2, 20, 60], (shape[0], -(-shape[1] // 32), 1))
        middle = draw.choice([127, 127, 113, 16, 236], spread.shape)
        exponents = middle + draw.integers(-spread, spread + 1, (*spread.shape[:2], 32))
        exponents = numpy.clip(exponents, 1, 254).reshape(shape[0], -1)[:, : shape[1]]
        fractions = draw.integers(0, 1 << 16, shape)
        fractions[draw.random(shape) < 0.2] &= 0xFFC0
        fractions[draw.random(shape) < 0.1] |= 0xFFFF
        codes = draw.integers(0, 2, shape) << 24 | exponents << 16 | fractions
        codes[draw.random(shape) < 0.1] = 0
        zeros = numpy.repeat(draw.random((shape[0], shape[1] // 32)) < 0.1, 32, 1)
        codes[:, : zeros.shape[1]][zeros] = 0
        self.executor.vector[:] = codes

    # --- cycles -------------------------------------------------------------------------------

    async def step(self) -> None:
        """A cycle."""
        dut, work = self.dut, self.work
        for part in self._around:
            part.drive()
        work.put("start__valid", self._pending is not None)
        if self._pending is None:
            work.garbage("start__payload")
        else:
            work.put("start__payload", self._pending)
        await ReadOnly()
        for part in self._around:
            part.look()
        self.fetched += int(dut.fetched.value)
        self.resident += int(dut.resident.value)
        ready, done = work.get("start__ready"), work.get("done")
        assert not (ready and done), "done, and idle at once"
        if done:
            self.trap = work.get("trap")
            self.cycles = self.cycle - self._taken_at
        if ready and self._pending is not None:
            self._pending, self._taken_at = None, self.cycle
        self.cycle += 1
        await RisingEdge(dut.clk)

    async def restart(self, slot: int, limit: int, forget: bool = False) -> None:
        """A new program, as the machine begins it."""
        for part in self._around:
            part.restart()
        self._pending = None
        self.work.put("start__valid", 0)
        self.dut.restart.value = 1
        self.dut.forget.value = forget
        await RisingEdge(self.dut.clk)
        self.dut.restart.value = 0
        self.dut.forget.value = 0
        self.dut.load_slots.value = 1
        self.dut.slot_start.value = slot
        self.dut.slot_limit.value = limit
        await RisingEdge(self.dut.clk)
        self.dut.load_slots.value = 0
        self.dut.slot_start.value = self.random.getrandbits(40)
        registers = [0] * 32
        registers[R_NEXT_SLOT], registers[R_SLOT_LIMIT] = slot, limit
        self.executor.start(registers)
        if forget:
            self.executor._history = History(self.arch.kv_tokens)

    async def wait(self, kv: bool, attention: bool, at_most: int | None = None) -> bool:
        """Until both are done; False if that takes longer than it may."""
        begin = self.cycle
        while (kv and self.trap is None) or (attention and self.attention.busy):
            if at_most is not None and self.cycle - begin >= at_most:
                return False
            assert self.cycle - begin < PATIENCE, "it hangs"
            await self.step()
        return True

    # --- instructions -------------------------------------------------------------------------

    def make(
        self, op: Op, active: list[bool], position: int, context: int = CONTEXT, **values: int
    ) -> Work:
        """An instruction with the usual operands, unless given."""
        usual = {
            "layer": 0, "table": TABLE, "pool": POOL, "kv_heads": self.sizes.kv_heads,
            "head_size": self.sizes.head_size, "k": 64, "v": 512, "evict": 0, "blocks": 0,
            "vector": 1024, "heads": 2 * self.sizes.kv_heads,
        }  # fmt: skip
        mask = numpy.array(active)
        return Work(0, 0, Instruction(op, {}), usual | values, mask, position, context)

    def start(self, work: Work) -> None:
        """Give it to the engine."""
        layout = work_layout(Engine.KV, self.arch)
        payload = {name: work.values.get(name, 0) for name in layout.members}
        payload |= {
            "op": work.instruction.op,
            "active": sum(int(bit) << number for number, bit in enumerate(work.active)),
            "tokens": len(work.active), "position": work.position, "context": work.context,
        }  # fmt: skip
        self._pending, self.trap = packed(layout, payload), None

    def attend(self, work: Work) -> None:
        """Give its request to the history."""
        v, arch = work.values, self.arch
        last = work.position + int(work.active.nonzero()[0][-1])
        request = {
            "layer": v["layer"], "context": work.context, "last": last, "kv_heads": v["kv_heads"],
            "head_size": v["head_size"], "table": v["table"], "pool": v["pool"],
        }  # fmt: skip
        first = v["table"] + 4 * v["layer"] * work.context
        slots = self.content[first : first + 4 * (last + 1)].view("<u4").astype(numpy.int64)
        present = slots != NO_SLOT
        size = kv_slot_bytes(arch.kv, v["kv_heads"], v["head_size"])
        raw = numpy.zeros((last + 1, size), numpy.uint8)
        for position in present.nonzero()[0]:
            place = v["pool"] + size * slots[position]
            part = self.content[place : place + size]
            raw[position, : len(part)] = part
        found = from_slots(
            arch.kv, raw, v["kv_heads"], v["head_size"], arch.block, arch.mantissa_bits
        )
        shape = KvShape(arch)
        half, columns, count = shape.words // 2, arch.columns, v["kv_heads"] * v["head_size"]
        mantissas = [part.reshape(last + 1, -1) for part in (found[0], found[2])]
        exponents = [part.reshape(last + 1, -1) for part in (found[1], found[3])]

        def words(position: int, word: int) -> tuple[list[int], int]:
            part, index = divmod(word, half)
            numbers = mantissas[part][position, index * columns : (index + 1) * columns]
            if self.spoils == "places":
                numbers = numbers + (position == self.arch.kv_tokens)
            exponent = exponents[part][position, index * columns // shape.block]
            return [int(number) for number in numbers], int(exponent)

        which = [half * part + index for part in range(2) for index in range(count // columns)]
        self.attention.start(Expected(request, present, words, which))

    def execute(self, work: Work) -> int:
        """The same in the executor; returns its trap."""
        try:
            self.executor.execute(work)
        except Fault as fault:
            return int(fault.trap)
        return int(Trap.NONE)

    def compare(self) -> None:
        """Memory, counts and the next slot."""
        if self.spoils == "memory":
            self.executor.memory.content[POOL + FIRST * 128] ^= 1
        different = (self.content != self.executor.memory.content).nonzero()[0]
        assert not len(different), f"memory differs at {different[:8]}"
        assert int(self.dut.next_slot.value) == self.executor.next_slot
        self.coverage["memory compared"] += 1

    def compare_counts(self) -> None:
        """Slots that were on chip, and those that were not."""
        found = (self.resident, self.fetched)
        wanted = (self.executor.kv.resident, self.executor.kv.fetched)
        if self.spoils == "counts":
            wanted = wanted[0] + 1, wanted[1]
        assert found == wanted, f"resident, fetched: {found}, not {wanted}"
        self.coverage["resident"] = self.resident
        self.coverage["fetched"] = self.fetched


async def begin(dut: Any, options: dict[str, Any]) -> Bench:
    """Reset everything."""
    Clock(dut.clk, 10, "ns").start()
    for name in ("forget", "restart", "load_slots", "slot_start", "slot_limit"):
        getattr(dut, name).value = 0
    dut.rst.value = 1
    bench = Bench(dut, options)
    bench.work.put("start__valid", 0)
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await bench.restart(FIRST, SLOTS, forget=True)
    return bench
