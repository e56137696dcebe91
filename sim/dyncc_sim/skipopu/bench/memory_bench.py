"""Bench of the memory port with all clients: bytes, order, windows, faults, rates."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc.arch.skipopu.isa import Trap
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.bench.memory_agents import Agent, Reader, Writer
from dyncc_sim.skipopu.bench.memory_models import MODELS, MemoryModel

#: Memory of a bench: the lower half is only read, and most of the upper one may be written.
MEMORY_BYTES = 1 << 15
WINDOWS = ((0x4002, 0x4B0E), (0x5000, 0x5000), (0x5000, 0x5C00), (0x5C00, 0x5D00))
#: Cycles without progress after which a bench is over.
PATIENCE = 4000


class Bench:
    """The memory of a machine, and everybody around it.

    Parameters
    ----------
    options
        Settings: `bus`, `bus_bytes`, `burst_bytes`, `requests`, `seed`; and `engines` if the
        engines are played with, which otherwise rest.
    eager
        Nobody waits.
    """

    def __init__(self, dut: Any, options: dict[str, Any], name: str, eager: bool = False) -> None:
        self.dut, self.options = dut, options
        self.draw = random.Random(f"{options['seed']} {name}")
        self.coverage = Coverage()
        self.size = options["bus_bytes"]
        self.content = bytearray(self.draw.randbytes(MEMORY_BYTES))
        self.shadow = bytearray(self.content)
        mood = (
            (lambda _: None) if eager else (lambda who: random.Random(f"{options['seed']} {who}"))
        )
        latency = (options["latency"],) * 2 if eager else (1, 12)
        self.memory: MemoryModel = MODELS[options["bus"]](
            dut, self.content, self.size, options["burst_bytes"], options["requests"],
            mood("memory"), self.coverage, latency,
        )  # fmt: skip
        self.readers = {
            name: Reader(dut, name, self.size, mood(name), self.coverage)
            for name in ("near", "far")
        }
        self.writer = Writer(dut, "copy", self.size, mood("copy"), self._written)
        self.after_write: Callable[[int, bytes], None] = lambda address, content: None
        self.agents: list[Agent] = [self.memory, *self.writer.agents]
        for reader in self.readers.values():
            self.agents += reader.agents
        self.traps: list[int] = []
        self.busy = self.cycles = self.taken = 0
        self.waiting = 0

    def _written(self, address: int, content: bytes) -> None:
        self.shadow[address : address + len(content)] = content
        self.coverage["writes"] += 1
        self.after_write(address, content)

    async def reset(self) -> None:
        """Start, or start again."""
        dut = self.dut
        for name in ("port_abort", "restart"):
            getattr(dut, name).value = 0
        dut.port_memory_bytes.value = MEMORY_BYTES
        dut.port_windows.value = sum(
            (start | end << 40) << 80 * i for i, (start, end) in enumerate(WINDOWS)
        )
        for name in ("load_work__start", "store_work__start", "store_vector__numbers"):
            getattr(dut, f"{name}__valid").value = 0
        self.clear()
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0

    def clear(self) -> None:
        """All forget what was going on."""
        for agent in self.agents:
            agent.clear()
        for reader in self.readers.values():
            reader.clear()

    async def cycle(self) -> None:
        """One cycle."""
        for agent in self.agents:
            agent.drive()
        await ReadOnly()
        for agent in self.agents:
            agent.look()
        dut = self.dut
        trap = int(dut.port_trap.value)
        if trap:
            self.traps.append(trap)
        self.busy += int(dut.port_busy.value)
        self.waiting = self.waiting + 1 if int(dut.port_waiting.value) else 0
        self.coverage["waiting"] += self.waiting > 0
        taken = int(dut.port_taken.value)
        self.taken += taken & 1
        self.cycles += 1
        await RisingEdge(dut.clk)

    async def until(self, done: Callable[[], bool], says: str) -> None:
        """Go on until something is so."""
        moved, since = self.memory.moved, 0
        while not done():
            await self.cycle()
            since = since + 1 if self.memory.moved == moved else 0
            moved = self.memory.moved
            assert since < PATIENCE, f"{says}: nothing happens any more"

    def compare(self) -> None:
        """Memory holds what was written, and nothing else."""
        pairs = zip(self.content, self.shadow, strict=True)
        wrong = [place for place, (found, wanted) in enumerate(pairs) if found != wanted]
        assert not wrong, f"memory is wrong at {[hex(place) for place in wrong[:20]]}"

    def quiet(self) -> bool:
        """Whether everybody got everything."""
        return self.writer.done and all(reader.done for reader in self.readers.values())

    def length(self) -> int:
        """Bytes of a request: small, or up to several bursts."""
        most = self.draw.choice([8, 2 * self.size, 2 * self.options["burst_bytes"], 300])
        return 2 * self.draw.randint(1, max(1, most // 2))

    def read(self, reader: Reader) -> None:
        """Ask for bytes anywhere in the lower half."""
        length = self.length()
        address = 2 * self.draw.randint(0, (MEMORY_BYTES // 2 - length) // 2)
        self.coverage["an odd alignment"] += address % self.size != 0
        reader.ask(address, bytes(self.content[address : address + length]))

    def write(self) -> None:
        """Write bytes into a window; at its ends now and then."""
        start, end = WINDOWS[self.draw.choice([0, 2, 3])]
        length = min(self.length(), end - start)
        place = self.draw.choice([0, (end - start - length) // 2, None])
        if place is None:
            place = self.draw.randint(0, (end - start - length) // 2)
        self.writer.write(start + 2 * place, self.draw.randbytes(length))

    async def silence(self, trap: Trap) -> None:
        """After a trap: no bursts begin, all that are on their way end, and it starts anew."""
        assert self.traps == [trap], f"traps {self.traps}, not {trap.name}"
        self.dut.port_abort.value = 1
        for reader in self.readers.values():
            reader.data.lax = True
        count = 0
        while not (count > 3 and int(self.dut.port_idle.value)):
            # Clients are not reset yet, and go on as they can.
            await self.cycle()
            count += 1
            assert count < PATIENCE, "the port is not idle after an abort"
        self.dut.restart.value = 1
        await self.cycle()
        self.clear()
        self.dut.restart.value, self.dut.port_abort.value = 0, 0
        self.traps.clear()


async def begin(dut: Any, name: str, eager: bool = False) -> Bench:
    """A bench after reset."""
    options = settings()
    Clock(dut.clk, 10, "ns").start()
    bench = Bench(dut, options, name, eager)
    await bench.reset()
    return bench


@cocotb.test()
async def clients(dut: Any) -> None:
    """Random requests of all at once; what is written is read again."""
    bench = await begin(dut, "clients")

    def again(address: int, content: bytes) -> None:
        # Nobody else writes, so it has to be there from now on until the next write.
        bench.readers["near"].ask(address, content)
        bench.coverage["read after write"] += 1

    bench.after_write = again
    for _ in range(bench.options["rounds"]):
        for _ in range(8):
            for reader in bench.readers.values():
                bench.read(reader)
        bench.write()
        await bench.until(bench.quiet, "clients")
    bench.compare()
    assert not bench.traps
    assert bench.taken == 18 * bench.options["rounds"]
    for _ in range(20):
        await bench.cycle()
    assert int(dut.port_idle.value), "the port is not idle at the end"
    required = ["near words", "far words", "writes", "read after write", "bytes written",
                "largest burst", "waiting"]  # fmt: skip
    if bench.size > 2:
        required += ["an odd alignment", "part of a word written"]
    if bench.options["requests"] > 1:
        required.append("several bursts")
    bench.coverage.finish("clients", required)


@cocotb.test()
async def faults(dut: Any) -> None:
    """What is not allowed is trapped before anything happens, and the port starts anew."""
    bench = await begin(dut, "faults")
    end = MEMORY_BYTES
    reads = [(end - 2, 4), (end, 2), (2**40 - 2, 2), (2**40 - 2, 4), (3, 2), (0, end + 2)]
    writes = [(0x4000, 4), (0x4B0C, 4), (0x5CFE, 4), (0x4FFE, 4), (0x100, 2), (2**40 - 2, 4),
              (0x5BFE, 4), (0x4003, 2)]  # fmt: skip
    for address, length in reads:
        for reader in bench.readers.values():
            bench.read(reader)
        bench.readers["near"].ask(address, bytes(length))
        await bench.until(lambda: bool(bench.traps), f"a read at {address:#x}")
        await bench.silence(Trap.MEMORY)
        bench.coverage["reads outside"] += 1
    for address, length in writes:
        bench.read(bench.readers["far"])
        bench.writer.write(address, bytes(length))
        await bench.until(lambda: bool(bench.traps), f"a write at {address:#x}")
        await bench.silence(Trap.MEMORY)
        bench.coverage["writes outside"] += 1
    bench.compare()

    for kind in ("reads", "writes"):
        for _ in range(5):
            place = bench.draw.randrange(0, 0x200, 2)
            start = 0x400 if kind == "reads" else 0x4002
            bench.memory.broken = range(start + place - place % bench.size - 64, start + place + 64)
            for reader in bench.readers.values():
                bench.read(reader)
            if kind == "reads":
                size = bench.size
                first = (start + place) // size * size
                bench.readers["near"].ask(first, bytes(bench.content[first : first + 32]))
            else:
                bench.writer.write(start + place, bench.draw.randbytes(32))
            await bench.until(lambda: bool(bench.traps), f"{kind} of broken memory")
            await bench.silence(Trap.BUS)
            bench.memory.broken = range(0)
            bench.shadow[:] = bench.content
            bench.coverage[f"broken {kind}"] += 1
            for reader in bench.readers.values():
                bench.read(reader)
            bench.write()
            await bench.until(bench.quiet, "after a fault")
            bench.compare()
    required = ["reads outside", "writes outside", "broken reads", "broken writes"]
    bench.coverage.finish("faults", required)


@cocotb.test()
async def silence(dut: Any) -> None:
    """Memory that does not answer is reported; reset and abort end what has begun."""
    bench = await begin(dut, "silence")
    for number in range(6):
        for reader in bench.readers.values():
            bench.read(reader)
        bench.write()
        for _ in range(bench.draw.randint(10, 60)):
            await bench.cycle()
        if number % 3 == 0:
            bench.memory.mute = True
            for turn in range(300):
                if turn < 5:
                    bench.read(bench.readers["near"])
                await bench.cycle()
            # It may have been that nothing was on its way; then there is now.
            assert bench.waiting > 200, "nobody says that memory is silent"
            bench.coverage["silent memory"] += 1
            bench.memory.mute = False
            await bench.until(bench.quiet, "memory that speaks again")
        elif number % 3 == 1:
            bench.coverage["resets"] += 1
            await bench.reset()
        else:
            bench.traps.append(Trap.BUS)
            bench.coverage["aborts"] += 1
            await bench.silence(Trap.BUS)
        # A write that was broken off may have been done in part.
        bench.shadow[:] = bench.content
        for reader in bench.readers.values():
            bench.read(reader)
        bench.write()
        await bench.until(bench.quiet, "after a break")
        bench.compare()
    bench.coverage.finish("silence", ["silent memory", "resets", "aborts"])


@cocotb.test()
async def rates(dut: Any) -> None:
    """A long request moves a word a cycle, or pays memory's latency once for each burst."""
    bench = await begin(dut, "rates", eager=True)
    length = 4096
    words, burst = length // bench.size, bench.options["burst_bytes"] // bench.size
    one = bench.options["requests"] == 1
    for kind in ("read", "write"):
        begun = bench.cycles
        if kind == "read":
            bench.readers["near"].ask(0, bytes(bench.content[:length]))
        else:
            content = bench.draw.randbytes(0xB00)
            bench.writer.write(0x4002, content)
            words = len(content) // bench.size
        await bench.until(bench.quiet, "rates")
        cycles = bench.cycles - begun
        bench.coverage[f"{kind}: cycles"] += cycles
        bench.coverage[f"{kind}: words"] += words
        # Beyond memory's latency: the check, cutting, the master's registers.
        own = 8
        paid = (words // burst + 1 if one else 2) * (bench.options["latency"] + own)
        assert cycles <= words + paid, f"{kind}: {words} words took {cycles} cycles"
    bench.coverage.finish("rates", ["read: words", "write: words"])
