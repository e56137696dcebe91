"""The vector engine and its buffer in a bench: their twin, and who stands around them."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy
from amaranth import Shape
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc.arch.skipopu.isa import SCALARS, Engine, Function, Instruction, LoadMode, Op, Trap
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS
from dyncc_hw.skipopu.interfaces import (
    block_write_signature,
    place_layout,
    work_layout,
)
from dyncc_sim.pins import Coverage
from dyncc_sim.skipopu.bench.agents import Agent, ReadMemory, Sink, Source
from dyncc_sim.skipopu.bench.instances import BATCHED, SINGLE
from dyncc_sim.skipopu.bench.rig import packed
from dyncc_sim.skipopu.bench.vector_cases import (
    OTHERS,
    STRANGE_TABLE,
    TABLES,
    TO_BLOCKS,
    Maker,
    Router,
    codes,
    rotations,
    strange_rotations,
    streamed,
)
from dyncc_sim.skipopu.costs import Costs
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.sequencer import Work
from dyncc_sim.skipopu.trap import Fault

INSTANCES = {arch.name: arch for arch in (SINGLE, BATCHED)}
READERS = ("pe", "store", "kv")
WRITERS = ("pe", "load")
#: Where matrices are in the executor's memory, which is as large as it has to be.
_MATRICES, _MEMORY = 1 << 16, 1 << 22
#: Cycles that an instruction may take.
PATIENCE = 30000


class Player:
    """The design, its twin, and what stands around it."""

    def __init__(self, dut: Any, options: dict[str, Any], coverage: Coverage) -> None:
        self.dut, self.coverage = dut, coverage
        self.arch = arch = INSTANCES[options["arch"]]
        self.quiet: bool = options["quiet"]
        self.draw = numpy.random.default_rng(options["seed"])
        self.random = rand = random.Random(options["seed"])
        self.maker = Maker(arch, self.draw)
        memory = Memory(_MEMORY)
        self.twin = Executor(arch, memory)
        for address in TABLES:
            memory.load(address, rotations(self.draw).tobytes())
        memory.load(STRANGE_TABLE, strange_rotations(self.draw).tobytes())
        self._matrix_end = _MATRICES
        self.lanes = arch.vector_lanes
        self.words = arch.vector_words // self.lanes
        self._place = place_layout(arch)
        self._work = work_layout(Engine.VECTOR, arch)
        written = block_write_signature(arch).members["write"].signature
        self._block = written.members["payload"].shape
        self.mantissas = numpy.zeros_like(self.twin.mantissas)
        self.exponents = numpy.zeros((arch.tokens, arch.blocks, arch.block // self.lanes), int)
        #: What the twin held before the instruction; and whether it was broken off.
        self.before = self._state()
        self.broken = False
        #: What was done last.
        self.context = ""
        self.done, self.trap, self.starved = False, 0, 0
        self._hurries = False
        self._costs = Costs(arch)
        self.cycle = self.started = self.ended = 0
        quiet = self.quiet
        self.start = Source(dut, "work__start", rand, quiet, self._started)
        self.places, self.numbers = {}, []
        self.expected: dict[str, list[tuple[Any, list[int]]]] = {name: [] for name in READERS}
        for name in READERS:
            self.places[name] = Source(
                dut,
                f"read_{name}__place",
                rand,
                quiet,
                partial(self._asked, name),
            )
            self.numbers.append(
                Sink(dut, f"read_{name}__numbers", rand, quiet, coverage,
                     partial(self._read, name))
            )  # fmt: skip
        self.writes = {
            name: Source(dut, f"write_{name}__write", rand, quiet, self._wrote) for name in WRITERS
        }
        self.memory = ReadMemory(dut, "read", rand, quiet, coverage, memory.content, arch.bus_bytes)
        self.matrix = Source(dut, "router__matrix", rand, quiet)
        self.group = Source(dut, "router__group", rand, quiet)
        self.blocks = Sink(dut, "blocks__write", rand, quiet, coverage, self._wrote_block)
        # Who reads looks before those who write.
        self.agents: list[Agent] = [
            self.start, *self.places.values(), *self.numbers, *self.writes.values(), self.memory,
            self.matrix, self.group, self.blocks,
        ]  # fmt: skip
        dut.scalar__scalar.value = dut.scalar__token.value = 0

    # --- cycles -------------------------------------------------------------------------------

    async def step(self) -> None:
        """A cycle."""
        if not self.quiet and not self._hurries:
            self._other_clients()
        for agent in self.agents:
            agent.drive()
        await ReadOnly()
        dut = self.dut
        for agent in self.agents:
            agent.look()
        if int(dut.work__done.value):
            assert not int(dut.work__start__ready.value), "done, and ready at the same time"
            assert not self.done, "done twice"
            self.done, self.trap, self.ended = True, int(dut.work__trap.value), self.cycle
        if int(dut.work__starved.value):
            self.starved += 1
        self.cycle += 1
        await RisingEdge(dut.clk)

    async def steps(self, count: int) -> None:
        """Some cycles."""
        for _ in range(count):
            await self.step()

    async def until(self, condition: Any, what: str) -> None:
        """Cycles until something holds."""
        for _ in range(PATIENCE):
            if condition():
                return
            await self.step()
        raise AssertionError(f"{what} never happens: {self.context}")

    async def begin(self) -> None:
        """Numbers everywhere, without stalls; all tokens have both predicates."""
        self._hurry(True)
        self._compare_predicates()
        for token in range(self.arch.tokens):
            self.fill(token, 0, self.arch.vector_words, "any")
        await self.written()
        self._hurry(False)

    async def end(self) -> None:
        """Compare everything."""
        self._hurry(True)
        await self._compare(range(self.arch.tokens), 0, self.arch.vector_words)
        await self._compare_scalars(range(SCALARS))
        self._hurry(False)

    def _hurry(self, hurries: bool) -> None:
        self._hurries = hurries
        for agent in self.agents:
            agent.quiet = hurries or self.quiet

    async def reset(self) -> None:
        """Reset the engine, as before each program; what is on its way is lost."""
        for agent in (self.start, self.memory, self.matrix, self.group, self.blocks,
                      *self.places.values(), *self.numbers, *self.writes.values()):  # fmt: skip
            if hasattr(agent, "clear"):
                agent.clear()
        for waiting in self.expected.values():
            waiting.clear()
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 1)
        self.dut.rst.value = 0
        self.twin.start([0] * 32)
        await self.step()

    def _other_clients(self) -> None:
        """Now and then they want something, at places of their own."""
        first, last = (self.arch.vector_words - OTHERS) // self.lanes, self.words - 1
        for source in self.places.values():
            if not source.queue and self.random.random() < 0.4:
                self._ask(source, self.random.randrange(self.arch.tokens),
                          self.random.randint(first, last))  # fmt: skip
        for source in self.writes.values():
            if not source.queue and self.random.random() < 0.3:
                numbers = [int(code) for code in codes(self.draw, "any", self.lanes)]
                self._write(
                    source, self.random.randrange(self.arch.tokens),
                    self.random.randint(first, last), numbers,
                    self.random.randrange(1 << self.lanes),
                )  # fmt: skip

    # --- the vector buffer --------------------------------------------------------------------

    def _ask(self, source: Source, token: int, word: int) -> None:
        source.give(packed(self._place, {"token": token, "word": word}), (token, word))

    def _asked(self, name: str, tag: tuple[int, int]) -> None:
        token, word = tag
        numbers = self.twin.vector[token, word * self.lanes : (word + 1) * self.lanes]
        self.expected[name].append((tag, numbers.tolist()))

    def _read(self, name: str, word: int) -> None:
        assert self.expected[name], f"{name} gets a word that it did not ask for"
        tag, wanted = self.expected[name].pop(0)
        mask = (1 << CODE_BITS) - 1
        found = [word >> (CODE_BITS * lane) & mask for lane in range(self.lanes)]
        if self.broken and tag[1] * self.lanes < self.arch.vector_words - OTHERS:
            self._adopt(tag, found)
            return
        where = f"token {tag[0]} word {tag[1]}"
        assert found == wanted, f"{where} is {found}, not {wanted}: {name}, {self.context}"
        self.coverage["words compared"] += 1

    def _adopt(self, tag: tuple[int, int], found: list[int]) -> None:
        """After a reset, a number is what it was or what it should have become."""
        token, word = tag
        for lane, code in enumerate(found):
            place = word * self.lanes + lane
            old, new = int(self.before[0][token, place]), int(self.twin.vector[token, place])
            assert code in (old, new), f"token {token} number {place} is {code} after a reset"
            self.twin.vector[token, place] = code

    def _write(self, source: Source, token: int, word: int, numbers: list[int], keep: int) -> None:
        value = packed(self._place, {"token": token, "word": word})
        shift = Shape.cast(self._place).width
        for lane, code in enumerate(numbers):
            value |= code << (shift + CODE_BITS * lane)
        value |= keep << (shift + CODE_BITS * self.lanes)
        source.give(value, (token, word, numbers, keep))

    def _wrote(self, tag: tuple[int, int, list[int], int]) -> None:
        token, word, numbers, keep = tag
        for lane, code in enumerate(numbers):
            if keep >> lane & 1:
                self.twin.vector[token, word * self.lanes + lane] = code

    def fill(self, token: int, place: int, count: int, style: str) -> None:
        """Put numbers into the buffer, by all that write."""
        first, end = place // self.lanes, -(-(place + count) // self.lanes)
        for index, word in enumerate(range(first, end)):
            numbers = [int(code) for code in codes(self.draw, style, self.lanes)]
            source = self.writes[WRITERS[index % len(WRITERS)]]
            self._write(source, token, word, numbers, (1 << self.lanes) - 1)

    async def written(self) -> None:
        """All that was to be written is."""
        await self.until(lambda: not any(s.queue for s in self.writes.values()), "a write")

    async def _compare(self, tokens: Any, place: int, count: int) -> None:
        """Numbers in the buffer."""
        first, end = place // self.lanes, -(-(place + count) // self.lanes)
        sources = list(self.places.values())
        asked = [
            (int(token), word)
            for token in tokens for word in range(max(0, first - 1), min(self.words, end + 1))
        ]  # fmt: skip
        for index, (token, word) in enumerate(asked):
            self._ask(sources[index % len(sources)], token, word)
        await self.until(
            lambda: not any(s.queue for s in sources) and not any(self.expected.values()), "a word"
        )

    # --- the rest -----------------------------------------------------------------------------

    def _started(self, _: Any) -> None:
        self.started = self.cycle

    def _wrote_block(self, word: int) -> None:
        found = self._block.from_bits(word)
        token, block, part = int(found.token), int(found.block), int(found.word)
        place = slice(part * self.lanes, (part + 1) * self.lanes)
        self.mantissas[token, block, place] = [int(value) for value in found.mantissas]
        self.exponents[token, block, part] = int(found.exponent)

    def _compare_blocks(self) -> None:
        """The whole activation buffer."""
        wanted = numpy.broadcast_to(self.twin.exponents[..., None], self.exponents.shape)
        if self.broken:
            mantissas, exponents = self.before[2:]
            old = numpy.broadcast_to(exponents[..., None], wanted.shape)
            same = (self.mantissas == mantissas) | (self.mantissas == self.twin.mantissas)
            assert same.all(), f"mantissas after a reset: {self.context}"
            assert ((self.exponents == old) | (self.exponents == wanted)).all(), "exponents"
            # All of these blocks are written again, as they should have become.
            self.mantissas[:], self.exponents[:] = self.twin.mantissas, wanted
        assert (self.mantissas == self.twin.mantissas).all(), f"mantissas: {self.context}"
        assert (self.exponents == wanted).all(), f"exponents: {self.context}"

    async def _compare_scalars(self, scalars: Any) -> None:
        """Scalars, through the port that shows them."""
        for scalar in scalars:
            for token in range(self.arch.tokens):
                self.dut.scalar__scalar.value, self.dut.scalar__token.value = scalar, token
                await self.step()
                found = int(self.dut.scalar__value.value)
                wanted = [int(self.twin.scalars[scalar, token])]
                if self.broken:
                    wanted.append(int(self.before[1][scalar, token]))
                    self.twin.scalars[scalar, token] = found
                where = f"scalar {scalar} of token {token}"
                assert found in wanted, f"{where} is {found}, not {wanted}"

    def _compare_predicates(self) -> None:
        """Both, of all tokens."""
        for pins, wanted in (
            (self.dut.attention, self.twin.runs_attention), (self.dut.mlp, self.twin.runs_mlp),
        ):  # fmt: skip
            found = [int(pins.value) >> token & 1 for token in range(self.arch.tokens)]
            right = found == wanted.astype(int).tolist()
            assert right, f"predicates {found}, not {wanted}: {self.context}"

    def load_router(self, found: Router) -> None:
        """Stream a router, to the twin."""
        address, size = self._matrix_end, len(found.content)
        self._matrix_end += -(-size // 64) * 64
        self.twin.memory.load(address, found.content)
        values = {
            "mode": int(LoadMode.WEIGHTS), "type": int(found.kind), "memory": address, "vector": 0,
            "rows": found.rows, "columns": found.columns, "index": 0,
        }  # fmt: skip
        load = Work(0, 0, Instruction(Op.LD, {}), values, numpy.ones(1, bool), 0, 0)
        self.twin.execute(load)

    def stream_router(self, found: Router) -> None:
        """Stream a router, to the engine."""
        matrix, groups = streamed(found, self.arch)
        self.matrix.give(matrix)
        for group in groups:
            self.group.give(group)

    async def compare_results(self, work: Work) -> None:
        """What an instruction may have written, and what is beside it; all tokens."""
        v = work.values
        if work.instruction.op == Op.NPE and v["function"] not in (
            *TO_BLOCKS, Function.SUM_SQUARES,
        ):  # fmt: skip
            count = 2 if v["function"] == Function.ARGMAX else v["columns"]
            place = min(v["d"], self.maker.room) // self.lanes * self.lanes
            count = min(count, self.maker.room - place)
            await self._compare(range(self.arch.tokens), place, count)
        self._compare_blocks()
        self._compare_predicates()
        await self._compare_scalars({v["scalar"], int(self.draw.integers(0, SCALARS))})

    def compare_cycles(self, work: Work) -> None:
        """The time that an instruction took, if nothing stalled."""
        wanted = self._costs.vector_cycles(work)
        v = work.values
        if v.get("function") == Function.ROPE:
            # The port's, of the first token, and a cycle for each one that is left out before it.
            wanted += -(-4 * v["b"] // self.arch.bus_bytes) + int(work.active.argmax())
        elif work.instruction.op == Op.ROUTE:
            # Nothing is looked up in a router.
            wanted -= 1
        found = self.ended - self.started
        assert found == wanted, f"{found} cycles, not {wanted}: {self.context}"
        self.coverage["timed"] += 1

    def _state(self) -> tuple[Any, ...]:
        twin = self.twin
        parts = (twin.vector, twin.scalars, twin.mantissas, twin.exponents)
        return tuple(part.copy() for part in parts)

    def execute(self, work: Work, alter: str = "") -> Trap:
        """Let the twin do it; `alter` makes a result wrong."""
        self.before, self.starved = self._state(), 0
        op, v = work.instruction.op, work.values
        name = Function(v["function"]).name if op == Op.NPE else op.name
        self.context = f"{name} of tokens {work.active.nonzero()[0]} at {work.position}, {v}"
        try:
            self.twin.execute(work)
        except Fault as fault:
            return Trap.BUS if alter == "trap" else fault.trap
        token, twin = int(work.active.argmax()), self.twin
        if alter == "numbers":
            twin.vector[token, v.get("d", 0) % self.arch.vector_words] ^= 1
        elif alter == "mantissas":
            twin.mantissas[token, v.get("d", 0) % self.arch.blocks, 0] ^= 1
        elif alter == "scalars":
            twin.scalars[v["scalar"], token] ^= 1
        elif alter == "predicates":
            twin.runs_mlp[token] ^= True
        return Trap.NONE

    def give(self, work: Work) -> None:
        """Give an instruction to the engine."""
        values = dict.fromkeys(self._work.members, 0) | work.values
        values["op"] = int(work.instruction.op)
        values["active"] = sum(int(bit) << token for token, bit in enumerate(work.active))
        values |= {"tokens": len(work.active), "position": work.position, "context": 0}
        self.done = False
        self.start.give(packed(self._work, values))
