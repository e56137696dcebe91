"""Bench of the link's blocks: lines off their rate, noise, damaged frames, pauses on every side.

The reference is `dyncc.arch.link`, which takes stuffing from the package ``cobs`` and the CRC from
``binascii``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy
from cobs import cobs
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc.arch.link import (
    CRC_BYTES,
    MAX_BODY,
    MAX_RESPONSE,
    REQUEST,
    RESPONSE,
    Deframer,
    FrameError,
    LinkSpec,
    crc16,
    frame,
    parse,
)
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.uart import UartLine

CLOCK_NS = 10


class Bench:
    """The blocks after reset, with a line to the receiver and the transmitter."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.link = LinkSpec(**settings()["link"])
        self.draw = numpy.random.default_rng(settings()["seed"])
        self.coverage = Coverage()
        self.line = UartLine(dut.rx, dut.tx, 1000 * CLOCK_NS * self.link.divisor)

    async def start(self) -> None:
        """Clock and reset, all inputs low."""
        dut = self.dut
        Clock(dut.clk, CLOCK_NS, "ns").start()
        for name in ("valid", "broken", "bodies__ready", "content__valid", "framed__ready"):
            getattr(dut, name).value = 0
        dut.spoken__valid.value = 0
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 3)

    async def give(self, content: bytes, gap: int, broken: int | None = None) -> None:
        """Bytes to the deframer, up to `gap` cycles more than it needs between them.

        `broken` is the number of the byte after which one was lost.
        """
        dut = self.dut
        for place, byte in enumerate(content):
            dut.data.value = byte
            dut.valid.value = 1
            await RisingEdge(dut.clk)
            dut.valid.value = 0
            dut.broken.value = int(place == broken)
            await RisingEdge(dut.clk)
            dut.broken.value = 0
            await ClockCycles(dut.clk, int(self.draw.integers(gap + 1))) if gap else None

    async def put(self, name: str, payloads: list[int], rate: float) -> None:
        """Payloads to a stream, valid in a part of the cycles."""
        dut = self.dut
        valid, ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
        for payload in payloads:
            while self.draw.random() >= rate:
                await RisingEdge(dut.clk)
            valid.value = 1
            getattr(dut, f"{name}__payload").value = payload
            while True:
                await ReadOnly()
                taken = bool(ready.value)
                await RisingEdge(dut.clk)
                if taken:
                    break
            valid.value = 0

    async def take(self, name: str, found: list[int], rate: float) -> None:
        """Payloads from a stream, for ever, ready in a part of the cycles."""
        dut = self.dut
        valid, ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
        waiting: int | None = None
        while True:
            now = bool(self.draw.random() < rate)
            ready.value = int(now)
            await ReadOnly()
            payload = int(getattr(dut, f"{name}__payload").value) if valid.value else None
            assert waiting is None or payload == waiting, "what was not taken must stay"
            if now and payload is not None:
                found.append(payload)
            waiting = None if now else payload
            await RisingEdge(dut.clk)

    def bytes(self, size: int) -> bytes:
        """Random bytes, of which none, some or most are zero."""
        values = self.draw.integers(1, 256, size)
        zeros = self.draw.random(size) < self.draw.choice([0.0, 0.1, 0.9])
        return bytes(numpy.where(zeros, 0, values).tolist())


