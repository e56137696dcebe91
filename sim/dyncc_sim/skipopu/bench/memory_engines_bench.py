"""Bench of the load and store engines behind the port: what the simulator does, under stalls."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
import numpy

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.isa import Engine, LoadMode, Op, Trap
from dyncc.arch.skipopu.matrices import matrix_bytes
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS
from dyncc_hw.skipopu.interfaces import place_layout, vector_write_signature
from dyncc_sim.skipopu.bench.memory_agents import Agent, Sender, Taker
from dyncc_sim.skipopu.bench.memory_bench import MEMORY_BYTES, WINDOWS, Bench, begin
from dyncc_sim.skipopu.bench.memory_cases import Case, Cases, instance

#: Where stores go.
WINDOW = range(*WINDOWS[0])
#: Cycles for which a load of a matrix waits before those who take rows go on.
_HELD = 300


class Bank:
    """The vector buffer."""

    def __init__(self, dut: Any, arch: Any, mood: Any) -> None:
        self.arch = arch
        self.codes = numpy.zeros((arch.tokens, arch.vector_words), numpy.int32)
        self._write = (
            vector_write_signature(arch).members["write"].signature.members["payload"].shape
        )
        self._place = place_layout(arch)
        self.writes = Taker(dut, "load_vector__write", mood("writes"), self._put)
        self.places = Taker(dut, "store_vector__place", mood("places"), self._ask)
        self._numbers = Sender(dut, "store_vector__numbers", mood("numbers"))
        self.agents: list[Agent] = [self.writes, self.places, self._numbers]
        self.written = 0

    def _at(self, payload: int) -> tuple[int, int]:
        place = self._place.from_bits(payload)
        return int(place.token), int(place.word) * self.arch.vector_lanes

    def _put(self, payload: int) -> None:
        item = self._write.from_bits(payload)
        token, first = int(item.place.token), int(item.place.word) * self.arch.vector_lanes
        for lane in range(self.arch.vector_lanes):
            if int(item.keep) >> lane & 1:
                self.codes[token, first + lane] = int(item.numbers[lane])
                self.written += 1

    def _ask(self, payload: int) -> None:
        token, first = self._at(payload)
        words = self.codes[token, first : first + self.arch.vector_lanes].tolist()
        self._numbers.queue.append(sum(int(c) << CODE_BITS * i for i, c in enumerate(words)))


class Engines(Agent):
    """Both engines, the vector buffer, and those who take rows of matrices."""

    def __init__(self, bench: Bench, mood: Any) -> None:
        super().__init__(None)
        dut, self.bench = bench.dut, bench
        self.arch = instance(bench.options["arch"])
        self.cases = Cases(self.arch, MEMORY_BYTES, WINDOWS, bench.draw)
        self.bank = Bank(dut, self.arch, mood)
        self._random = bench.draw
        self.work = {
            engine: Sender(dut, f"{name}_work__start", mood(name))
            for engine, name in ((Engine.LOAD, "load"), (Engine.STORE, "store"))
        }
        self._pins = {
            engine: (getattr(dut, f"{name}_work__done"), getattr(dut, f"{name}_work__trap"))
            for engine, name in ((Engine.LOAD, "load"), (Engine.STORE, "store"))
        }
        self.running: dict[Engine, Case] = {}
        self.trap = 0
        #: What comes of matrices is not looked at.
        self.careless = False
        # Headers and groups that are to come, narrow and wide ones.
        self.headers: tuple[deque[int], deque[int]] = (deque(), deque())
        self.groups: tuple[deque[int], deque[int]] = (deque(), deque())
        self.takers = []
        for wide, name in enumerate(("narrow", "wide")):
            for part, queue in (("matrix", self.headers[wide]), ("group", self.groups[wide])):
                self.takers.append(
                    Taker(
                        dut, f"load_{name}__{part}", mood(name + part), self._compare(name, queue)
                    )
                )
        self.agents: list[Agent] = [*self.work.values(), *self.bank.agents, *self.takers, self]
        self.first: int | None = None
        self.last = 0
        bench.agents += self.agents
        bank = bench.draw.getrandbits
        codes = numpy.array(
            [[bank(24) | 1 << 16 for _ in range(self.arch.vector_words)]
             for _ in range(self.arch.tokens)], numpy.int32,
        )  # fmt: skip
        codes = numpy.where(codes >> 16 & 255 == 255, codes & 0xFFFF | 1 << 16, codes)
        self.bank.codes[:] = self.cases.twin.vector[:] = codes
        self.publish()

    def forget_first(self) -> None:
        """The next word counts as the first."""
        self.first = None

    def publish(self) -> None:
        """Memory becomes what the twin put there before it is read."""
        half = MEMORY_BYTES // 2
        self.bench.content[:half] = self.cases.memory[:half].tobytes()

    def _compare(self, name: str, queue: deque[int]) -> Any:
        def call(payload: int) -> None:
            if self.careless:
                return
            assert queue, f"{name}: nothing was to come"
            wanted = queue.popleft()
            assert payload == wanted, f"{name}: {payload:#x} came, not {wanted:#x}"
            self.bench.coverage[f"{name} taken"] += 1
            self.first = self.bench.cycles if self.first is None else self.first
            self.last = self.bench.cycles

        return call

    def clear(self) -> None:
        """Nothing runs, nothing is to come."""
        self.running.clear()
        self.trap = 0
        for queue in (*self.headers, *self.groups):
            queue.clear()
        for taker in self.takers:
            taker.blocked = False

    def give(self, case: Case) -> None:
        """Start an instruction."""
        self.running[case.engine] = case
        self.work[case.engine].queue.append(case.payload)
        if case.matrix is not None:
            header, groups, wide = case.matrix
            self.headers[wide].append(header)
            self.groups[wide].extend(groups)

    def look(self) -> None:
        """What is done."""
        dut = self.bench.dut
        self.trap |= int(dut.stream_trap.value) | int(dut.port_trap.value)
        for engine, (done, trap) in self._pins.items():
            if int(done.value):
                assert engine in self.running, f"{engine.name} had nothing to do"
                case = self.running.pop(engine)
                self.trap |= int(trap.value)
                self.bench.coverage[case.name] += 1
                if case.matrix is not None and self.groups[case.matrix[2]]:
                    self.bench.coverage["done before all is taken"] += 1
            else:
                assert not int(trap.value), "a trap of nothing"

    @property
    def streams_empty(self) -> bool:
        """Whether all of all matrices was taken."""
        return not any((*self.headers, *self.groups))

    def check(self) -> None:
        """Buffers and memory are as the twin's."""
        wrong = numpy.argwhere(self.bank.codes != self.cases.twin.vector)
        assert not len(wrong), f"the vector buffer is wrong at {wrong[:8].tolist()}"
        self.bench.shadow[:] = self.cases.memory.tobytes()
        self.bench.compare()
        self.bench.coverage["compared"] += 1

    def accept(self) -> None:
        """After a fault, the twin goes on with what is there."""
        self.cases.twin.vector[:] = self.bank.codes
        self.cases.memory[:] = numpy.frombuffer(bytes(self.bench.content), numpy.uint8)


