"""Bench of the whole machine: its trace and its memory against those of the simulator."""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path
from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc.arch.skipopu.formats import KvType, kv_slot_bytes
from dyncc.arch.skipopu.isa import SCALARS, Function, LoadMode, Op
from dyncc_hw.skipopu.control.front import State
from dyncc_hw.skipopu.control.sequencer import WORKERS
from dyncc_hw.skipopu.machine import trace_signature
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.bench.burst_memory import RATES, BurstMemory, Fields
from dyncc_sim.skipopu.bench.instances import INSTANCES
from dyncc_sim.skipopu.bench.recorder import Recorder

#: Cycles in which nothing moves and no instruction is done after which the machine hangs.
PATIENCE = 30_000


class Shadow:
    """What the machine's buffers hold, from what it writes."""

    def __init__(self, arch: dict[str, int]) -> None:
        self.arch = arch
        tokens = arch["tokens"]
        self.vector = numpy.zeros((tokens, arch["vector_words"]), numpy.int64)
        self.mantissas = numpy.zeros((tokens, arch["blocks"], arch["block"]), numpy.int64)
        self.scalars = numpy.zeros((SCALARS, tokens), numpy.int64)
        self.slot = 0

    def written(self, told: dict[str, Any], content: Any, predicates: tuple[int, int]) -> Any:
        """What an instruction wrote, in the order of a trace; None for nothing."""
        v, tokens, op = told["values"], told["tokens"], Op[told["op"]]
        vector = self.vector
        if op == Op.LD:
            if v["mode"] == LoadMode.WEIGHTS:
                return None
            return vector[tokens, v["vector"] : v["vector"] + v["columns"]]
        if op == Op.ST:
            rows = [v["memory"] + v["stride"] * token for token in tokens]
            return numpy.stack(
                [content[row : row + 4 * v["columns"]].view("<u4") >> 7 for row in rows]
            )
        if op in (Op.GEMV, Op.GEMM):
            return vector[tokens, v["vector"] : v["vector"] + v["rows"]]
        if op == Op.ATTN:
            return vector[tokens, v["vector"] : v["vector"] + v["heads"] * v["head_size"]]
        if op == Op.NPE:
            function = Function(v["function"])
            if function == Function.SUM_SQUARES:
                return self.scalars[v["scalar"], tokens]
            if function in (Function.TO_BFP, Function.TO_BFP_GAIN):
                count = v["columns"] // self.arch["block"]
                return self.mantissas[tokens, v["d"] : v["d"] + count]
            count = 2 if function == Function.ARGMAX else v["columns"]
            return vector[tokens, v["d"] : v["d"] + count]
        if op == Op.ROUTE:
            runs = [[mask >> token & 1 for token in tokens] for mask in predicates]
            return numpy.stack([self.scalars[v["scalar"], tokens], *map(numpy.array, runs)])
        if op == Op.KVAPP:
            size = kv_slot_bytes(KvType(self.arch["kv"]), v["kv_heads"], v["head_size"])
            first = v["pool"] + self.slot * size
            self.slot += len(tokens)
            return content[first : first + size * len(tokens)]
        entries = [
            v["table"] + 4 * (v["layer"] * told["context"] + told["position"] + token)
            for token in tokens
        ]
        return numpy.array([content[at : at + 4].view("<u4")[0] for at in entries])