@cocotb.test()
async def receiver_takes_what_is_whole(dut: Any) -> None:
    """Bytes at both ends of the tolerance; what is no byte is dropped and does no harm."""
    bench = Bench(dut)
    await bench.start()
    heard: list[int] = []
    line, draw = bench.line, bench.draw

    async def listen() -> None:
        while True:
            await RisingEdge(dut.clk)
            await ReadOnly()
            if dut.heard_valid.value:
                heard.append(int(dut.heard.value))
            bench.coverage["broken"] += int(dut.heard_broken.value)

    cocotb.start_soon(listen())
    sent: list[int] = []
    broken = 0
    for error in (-0.02, 0.0, 0.02):
        line.error = error
        for _ in range(40):
            content = bench.bytes(int(draw.integers(1, 5)))
            await line.send(content)
            sent += content
            kind = draw.random()
            if kind < 0.3:
                # Less than the way to the middle of a start bit.
                await line.idle(float(draw.random()))
                await line.send_bits([0], 0.9 / bench.link.divisor)
                dut.rx.value = 1
                bench.coverage["glitches"] += 1
            elif kind < 0.5:
                low = [0] * int(draw.choice([1, 30]))
                await line.send_bits([*(0 for _ in range(9)), *low, 1])
                broken += 1
            await line.idle(1 + float(draw.random()))
    await line.idle(3)
    assert heard == sent
    assert bench.coverage["broken"] == broken
    bench.coverage["bytes heard"] = len(heard)
    bench.coverage.finish("receiver", ["glitches", "broken", "bytes heard"])


@cocotb.test()
async def transmitter_keeps_time(dut: Any) -> None:
    """Bytes with and without pauses; the time of a byte is that of its bits and one cycle."""
    bench = Bench(dut)
    await bench.start()
    bench.line.listen()
    sent = bench.bytes(40)
    for rate in (1.0, 0.02):
        before = cocotb.utils.get_sim_time("ns")
        await bench.put("spoken", list(sent), rate)
        cycles = round((cocotb.utils.get_sim_time("ns") - before) / CLOCK_NS)
        await bench.line.idle(12)
        assert bytes(bench.line.received) == sent
        bench.line.received.clear()
        if rate == 1.0:
            assert cycles == (len(sent) - 1) * (10 * bench.link.divisor + 1) + 1
    bench.coverage["bytes spoken"] = len(sent)
    bench.coverage.finish("transmitter", ["bytes spoken"])


def expected(content: bytes) -> list[int]:
    """What a deframer makes of bytes that contain whole frames."""
    found: list[int] = []
    for stuffed in Deframer().feed(content):
        body = body_of(stuffed)
        found += [0] if body is None else [len(body) - CRC_BYTES, *body[:-CRC_BYTES]]
    return found


def body_of(stuffed: bytes) -> bytes | None:
    """The body, if it can be read."""
    try:
        parse(REQUEST, stuffed)
    except FrameError:
        return None
    return bytes(cobs.decode(stuffed))


def stuffed_body(content: bytes) -> bytes:
    """A frame of any length, with a right CRC."""
    return bytes(cobs.encode(content + crc16(content).to_bytes(CRC_BYTES, "big"))) + bytes(1)


def frames(bench: Bench) -> Iterator[tuple[str, bytes]]:
    """Frames of every kind, for ever."""
    draw = bench.draw
    while True:
        kind = str(draw.choice([
            "good", "good", "good", "longest", "short", "overlong", "changed", "cut", "zero more",
            "noise", "delimiters", "broken",
        ]))  # fmt: skip
        size = {
            "longest": MAX_BODY - CRC_BYTES,
            "short": int(draw.integers(0, 2)),
            "overlong": MAX_BODY - CRC_BYTES + int(draw.choice([1, 2, 3, 150, 260])),
        }.get(kind, int(draw.integers(2, 40)))
        content = bytearray(stuffed_body(bench.bytes(size)))
        place = int(draw.integers(len(content) - 1))
        if kind == "changed":
            content[place] ^= 1 << int(draw.integers(8))
        elif kind == "cut":
            del content[place:-1]
        elif kind == "zero more":
            # Behind the CRC.
            content[-1:-1] = bytes([1])
        elif kind == "noise":
            content[:-1] = bench.bytes(int(draw.integers(1, 600)))
        elif kind == "delimiters":
            content[:] = bytes(int(draw.integers(1, 4)))
        yield kind, bytes(content)


