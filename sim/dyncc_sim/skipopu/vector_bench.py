"""Bench of the vector engine: the simulator's, instruction by instruction, under random stalls.

After each instruction all that it may write is compared with the executor: numbers of the vector
buffer, blocks, scalars, predicates, and the trap; at the end the whole buffer is. Meanwhile other
clients of the buffer read and write places of their own, and what they read is compared too. Now
and then the engine is reset within an instruction.
"""

from __future__ import annotations

from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.isa import SCALARS, Function, Op, Trap
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.sequencer import Work
from dyncc_sim.skipopu.vector_cases import STRANGE, STYLES, TO_BLOCKS, TWO_OPERANDS, Router, router
from dyncc_sim.skipopu.vector_player import Player


class Instructions:
    """Random instructions, one after the other."""

    def __init__(self, player: Player, coverage: Coverage) -> None:
        self.player, self.coverage = player, coverage
        self.draw, self.maker = player.draw, player.maker
        #: Columns and rows of routers that were given and not taken.
        self.routers: list[list[int]] = []
        #: A router for the next instruction, and whether it comes after it.
        self.pending: Router | None = None
        self.late = False
        #: What is wrong with the instruction.
        self.wrong = ""

    async def operands(self, work: Work) -> None:
        """Fresh numbers for some of the operands."""
        v, player = work.values, self.player
        names = ("vector",) if work.instruction.op == Op.ROUTE else ("a", "b", "d")
        for token in work.active.nonzero()[0]:
            style = str(self.draw.choice(list(STYLES)))
            for name in names:
                count = min(v["columns"], 200)
                function = v.get("function")
                if name == "b" and function not in TWO_OPERANDS:
                    continue
                if name == "d":
                    if function != Function.ARGMAX:
                        continue
                    count = 2
                if v[name] + count > player.maker.room or self.draw.random() < 0.2:
                    continue
                await player.fill(int(token), v[name], count, style)
                self.coverage[f"numbers: {style}"] += 1
        await player.written()

    def route(self) -> Work:
        """A right route, or one that does not fit its router."""
        maker, draw = self.maker, self.draw
        columns = maker.columns(True, self.player.arch.route_columns)
        routed = draw.random() < 0.75
        if routed and self.routers:
            columns = self.routers[0][0]
        v = maker.route(routed, columns)
        if routed and not self.routers:
            kind = draw.random()
            rows = int(draw.choice([4, 8, 5])) if kind < 0.9 else maker.integer(1, 3)
            wide = columns
            if kind > 0.95:
                wide = columns - 32 if columns > 32 else columns + 32
            if kind > 0.98:
                found = Router(WeightType.Q8_0, 4, columns, b"")
                found = q8(found, self.player.arch.block)
            else:
                found = router(draw, self.player.arch, rows, wide)
            self.late = draw.random() < 0.5
            self.pending = found
            self.routers.append([columns, rows])
        if routed:
            self.routers[0][1] -= 4
            self.coverage["a route"] += 1
            if self.routers[0][1] <= 0:
                self.routers.pop(0)
            else:
                self.coverage["routers of one matrix"] += 1
        elif draw.random() < 0.2:
            v |= {"vector": self.player.arch.vector_words}
        return maker.work(Op.ROUTE, v)

    def choose(self) -> Work:
        """Any instruction."""
        draw, maker = self.draw, self.maker
        if draw.random() < 0.2:
            return self.route()
        function = Function(int(draw.choice(list(Function))))
        if draw.random() < 0.15:
            name, values = maker.wrong(function)
            self.wrong = name
            self.coverage[f"wrong: {name}"] += 1
            active = numpy.ones(1, bool) if name == "far address" else None
            return maker.work(Op.NPE, values, active)
        v = maker.npe(function)
        if v["d"] in (v["a"], v["b"]) and function not in TO_BLOCKS:
            self.coverage["in place"] += 1
        return maker.work(Op.NPE, v)

    async def run(self) -> None:
        """One instruction."""
        player, draw = self.player, self.draw
        self.wrong = ""
        work = self.choose()
        v, op = work.values, work.instruction.op
        name = Function(v["function"]).name if op == Op.NPE else op.name
        await self.operands(work)
        late, found, self.pending = self.late, self.pending, None
        player.load_router(found)
        if found is not None and not late:
            player.stream_router(found)
        trap = player.execute(work)
        player.starved = 0
        player.give(work)
        if found is not None and late:
            for _ in range(int(draw.integers(1, 60))):
                await player.step()
            player.stream_router(found)
        if trap == Trap.NONE and draw.random() < 0.05 and not player.quiet:
            await self.breaks(work)
            return
        await player.until(lambda: player.done, f"the end of {name} {v}")
        assert player.trap == trap, f"trap {player.trap}, not {trap.name}: {name} {v}"
        assert not player.starved or (op == Op.ROUTE and v["route"]), "starved"
        self.coverage["starved"] += bool(player.starved)
        self.coverage[name] += trap == Trap.NONE
        self.coverage[f"trap {trap.name}"] += 1
        self.coverage["some tokens"] += not work.active.all()
        self.coverage["several tokens"] += int(work.active.sum()) > 1
        self.coverage["tail"] += v["columns"] % player.lanes != 0
        if trap != Trap.NONE:
            await self.reset()
            if self.wrong == STRANGE:
                # Some of it was written.
                for token in work.active.nonzero()[0]:
                    await player.fill(int(token), v["d"], v["columns"], "usual")
                await player.written()
        else:
            player.note(work)
        await self.compare(work, trap)

    async def compare(self, work: Work, trap: Trap) -> None:
        """What the instruction may have written, and what is beside it."""
        v, player = work.values, self.player
        writes = work.instruction.op == Op.NPE and v["function"] not in (
            *TO_BLOCKS, Function.SUM_SQUARES,
        )  # fmt: skip
        if writes and trap == Trap.NONE:
            count = 2 if v["function"] == Function.ARGMAX else v["columns"]
            await player.compare(range(player.arch.tokens), v["d"], count)
        player.compare_blocks()
        player.compare_predicates()
        await player.compare_scalars({v["scalar"], int(self.draw.integers(0, SCALARS))})

    async def breaks(self, work: Work) -> None:
        """Reset within an instruction."""
        player, v = self.player, work.values
        for _ in range(int(self.draw.integers(1, 300))):
            await player.step()
            if player.done:
                break
        self.coverage["reset within"] += not player.done
        await self.reset()
        player.broken = True
        writes = work.instruction.op == Op.NPE and v["function"] not in (
            *TO_BLOCKS, Function.SUM_SQUARES,
        )  # fmt: skip
        if writes:
            count = 2 if v["function"] == Function.ARGMAX else v["columns"]
            await player.compare(range(player.arch.tokens), v["d"], count)
        await player.compare_scalars([v["scalar"]])
        player.broken = False
        # Blocks that came are right or old; the twin goes on with what came.
        player.adopt_blocks()
        player.compare_predicates()

    async def reset(self) -> None:
        """As before each program."""
        self.routers.clear()
        await self.player.reset()