class Bench:
    """The machine, its memory, and what it is compared with."""

    def __init__(self, dut: Any, options: dict[str, Any], cases: dict[str, Any]) -> None:
        self.dut, self.options, self.cases = dut, options, cases
        self.arch = options["arch"]
        self.draw = random.Random(options["seed"])
        self.coverage = Coverage(options["coverage"])
        content = numpy.fromfile(cases["memory"], numpy.uint8)
        self.size = len(content)
        self.program = -(-self.size // 64) * 64
        longest = max(len(run["program"]) for run in cases["runs"])
        self.end = self.program + 8 * longest
        whole = numpy.zeros(-(-self.end // 64) * 64 + 64, numpy.uint8)
        whole[: self.size] = content
        self.memory = BurstMemory(dut, whole, self.arch["bus_bytes"], options["latency"], self.draw)
        self.shadow = Shadow(self.arch)

        arch = INSTANCES[options["name"]]
        members = trace_signature(arch).members
        self.engine = Fields(members["engines"].shape.elem_shape)
        self.engine_bits = members["engines"].shape.elem_shape.size
        self.write = Fields(members["pe_write"].shape)
        self.place = Fields(members["pe_write"].shape["place"].shape)
        self.block = Fields(members["block"].shape)
        self.scalar = Fields(members["scalar"].shape)

        command = burst_signature(Geometry.of(arch)).members["command"].signature
        self.command = Fields(command.members["payload"].shape)
        self.busy = self.cycle = self.last = self.resident = self.fetched = 0
        self.compared = False
        self.recorder = Recorder(self, arch) if options["recorded"] else None

    async def cycle_once(self) -> None:
        """A cycle, with everything that happens in it."""
        self.memory.drive()
        await ReadOnly()
        self.memory.look(self.command)
        dut = self.dut
        if int(dut.busy.value):
            self.busy += 1
            self.last = self.cycle
        for name in ("pe", "load", "vector"):
            if int(getattr(dut, f"trace__{name}").value):
                self._vector(int(getattr(dut, f"trace__{name}_write").value))
        if int(dut.trace__blocks.value):
            self._block(int(dut.trace__block.value))
        word = int(dut.trace__scalar.value)
        if word & 1:
            found = self.scalar(word)
            self.shadow.scalars[found["scalar"], found["token"]] = found["value"]
        self.resident += int(dut.resident.value)
        self.fetched += int(dut.fetched.value)
        finished, begun = int(dut.trace__finished.value), int(dut.trace__begun.value)
        if self.recorder is not None:
            self.recorder.look(begun, finished)
        if finished:
            self._finished(finished)
        self.cycle += 1
        await RisingEdge(dut.clk)

    def _vector(self, word: int) -> None:
        found = self.write(word)
        place = self.place(found["place"])
        lanes = self.arch["vector_lanes"]
        for lane in range(lanes):
            if found["keep"] >> lane & 1:
                code = found["numbers"] >> (25 * lane) & ((1 << 25) - 1)
                self.shadow.vector[place["token"], place["word"] * lanes + lane] = code

    def _block(self, word: int) -> None:
        found = self.block(word)
        lanes, bits = self.arch["vector_lanes"], self.arch["mantissa_bits"]
        for lane in range(lanes):
            value = found["mantissas"] >> (bits * lane) & ((1 << bits) - 1)
            value -= (value >> (bits - 1)) << bits
            at = found["word"] * lanes + lane
            self.shadow.mantissas[found["token"], found["block"], at] = value

    def _finished(self, finished: int) -> None:
        dut = self.dut
        engines = int(dut.trace__engines.value)
        for index, engine in enumerate(WORKERS):
            if not finished >> index & 1 or not self.compared:
                continue
            self.last = self.cycle
            word = engines >> (self.engine_bits * index) & ((1 << self.engine_bits) - 1)
            told = self.engine(word)
            number = self.counts[engine.name]
            self.counts[engine.name] += 1
            text = f"{engine.name} {number} pc={told['pc']} {Op(told['op']).name}"
            works = self.run["works"][engine.name]
            assert number < len(works), f"{text} is one too many"
            if told["suppressed"]:
                text += " suppressed"
            else:
                tokens = [i for i in range(self.arch["tokens"]) if told["active"] >> i & 1]
                text += f" tokens={','.join(map(str, tokens))}"
                predicates = (int(dut.trace__attention.value), int(dut.trace__mlp.value))
                written = self.shadow.written(works[number], self.memory.content, predicates)
                if written is not None:
                    content = numpy.ascontiguousarray(written).astype("<i4").tobytes()
                    text += f" crc={zlib.crc32(content):08x}"
            wanted = self.run["lines"][engine.name][number]
            assert text == wanted, f"cycle {self.cycle}: {text}, not {wanted}"
            self.coverage["lines compared"] += 1

    async def fail(self, number: int, run: dict[str, Any]) -> None:
        """Run a program while something goes wrong; see how the machine stops."""
        dut, memory = self.dut, self.memory
        self._begin(run, compared=False)
        dut.watchdog.value = run["watchdog"]
        kind, after = run["fault"], run["after"]
        if kind == "bus error":
            memory.fails_after = memory.words_read + after
        if kind == "silence":
            memory.hangs_after = memory.words_read + after
        await self._start(run)
        await self.cycle_once()
        begun = self.cycle
        while State(int(dut.state.value)) in (State.STARTING, State.RUNNING):
            await self.cycle_once()
            if kind == "reset" and self.cycle - begun == after:
                break
            assert self.cycle - begun < PATIENCE, f"run {number} does not stop: {self._states()}"
        where = f"run {number}, {kind}"
        if kind != "reset":
            assert State(int(dut.state.value)) == State.TRAPPED, f"{where} was not trapped"
            trap = int(dut.trap.value)
            assert trap == run["trap"], f"{where}: trap {trap} at {int(dut.pc.value)}"
            assert int(dut.pc.value) <= len(run["program"]), f"{where}: pc {int(dut.pc.value)}"
        memory.fails_after = memory.hangs_after = None
        self.coverage[kind] += 1
        if kind == "reset":
            dut.rst.value = 1
            memory.forget()
            await RisingEdge(dut.clk)
            dut.rst.value = 0
        # The host puts everything back in place.
        memory.content[: self.size] = numpy.fromfile(self.cases["memory"], numpy.uint8)
        dut.forget.value = 1
        await self.cycle_once()
        dut.forget.value = 0

    def _begin(self, run: dict[str, Any], compared: bool) -> None:
        self.run, self.compared = run, compared
        self.counts = dict.fromkeys((engine.name for engine in WORKERS), 0)
        if self.recorder is not None:
            self.recorder.clear()
        self.resident = self.fetched = 0
        self.dut.watchdog.value = 0
        for address, content in run["changes"]:
            found = numpy.frombuffer(bytes.fromhex(content), numpy.uint8)
            self.memory.content[address : address + len(found)] = found
        words = numpy.array([int(word, 16) for word in run["program"]], "<u8")
        self.memory.content[self.program : self.program + 8 * len(words)] = words.view(numpy.uint8)

    async def _start(self, run: dict[str, Any]) -> None:
        dut = self.dut
        dut.base.value, dut.length.value = self.program, len(run["program"])
        for register in range(6):
            value = int(run["registers"].get(str(register), 0))
            dut.number.value, dut.value.value, dut.write.value = register, value, 1
            await self.cycle_once()
        self.shadow.slot = int(run["registers"].get("5", 0))
        dut.write.value = 0
        dut.start.value = 1
        await self.cycle_once()
        dut.start.value = 0

    async def carry_out(self, number: int, run: dict[str, Any]) -> dict[str, Any]:
        """Run a program; compare its end."""
        dut = self.dut
        self._begin(run, compared=True)
        await self._start(run)
        begun = None
        self.last = self.cycle
        busy = words_read = 0
        while True:
            if not self.options["steady"] and self.cycle % 40 == 0:
                self.memory.rate = self.draw.choice(RATES)
            await self.cycle_once()
            state = State(int(dut.state.value))
            if state == State.RUNNING and begun is None:
                begun, busy, words_read = self.cycle, self.busy, self.memory.words_read
            if begun is not None and state != State.RUNNING:
                break
            assert self.cycle - self.last < PATIENCE, (
                f"run {number} hangs: {self._states()}, state {state}"
            )
        where = f"run {number}"
        trap = int(dut.trap.value)
        assert trap == run["trap"], f"{where}: trap {trap} at {int(dut.pc.value)}"
        if trap:
            assert int(dut.pc.value) == run["pc"], f"{where}: pc {int(dut.pc.value)}"
            self.coverage["traps"] += 1
        else:
            for name, lines in run["lines"].items():
                assert name == "SEQUENCER" or self.counts[name] == len(lines), (
                    f"{where}: {name} did {self.counts[name]} of {len(lines)}"
                )
            dut.number.value = 5
            await self.cycle_once()
            assert int(dut.read.value) == run["next_slot"], f"{where}: slot {int(dut.read.value)}"
            found = zlib.crc32(self.memory.content[: self.size].tobytes())
            assert found == run["memory"], f"{where}: memory differs"
            assert (self.resident, self.fetched) == (run["resident"], run["fetched"]), (
                f"{where}: {self.resident} slots resident and {self.fetched} fetched"
            )
            self.coverage["memories compared"] += 1
        return {
            "cycles": self.cycle - (begun or 0), "busy": self.busy - busy,
            "words_read": self.memory.words_read - words_read,
            "begin": begun, **(self.recorder.report() if self.recorder is not None else {}),
        }  # fmt: skip

    def _states(self) -> str:
        engines = int(self.dut.trace__engines.value)
        return "; ".join(
            f"{engine.name} {self.engine(engines >> (self.engine_bits * i))}"
            for i, engine in enumerate(WORKERS)
        )


@cocotb.test()
async def programs(dut: Any) -> None:
    """All programs, one after the other."""
    options = settings()
    cases = json.loads(Path(options["cases"]).read_text(encoding="utf-8"))
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value = 1
    for name in ("start", "write", "forget", "watchdog", "number", "value", "base", "length"):
        getattr(dut, name).value = 0
    bench = Bench(dut, options, cases)
    dut.memory_bytes.value = bench.end
    windows = cases["windows"] + [[0, 0]] * (4 - len(cases["windows"]))
    dut.windows.value = sum(
        (start | end << 40) << (80 * index) for index, (start, end) in enumerate(windows)
    )
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    found = []
    for number, run in enumerate(cases["runs"]):
        if "fault" in run:
            await bench.fail(number, run)
        else:
            found.append(await bench.carry_out(number, run))
    Path(options["report"]).write_text(json.dumps(found), encoding="utf-8")
    bench.coverage.finish("machine", ["lines compared", *options["required"]])
