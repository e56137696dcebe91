"""Bench of keys and values on chip and in memory, against the simulator's executor.

Instructions of the KV engine and requests of attention, some at the same time, under random stalls
of memory, of the vector buffer and of attention. After each instruction memory has to be equal;
attention reads every word of every slot of a tile, and counts of slots have to be equal too.
"""

from __future__ import annotations

from typing import Any

import cocotb
import numpy

from dyncc.arch.skipopu.isa import Op, Trap
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.bench.kv_player import CONTEXT, FIRST, LAYERS, SLOTS, TABLE, begin


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
    for number in range(options["aborts"]):
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
        forget = number % 3 == 2
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