def q8(found: Router, block: int) -> Router:
    """A router in a format that is none."""
    from dyncc.arch.skipopu.matrices import matrix_bytes

    size = matrix_bytes(found.kind, found.rows, found.columns, block)
    return Router(found.kind, found.rows, found.columns, bytes(size))


async def begin(dut: Any, player: Player) -> None:
    """Clock and reset, and numbers everywhere."""
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    arch = player.arch
    player.compare_predicates()
    for token in range(arch.tokens):
        await player.fill(token, 0, arch.vector_words, "any")
    await player.written()


@cocotb.test()
async def instructions(dut: Any) -> None:
    """Random instructions."""
    options = settings()
    coverage = Coverage()
    player = Player(dut, options, coverage)
    await begin(dut, player)
    found = Instructions(player, coverage)
    for _ in range(options["count"]):
        await found.run()
    await player.compare(range(player.arch.tokens), 0, player.arch.vector_words)
    await player.compare_scalars(range(SCALARS))
    coverage.finish(f"{player.arch.name}, vector engine", options["required"])
    cocotb.log.info("coverage: cycles %s", player.cycle)
    if player.quiet:
        for work, cycles in sorted(player.cycles, key=lambda c: c[0].values.get("function", -1)):
            v = work.values
            n = int(work.active.sum())
            turns = n * -(-v["columns"] // player.lanes)
            cocotb.log.info(
                "coverage: %s tokens %s/%s cols %s b %s turns %s cycles %s extra %s",
                Function(v["function"]).name if "function" in v else f"ROUTE{v['route']}",
                n,
                len(work.active),
                v["columns"],
                v.get("b"),
                turns,
                cycles,
                cycles - turns,
            )
