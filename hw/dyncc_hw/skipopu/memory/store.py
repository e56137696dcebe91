"""The store engine: rows of the vector buffer to memory."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import COUNT_BITS, Engine, Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS
from dyncc_hw.skipopu.interfaces import (
    ADDRESS_BITS,
    TRAP_BITS,
    vector_read_signature,
    work_layout,
    work_signature,
    write_signature,
)
from dyncc_hw.skipopu.memory.gearbox import Collector, Serialiser
from dyncc_hw.skipopu.memory.rows import SINGLE_BYTES, lane_bits

_SINGLE_BITS = 8 * SINGLE_BYTES


class StoreEngine(wiring.Component):
    """Carries out `Op.ST`: one row after the other, each as a request of its own.

    Throughput: a word of the vector buffer a cycle, or what the bus takes if that is less.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    work
        From the sequencer.
    vector
        From the vector buffer.
    memory
        To the port.

    Raises
    ------
    ConfigError
        If lanes are not a power of two.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch = arch
        self.lane_bits = lane_bits(arch)
        super().__init__(
            {
                "work": In(work_signature(Engine.STORE, arch)),
                "vector": Out(vector_read_signature(arch)),
                "memory": Out(write_signature(arch.bus_bytes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """An F25 is a binary32 without its lowest bits."""
        m = Module()
        arch, bus = self.arch, 8 * self.arch.bus_bytes
        lanes = _SINGLE_BITS * arch.vector_lanes
        work = Signal(work_layout(Engine.STORE, arch), reset_less=True)
        place = Signal(ADDRESS_BITS + 1, reset_less=True)
        tokens = Signal(arch.tokens, reset_less=True)
        token = Signal(range(max(2, arch.tokens)), reset_less=True)
        done, trap = Signal(), Signal(TRAP_BITS)
        m.d.comb += [self.work.done.eq(done), self.work.trap.eq(trap)]
        m.d.sync += [done.eq(0), trap.eq(0)]

        def finish(code: Any = Trap.NONE) -> None:
            m.d.sync += [done.eq(1), trap.eq(code)]
            m.next = "IDLE"

        # A row: places, numbers, words.
        word = Signal.like(self.vector.place.payload.word)
        count_bits = COUNT_BITS - self.lane_bits + 1
        asked, taken = Signal(count_bits), Signal(count_bits)
        left = Signal(COUNT_BITS + 2)
        row = Signal()
        narrow = min(lanes, bus)
        units, words = Serialiser(lanes, narrow), Collector(narrow, bus)
        m.submodules.units = ResetInserter(~row)(units)
        m.submodules.words = ResetInserter(~row)(words)
        numbers, out = self.vector.numbers, self.memory.data
        place_out = self.vector.place
        m.d.comb += [
            place_out.valid.eq(row & (asked != 0)),
            place_out.payload.token.eq(token),
            place_out.payload.word.eq(word),
            units.input.valid.eq(numbers.valid & row),
            units.input.payload.eq(
                Cat(
                    Cat(Const(0, _SINGLE_BITS - CODE_BITS), numbers.payload[lane])
                    for lane in range(arch.vector_lanes)
                )
            ),
            numbers.ready.eq(units.input.ready & row),
            words.input.valid.eq(units.output.valid),
            words.input.payload.unit.eq(units.output.payload),
            # Only units of whole words of the vector buffer are collected.
            words.input.payload.last.eq(taken == 1),
            units.output.ready.eq(words.input.ready),
            out.valid.eq(words.output.valid & row & (left != 0)),
            out.payload.eq(words.output.payload),
            words.output.ready.eq(out.ready & row & (left != 0)),
        ]
        with m.If(place_out.valid & place_out.ready):
            m.d.sync += [asked.eq(asked - 1), word.eq(word + 1)]
        with m.If(units.output.valid & units.output.ready):
            m.d.sync += taken.eq(taken - 1)
        with m.If(out.valid & out.ready):
            m.d.sync += left.eq(left - 1)

        request = self.memory.request
        end = Signal(COUNT_BITS + 1, reset_less=True)
        m.d.comb += [
            request.payload.address.eq(place),
            request.payload.bytes.eq(work.columns * SINGLE_BYTES),
        ]
        parts = (work.columns + (arch.vector_lanes - 1)) >> self.lane_bits
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.work.start.ready.eq(~done)
                m.d.sync += work.eq(self.work.start.payload)
                with m.If(self.work.start.valid & ~done):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [
                    place.eq(work.memory), tokens.eq(work.active), token.eq(0),
                    end.eq(work.vector + work.columns),
                ]  # fmt: skip
                m.next = "TOKEN"
                with m.If(work.vector[: self.lane_bits].any()):
                    finish(Trap.SHAPE)
                with m.Elif(work.columns == 0):
                    finish(Trap.BUFFER)
            with m.State("TOKEN"):
                m.next = "NEXT"
                with m.If(end > arch.vector_words):
                    finish(Trap.BUFFER)
                with m.Elif(tokens[0]):
                    m.next = "ASK"
                    with m.If(place[-1]):
                        finish(Trap.MEMORY)
            with m.State("NEXT"):
                m.d.sync += [
                    tokens.eq(tokens >> 1), token.eq(token + 1),
                    place.eq(Mux(place[-1], place, place[:ADDRESS_BITS] + work.stride)),
                ]  # fmt: skip
                m.next = "TOKEN"
                with m.If(~tokens[1:].any()):
                    finish()
            with m.State("ASK"):
                m.d.comb += request.valid.eq(1)
                m.d.sync += [
                    asked.eq(parts), taken.eq(parts), word.eq(work.vector >> self.lane_bits),
                    left.eq((work.columns * SINGLE_BYTES + (arch.bus_bytes - 1)) // arch.bus_bytes),
                ]  # fmt: skip
                with m.If(request.ready):
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.comb += row.eq(1)
                with m.If(self.memory.done):
                    m.next = "NEXT"
        return m
