"""The router that the vector engine reads: four rows of a matrix, in block memory."""

from typing import Any

from amaranth import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.isa import COUNT_BITS
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.blockmemory import ANY_ON_COLLISION, clocked_read
from dyncc_hw.skipopu.arithmetic.reductions import ROWS, WIDE_BITS
from dyncc_hw.skipopu.interfaces import matrix_signature, wide_group_layout
from dyncc_hw.skipopu.shape import EXPONENT_BITS

_LEAST = -(1 << (EXPONENT_BITS - 1))


class RouterStore(wiring.Component):
    """Rows of a router, until they are not wanted any more; then the next ones come in.

    Exponents are kept less the larger one of the matrix's header; below -2048 they stay there,
    where products vanish. Throughput: `width` weights a cycle come in; a word of `vector_lanes`
    weights of each row goes out.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    stream
        Routers, see `interfaces.matrix_signature`.
    known
        The shape of the next rows is there: `columns`, and whether they are `good`: four rows with
        16-bit weights and no more columns than there is room for. Others stay in the stream.
    whole
        The rows are there.
    release
        In this cycle they are not wanted any more.
    word, enable
        A word of all rows is read in a cycle with `enable`.
    weights, exponents
        Of it and of its block, in the next cycle, until the one after the next `enable`.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch = arch
        #: Weights that come in together.
        self.width = min(arch.block, max(arch.vector_lanes, arch.bus_bytes // 2))
        self.words = -(-arch.route_columns // arch.vector_lanes)
        super().__init__(
            {
                "stream": In(matrix_signature(wide_group_layout(arch))),
                "known": Out(1),
                "good": Out(1),
                "whole": Out(1),
                "columns": Out(COUNT_BITS),
                "release": In(1),
                "word": In(range(max(2, self.words))),
                "enable": In(1),
                "weights": Out(
                    data.ArrayLayout(data.ArrayLayout(signed(WIDE_BITS), arch.vector_lanes), ROWS)
                ),
                "exponents": Out(data.ArrayLayout(signed(EXPONENT_BITS), ROWS)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Counters of rows, groups and parts of groups."""
        m = Module()
        arch, width = self.arch, self.width
        matrix, group = self.stream.matrix, self.stream.group
        parts = arch.block // width
        header = Signal.like(matrix.payload, reset_less=True)
        left = Signal(COUNT_BITS, reset_less=True)
        block_shift = arch.block.bit_length() - 1
        row, part = Signal(range(ROWS)), Signal(range(max(2, parts)))
        place = Signal(range(max(2, arch.route_columns // arch.block)))
        fits = Signal()
        m.d.comb += [
            fits.eq(
                (header.type == WeightType.BFP16)
                & (left >= ROWS)
                & (header.columns <= arch.route_columns)
                & (header.columns != 0)
            ),
            self.columns.eq(header.columns),
        ]
        filling, writing = Signal(), Signal()
        part_ends = part == parts - 1
        row_ends = place == (header.columns >> block_shift) - 1
        m.d.comb += [
            writing.eq(filling & group.valid),
            group.ready.eq(filling & part_ends),
        ]
        with m.FSM():
            with m.State("EMPTY"):
                m.d.comb += matrix.ready.eq(1)
                with m.If(matrix.valid):
                    m.d.sync += [header.eq(matrix.payload), left.eq(matrix.payload.rows)]
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.sync += self.good.eq(fits)
                m.d.sync += [self.known.eq(1), row.eq(0), part.eq(0), place.eq(0)]
                m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += filling.eq(self.good)
                with m.If(writing):
                    m.d.sync += part.eq(Mux(part_ends, 0, part + 1))
                    with m.If(part_ends):
                        m.d.sync += place.eq(Mux(row_ends, 0, place + 1))
                        with m.If(row_ends):
                            m.d.sync += row.eq(row + 1)
                            with m.If(row == ROWS - 1):
                                m.next = "WHOLE"
            with m.State("WHOLE"):
                m.d.comb += self.whole.eq(1)
                with m.If(self.release):
                    m.d.sync += [left.eq(left - ROWS), self.known.eq(0)]
                    m.next = "EMPTY"
                    with m.If(left != ROWS):
                        m.next = "LOOK"
        # As for all matrices, though a router has no minima.
        top = Signal(signed(WIDE_BITS), reset_less=True)
        scale, minimum = header.scale_exponent, header.minimum_exponent
        m.d.sync += top.eq(Mux(scale > minimum, scale, minimum))
        self._memories(m, top, writing, row, place, part)
        return m

    def _memories(
        self, m: Module, top: Value, writing: Value, row: Value, place: Value, part: Value
    ) -> None:
        """A memory for the weights of each row, as wide as what comes; one for exponents."""
        arch, width, group = self.arch, self.width, self.stream.group.payload
        lanes, parts = arch.vector_lanes, arch.block // width
        blocks = -(-arch.route_columns // arch.block)
        weights = Value.cast(group.weights)
        # Words of the lanes side by side in a word of the memory, and those of a block.
        runs, block_words = width // lanes, arch.block // lanes
        run = Signal(range(max(2, runs)), reset_less=True)
        with m.If(self.enable):
            m.d.sync += run.eq(self.word % runs)
        for index in range(ROWS):
            m.submodules[f"row_{index}"] = store = memory.Memory(
                shape=width * WIDE_BITS, depth=max(2, blocks * parts), init=[],
                attrs=ANY_ON_COLLISION,
            )  # fmt: skip
            into = store.write_port()
            out = clocked_read(m, store, self.word // runs, self.enable)
            m.d.comb += [
                into.addr.eq(place * parts + part),
                into.data.eq(weights.word_select(part, width * WIDE_BITS)),
                into.en.eq(writing & (row == index)),
                Value.cast(self.weights[index]).eq(out.word_select(run, lanes * WIDE_BITS)),
            ]
        m.submodules.exponents = store = memory.Memory(
            shape=data.ArrayLayout(EXPONENT_BITS, ROWS), depth=max(2, blocks), init=[],
            attrs=ANY_ON_COLLISION,
        )  # fmt: skip
        into = store.write_port(granularity=1)
        out = clocked_read(m, store, self.word // block_words, self.enable)
        apart = Signal(signed(WIDE_BITS + 1))
        m.d.comb += [
            apart.eq(group.exponent - top),
            into.addr.eq(place),
            into.en.eq(Mux(writing, Const(1, ROWS) << row, 0)),
            Value.cast(self.exponents).eq(Value.cast(out)),
        ]
        for index in range(ROWS):
            # None is above the header's.
            m.d.comb += into.data[index].eq(Mux(apart < _LEAST, _LEAST, apart))
