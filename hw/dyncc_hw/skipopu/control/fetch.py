"""Program words from memory, ahead of the sequencer."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import COUNT_BITS, INSTRUCTION_BITS
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import ADDRESS_BITS, read_signature

_WORD_BYTES = INSTRUCTION_BITS // 8
#: Instructions of a request, and of the buffer.
_REQUEST, _BUFFER = 8, 16


class Fetch(wiring.Component):
    """Reads a program in order, from where it was told last.

    Requests have up to `_REQUEST` instructions, and are made as soon as there is room for them;
    none goes beyond the program's end. After a jump, what is on its way is dropped.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    base, length
        Address of the program, even, and its instructions.
    jump, target
        Go on at an instruction.
    enable
        Whether requests may be made.
    memory
        Client of the port.
    words
        Stream of instructions. In the cycle of a jump what it shows may not be taken.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self._bus = arch.bus_bytes
        super().__init__(
            {
                "base": In(ADDRESS_BITS), "length": In(COUNT_BITS),
                "jump": In(1), "target": In(COUNT_BITS), "enable": In(1),
                "memory": Out(read_signature(arch.bus_bytes)),
                "words": Out(stream.Signature(INSTRUCTION_BITS)),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Requests, then bus words cut or put together, then a buffer."""
        m = Module()
        memory = self.memory
        m.submodules.buffer = buffer = fifo.SyncFIFOBuffered(width=INSTRUCTION_BITS, depth=_BUFFER)
        following, ahead = Signal(COUNT_BITS), Signal(range(_BUFFER + 1))
        # Whether a request is on its way, and whether its answer is still wanted.
        owed, stale, offered = Signal(), Signal(), Signal()
        count, wanted = Signal(range(_REQUEST + 1)), Signal(range(_REQUEST + 1))
        left = self.length - following
        flush = Signal()
        m.d.comb += [
            flush.eq(self.jump),
            count.eq(Mux(left > _REQUEST, _REQUEST, left)),
            memory.request.valid.eq(offered),
            self.words.valid.eq(buffer.r_rdy & ~flush & ~stale),
            self.words.payload.eq(buffer.r_data),
            buffer.r_en.eq((self.words.ready & ~flush) | stale),
        ]
        room = ahead <= _BUFFER - _REQUEST
        idle = ~owed & ~offered & ~flush & ~stale
        with m.If(idle & self.enable & room & (following < self.length)):
            m.d.sync += [
                offered.eq(1), wanted.eq(count), following.eq(following + count),
                memory.request.payload.address.eq(self.base + (following << 3)),
                memory.request.payload.bytes.eq(count << 3),
            ]  # fmt: skip
        with m.If(offered & memory.request.ready):
            m.d.sync += [offered.eq(0), owed.eq(1)]
        taken = buffer.r_en & buffer.r_rdy
        self._convert(m, buffer, wanted, owed)
        # What is in the buffer or on its way to it.
        m.d.sync += ahead.eq(ahead + Mux(offered & memory.request.ready, wanted, 0) - taken)
        with m.If(flush):
            m.d.sync += [following.eq(self.target), stale.eq(1)]
        with m.Elif(stale & ~owed & ~offered & ~buffer.r_rdy & (ahead == 0)):
            m.d.sync += stale.eq(0)
        return m

    def _convert(self, m: Module, buffer: Any, wanted: Signal, owed: Signal) -> None:
        """Words of the bus to instructions."""
        answer = self.memory.data
        if self._bus <= _WORD_BYTES:
            pieces = _WORD_BYTES // self._bus
            kept = Signal(INSTRUCTION_BITS)
            piece = Signal(range(max(2, pieces)))
            whole = Cat(kept, answer.payload.word)[-INSTRUCTION_BITS:]
            ends = piece == pieces - 1
            m.d.comb += [
                buffer.w_data.eq(whole),
                buffer.w_en.eq(answer.valid & ends),
                answer.ready.eq(~ends | buffer.w_rdy),
            ]
            with m.If(answer.valid & answer.ready):
                m.d.sync += [kept.eq(whole), piece.eq(piece + 1)]
                with m.If(ends):
                    m.d.sync += piece.eq(0)
                with m.If(answer.payload.last):
                    m.d.sync += owed.eq(0)
            return
        pieces = self._bus // _WORD_BYTES
        piece = Signal(range(pieces))
        left = Signal.like(wanted)
        begun = Signal()
        remaining = Mux(begun, left, wanted)
        ends = (piece == pieces - 1) | (remaining == 1)
        m.d.comb += [
            buffer.w_data.eq(answer.payload.word.word_select(piece, INSTRUCTION_BITS)),
            buffer.w_en.eq(answer.valid),
            answer.ready.eq(ends & buffer.w_rdy),
        ]
        with m.If(answer.valid & buffer.w_rdy):
            m.d.sync += [piece.eq(piece + 1), begun.eq(1), left.eq(remaining - 1)]
            with m.If(ends):
                m.d.sync += piece.eq(0)
                with m.If(answer.payload.last):
                    m.d.sync += [owed.eq(0), begun.eq(0)]