async def start(dut: Any, name: str, eager: bool = False) -> tuple[Bench, Engines]:
    """A bench with engines."""
    bench = await begin(dut, name, eager)
    seed = bench.options["seed"]
    mood = (lambda _: None) if eager else (lambda who: random.Random(f"{seed} {who}"))
    engines = Engines(bench, mood)
    engines.cases.memory[MEMORY_BYTES // 2 :] = numpy.frombuffer(
        bytes(bench.content[MEMORY_BYTES // 2 :]), numpy.uint8
    )
    return bench, engines


async def finish(bench: Bench, engines: Engines, says: str) -> None:
    """Wait for the engines; whoever holds up the stream lets go in the end."""
    begun = bench.cycles
    while engines.running:
        await bench.cycle()
        if bench.cycles - begun > _HELD:
            for taker in engines.takers:
                taker.blocked = False
        assert bench.cycles - begun < 30 * _HELD, f"{says} is never done"
        assert not engines.trap, f"{says} traps with {Trap(engines.trap).name}"


@cocotb.test()
async def instructions(dut: Any) -> None:
    """Loads and stores side by side, while another client reads."""
    bench, engines = await start(dut, "instructions")
    draw = bench.draw
    # Everything once, then anything.
    first: list[tuple[LoadMode | None, dict[str, int]]] = [
        (None, {}), (LoadMode.ROW_Q8_0, {}), (LoadMode.VECTOR_F32, {"index": 0}),
        (LoadMode.VECTOR_F32, {"index": 4}),
        *((LoadMode.WEIGHTS, {"type": int(kind)}) for kind in WeightType),
    ]  # fmt: skip
    draw.shuffle(first)
    for _ in range(len(first) + bench.options["rounds"]):
        taker = draw.choice([0, 0, 0, 1])
        for place in engines.takers:
            place.blocked = taker == 1
        bench.coverage["streams held up"] += taker
        both = draw.random() < 0.5
        half = draw.randrange(2) if both else None
        made = []
        kind, given = (
            first.pop() if first else (draw.choice([*LoadMode, LoadMode.WEIGHTS, None]), {})
        )
        if kind is not None:
            made.append(engines.cases.load(kind, half, None, **given))
        if kind is None or both:
            made.append(engines.cases.store(None if half is None else 1 - half, None, WINDOW))
        engines.publish()
        for case in made:
            assert case.trap == Trap.NONE, f"{case.name} traps on the twin"
            engines.give(case)
        bench.coverage["side by side"] += len(made) == 2
        bench.read(bench.readers["near"])
        await finish(bench, engines, ", ".join(case.name for case in made))
        await bench.until(bench.quiet, "the other client")
        engines.check()
    for place in engines.takers:
        place.blocked = False
    await bench.until(lambda: engines.streams_empty, "streams at the end")
    for _ in range(10):
        await bench.cycle()
    assert int(dut.stream_idle.value)
    modes = ["VECTOR_F32", "VECTOR_F32 for all", "ROW_Q8_0", "ST"]
    kinds = [f"WEIGHTS {kind.name}" for kind in WeightType]
    bench.coverage.finish(
        "instructions",
        [*modes, *kinds, "compared", "narrow taken", "wide taken", "side by side",
         "streams held up", "done before all is taken"],
    )  # fmt: skip


@cocotb.test()
async def traps(dut: Any) -> None:
    """Instructions that cannot be carried out, and the machine goes on afterwards."""
    bench, engines = await start(dut, "traps")
    makers = engines.cases.wrong(WINDOW)
    engines.cases.all_tokens = True
    for number, make in enumerate(makers):
        case = make()
        assert case.trap != Trap.NONE, f"{case.name}, number {number}, does not trap on the twin"
        engines.publish()
        engines.give(case)
        begun = bench.cycles
        engines.careless = True
        while not engines.trap:
            await bench.cycle()
            assert bench.cycles - begun < 3000, f"{case.name}, number {number}, does not trap"
        found = Trap(engines.trap)
        assert found == case.trap, (
            f"{case.name}, number {number}: {found.name}, not {case.trap.name}"
        )
        bench.coverage[f"{case.name}: {found.name}"] += 1
        bench.traps[:] = [found]
        for taker in (*engines.takers, engines.bank.writes, engines.bank.places):
            taker.lax = True
        await bench.silence(found)
        engines.careless = False
        engines.accept()
        good = engines.cases.load(LoadMode.VECTOR_F32, None, None)
        assert good.trap == Trap.NONE
        engines.publish()
        engines.give(good)
        await finish(bench, engines, f"{good.name} after trap {number}")
        engines.check()
    bench.coverage.finish("traps", ["compared", "ST: MEMORY", "ST: BUFFER"])


@cocotb.test()
async def stream_rate(dut: Any) -> None:
    """Matrices come at the bus's rate, or a group a cycle."""
    bench, engines = await start(dut, "stream_rate", eager=True)
    arch, options = engines.arch, bench.options
    for kind in WeightType:
        columns, rows = 4 * arch.block, 24 if kind != WeightType.BFP16 else 8
        size = matrix_bytes(kind, rows, columns, arch.block)
        values = {
            "mode": LoadMode.WEIGHTS,
            "type": kind,
            "rows": rows,
            "columns": columns,
            "vector": 0,
            "index": 0,
            "memory": engines.cases.matrix(kind, rows, columns, 512),
        }
        case = engines.cases.case(Engine.LOAD, Op.LD, kind.name, values)
        case.matrix = engines.cases.streamed(values)
        engines.publish()
        engines.forget_first()
        engines.give(case)
        await finish(bench, engines, kind.name)
        await bench.until(lambda: engines.streams_empty, "the stream")
        assert engines.first is not None, "the stream gave nothing"
        cycles = engines.last - engines.first
        least = max(size / arch.bus_bytes, rows * columns // arch.block)
        if options["requests"] == 1:
            burst = options["burst_bytes"] // arch.bus_bytes
            least *= (burst + options["latency"] + 3) / burst
        bench.coverage[f"{kind.name}: cycles"] += cycles
        bench.coverage[f"{kind.name}: bytes"] += size
        assert cycles <= 1.05 * least + 20, f"{kind.name}: {size} bytes took {cycles} cycles"
    bench.coverage.finish("stream_rate", [f"{kind.name}: bytes" for kind in WeightType])
