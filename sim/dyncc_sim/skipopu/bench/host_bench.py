"""Bench of a host's access: requests as the twin answers them, beside a machine at the memory."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from dyncc.arch.fields import pack, unpack, width
from dyncc.arch.link import (
    CRC_BYTES,
    PING,
    REQUEST,
    RESPONSE,
    UNREADABLE,
    WINDOW,
    Deframer,
    LinkSpec,
    Status,
    frame,
    parse,
)
from dyncc.arch.skipopu import packets
from dyncc.arch.skipopu.packets import (
    MAX_BYTES,
    MAX_WORDS,
    OWN_WORD,
    PLACE,
    PLACE_BYTES,
    Opcode,
)
from dyncc_hw.skipopu.control.control import READ_CYCLES
from dyncc_hw.skipopu.memory.bursts import Geometry
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.bench.agents import Sink, Source
from dyncc_sim.skipopu.bench.burst_memory import RATES
from dyncc_sim.skipopu.bench.host_agents import Board, MachineAgent, Memory, Turns, Twin
from dyncc_sim.skipopu.bench.instances import INSTANCES

#: Cycles without an answer after which a bench fails, beside those that memory may take.
PATIENCE = 200_000
_ADDRESSED = (Opcode.GET, Opcode.PUT, Opcode.CHECK)


class Bench:
    """The rig, what is around it, and the twin."""

    def __init__(self, dut: Any) -> None:
        options = settings()
        self.dut, self.options = dut, options
        self.arch = INSTANCES[options["name"]]
        geometry = Geometry.of(self.arch)
        self.draw = random.Random(options["seed"])
        self.coverage: Coverage = Coverage()
        self.size = options["memory_bytes"]
        # The machine has the middle of memory: it reads one part, and writes another.
        third, word = self.size // 3 // 64 * 64, geometry.bus_bytes
        self.low, self.high = third, 2 * third
        middle = (third + third // 2) // 64 * 64
        content = numpy.frombuffer(self.draw.randbytes(self.size), numpy.uint8).copy()
        self.memory = Memory(dut, content.copy(), word, options["latency"], self.draw)
        self.shadow = content.copy()
        self.machine = MachineAgent(
            dut, geometry, self.shadow, range(third // word, middle // word),
            range(middle // word, self.high // word), self.draw, self.coverage,
        )  # fmt: skip
        self.turns = Turns(dut, options["turns"], self.coverage)
        self.words = Board()
        #: What was read, and cycles until it is there; until then it may be anything.
        self.found, self.until = 0, 0
        self.answer: list[int] = []
        self.answers: list[tuple[dict[str, int], bytes]] = []
        self.source = Source(dut, "requests", self.draw, False)
        self.sink = Sink(dut, "responses", self.draw, False, self.coverage, self._took)
        self.sent: deque[tuple[int, int, bytes]] = deque(maxlen=WINDOW + 4)
        self.command = self.machine.layout
        self.renew()

    def renew(self) -> None:
        """The twin of a device that was reset."""
        link = LinkSpec(**self.options["link"])
        self.twin = Twin(self.arch, self.size, Board(self.words), link)
        self.twin.memory[:] = self.memory.content

    def _took(self, word: int) -> None:
        self.answer.append(word & 255)
        if word >> 8:
            content, self.answer = bytes(self.answer), []
            size = width(RESPONSE) // 8
            header = unpack(RESPONSE, int.from_bytes(content[:size], "little"))
            self.answers.append((header, content[size:]))

    async def start(self) -> None:
        """Clock and reset."""
        dut = self.dut
        Clock(dut.clk, 10, "ns").start()
        dut.running.value = 0
        await self.reset()

    async def reset(self) -> None:
        """Everything, in the middle of whatever it does."""
        dut = self.dut
        dut.rst.value = 1
        for agent in (self.source, self.sink, self.machine):
            agent.clear()
        self.memory.forget()
        dut.bus__answer__valid.value = dut.bus__written.value = 0
        self.answer, self.answers, self.until = [], [], 0
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        self.renew()

    async def cycle(self) -> None:
        """A cycle of everybody."""
        dut = self.dut
        if self.draw.random() < 0.02:
            self.memory.rate = self.draw.choice(RATES)
        agents = (self.source, self.sink, self.machine, self.memory)
        for agent in agents:
            agent.drive()
        if self.until:
            self.until -= 1
            dut.registers__read_data.value = self.draw.getrandbits(32) if self.until else self.found
        await ReadOnly()
        self.source.look()
        self.sink.look()
        self.machine.look()
        self.memory.look(self.command)
        self.turns.look()
        if int(dut.registers__read.value):
            assert not self.until, "a word is read before the last one is there"
            self.found = self.words.read(int(dut.registers__address.value))
            self.until = READ_CYCLES
        if int(dut.registers__write.value):
            address = int(dut.registers__address.value)
            self.words.write(address, int(dut.registers__write_data.value))
        await RisingEdge(dut.clk)

    def give(self, opcode: int, sequence: int, payload: bytes) -> bytes:
        """A request for the device; its frame for the twin."""
        header = {"opcode": opcode, "sequence": sequence}
        body = pack(REQUEST, header).to_bytes(width(REQUEST) // 8, "little") + payload
        for byte in (len(body), *body):
            self.source.give(byte)
        return frame(REQUEST, header, payload)

    async def hear(self, count: int) -> None:
        """Until so many answers came."""
        for _ in range(PATIENCE + self.options["patience"]):
            if len(self.answers) >= count and not self.answer:
                return
            await self.cycle()
        raise AssertionError(f"{len(self.answers)} answers came of {count}")

    async def exchange(self, frames: list[bytes]) -> list[tuple[dict[str, int], bytes]]:
        """Compare answers with those of the twin; frames are on their way to the device."""
        await self.hear(len(frames))
        found, self.answers = self.answers, []
        for (header, payload), content in zip(found, frames, strict=True):
            (stuffed,) = Deframer().feed(self.twin.receive(content))
            wanted = parse(RESPONSE, stuffed)
            assert (header, payload) == wanted, (content.hex(), header, payload.hex(), wanted)
            self.coverage[_bin(header)] += 1
            self.coverage["bytes compared"] += len(payload)
        return found

    async def ask(self, opcode: int, payload: bytes = b"") -> bytes:
        """Payload of the answer to a request that both carry out."""
        content = self.give(opcode, self.twin.expected, payload)
        ((header, found),) = await self.exchange([content])
        assert header["status"] == Status.OK, header
        return found

    def compare(self) -> None:
        """Memory and registers at rest."""
        host = [*range(self.low), *range(self.high, self.size)]
        assert (self.memory.content[host] == self.twin.memory[host]).all(), "memory differs"
        assert self.words == self.twin.registers, "registers differ"
        machine = slice(self.low, self.high)
        if not self.machine.on_way:
            assert (self.memory.content[machine] == self.shadow[machine]).all(), (
                "the machine's memory differs"
            )
        self.coverage["memories compared"] += 1

    async def rest(self) -> None:
        """Until the machine has nothing on its way."""
        self.machine.active = False
        for _ in range(PATIENCE):
            if not self.machine.on_way and self.machine.offer is None:
                break
            await self.cycle()
        self.compare()
        self.machine.active = True

    # --- requests ---------------------------------------------------------------------------

    def below(self, limit: int) -> int:
        """A number."""
        return self.draw.randrange(limit)

    def request(self) -> tuple[int, bytes]:
        """Any request, most of them reasonable."""
        draw = self.draw
        opcode = draw.choice((*Opcode, *_ADDRESSED))
        kind = draw.random()
        if kind < 0.08:
            number = draw.choice((*map(int, Opcode), len(Opcode), self.below(256)))
            return number, draw.randbytes(draw.choice((0, 3, 4, 5, 7, 8, 9, self.below(240))))
        if opcode == Opcode.PING:
            return opcode, draw.randbytes(4)
        if opcode in (Opcode.READ, Opcode.WRITE):
            address = draw.choice((0, 1, 2, 255, 256, 257, self.below(256), 1 << 39))
            count = draw.choice((0, 1, 2, 2, 3, MAX_WORDS, MAX_WORDS + 1))
            count = count if kind < 0.2 else min(count, max(0, OWN_WORD - address))
            content = draw.randbytes(4 * count)[:MAX_BYTES]
            return opcode, packets.place(address, count) + content * (opcode == Opcode.WRITE)
        return opcode, self._memory_request(opcode, kind)

    def _memory_request(self, opcode: Opcode, kind: float) -> bytes:
        draw = self.draw
        longest = 300 if opcode == Opcode.CHECK else MAX_BYTES
        counts = (0, 1, 2, 3, 4, self.below(20), self.below(20), self.below(longest), longest)
        count = draw.choice(counts)
        if kind < 0.2:
            # At or across the end, or too much.
            address = self.size - count + draw.choice((-1, 0, 1, 5))
            address = draw.choice((address, address + (1 << 39), (1 << 40) - 1))
            count += draw.choice((0, 0, 1))
        elif draw.random() < 0.5:
            address = self.below(self.low - count + 1)
        else:
            address = draw.randrange(self.high, self.size - count + 1)
        content = draw.randbytes(count)[:MAX_BYTES] if opcode == Opcode.PUT else b""
        return packets.place(address, count) + content

    async def some(self) -> None:
        """Some requests at once, most of them in order."""
        draw = self.draw
        self.twin.at_work = draw.random() < 0.3
        self.dut.running.value = self.twin.at_work
        frames = []
        expected = self.twin.expected
        for _ in range(draw.choice((1, 1, 2, 5))):
            kind = draw.random()
            if kind < 0.1 and self.sent:
                sequence, opcode, payload = draw.choice(self.sent)
                self.coverage["repeated"] += 1
            elif kind < 0.15:
                self.source.give(0)
                frames.append(b"\x05\x05\x00")
                continue
            else:
                opcode, payload = self.request()
                sequence = expected
                if kind < 0.2:
                    sequence = (expected + self.below(256 - WINDOW)) % 256
                if len(payload) + width(REQUEST) // 8 + CRC_BYTES > 252:
                    continue
            frames.append(self.give(opcode, sequence, payload))
            self.sent.append((sequence, opcode, payload))
            # The twin of a twin knows what is expected next.
            expected = self._after(opcode, sequence, payload, expected)
        if frames:
            await self.exchange(frames)

    def _after(self, opcode: int, sequence: int, payload: bytes, expected: int) -> int:
        """What is expected after a request."""
        if opcode == PING or sequence != expected:
            return expected
        place = unpack(PLACE, int.from_bytes(payload[:PLACE_BYTES], "little"))
        fits = len(payload) == PLACE_BYTES + 4 * place["count"]
        busy = opcode == Opcode.WRITE and fits and len(payload) >= PLACE_BYTES
        return expected if busy and self.twin.at_work else (expected + 1) % 256


def _bin(header: dict[str, int]) -> str:
    status = Status(header["status"]).name
    if header["opcode"] == UNREADABLE and header["status"] == Status.CORRUPT:
        return status
    known = [item.name for item in Opcode if item == header["opcode"]]
    return f"{known[0] if known else 'other'} {status}"


@cocotb.test()
async def answers_as_its_twin(dut: Any) -> None:
    """Random requests beside a machine, under stalls everywhere, and resets in between.

    There are as many as the options say, and up to ten times as many until all is covered.
    """
    bench = Bench(dut)
    await bench.start()
    requests, cover = bench.options["requests"], bench.options["cover"]
    for number in range(10 * requests):
        if number >= requests and not bench.coverage.missing(cover):
            break
        bench.machine.greedy = bench.draw.random() < 0.3
        await bench.some()
        if number % 20 == 19:
            await bench.rest()
        if number % 25 == 24:
            opcode, payload = bench.request()
            bench.give(opcode, bench.twin.expected, payload[:200])
            for _ in range(bench.below(400)):
                await bench.cycle()
            await bench.reset()
            bench.coverage["resets"] += 1
    bench.coverage.finish("requests", cover)


@cocotb.test()
async def tells_of_errors(dut: Any) -> None:
    """Memory answers with errors, or not at all."""
    bench = Bench(dut)
    await bench.start()
    size = bench.memory.bus
    for opcode in _ADDRESSED * 3:
        address, count = bench.below(200), 1 + bench.below(100)
        bench.memory.fails = True
        payload = packets.place(address, count)
        content = bench.draw.randbytes(count) if opcode == Opcode.PUT else b""
        await bench.ask(opcode, payload + content)
        bench.memory.fails = False
        bench.twin.errors += (address + count - 1) // size - address // size + 1
        await bench.ask(Opcode.READ, packets.place(OWN_WORD, 1))
        bench.coverage["errors"] += 1
    for opcode in _ADDRESSED:
        for silence in ("quiet", "stuck"):
            await _silent(bench, opcode, silence)
            bench.coverage[f"{silence} {opcode.name}"] += 1
    bench.coverage.finish("errors", ["errors", "quiet PUT", "stuck CHECK"])


async def _silent(bench: Bench, opcode: Opcode, silence: str) -> None:
    """Memory is silent; the link is not."""
    memory, twin = bench.memory, bench.twin
    await bench.rest()
    bench.machine.active = False
    setattr(memory, silence, True)
    address, count = bench.below(200), 40
    content = bench.draw.randbytes(count) if opcode == Opcode.PUT else b""
    twin.silent = True
    await bench.ask(opcode, packets.place(address, count) + content)
    await bench.ask(Opcode.READ, packets.place(OWN_WORD, 1))
    await bench.ask(Opcode.PING, bench.draw.randbytes(4))
    await bench.ask(Opcode.GET, packets.place(address, count))
    setattr(memory, silence, False)
    # What memory owed the host is taken, so that the machine can go on.
    bench.machine.active = True
    before = bench.coverage["words of the machine read"]
    for _ in range(PATIENCE):
        if bench.coverage["words of the machine read"] > before + 50:
            break
        await bench.cycle()
    twin.memory[:] = memory.content
    await bench.rest()
    assert bench.coverage["words of the machine read"] > before + 50, "the machine hangs"
    await bench.reset()
    await bench.ask(Opcode.GET, packets.place(address, count))