@cocotb.test()
async def deframer_equals_codec(dut: Any) -> None:
    """Frames of every kind, read with pauses; the codec reads the same from the same bytes."""
    bench = Bench(dut)
    await bench.start()
    found: list[int] = []
    wanted: list[int] = []
    source = frames(bench)
    reader = cocotb.start_soon(bench.take("bodies", found, 0.7))
    for _ in range(settings()["frames"]):
        kind, content = next(source)
        gap = int(bench.draw.choice([0, 0, 5]))
        if kind == "broken":
            # A byte is lost on the line where the deframer would not see it by the CRC.
            await bench.give(content, gap, int(bench.draw.integers(len(content) - 1)))
            wanted.append(0)
        else:
            await bench.give(content, gap)
            wanted += expected(content)
        bench.coverage[kind] += 1
        # Not more than the ring holds.
        while len(wanted) - len(found) > bench.link.receive_bytes // 2:
            await RisingEdge(dut.clk)
    await ClockCycles(dut.clk, 2 * bench.link.receive_bytes)
    reader.cancel()
    assert found == wanted
    bench.coverage["bytes compared"] = len(found)
    bench.coverage.finish("deframer", [
        "good", "longest", "short", "overlong", "changed", "cut", "zero more", "noise",
        "delimiters", "broken", "bytes compared",
    ])  # fmt: skip


@cocotb.test()
async def deframer_loses_what_has_no_room(dut: Any) -> None:
    """Nobody reads: frames are lost, whole and without a trace, and what was there stays."""
    bench = Bench(dut)
    await bench.start()
    depth, draw = bench.link.receive_bytes, bench.draw
    for _ in range(4):
        wanted: list[int] = []
        held: deque[int] = deque()
        while bench.coverage["lost"] < 4:
            size = int(draw.choice([2, 3, 20, MAX_BODY - CRC_BYTES]))
            content = stuffed_body(bench.bytes(size))
            damaged = bool(draw.random() < 0.2)
            if damaged:
                content = content[:-2] + content[-1:]
            try:
                size = len(cobs.decode(content[:-1]))
            except cobs.DecodeError:
                # All but the byte that is missing was unstuffed.
                size = len(content) - 2
            await bench.give(content, 0)
            if sum(held) + 1 + size > depth:
                bench.coverage["lost"] += 1
                continue
            read = expected(content)
            bench.coverage["damaged" if read == [0] else "kept"] += 1
            wanted += read
            held.append(len(read))
        found: list[int] = []
        reader = cocotb.start_soon(bench.take("bodies", found, 1.0))
        await ClockCycles(dut.clk, depth + 10)
        reader.cancel()
        dut.bodies__ready.value = 0
        await RisingEdge(dut.clk)
        assert found == wanted
        bench.coverage["times full"] += bench.coverage.pop("lost")
    bench.coverage.finish("full deframer", ["times full", "kept", "damaged"])


@cocotb.test()
async def framer_equals_codec(dut: Any) -> None:
    """Bodies of all lengths, with pauses on both sides."""
    bench = Bench(dut)
    await bench.start()
    found: list[int] = []
    wanted = b""
    reader = cocotb.start_soon(bench.take("framed", found, 0.8))
    sizes = [0, 1, MAX_RESPONSE, MAX_RESPONSE - 1]
    sizes += [int(size) for size in bench.draw.integers(0, MAX_RESPONSE, settings()["frames"] // 8)]
    for size in sizes:
        header = {item.name: int(bench.draw.integers(1 << item.bits)) for item in RESPONSE}
        if bench.draw.random() < 0.3:
            header = dict.fromkeys(header, 0)
        payload = bench.bytes(size)
        wanted += frame(RESPONSE, header, payload)
        content = parsed(frame(RESPONSE, header, payload))
        flags = [0] * (len(content) - 1) + [1]
        words = [byte | last << 8 for byte, last in zip(content, flags, strict=True)]
        await bench.put("content", words, float(bench.draw.choice([0.3, 1.0])))
    await ClockCycles(dut.clk, 4 * MAX_BODY)
    reader.cancel()
    assert bytes(found) == wanted
    bench.coverage["bytes framed"] = len(found)
    bench.coverage.finish("framer", ["bytes framed"])


def parsed(stuffed: bytes) -> bytes:
    """Header and payload of a frame."""
    return bytes(cobs.decode(stuffed[:-1]))[:-CRC_BYTES]
