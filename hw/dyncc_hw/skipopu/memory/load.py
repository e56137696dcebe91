"""The load engine: rows to the vector buffer, and matrices as a stream."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from dyncc.arch.skipopu.formats import GROUPS, WeightType
from dyncc.arch.skipopu.isa import COUNT_BITS, Engine, LoadMode, Trap
from dyncc.arch.skipopu.matrices import HEADER_BYTES
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.arithmetic.serial import SerialMultiplier
from dyncc_hw.skipopu.interfaces import (
    ADDRESS_BITS,
    TRAP_BITS,
    group_layout,
    matrix_signature,
    read_signature,
    vector_write_signature,
    wide_group_layout,
    work_layout,
    work_signature,
)
from dyncc_hw.skipopu.memory.matrix_stream import MatrixStream
from dyncc_hw.skipopu.memory.rows import SINGLE_BYTES, RowWriter, lane_bits
from dyncc_hw.skipopu.skid import SkidBuffer

INDEX_BITS = 32
INDEX_BYTES = INDEX_BITS // 8


class LoadEngine(wiring.Component):
    """Carries out `Op.LD`.

    A matrix is `done` when its first word is there; the rest follows while the next instruction may
    run. Sizes of matrices come from a serial multiplier, some 30 cycles. A row takes the port's
    latency, and then as `rows.RowWriter`; rows of several tokens come one after the other.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    work
        From the sequencer.
    memory_bytes
        As of `port.Port`: a matrix that leaves memory is trapped before any of it is loaded.
    vectors, stream
        To the port: rows, and matrices, which are loaded ahead.
    vector
        To the vector buffer.
    narrow, wide
        Matrices, to the PE array and to the vector engine; see `matrix_stream.MatrixStream`.
    stream_trap
        In a cycle: `Trap.SHAPE` if a scale in a matrix whose load is already done is no finite
        number; else 0.
    stream_idle
        All matrices were taken.

    Raises
    ------
    ConfigError
        If the port or the vector buffer cannot be made.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch = arch
        lane_bits(arch)
        size = arch.bus_bytes
        super().__init__(
            {
                "work": In(work_signature(Engine.LOAD, arch)),
                "memory_bytes": In(ADDRESS_BITS),
                "vectors": Out(read_signature(size)),
                "stream": Out(read_signature(size)),
                "vector": Out(vector_write_signature(arch)),
                "narrow": Out(matrix_signature(group_layout(arch))),
                "wide": Out(matrix_signature(wide_group_layout(arch))),
                "stream_trap": Out(TRAP_BITS),
                "stream_idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Checks, sizes, then rows or a matrix."""
        m = Module()
        arch = self.arch
        m.submodules.matrices = matrices = MatrixStream(arch)
        m.submodules.rows = rows = RowWriter(arch)
        m.submodules.product = product = SerialMultiplier(ADDRESS_BITS, COUNT_BITS, ADDRESS_BITS)
        wiring.connect(m, matrices.memory, wiring.flipped(self.stream))
        wiring.connect(m, matrices.narrow, wiring.flipped(self.narrow))
        wiring.connect(m, matrices.wide, wiring.flipped(self.wide))
        wiring.connect(m, rows.write, wiring.flipped(self.vector.write))
        m.d.comb += [self.stream_trap.eq(matrices.trap), self.stream_idle.eq(matrices.idle)]

        work = Signal(work_layout(Engine.LOAD, arch), reset_less=True)
        groups = work.columns >> exact_log2(arch.block)
        whole = ~work.columns[: exact_log2(arch.block)].any()
        is_matrix, by_number = Signal(), Signal()
        m.d.comb += [
            is_matrix.eq(work.mode == LoadMode.WEIGHTS),
            by_number.eq(work.mode == LoadMode.ROW_Q8_0),
        ]
        #: Bytes of a row of the matrix, or of plain numbers.
        row_bytes = Signal(ADDRESS_BITS, reset_less=True)
        #: Where the token's row is, or its number; one bit more, to see what leaves memory.
        place = Signal(ADDRESS_BITS + 1, reset_less=True)
        address = Signal(ADDRESS_BITS + 1, reset_less=True)
        tokens = Signal(arch.tokens, reset_less=True)
        number = Signal(INDEX_BITS, reset_less=True)
        here = Signal(arch.tokens, reset_less=True)
        done, trap, empty = Signal(), Signal(TRAP_BITS), Signal(reset_less=True)
        m.d.comb += [self.work.done.eq(done), self.work.trap.eq(trap)]
        m.d.sync += [done.eq(0), trap.eq(0)]

        def finish(code: Any = Trap.NONE) -> None:
            m.d.sync += [done.eq(1), trap.eq(code)]
            m.next = "IDLE"

        # One row for all tokens, read once.
        one_row = ~by_number & (work.index == 0)
        request = self.vectors.request
        # Behind it words are taken apart, which is too much for the cycle in which they come.
        m.submodules.skid = skid = SkidBuffer(self.vectors.data.payload.shape())
        wiring.connect(m, wiring.flipped(self.vectors.data), skid.input)
        answer = skid.output
        wanted = matrices.load.payload
        m.d.comb += [
            *(wanted[name].eq(work[name]) for name in ("type", "rows", "columns")),
            wanted.address.eq(work.memory),
            wanted.bytes.eq(row_bytes),
            rows.start.payload.quantised.eq(by_number),
            rows.start.payload.columns.eq(work.columns),
            rows.start.payload.word.eq(work.vector >> lane_bits(arch)),
            rows.start.payload.tokens.eq(Mux(one_row, work.active, here)),
            rows.data.payload.eq(answer.payload.word),
        ]
        sizes = Signal(range(max(layout.bytes(arch.block) for layout in GROUPS.values()) + 1))
        kind = Mux(is_matrix, work.type, WeightType.Q8_0)
        with m.Switch(kind):
            for item, layout in GROUPS.items():
                with m.Case(item):
                    m.d.comb += sizes.eq(layout.bytes(arch.block))
        end = Signal(COUNT_BITS + 1, reset_less=True)
        with m.FSM() as steps:
            # Until rows of the matrices before are taken: if nobody does, this ends it.
            waits = steps.ongoing("MATRIX") | steps.ongoing("ARRIVE")
            m.d.sync += self.work.starved.eq(waits)
            with m.State("IDLE"):
                m.d.comb += self.work.start.ready.eq(~done)
                given = self.work.start.payload
                m.d.sync += [work.eq(given), empty.eq((given.rows == 0) | (given.columns == 0))]
                with m.If(self.work.start.valid & ~done):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [
                    place.eq(Mux(by_number, work.index, work.memory)),
                    tokens.eq(work.active),
                    here.eq(1),
                    row_bytes.eq(work.columns * SINGLE_BYTES),
                ]
                m.d.sync += end.eq(work.vector + work.columns)
                # Who takes rows would wait for ever for those of a matrix without any.
                with m.If(((is_matrix | by_number) & ~whole) | (is_matrix & empty)):
                    finish(Trap.SHAPE)
                with m.Elif(is_matrix):
                    m.next = "ROW BYTES"
                with m.Elif(work.vector[: lane_bits(arch)].any()):
                    finish(Trap.SHAPE)
                with m.Elif(work.columns == 0):
                    finish(Trap.BUFFER)
                with m.Elif(by_number):
                    m.next = "ROW BYTES"
                with m.Else():
                    m.next = "TOKEN"
            with m.State("ROW BYTES"):
                m.d.comb += [
                    product.input.valid.eq(1),
                    product.input.payload.first.eq(groups),
                    product.input.payload.second.eq(sizes),
                ]
                with m.If(product.input.ready):
                    m.next = "ROW SIZE"
            with m.State("ROW SIZE"):
                m.d.comb += product.output.ready.eq(1)
                m.d.sync += row_bytes.eq(product.output.payload.product)
                with m.If(product.output.valid):
                    m.next = "TOKEN"
                    with m.If(is_matrix):
                        m.next = "PLACE"

            # A matrix, or the row of a token by its number.
            with m.State("PLACE"):
                m.d.comb += [
                    product.input.valid.eq(1),
                    product.input.payload.first.eq(row_bytes),
                    product.input.payload.second.eq(Mux(is_matrix, work.rows, number)),
                ]
                with m.If(product.input.ready):
                    m.next = "OFFSET"
            with m.State("OFFSET"):
                m.d.comb += product.output.ready.eq(1)
                found = product.output.payload
                m.d.sync += address.eq(found.product + HEADER_BYTES)
                with m.If(product.output.valid):
                    m.next = "ADD"
                    with m.If(found.over):
                        finish(Trap.MEMORY)
            with m.State("ADD"):
                with m.If(is_matrix):
                    m.d.sync += row_bytes.eq(address)
                m.d.sync += address.eq(address[:ADDRESS_BITS] + work.memory)
                m.next = "INSIDE"
                with m.If(address[-1]):
                    finish(Trap.MEMORY)
            with m.State("INSIDE"):
                m.next = "ROW"
                with m.If(address > self.memory_bytes):
                    finish(Trap.MEMORY)
                with m.Elif(is_matrix):
                    m.next = "MATRIX"
            with m.State("MATRIX"):
                m.d.comb += matrices.load.valid.eq(1)
                with m.If(matrices.load.ready):
                    m.next = "ARRIVE"
            with m.State("ARRIVE"), m.If(matrices.arrived):
                finish()

            # Rows: where each is, or its number, is added up from token to token.
            with m.State("TOKEN"):
                m.d.sync += address.eq(place)
                m.next = "NEXT"
                with m.If(end > arch.vector_words):
                    finish(Trap.BUFFER)
                with m.Elif(one_row | tokens[0]):
                    m.next = "ROW"
                    with m.If(place[-1]):
                        finish(Trap.MEMORY)
                    with m.Elif(by_number):
                        m.next = "ASK NUMBER"
            with m.State("NEXT"):
                step = Mux(by_number, INDEX_BYTES, work.index)
                m.d.sync += [
                    tokens.eq(tokens >> 1),
                    here.eq(here << 1),
                    place.eq(Mux(place[-1], place, place[:ADDRESS_BITS] + step)),
                ]
                m.next = "TOKEN"
                with m.If(one_row | ~tokens[1:].any()):
                    finish()
            with m.State("ASK NUMBER"):
                m.d.comb += [
                    request.valid.eq(1),
                    request.payload.address.eq(place),
                    request.payload.bytes.eq(INDEX_BYTES),
                ]
                with m.If(request.ready):
                    m.next = "NUMBER"
            with m.State("NUMBER"):
                m.d.comb += answer.ready.eq(1)
                with m.If(answer.valid):
                    m.d.sync += number.eq(
                        Cat(number, answer.payload.word[:INDEX_BITS])[-INDEX_BITS:]
                    )
                    with m.If(answer.payload.last):
                        m.next = "WHICH"
            with m.State("WHICH"):
                m.next = "PLACE"
                with m.If(number >= work.rows):
                    finish(Trap.MEMORY)
            with m.State("ROW"):
                m.d.comb += rows.start.valid.eq(1)
                m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += [
                    request.valid.eq(1),
                    request.payload.address.eq(address),
                    request.payload.bytes.eq(row_bytes),
                ]
                with m.If(request.ready):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [rows.data.valid.eq(answer.valid), answer.ready.eq(rows.data.ready)]
                with m.If(rows.done):
                    m.next = "NEXT"
                    with m.If(rows.trap.any()):
                        finish(rows.trap)
        return m
