"""Bench of keys and values on chip and in memory, against the simulator's executor.

Instructions of the KV engine and requests of attention, some at the same time, under random stalls
of memory, of the vector buffer and of attention. After each instruction memory has to be equal;
attention reads every word of every slot of a tile, and counts of slots have to be equal too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc.arch.skipopu.formats import kv_slot_bytes
from dyncc.arch.skipopu.isa import NO_SLOT, R_NEXT_SLOT, R_SLOT_LIMIT, Engine, Instruction, Op, Trap
from dyncc_hw.skipopu.interfaces import work_layout
from dyncc_hw.skipopu.kv_store import KvShape
from dyncc_models.skipopu.numerics.kv import from_slots
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.history import History
from dyncc_sim.skipopu.instances import BATCHED, SINGLE
from dyncc_sim.skipopu.kv_pins import Attention, Expected, Pins, Reads, VectorReads, Writes
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.rig import packed
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


@cocotb.test()
async def steps(dut: Any) -> None:
    """Tokens and layers with random policies, attention and appending at the same time."""
    options = settings()
    bench = await begin(dut, options)
    draw, arch, coverage = bench.random, bench.arch, bench.coverage
    position = 0
    for step in range(options["steps"]):
        tokens = draw.randint(1, min(arch.tokens, CONTEXT - position))
        policy = ("evict", "reuse", "dense")[step % 3]
        coverage[policy] += 1
        for layer in range(LAYERS):
            bench.numbers()
            # The last layer is skipped by the first token at least.
            active = [
                policy == "dense"
                or layer == 0
                or (draw.random() < 0.5 and (layer < LAYERS - 1 or token > 0))
                for token in range(tokens)
            ]
            others = [not bit for bit in active]
            if any(active):
                work = bench.make(Op.KVAPP, active, position, layer=layer)
                bench.start(work)
                await bench.wait(kv=True, attention=True)
                assert bench.trap == bench.execute(work) == Trap.NONE
                bench.compare()
                coverage["append"] += 1
            if any(others):
                evict = int(policy == "evict")
                work = bench.make(Op.KVSEL, others, position, layer=layer, evict=evict)
                bench.start(work)
                await bench.wait(kv=True, attention=True)
                assert bench.trap == bench.execute(work) == Trap.NONE
                bench.compare()
                coverage["evicted" if evict else "reused"] += 1
            if any(active):
                work = bench.make(Op.ATTN, active, position, layer=layer)
                bench.attend(work)
                assert bench.execute(work) == Trap.NONE
                later = draw.random() < 0.5 and position + tokens < CONTEXT
                if later:
                    # Another token's keys, while attention is at work.
                    spot = draw.randint(position + tokens, CONTEXT - 1)
                    bench.numbers()
                    extra = bench.make(Op.KVAPP, [True], spot, layer=draw.randrange(LAYERS))
                    bench.start(extra)
                await bench.wait(kv=later, attention=True)
                if later:
                    assert bench.trap == bench.execute(extra) == Trap.NONE
                    bench.compare()
                    coverage["append beside attention"] += 1
                bench.compare_counts()
        if bench.executor.next_slot > SLOTS - 16:
            break
        # Some steps go on, others jump: short histories, long ones, and the same again.
        position += tokens
        if draw.random() < 0.4 or position >= CONTEXT or step == 2:
            spots = [0, 5, 14, 15, 16, draw.randint(0, CONTEXT - 1)]
            position = 45 if step == 2 else draw.choice(spots)
    required = [
        "dense", "reuse", "evict", "append", "reused", "evicted", "append beside attention",
        "resident", "fetched", "beyond the history", "words compared", "memory compared",
    ]  # fmt: skip
    coverage.finish(f"steps of {arch.name}, {bench.sizes}", required)


@cocotb.test()
async def aborts(dut: Any) -> None:
    """Resets while slots are written and fetched: what is on chip then is right, or fetched."""
    options = settings()
    bench = await begin(dut, options)
    draw, arch, coverage = bench.random, bench.arch, bench.coverage
    for _ in range(options["aborts"]):
        position = draw.choice([0, 3, 15, 20, 40])
        tokens = draw.randint(1, arch.tokens)
        layer = draw.randrange(LAYERS)
        bench.numbers()
        appended = bench.make(Op.KVAPP, [True] * tokens, position, layer=layer)
        attended = bench.make(Op.ATTN, [True], draw.randint(0, position), layer=draw.randrange(3))
        kv, attention = draw.choice([(True, False), (False, True), (False, True)])
        if kv:
            bench.start(appended)
        if attention:
            bench.attend(attended)
        most = draw.choice([30, 300, 3000])
        whole = await bench.wait(kv, attention, at_most=draw.randint(0, most))
        coverage["over before the reset"] += whole
        coverage["reset while appending"] += not whole and kv
        coverage["reset while fetching"] += not whole and attention
        # Numbers of slots are not used again: some may be in the table by now.
        forget = draw.random() < 0.3
        coverage["forgotten"] += forget
        await bench.restart(bench.executor.next_slot + tokens, SLOTS, forget)
        bench.executor.memory.content[:] = bench.content
        work = bench.make(
            Op.ATTN, [True], draw.choice([position, 15]), layer=attended.values["layer"]
        )
        before = bench.resident, bench.fetched
        bench.executor.kv.resident = bench.executor.kv.fetched = 0
        bench.attend(work)
        assert bench.execute(work) == Trap.NONE
        await bench.wait(kv=False, attention=True)
        found = bench.resident - before[0], bench.fetched - before[1]
        wanted = bench.executor.kv.resident, bench.executor.kv.fetched
        assert sum(found) == sum(wanted)
        if forget:
            assert found == wanted, f"resident, fetched: {found}, not {wanted}"
        coverage["resident after a reset"] += not forget and found[0] > 0
        if bench.executor.next_slot > SLOTS - 16:
            break
    required = [
        "over before the reset", "reset while appending", "reset while fetching", "forgotten",
        "resident after a reset", "words compared",
    ]  # fmt: skip
    coverage.finish(f"aborts of {arch.name}, {bench.sizes}", required)


@cocotb.test()
async def traps(dut: Any) -> None:
    """What cannot be carried out; and what just can."""
    options = settings()
    bench = await begin(dut, options)
    arch, coverage = bench.arch, bench.coverage
    lanes, count, width = arch.vector_lanes, bench.sizes.count, arch.vector_words
    far = (1 << 40) - 64
    one = [True]
    append: list[tuple[Trap, dict[str, Any]]] = [
        (Trap.SHAPE, {"head_size": 0}),
        (Trap.SHAPE, {"head_size": 33}),
        (Trap.SHAPE, {"kv_heads": 0}),
        (Trap.SHAPE, {"kv_heads": 3}),
        (Trap.SHAPE, {"kv_heads": (1 << 24) - 1, "head_size": (1 << 24) - 32}),
        (Trap.SHAPE, {"head_size": 96}),
        (Trap.BUFFER, {"k": width - count + lanes}),
        (Trap.BUFFER, {"v": (1 << 24) - lanes}),
        (Trap.MEMORY, {"position": CONTEXT}),
        (Trap.MEMORY, {"position": 0, "context": 0}),
        (Trap.MEMORY, {"table": far, "layer": 1000}),
        (Trap.MEMORY, {"layer": (1 << 24) - 1, "context": (1 << 24) - 1}),
        (Trap.MEMORY, {"pool": far}),
        (Trap.SLOTS, {"slots": 0}),
        (Trap.NONE, {"v": width - count, "position": CONTEXT - 1}),
    ]
    if lanes > 1:
        append += [(Trap.SHAPE, {"k": 1}), (Trap.SHAPE, {"v": lanes + 1})]
    if arch.tokens > 1:
        append += [
            (Trap.SLOTS, {"slots": 1}),
            (Trap.MEMORY, {"position": CONTEXT - 1, "tokens": 2}),
        ]
    select: list[tuple[Trap, dict[str, Any]]] = [
        (Trap.SHAPE, {"layer": 0}),
        (Trap.SHAPE, {"layer": 0, "evict": 1}),
        (Trap.MEMORY, {"layer": 1, "position": CONTEXT}),
        (Trap.MEMORY, {"layer": 1, "table": far, "evict": 1}),
        (Trap.NONE, {"layer": 1, "position": CONTEXT - 1}),
    ]
    for op, cases in ((Op.KVAPP, append), (Op.KVSEL, select)):
        for wanted, given in cases:
            values = dict(given)
            slots = values.pop("slots", 100)
            tokens = values.pop("tokens", arch.tokens if "slots" in given else 1)
            place, context = values.pop("position", 0), values.pop("context", CONTEXT)
            await bench.restart(FIRST, FIRST + slots)
            work = bench.make(op, one * tokens, place, context, **values)
            bench.start(work)
            await bench.wait(kv=True, attention=False)
            assert bench.trap == wanted, f"{op.name} {given}: {bench.trap}, not {wanted}"
            assert bench.execute(work) == wanted, f"{op.name} {given}: the executor differs"
            coverage[f"{op.name} {wanted.name}"] += 1
            bench.executor.memory.content[:] = bench.content
    # Attention: a slot beyond the pool, in each tile; a table that is not there; a pool.
    for last, limit, values in (
        (0, 0, {}), (10, 0, {}), (40, 1, {}), (74, FIRST - 1, {}), (40, FIRST, {"pool": far}),
        (20, FIRST, {"table": far, "layer": 1000}),
    ):  # fmt: skip
        await bench.restart(FIRST, limit, forget=True)
        # What the port says to the first slots of a pool at the end of all addresses.
        bench.slots.allows_all = True
        work = bench.make(Op.ATTN, one, last, **values)
        usual = bench.make(Op.ATTN, one, last)
        bench.attend(usual)
        bench.attention.ask_for(**values)
        await bench.wait(kv=False, attention=True)
        wanted = Trap(bench.execute(work))
        assert bench.attention.trap == wanted, f"{last} {limit} {values}: {bench.attention.trap}"
        coverage[f"ATTN {wanted.name}"] += 1
        bench.slots.allows_all = False
        # The next request is served as ever.
        await bench.restart(FIRST, SLOTS, forget=True)
        bench.attend(usual)
        await bench.wait(kv=False, attention=True)
        assert bench.attention.trap == Trap.NONE
    # The executor does not look at where a row of the table ends.
    for last, context in ((CONTEXT, CONTEXT), (0, 0)):
        await bench.restart(FIRST, SLOTS)
        bench.attend(bench.make(Op.ATTN, one, min(last, CONTEXT - 1)))
        bench.attention.ask_for(last=last, context=context)
        await bench.wait(kv=False, attention=True)
        assert bench.attention.trap == Trap.MEMORY
    required = ["KVAPP SHAPE", "KVAPP BUFFER", "KVAPP MEMORY", "KVAPP SLOTS", "KVAPP NONE"]
    required += ["KVSEL SHAPE", "KVSEL MEMORY", "KVSEL NONE", "ATTN MEMORY"]
    coverage.finish(f"traps of {arch.name}", required)


@cocotb.test()
async def rates(dut: Any) -> None:
    """Nothing stalls: how busy the bus is while slots are fetched, and cycles of instructions."""
    options = settings()
    bench = await begin(dut, {**options, "steady": True})
    arch, coverage = bench.arch, bench.coverage
    bench.content[TABLE : TABLE + 4 * CONTEXT] = numpy.arange(CONTEXT, dtype="<u4").view("u1")
    bench.executor.memory.content[:] = bench.content
    work = bench.make(Op.ATTN, [True], CONTEXT - 1)
    bench.attend(work)
    bench.attention.reads_words = False
    await bench.wait(kv=False, attention=True)
    bench.execute(work)
    bench.compare_counts()
    busy = bench.slots.busy
    share = len(busy) / (busy[-1] - busy[0] + 1)
    coverage["percent of the bus"] = round(100 * share)
    assert share >= options["share"], f"{share:.3f} of the cycles of the bus"
    for name, op, values in (
        ("KVAPP", Op.KVAPP, {}), ("KVAPP beyond", Op.KVAPP, {}), ("KVSEL", Op.KVSEL, {"layer": 1}),
        ("KVSEL evict", Op.KVSEL, {"layer": 1, "evict": 1}),
    ):  # fmt: skip
        for tokens in {1, arch.tokens}:
            position = 40 if name == "KVAPP beyond" else 0
            work = bench.make(op, [True] * tokens, position, **values)
            bench.start(work)
            await bench.wait(kv=True, attention=False)
            assert bench.trap == bench.execute(work) == Trap.NONE
            bench.compare()
            coverage[f"cycles of {name}, {tokens}"] = bench.cycles
    coverage.finish(f"rates of {arch.name}, {bench.sizes}", ["percent of the bus"])
