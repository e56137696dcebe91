"""Carries out the requests of a host, as `dyncc.arch.link` and `packets` of SkipOPU define them."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from dyncc.arch.fields import pack, width
from dyncc.arch.link import RESPONSE, LinkSpec, Status
from dyncc.arch.skipopu import csr
from dyncc.arch.skipopu.packets import (
    ADDRESS_BITS,
    INFO,
    MAX_BYTES,
    MAX_WORDS,
    NONCE,
    OWN,
    OWN_WORD,
    PATIENCE,
    PLACE_BYTES,
    WORD_BYTES,
    Opcode,
    board_info,
)
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.link.framer import CONTENT
from dyncc_hw.link.requests import RequestHeader
from dyncc_hw.skipopu.control.control import READ_CYCLES, register_signature
from dyncc_hw.skipopu.host.access import MemoryAccess, NoAccess
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature
from dyncc_hw.skipopu.skid import SkidBuffer

_HEADER_BYTES, _NONCE_BYTES = width(RESPONSE) // 8, width(NONCE) // 8
_INFO_BYTES = width(INFO) // 8


def checked_memory(memory_bytes: int) -> int:
    """`memory_bytes`, if the machine has addresses for it."""
    if not 1 <= memory_bytes < 1 << ADDRESS_BITS:
        raise ConfigError(
            f"memory_bytes must be in 1..{(1 << ADDRESS_BITS) - 1}, not {memory_bytes}"
        )
    return memory_bytes


class CommandProcessor(wiring.Component):
    """Takes one request at a time, and answers it.

    A byte that is read or written takes a cycle, and each word of memory's bus what memory takes
    and two cycles more; a word of a register takes 5 cycles. No wait is without a bound: bytes of
    a request are in the deframer's memory; memory that does not answer is given up; and `responses`
    waits until the answer before is on the line. A CHECK is the longest: ``2^24`` bytes.

    After reset it expects request 0, and knows of none before.

    Parameters
    ----------
    arch, link
        The instance, and the device's side of the link.
    memory_bytes
        Of the memory behind `memory`; None if there is none.
    patience
        See `access.MemoryAccess`.

    Members
    -------
    requests
        From `dyncc_hw.link.deframer.Deframer`.
    responses
        To `dyncc_hw.link.framer.Framer`.
    registers
        To the machine's, see `control.register_signature`.
    running
        A program runs: registers cannot be written.
    memory
        See `bursts.burst_signature`; one burst of one word at a time. Not there without memory.

    Raises
    ------
    ConfigError
        If there are no addresses for the memory.
    """

    def __init__(
        self, arch: ArchSpec, link: LinkSpec, memory_bytes: int | None, patience: int = PATIENCE
    ) -> None:
        self.arch, self.link = arch, link
        members: dict[str, Any] = {
            "requests": In(stream.Signature(8)),
            "responses": Out(stream.Signature(CONTENT)),
            "registers": Out(register_signature()),
            "running": In(1),
        }
        self._access: Any
        if memory_bytes is None:
            self.memory_bytes, self._access = 0, NoAccess()
        else:
            self.memory_bytes = checked_memory(memory_bytes)
            self._access = MemoryAccess(Geometry.of(arch), patience)
            members["memory"] = Out(burst_signature(Geometry.of(arch)))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Read the header, check, carry out, answer."""
        m = Module()
        responses, registers = self.responses, self.registers
        # Whether a byte is taken comes from memory, which is far away.
        m.submodules.skid = skid = SkidBuffer(8)
        wiring.connect(m, wiring.flipped(self.requests), skid.input)
        requests = skid.output
        m.submodules.access = access = self._access
        if self.memory_bytes:
            wiring.connect(m, access.bus, wiring.flipped(self.memory))
        header = RequestHeader(m, requests, Opcode)
        opcode, sequence, status = header.opcode, header.sequence, header.status
        fresh, left, take, refuse = header.fresh, header.left, header.take, header.refuse
        # `PLACE`, which comes in from the top, as a nonce does.
        taken = Signal(range(PLACE_BYTES + 1))
        place = Signal(8 * PLACE_BYTES)
        address, count = place[:ADDRESS_BITS], place[ADDRESS_BITS:]
        end = Signal(ADDRESS_BITS + 1)
        too_much, outside = Signal(), Signal()
        # A word that comes in or goes out; bytes of the answer, and those that are through.
        word, size, index = Signal(csr.WORD_BITS), Signal(8), Signal(8)
        waits = Signal(range(READ_CYCLES))
        answer = Cat(
            opcode, status, Const(0, 8 - len(status)), sequence, header.expected, Const(0, 16)
        )

        kind = opcode[: (len(Opcode) - 1).bit_length()]

        misfit, limit = self._misfit(m, kind, left, count), self._limit(m, kind)
        info = self._info(m, index, place)

        def asks(*opcodes: Opcode) -> Any:
            return Cat(kind == item for item in opcodes).any()

        m.submodules.crc = crc = ResetInserter(access.load)(catalog.CRC32_ISO_HDLC(8).create())
        m.d.comb += [
            access.address.eq(address),
            access.write.payload.data.eq(requests.payload),
            access.write.payload.last.eq(left == 1),
            crc.data.eq(access.read.payload),
            registers.address.eq(address),
            registers.write_data.eq(word),
        ]
        with m.FSM():
            ping = opcode == Opcode.PING
            wrong = Mux(ping, left != _NONCE_BYTES, left < PLACE_BYTES)
            header.states([taken.eq(0), size.eq(0), index.eq(0)], wrong)
            with m.State("TAKE"):
                with m.If(asks(Opcode.PING) & (left == 0)):
                    m.d.sync += size.eq(_NONCE_BYTES + _INFO_BYTES)
                    m.next = "FINISH"
                with m.Elif(taken == PLACE_BYTES):
                    m.d.sync += [end.eq(address + count), too_much.eq(misfit)]
                    m.next = "MEASURE"
                with m.Else():
                    take(place, Cat(place[8:], requests.payload))
                    with m.If(requests.valid):
                        m.d.sync += taken.eq(taken + 1)
            with m.State("MEASURE"):
                m.d.sync += outside.eq(end > limit)
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.next = "CHECK"
                with m.If(too_much):
                    refuse(Status.LENGTH)
                with m.Elif(asks(Opcode.WRITE) & fresh & self.running):
                    refuse(Status.BUSY)
                with m.Elif(outside):
                    refuse(Status.ADDRESS)
            with m.State("CHECK"):
                m.d.comb += access.load.eq(1)
                m.next = "SKIP"
                with m.Switch(kind):
                    with m.Case(Opcode.READ):
                        m.d.sync += size.eq(count << 2)
                    with m.Case(Opcode.GET):
                        m.d.sync += size.eq(count)
                    with m.Case(Opcode.CHECK):
                        m.d.sync += size.eq(WORD_BYTES)
                        m.next = "SUM"
                    for item in (Opcode.WRITE, Opcode.PUT):
                        with m.Case(item), m.If(fresh):
                            m.next = item.name

            # --- carry out ------------------------------------------------------------------------
            with m.State("WRITE"):
                with m.If(index[2]):
                    m.d.comb += registers.write.eq(1)
                    m.d.sync += [address.eq(address + 1), index.eq(0)]
                with m.Elif(left == 0):
                    m.next = "FINISH"
                with m.Else():
                    take(word, Cat(word[8:], requests.payload))
                    with m.If(requests.valid):
                        m.d.sync += index.eq(index + 1)
            with m.State("PUT"):
                with m.If((left == 0) & access.idle):
                    m.next = "FINISH"
                with m.If(left != 0):
                    m.d.comb += [
                        access.write.valid.eq(requests.valid),
                        requests.ready.eq(access.write.ready),
                    ]
                    with m.If(requests.valid & requests.ready):
                        m.d.sync += left.eq(left - 1)
            with m.State("SUM"):
                with m.If(count == 0):
                    m.d.sync += word.eq(crc.crc)
                    m.next = "FINISH"
                with m.Else():
                    m.d.comb += [
                        access.want.eq(1), access.read.ready.eq(1),
                        crc.valid.eq(access.read.valid),
                    ]  # fmt: skip
                    with m.If(access.read.valid):
                        m.d.sync += count.eq(count - 1)

            # --- answer ---------------------------------------------------------------------------
            with m.State("SKIP"):
                with m.If(left == 0):
                    m.next = "FINISH"
                with m.Else():
                    take(word, word)
            with m.State("FINISH"):
                m.d.sync += index.eq(0)
                with m.If(fresh & (status != Status.BUSY)):
                    header.accept()
                m.next = "HEADER"
            with m.State("HEADER"):
                last = index == _HEADER_BYTES - 1
                m.d.comb += [
                    responses.valid.eq(1),
                    responses.payload.data.eq(answer.word_select(index[:3], 8)),
                    responses.payload.last.eq(last & (size == 0)),
                ]
                with m.If(responses.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(last):
                        m.d.sync += index.eq(0)
                        m.next = "FETCH"
                        with m.If(size == 0):
                            m.next = "IDLE"
            with m.State("FETCH"):
                m.d.comb += registers.read.eq(asks(Opcode.READ))
                m.d.sync += waits.eq(READ_CYCLES - 1)
                m.next = "SEND"
                with m.If(asks(Opcode.READ)):
                    m.next = "LATCH"
            with m.State("LATCH"):
                m.d.sync += [waits.eq(waits - 1), word.eq(self._read(address))]
                with m.If(waits == 0):
                    m.next = "SEND"
            with m.State("SEND"):
                from_memory = asks(Opcode.GET)
                byte = Signal(8)
                m.d.comb += [
                    byte.eq(word[:8]),
                    access.want.eq(from_memory),
                    access.read.ready.eq(from_memory & responses.ready),
                    responses.valid.eq(~from_memory | access.read.valid),
                    responses.payload.data.eq(byte),
                    responses.payload.last.eq(index + 1 == size),
                ]
                with m.If(from_memory):
                    m.d.comb += byte.eq(access.read.payload)
                with m.If(asks(Opcode.PING)):
                    m.d.comb += byte.eq(info)
                with m.If(responses.valid & responses.ready):
                    m.d.sync += [index.eq(index + 1), word.eq(word >> 8)]
                    with m.If(responses.payload.last):
                        m.next = "IDLE"
                    with m.Elif(asks(Opcode.READ) & index[:2].all()):
                        m.d.sync += address.eq(address + 1)
                        m.next = "FETCH"
        return m

    def _misfit(self, m: Module, kind: Any, left: Any, count: Any) -> Any:
        """Whether what follows a place is not as long as it says, or the answer too long."""
        misfit = Signal()
        with m.Switch(kind):
            with m.Case(Opcode.READ):
                m.d.comb += misfit.eq((left != 0) | (count > MAX_WORDS))
            with m.Case(Opcode.GET):
                m.d.comb += misfit.eq((left != 0) | (count > MAX_BYTES))
            with m.Case(Opcode.CHECK):
                m.d.comb += misfit.eq(left != 0)
            with m.Case(Opcode.WRITE):
                m.d.comb += misfit.eq(left != count << 2)
            with m.Case(Opcode.PUT):
                m.d.comb += misfit.eq(left != count)
        return misfit

    def _limit(self, m: Module, kind: Any) -> Any:
        """Where the space of an opcode ends."""
        limit = Signal(ADDRESS_BITS)
        m.d.comb += limit.eq(self.memory_bytes)
        with m.Switch(kind):
            with m.Case(Opcode.READ):
                m.d.comb += limit.eq(OWN_WORD + 1)
            with m.Case(Opcode.WRITE):
                m.d.comb += limit.eq(OWN_WORD)
        return limit

    def _read(self, address: Any) -> Any:
        """A word of a register, or of the board's own."""
        access = self._access
        own = Cat(access.errors, access.silent)
        assert len(own) == sum(item.bits for item in OWN if item.name != "reserved")
        return Mux(address[: OWN_WORD.bit_length()] == OWN_WORD, own, self.registers.read_data)

    def _info(self, m: Module, index: Any, place: Any) -> Any:
        """A byte of the nonce, and then of what the device says of itself."""
        values = board_info(self.arch, self.link, self.memory_bytes)
        content = pack(INFO, values).to_bytes(_INFO_BYTES, "little")
        nonce = place[8 * (PLACE_BYTES - _NONCE_BYTES) :]
        byte = Signal(8)
        with m.Switch(index):
            for number in range(_NONCE_BYTES):
                with m.Case(number):
                    m.d.comb += byte.eq(nonce.word_select(number, 8))
            for number, value in enumerate(content, _NONCE_BYTES):
                with m.Case(number):
                    m.d.comb += byte.eq(value)
        return byte
