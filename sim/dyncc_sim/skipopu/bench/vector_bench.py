"""Bench of the vector engine: the simulator's, instruction by instruction, under random stalls.

After each instruction all that it may write is compared with the executor: numbers of the vector
buffer, blocks, scalars, predicates, and the trap; at the end the whole buffer is. Meanwhile other
clients of the buffer read and write places of their own, and what they read is compared too. Now
and then the engine is reset within an instruction. If nothing stalls, cycles are compared with the
model of time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from dyncc.arch.skipopu.isa import Function, Op, Trap
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.bench.vector_cases import (
    FAR,
    STRANGE,
    STYLES,
    TO_BLOCKS,
    TWO_OPERANDS,
    Router,
    router,
    strange_router,
)
from dyncc_sim.skipopu.bench.vector_player import Player
from dyncc_sim.skipopu.sequencer import Work

#: Routes, by what is special about them.
ROUTES = ("fits", "fits", "fits", "fits", "fits", "is not wanted", "has few rows",
          "has other columns", "has another type", "is read outside")  # fmt: skip
#: What always has to happen.
REQUIRED = (
    *(function.name for function in Function), "ROUTE", "in place", "reset within", "starved",
    *(f"numbers: {style}" for style in STYLES), *(f"router {name}" for name in ROUTES),
    *(f"trap {trap.name}" for trap in (Trap.BUFFER, Trap.SHAPE, Trap.MEMORY)),
    *(f"{name} {what}" for name in ("attention", "mlp") for what in ("runs", "is skipped")),
    "words compared", "several routes of a matrix", "kept", "not kept",
)  # fmt: skip
#: What stalls.
STALLS = tuple(
    f"{name} waits"
    for name in ("blocks__write", *(f"read_{n}__numbers" for n in
                                                       ("pe", "store", "kv")))
)  # fmt: skip


class Instructions:
    """Random instructions, one after the other."""

    def __init__(self, player: Player, coverage: Coverage) -> None:
        self.player, self.coverage = player, coverage
        self.draw, self.maker = player.draw, player.maker
        #: Columns and rows of a router that was given and not taken.
        self.left: tuple[int, int] | None = None
        #: A router for the next instruction.
        self.pending: Router | None = None
        #: What is wrong with the instruction.
        self.wrong = ""

    def plan(self, faults: bool) -> list[tuple[Callable[[], Work], bool]]:
        """Makers of instructions that cover everything, in a random order; whether to reset."""
        maker = self.maker
        found: list[tuple[Callable[[], Work], bool]] = []
        wrong: dict[str, list[Function]] = {}
        for function in Function:
            times = 6 if function == Function.ARGMAX else 2
            found += times * [(partial(self._right, function), False)]
            for name in maker.faults(function):
                wrong.setdefault(name, []).append(function)
        found += [
            (partial(self._route, name), False) for name in ROUTES if faults or "fits" in name
        ]
        if faults:
            for name, functions in wrong.items():
                function = functions[int(self.draw.integers(0, len(functions)))]
                found.append((partial(self._wrong, function, name), False))
            broken = self.draw.choice([int(function) for function in Function], 4, replace=False)
            found += [(partial(self._right, Function(int(number))), True) for number in broken]
        order = [found[int(index)] for index in self.draw.permutation(len(found))]
        # Nothing comes between two routes of a matrix, which a reset would forget.
        twice = [(partial(self._route, "twice"), False), (partial(self._route, "fits"), False)]
        return twice + order

    # --- instructions -------------------------------------------------------------------------

    def _right(self, function: Function) -> Work:
        v = self.maker.npe(function)
        if function not in TO_BLOCKS and v["d"] in (v["a"], v["b"]):
            self.coverage["in place"] += 1
        return self.maker.work(Op.NPE, v)

    def _wrong(self, function: Function, name: str) -> Work:
        self.wrong = name
        self.coverage[f"wrong: {name}"] += 1
        # The first token's address is beyond memory, so nothing is written before.
        active = numpy.ones(1, bool) if name == FAR else None
        return self.maker.work(Op.NPE, self.maker.faults(function)[name], active)

    def _route(self, name: str) -> Work:
        maker, draw, arch = self.maker, self.draw, self.player.arch
        columns = maker.columns(True, arch.route_columns)
        routed = name != "is not wanted"
        self.coverage[f"router {name}"] += 1
        if routed and self.left is not None:
            # What is left of a matrix comes first.
            columns, rows = self.left
            self.coverage["several routes of a matrix"] += 1
            self.left = (columns, rows - 4) if rows > 4 else None
        elif routed:
            rows = 8 if name == "twice" else int(draw.choice([4, 8]))
            if name == "has another type":
                self.pending = strange_router(arch, rows, columns)
            elif name == "has other columns":
                other = columns - arch.block if columns > arch.block else columns + arch.block
                self.pending = router(draw, arch, rows, other)
            else:
                rows = maker.integer(1, 3) if name == "has few rows" else rows
                self.pending = router(draw, arch, rows, columns)
            self.left = (columns, rows - 4) if rows > 4 else None
        v = maker.route(routed, columns)
        if name == "is read outside":
            v["vector"] = arch.vector_words - columns + arch.vector_lanes
        return maker.work(Op.ROUTE, v)

    async def _operands(self, work: Work) -> None:
        """Fresh numbers for most of the operands."""
        v, player = work.values, self.player
        function = v.get("function")
        counts = {"a" if function is not None else "vector": v["columns"]}
        if function in TWO_OPERANDS:
            counts["b"] = v["columns"]
        if function == Function.ARGMAX:
            counts["d"] = 2
        for token in work.active.nonzero()[0]:
            style = str(self.draw.choice(list(STYLES)))
            for name, count in counts.items():
                if name == "d":
                    style = str(self.draw.choice(["large", "any"]))
                if v[name] + count <= player.maker.room and self.draw.random() < 0.8:
                    player.fill(int(token), v[name], count, style)
                    self.coverage[f"numbers: {style}"] += 1
        await player.written()

    # --- a turn -------------------------------------------------------------------------------

    async def run(self, make: Callable[[], Work], breaks: bool, alter: str) -> None:
        """One instruction.

        Parameters
        ----------
        make
            Makes it.
        breaks
            Whether the engine is reset within.
        alter
            What of the twin's results is made wrong, so that the bench has to fail.
        """
        player, draw = self.player, self.draw
        self.wrong = ""
        work = make()
        v, op = work.values, work.instruction.op
        await self._operands(work)
        found, self.pending = self.pending, None
        if found is not None:
            player.load_router(found)
        late = int(draw.integers(1, 60)) if draw.random() < 0.5 else 0
        if found is not None and not late:
            player.stream_router(found)
            # It may be there when it is wanted.
            await player.steps(int(draw.choice([0, 2000])))
        trap = player.execute(work, alter)
        player.give(work)
        if found is not None and late:
            await player.steps(late)
            player.stream_router(found)
        if breaks:
            await self._break(work)
            return
        await player.until(lambda: player.done, "the end")
        assert player.trap == trap, f"trap {player.trap}, not {trap.name}: {player.context}"
        takes = op == Op.ROUTE and v["route"]
        assert takes or not player.starved, f"starved: {player.context}"
        self._count(work, trap)
        if trap != Trap.NONE:
            await self.reset()
            if self.wrong == STRANGE:
                # Some of it may have been written.
                for token in work.active.nonzero()[0]:
                    player.fill(int(token), v["d"], v["columns"], "usual")
                await player.written()
        elif player.quiet and not takes:
            player.compare_cycles(work)
        await player.compare_results(work)

    async def _break(self, work: Work) -> None:
        """Reset within an instruction; what it wrote is right, and the rest as it was."""
        player = self.player
        await player.steps(int(self.draw.integers(4, 100)))
        self.coverage["reset within"] += not player.done
        await self.reset()
        player.broken = True
        await player.compare_results(work)
        player.broken = False

    def _count(self, work: Work, trap: Trap) -> None:
        v, op, player = work.values, work.instruction.op, self.player
        name = Function(v["function"]).name if op == Op.NPE else op.name
        note = self.coverage
        note[f"trap {trap.name}"] += 1
        if trap != Trap.NONE:
            return
        note[name] += 1
        note["starved"] += bool(player.starved)
        note["some tokens"] += not work.active.all()
        note["several tokens"] += int(work.active.sum()) > 1
        note["tail"] += v["columns"] % player.lanes != 0
        if op == Op.ROUTE and v["route"]:
            for what, runs in (("attention", player.twin.runs_attention),
                               ("mlp", player.twin.runs_mlp)):  # fmt: skip
                count = int(runs[: len(work.active)][work.active].sum())
                note[f"{what} runs"] += count
                note[f"{what} is skipped"] += int(work.active.sum()) - count
        if name == "ARGMAX":
            for token in work.active.nonzero()[0]:
                place = slice(v["d"], v["d"] + 2)
                same = (player.before[0][token, place] == player.twin.vector[token, place]).all()
                note["kept" if same else "not kept"] += 1

    async def reset(self) -> None:
        """As before each program."""
        self.left = None
        await self.player.reset()


@cocotb.test()
async def instructions(dut: Any) -> None:
    """Rounds of all kinds of instructions."""
    options, coverage = settings(), Coverage()
    player = Player(dut, options, coverage)
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await player.begin()
    made = Instructions(player, coverage)
    for _ in range(options["rounds"]):
        for make, breaks in made.plan(faults=not player.quiet):
            await made.run(make, breaks, options["alter"])
    await player.end()
    coverage["cycles"] = player.cycle
    required = [*REQUIRED, *STALLS]
    if player.arch.tokens > 1:
        required += ["some tokens", "several tokens", "tail", "wrong: a between words"]
    if player.quiet:
        required = [*(function.name for function in Function), "ROUTE", "words compared", "timed"]
    coverage.finish(f"{player.arch.name}, vector engine", required)
