"""Bench of the whole device, through its serial line: it answers what its twin answers."""

from __future__ import annotations

from collections import Counter, deque
from struct import pack as pack_words
from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from dyncc.arch.fields import pack, unpack, width
from dyncc.arch.link import (
    MAX_REQUEST,
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
from dyncc.arch.neurocorex import (
    BUS_BITS,
    CoreImage,
    CoreSpec,
    Rule,
    Space,
    address,
    bus_words,
    memory_depth,
    memory_words,
    spaces,
)
from dyncc.arch.neurocorex.packets import (
    DRAIN,
    MAX_DRAIN,
    MAX_EVENTS,
    MAX_READ,
    MAX_WRITE,
    NONCE,
    READ,
    RUN,
    SNAPSHOT,
    STEPS_BIT,
    Opcode,
)
from dyncc_models.spiking.device import DeviceTwin
from dyncc_models.spiking.random_images import random_image
from dyncc_sim.runner import settings
from dyncc_sim.uart import UartLine

CLOCK_NS = 10
#: Cycles after which a device that works on nothing has answered.
SILENCE = 600


class Bench:
    """The device, its twin, and a line to both.

    Attributes
    ----------
    coverage
        How often a request was answered with a status, as the twin has it, and other events.
    """

    def __init__(self, dut: Any) -> None:
        options = settings()
        self.dut = dut
        self.spec = CoreSpec(**options["spec"])
        self.link = LinkSpec(**options["link"])
        self.draw = numpy.random.default_rng(options["seed"])
        self.twin = DeviceTwin(self.spec, self.link)
        bit_ps = 1000 * CLOCK_NS * self.link.divisor
        self.line = UartLine(dut.rx, dut.tx, bit_ps, options.get("error", 0.0))
        self.coverage: Counter[str] = Counter()
        self.steps = 0

    async def start(self) -> None:
        """Clock, reset, and what listens."""
        dut = self.dut
        Clock(dut.clk, CLOCK_NS, "ns").start()
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 3)
        self.line.listen()
        cocotb.start_soon(self._count_steps())

    async def _count_steps(self) -> None:
        while True:
            await RisingEdge(self.dut.step_end)
            self.steps += 1

    async def settle(self) -> None:
        """Wait until the device can do nothing more without the host."""
        while self.dut.busy.value:
            before = self.steps
            await ClockCycles(self.dut.clk, SILENCE)
            if self.steps == before:
                return

    def request(self, opcode: int, payload: bytes = b"", ahead: int = 0) -> bytes:
        """A frame; with the number that the device expects, or one ahead of it."""
        sequence = (self.twin.expected + ahead) % 256
        return frame(REQUEST, {"opcode": opcode, "sequence": sequence}, payload)

    async def exchange(self, content: bytes) -> list[tuple[dict[str, int], bytes]]:
        """Send bytes to both, compare the answers, let both carry out what they can."""
        await self.line.send(content)
        found = _split(await self.line.take(SILENCE // self.link.divisor + 20))
        least = self.twin.credits
        expected = _split(self.twin.receive(content))
        least = min(least, self.twin.credits)
        await self.settle()
        self.twin.advance()
        assert len(found) == len(expected), (content.hex(), found, expected)
        for (header, payload), (wanted, right) in zip(found, expected, strict=True):
            assert least <= header.pop("credits") <= self.twin.credits
            wanted.pop("credits")
            assert header == wanted, (content.hex(), header, wanted)
            if header["opcode"] == Opcode.SNAPSHOT and payload:
                assert _without_cycles(payload) == _without_cycles(right), header
            else:
                assert payload == right, (content.hex(), header, payload.hex(), right.hex())
            self.coverage[_bin(header)] += 1
            self.coverage["answers compared"] += 1
        return found


def _split(content: bytes) -> list[tuple[dict[str, int], bytes]]:
    return [parse(RESPONSE, stuffed) for stuffed in Deframer().feed(content)]


def _bin(header: dict[str, int]) -> str:
    status = Status(header["status"])
    if header["opcode"] == UNREADABLE:
        return status.name
    names = Opcode._value2member_map_
    opcode = names.get(header["opcode"])
    return f"{opcode.name if opcode is not None else 'other'} {status.name}"


def _without_cycles(payload: bytes) -> dict[str, int]:
    """A snapshot but for the one counter that a twin does not have."""
    values = unpack(SNAPSHOT, int.from_bytes(payload, "little"))
    del values["cycles"]
    return values


def words_payload(first: int, words: list[int]) -> bytes:
    """Payload of a WRITE."""
    return pack_words(f"<I{len(words)}I", first, *words)


def image_writes(image: CoreImage) -> list[bytes]:
    """Payloads of the WRITEs that program an image."""
    found = []
    for space, words in memory_words(image).items():
        parts = bus_words(image.spec, space)
        flat = [
            word >> (BUS_BITS * part) & ((1 << BUS_BITS) - 1)
            for word in words
            for part in range(parts)
        ]
        for start in range(0, len(flat), MAX_WRITE):
            first = address(space, start // parts, start % parts)
            found.append(words_payload(first, flat[start : start + MAX_WRITE]))
    return found


class Requests:
    """Draws requests of every kind, most of them reasonable."""

    def __init__(self, bench: Bench, image: CoreImage) -> None:
        self.bench, self.image = bench, image
        self.draw = bench.draw
        self._sent: deque[bytes] = deque(maxlen=WINDOW + 4)

    def _word(self) -> int:
        return int(self.draw.integers(1 << BUS_BITS))

    def _one_of(self, *items: Any) -> Any:
        return items[int(self.draw.integers(len(items)))]

    def next(self) -> bytes:
        """Some frames, or what is left of them."""
        bench, draw = self.bench, self.draw
        kind = draw.random()
        if kind < 0.1 and self._sent:
            return self._one_of(*self._sent)
        if kind < 0.15:
            opcode, payload = self._request()
            return bench.request(opcode, payload, int(draw.integers(1, 256 - WINDOW)))
        if kind < 0.2:
            return self._noise() + bytes(1)
        content = bench.request(*self._request())
        if kind < 0.3:
            return self._damaged(content)
        self._sent.append(content)
        if kind < 0.35:
            return content + content
        return content

    def _noise(self) -> bytes:
        return draw_bytes(self.draw, int(self._one_of(1, 2, 7, 300)))

    def _damaged(self, content: bytes) -> bytes:
        """A frame with a byte changed, lost, or one too many; then the line is in order again."""
        place = int(self.draw.integers(len(content)))
        value = int(self.draw.integers(256))
        middle = self._one_of(b"", bytes([value]), bytes([content[place], value]))
        return content[:place] + middle + content[place + 1 :] + bytes(1)

    def _request(self) -> tuple[int, bytes]:
        draw = self.draw
        if draw.random() < 0.08:
            opcode = int(self._one_of(*Opcode, int(draw.integers(256))))
            size = int(self._one_of(0, 1, 2, 3, 5, int(draw.integers(MAX_REQUEST + 1))))
            # A list of words that nobody chose could be an image that there is not.
            if opcode in (Opcode.WRITE, Opcode.EVENTS):
                size |= 1
            return opcode, draw_bytes(draw, size)
        opcode = self._one_of(*Opcode, Opcode.EVENTS, Opcode.EVENTS, Opcode.RUN, Opcode.DRAIN)
        return int(opcode), getattr(self, f"_{opcode.name.lower()}")()

    def _ping(self) -> bytes:
        return pack(NONCE, {"nonce": self._word()}).to_bytes(4, "little")

    def _address(self) -> int:
        spec = self.bench.spec
        if self.draw.random() < 0.1:
            return self._word()
        space = self._one_of(*spaces(spec))
        depth = memory_depth(spec, space)
        # The counter of cycles, which comes first, is not the twin's.
        index = int(self.draw.integers(space == Space.COUNTERS, depth))
        return address(space, index, int(self.draw.integers(bus_words(spec, space))))

    def _read(self) -> bytes:
        count = int(self._one_of(0, 1, 2, 3, int(self.draw.integers(MAX_READ + 2)), 255))
        return pack(READ, {"address": self._address(), "count": count}).to_bytes(5, "little")

    def _write(self) -> bytes:
        """A part of the image, or states; or to where nothing can be written."""
        spec, draw = self.bench.spec, self.draw
        kind = draw.random()
        if kind < 0.2:
            return words_payload(address(Space.CONTROL, 0), [int(draw.integers(2))])
        if kind < 0.4:
            return self._one_of(*image_writes(self.image))
        if kind < 0.5:
            first = self._one_of(
                address(Space.COUNTERS, 0),
                address(Space.STATE, spec.neurons - 1, bus_words(spec, Space.STATE)),
                address(Space.STATE, spec.neurons),
                address(Space.WEIGHTS, memory_depth(spec, Space.WEIGHTS) - 1),
                address(Space.CONTROL, memory_depth(spec, Space.CONTROL)),
                self._word() | 1 << 31,
            )
            return words_payload(first, [self._word()] * 3)
        first = address(
            Space.STATE,
            int(draw.integers(spec.neurons)),
            int(draw.integers(bus_words(spec, Space.STATE))),
        )
        return words_payload(first, [self._word() for _ in range(int(draw.integers(9)))])

    def _events(self) -> bytes:
        """Spikes in order, with steps between them; now and then out of order."""
        draw, inputs = self.draw, self.bench.spec.inputs
        words: list[int] = []
        size = int(self._one_of(0, 4, 20, MAX_EVENTS))
        while len(words) < size:
            rate = self._one_of(0.0, 0.3, 1.0)
            words += numpy.flatnonzero(draw.random(inputs) < rate).tolist()
            if draw.random() < 0.05:
                words.append(int(draw.integers(1 << STEPS_BIT)))
            words.append(1 << STEPS_BIT | int(self._one_of(0, 1, 1, 2, 5)))
        words = words[: min(size, MAX_EVENTS)]
        return pack_words(f"<{len(words)}H", *words)

    def _run(self) -> bytes:
        steps = int(self._one_of(0, 1, 2, 10, 300, 1 << STEPS_BIT))
        return pack(RUN, {"steps": steps}).to_bytes(2, "little")

    def _stop(self) -> bytes:
        return b""

    def _snapshot(self) -> bytes:
        return b""

    def _drain(self) -> bytes:
        twin = self.bench.twin
        start, end = twin._log_start, twin._log_start + len(twin._log)
        position = self._one_of(start, start, end, int(self.draw.integers(start, end + 1)), end + 1)
        count = int(self._one_of(0, 1, MAX_DRAIN, MAX_DRAIN, MAX_DRAIN + 1))
        values = {"position": position % (1 << 16), "count": count}
        return pack(DRAIN, values).to_bytes(width(DRAIN) // 8, "little")


def draw_bytes(draw: numpy.random.Generator, size: int) -> bytes:
    """Random bytes."""
    return bytes(draw.integers(0, 256, size, dtype=numpy.uint8))


@cocotb.test()
async def answers_as_its_twin(dut: Any) -> None:
    """Random requests: valid, refused, repeated, skipped, damaged; then all memories are read."""
    options = settings()
    bench = Bench(dut)
    await bench.start()
    rule = Rule(options.get("rule", Rule.TRACES))
    for again in range(2):
        image = random_image(bench.spec, options["seed"] + again, rule)
        for payload in image_writes(image):
            await bench.exchange(bench.request(Opcode.WRITE, payload))
        requests = Requests(bench, image)
        for _ in range(options["requests"]):
            await bench.exchange(requests.next())
    cocotb.log.info("coverage: %s", dict(sorted(bench.coverage.items())))
