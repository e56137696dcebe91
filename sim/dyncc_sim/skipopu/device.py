"""Twin of a SkipOPU device: what comes over the line in, what it answers out."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from struct import iter_unpack
from struct import pack as pack_words

import numpy
from numpy.typing import NDArray

from dyncc.arch.fields import pack, unpack, width
from dyncc.arch.link import LinkSpec, Status
from dyncc.arch.skipopu import csr
from dyncc.arch.skipopu.csr import Place, State
from dyncc.arch.skipopu.isa import REGISTERS, RESERVED, Trap
from dyncc.arch.skipopu.packets import (
    INFO,
    MAX_BYTES,
    MAX_WORDS,
    NONCE,
    OWN,
    OWN_WORD,
    PLACE,
    PLACE_BYTES,
    WORD_BYTES,
    Opcode,
    board_info,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_models.link import LinkTwin, Refusal
from dyncc_sim.skipopu.controls import Words
from dyncc_sim.skipopu.machine import Machine
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.trap import TrapError

_WORD = (1 << csr.WORD_BITS) - 1


class HostTwin(LinkTwin):
    """What `dyncc_hw.skipopu.host.commands` does, over any registers.

    Parameters
    ----------
    arch, link, memory_bytes
        As of `dyncc_hw.skipopu.device.Device`; of the link only what it says of itself.
    registers
        Words of registers.

    Attributes
    ----------
    memory
        What memory holds: uint8.
    errors, silent
        What `OWN` tells; whoever plays the memory sets them.
    """

    def __init__(
        self, arch: ArchSpec, memory_bytes: int, registers: Words, link: LinkSpec | None = None
    ) -> None:
        super().__init__()
        self.arch, self.registers = arch, registers
        self.memory: NDArray[numpy.uint8] = numpy.zeros(memory_bytes, numpy.uint8)
        self.errors, self.silent = 0, False
        info = board_info(arch, link or LinkSpec(), memory_bytes)
        self._info = pack(INFO, info).to_bytes(width(INFO) // 8, "little")

    @property
    def credits(self) -> int:
        """There are no events."""
        return 0

    @property
    def running(self) -> bool:
        """Whether registers cannot be written."""
        return False

    def carry_out(self, opcode: int, payload: bytes, repeated: bool = False) -> bytes:
        """Do what a request says, or only check it if it was done before."""
        if opcode == Opcode.PING:
            self._need(len(payload) == width(NONCE) // 8, Status.LENGTH)
            return payload + self._info
        requests: dict[int, Callable[[int, int, bytes], bytes]] = {
            Opcode.READ: self._read,
            Opcode.WRITE: self._write,
            Opcode.GET: self._get,
            Opcode.PUT: self._put,
            Opcode.CHECK: self._check,
        }
        self._need(opcode in requests, Status.OPCODE)
        self._need(len(payload) >= PLACE_BYTES, Status.LENGTH)
        place = unpack(PLACE, int.from_bytes(payload[:PLACE_BYTES], "little"))
        address, count, content = place["address"], place["count"], payload[PLACE_BYTES:]
        carried = WORD_BYTES if opcode == Opcode.WRITE else int(opcode == Opcode.PUT)
        longest = {Opcode.READ: MAX_WORDS, Opcode.GET: MAX_BYTES}
        self._need(len(content) == carried * count, Status.LENGTH)
        self._need(count <= longest.get(Opcode(opcode), count), Status.LENGTH)
        self._need(repeated or opcode != Opcode.WRITE or not self.running, Status.BUSY)
        limits = {Opcode.READ: OWN_WORD + 1, Opcode.WRITE: OWN_WORD}
        limit = limits.get(Opcode(opcode), self.memory.size)
        self._need(address + count <= limit, Status.ADDRESS)
        if repeated and carried:
            return b""
        return requests[opcode](address, count, content)

    def _read(self, address: int, count: int, _content: bytes) -> bytes:
        words = [self._word(number) for number in range(address, address + count)]
        return pack_words(f"<{count}I", *words)

    def _word(self, number: int) -> int:
        if number == OWN_WORD:
            own = {"errors": self.errors, "silent": self.silent, "reserved": 0}
            return pack(OWN, own)
        return self.registers.read(number)

    def _write(self, address: int, _count: int, content: bytes) -> bytes:
        for number, (word,) in enumerate(iter_unpack("<I", content), address):
            self.registers.write(number, word)
        return b""

    def _get(self, address: int, count: int, _content: bytes) -> bytes:
        return bytes(count) if self.silent else self.memory[address : address + count].tobytes()

    def _put(self, address: int, count: int, content: bytes) -> bytes:
        if not self.silent:
            self.memory[address : address + count] = numpy.frombuffer(content, numpy.uint8)
        return b""

    def _check(self, address: int, count: int, _content: bytes) -> bytes:
        return zlib.crc32(self._get(address, count, b"")).to_bytes(WORD_BYTES, "little")

    @staticmethod
    def _need(condition: bool, otherwise: Status) -> None:
        if not condition:
            raise Refusal(otherwise)


class RegistersTwin:
    """The control and status registers of a machine.

    Attributes
    ----------
    state, trap, pc
        As in `csr.STATUS`.
    kept
        What was written of `csr.WRITABLE`, by number.
    machine
        The machine's registers.
    counters
        By name.
    forget
        Whether keys and values on chip are not valid any more.
    """

    def __init__(self) -> None:
        self.state, self.trap, self.pc = State.IDLE, Trap.NONE, 0
        self.kept = dict.fromkeys((int(number) for number in csr.WRITABLE), 0)
        self.machine = [0] * REGISTERS
        self.counters = {item.name: 0 for item in csr.COUNTERS}
        self.forget = False
        self._lower = self._upper = 0

    @property
    def running(self) -> bool:
        """Whether nothing can be written."""
        return self.state in (State.STARTING, State.RUNNING)

    def read(self, address: int) -> int:
        """A word."""
        number, upper = divmod(address, 2)
        if upper:
            return self._upper
        found = self._register(number)
        self._upper = found >> csr.WORD_BITS
        return found & _WORD

    def _register(self, number: int) -> int:
        if number in self.kept:
            return self.kept[number]
        if Place.REGISTERS <= number < Place.REGISTERS + REGISTERS:
            return self.machine[number - Place.REGISTERS]
        if Place.COUNTERS <= number < Place.COUNTERS + len(csr.COUNTERS):
            return self.counters[csr.COUNTERS[number - Place.COUNTERS].name]
        if number == Place.STATUS:
            return pack(csr.STATUS, {"state": self.state, "trap": self.trap, "pc": self.pc})
        return csr.IDENTITY if number == Place.IDENTITY else 0

    def write(self, address: int, value: int) -> None:
        """Write a word."""
        number, upper = divmod(address, 2)
        if not upper:
            self._lower = value
        if self.running:
            return
        whole = value << csr.WORD_BITS | self._lower
        if number in self.kept:
            bits = csr.WRITABLE[Place(number) if number in list(Place) else number]
            if bits > csr.WORD_BITS and upper:
                self.kept[number] = whole & ((1 << bits) - 1)
            elif bits <= csr.WORD_BITS and not upper:
                self.kept[number] = value & ((1 << bits) - 1)
        elif upper and Place.REGISTERS <= number < Place.REGISTERS + REGISTERS:
            self._set(number - Place.REGISTERS, whole)
        elif not upper and number == Place.CONTROL:
            asked = unpack(csr.CONTROL, value)
            self.forget |= bool(asked["forget"])
            if asked["start"]:
                self.state = State.STARTING

    def _set(self, number: int, value: int) -> None:
        if number in RESERVED and number:
            self.machine[number] = value & ((1 << 40) - 1)


class DeviceTwin(HostTwin):
    """A SkipOPU on the simulator, behind a line.

    `receive` takes bytes and gives the answers at once; a program that was started runs in
    `advance`, to its end. One that is not in memory with all of it is stopped at its beginning.
    Counters of time stay 0, as the simulator has no notion of it.

    Matrices that were read stay known until a start with ``forget``.

    Parameters
    ----------
    arch, memory_bytes, link
        See `HostTwin`.
    """

    def __init__(self, arch: ArchSpec, memory_bytes: int, link: LinkSpec | None = None) -> None:
        self.control = RegistersTwin()
        super().__init__(arch, memory_bytes, self.control, link)
        self._seen = Memory(0)
        self._machine = Machine(arch, self._seen)

    @property
    def running(self) -> bool:
        """Whether a program was started, and `advance` is due."""
        return self.control.running

    def advance(self) -> None:
        """Carry out the program that was started, if there is one."""
        control = self.control
        if not control.running:
            return
        kept = control.kept
        # What a program sees is the same memory, as far as it was told.
        self._seen.content = self.memory[: kept[Place.MEMORY_BYTES]]
        bounds = [kept[Place.WINDOWS + index] for index in range(2 * csr.WINDOWS)]
        self._seen.writable = tuple(
            range(*pair) for pair in zip(bounds[::2], bounds[1::2], strict=True)
        )
        if control.forget:
            self._machine = Machine(self.arch, self._seen)
            control.forget = False
        first, length = kept[Place.BASE], kept[Place.LENGTH]
        if length and (first % 2 or first + 8 * length > self._seen.content.size):
            # Instructions are read ahead: the first request that leaves memory stops the program.
            control.state, control.trap, control.pc = State.TRAPPED, Trap.MEMORY, 0
            control.counters["resident"] = control.counters["fetched"] = 0
            return
        program = self.memory[first : first + 8 * length].view("<u8").tolist()
        given = {number: control.machine[number] for number in RESERVED}
        kv = self._machine.executor.kv
        before = kv.resident, kv.fetched
        try:
            control.machine = list(self._machine.run(program, given))
        except TrapError as error:
            control.state, control.trap, control.pc = State.TRAPPED, error.trap, error.pc
        else:
            control.state, control.trap, control.pc = State.HALTED, Trap.NONE, 0
        control.counters["resident"] = kv.resident - before[0]
        control.counters["fetched"] = kv.fetched - before[1]
