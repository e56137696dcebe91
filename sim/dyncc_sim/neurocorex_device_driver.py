"""A device in the simulator and its twin, at the same line."""

from __future__ import annotations

from struct import pack as pack_words
from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from dyncc.arch.fields import Code, pack, unpack, width
from dyncc.arch.link import (
    PING,
    REQUEST,
    RESPONSE,
    UNREADABLE,
    Deframer,
    LinkSpec,
    Status,
    frame,
    parse,
)
from dyncc.arch.neurocorex import (
    BUS_BITS,
    READ_ONLY,
    CoreImage,
    CoreSpec,
    Space,
    address,
    bus_words,
    memory_depth,
    memory_words,
    spaces,
)
from dyncc.arch.neurocorex.packets import DRAIN, MAX_READ, MAX_WRITE, READ, RUN, SNAPSHOT, Opcode
from dyncc_models.spiking.device import DeviceTwin
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.uart import UartLine

CLOCK_NS = 10
#: Cycles after which a device that has nothing to do has begun to answer: 10 for each word of the
#: longest list, and some.
SILENCE = 1200

Answer = tuple[dict[str, int], bytes]


class DeviceDriver:
    """The device, its twin, and a line to both.

    Attributes
    ----------
    spec, link
        Of both.
    twin, line
        The twin; the line to the device.
    draw
        Random numbers from the seed.
    coverage
        How often a request of a kind was answered with a status, and other events.
    steps
        Steps that the device carried out since reset.
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
        self.coverage = Coverage()
        self.steps = 0

    async def start(self) -> None:
        """Clock, reset, and what listens; memories as after power-up, which reset leaves alone."""
        Clock(self.dut.clk, CLOCK_NS, "ns").start()
        await self.reset()
        self.line.listen()
        cocotb.start_soon(self._count_steps())
        for space in set(spaces(self.spec)) - READ_ONLY - {Space.CONTROL}:
            parts = bus_words(self.spec, space)
            total = parts * memory_depth(self.spec, space)
            for start in range(0, total, MAX_WRITE):
                place = address(space, *divmod(start, parts))
                zeros = [0] * min(MAX_WRITE, total - start)
                await self.ask(Opcode.WRITE, write_payload(place, zeros))

    async def reset(self) -> None:
        """Hold reset for a while."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 3)
        self.steps = 0

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

    # --- requests ---------------------------------------------------------------------------

    def request(self, opcode: int, payload: bytes = b"", ahead: int = 0) -> bytes:
        """A frame with the number that the device expects, or one ahead of it."""
        sequence = (self.twin.expected + ahead) % 256
        return frame(REQUEST, {"opcode": opcode, "sequence": sequence}, payload)

    async def hear(self) -> list[Answer]:
        """All answers of the device, once it is silent."""
        return split(await self.line.take(SILENCE // self.link.divisor + 20))

    async def exchange(self, content: bytes) -> list[Answer]:
        """Send bytes to both, compare the answers, let both carry out what they can."""
        await self.line.send(content)
        found = await self.hear()
        rooms = [self.twin.credits]
        wanted = self._ask_twin(content)
        rooms.append(self.twin.credits)
        await self.settle()
        self.twin.advance()
        rooms.append(self.twin.credits)
        assert len(found) == len(wanted), (content.hex(), found, wanted)
        for (header, payload), (right, expected) in zip(found, wanted, strict=True):
            # How many stimulus words are carried out by then depends on time.
            assert min(rooms) <= header["credits"] <= max(rooms)
            assert header | {"credits": 0} == right | {"credits": 0}, content.hex()
            assert _timeless(header, payload) == _timeless(right, expected), content.hex()
            self.coverage["answers compared"] += 1
        return found

    async def ask(self, opcode: int, payload: bytes = b"") -> bytes:
        """Payload of the answer to one request, which both carry out."""
        ((header, found),) = await self.exchange(self.request(opcode, payload))
        assert header["status"] == Status.OK, header
        return found

    def _ask_twin(self, content: bytes) -> list[Answer]:
        """The twin's answers; notes what they show."""
        found: list[Answer] = []
        for stuffed in Deframer().feed(content):
            before = self.twin.expected
            answers = split(self.twin.receive(stuffed + bytes(1)))
            for header, _ in answers:
                self.coverage[_bin(header)] += 1
                if header["opcode"] not in (PING, UNREADABLE) and header["sequence"] != before:
                    self.coverage["repeated"] += header["status"] != Status.SEQUENCE
            found += answers
        return found

    async def program(self, image: CoreImage) -> None:
        """Write an image."""
        for payload in image_payloads(image):
            await self.ask(Opcode.WRITE, payload)

    async def status_of(self, opcode: int, payload: bytes = b"") -> Status:
        """How one request ends on both."""
        ((header, _),) = await self.exchange(self.request(opcode, payload))
        return Status(header["status"])

    async def snapshot(self) -> dict[str, int]:
        """The device's state, which is also the twin's."""
        return unpack(SNAPSHOT, int.from_bytes(await self.ask(Opcode.SNAPSHOT), "little"))

    async def compare_memories(self) -> None:
        """Read all that can be read, but the counter of cycles, which a twin does not have."""
        for space in spaces(self.spec):
            parts = bus_words(self.spec, space)
            total = parts * memory_depth(self.spec, space)
            for start in range(space == Space.COUNTERS, total, MAX_READ):
                count = min(MAX_READ, total - start)
                place = address(space, *divmod(start, parts))
                await self.ask(Opcode.READ, read_payload(place, count))
                self.coverage["words compared"] += count


def split(content: bytes) -> list[Answer]:
    """Answers, which must be whole."""
    return [parse(RESPONSE, stuffed) for stuffed in Deframer().feed(content)]


def read_payload(place: int, count: int) -> bytes:
    """Payload of a READ."""
    return pack(READ, {"address": place, "count": count}).to_bytes(width(READ) // 8, "little")


def write_payload(place: int, words: list[int]) -> bytes:
    """Payload of a WRITE."""
    return pack_words(f"<I{len(words)}I", place, *words)


def run_payload(steps: int) -> bytes:
    """Payload of a RUN."""
    return pack(RUN, {"steps": steps}).to_bytes(width(RUN) // 8, "little")


def drain_payload(position: int, count: int) -> bytes:
    """Payload of a DRAIN."""
    values = {"position": position, "count": count}
    return pack(DRAIN, values).to_bytes(width(DRAIN) // 8, "little")


def image_payloads(image: CoreImage, whole: bool = False) -> list[bytes]:
    """Payloads of the WRITEs that load an image; they need no order if each is of whole words."""
    found = []
    for space, words in memory_words(image).items():
        parts = bus_words(image.spec, space)
        flat = [
            word >> (BUS_BITS * part) & ((1 << BUS_BITS) - 1)
            for word in words
            for part in range(parts)
        ]
        size = MAX_WRITE - MAX_WRITE % parts if whole else MAX_WRITE
        for start in range(0, len(flat), size):
            place = address(space, *divmod(start, parts))
            found.append(write_payload(place, flat[start : start + size]))
    return found


def code_name(kind: type[Code], number: int, otherwise: str) -> str:
    """Name of a number, if it has one."""
    return next((item.name for item in kind if item == number), otherwise)


def _bin(header: dict[str, int]) -> str:
    status = Status(header["status"])
    if header["opcode"] == UNREADABLE and status == Status.CORRUPT:
        return status.name
    return f"{code_name(Opcode, header['opcode'], 'other')} {status.name}"


def _timeless(header: dict[str, int], payload: bytes) -> Any:
    """A payload without the one number that a twin does not have."""
    if header["opcode"] != Opcode.SNAPSHOT or not payload:
        return payload
    values = unpack(SNAPSHOT, int.from_bytes(payload, "little"))
    del values["cycles"]
    return values
