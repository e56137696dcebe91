"""The buffer of the stream of matrices: rows that the PE array works on together.

A matrix comes row by row, and the array wants a block of each of its rows at once. So there is a
bank for each row and lane, and a ring of lines, one for each slice of blocks, across all banks.
A tile is written line by line for one row after the other, and read line by line for all rows.
"""

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.formats import GROUPS, WeightType
from dyncc.arch.skipopu.isa import COUNT_BITS
from dyncc.core.errors import ConfigError
from dyncc_hw.blockmemory import ANY_ON_COLLISION, clocked_read
from dyncc_hw.skipopu.interfaces import group_layout, matrix_signature
from dyncc_hw.skipopu.shape import NIBBLE, ArrayShape

HALF_BITS = 16
#: Tiles that may wait, complete.
_WAITING = 8


class TileStore(wiring.Component):
    """Rows of matrices until the array has taken them.

    Throughput: a group in `parts` cycles, which is no slower than the bus; a part of a line a cycle
    to the array.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    stream
        Matrices, see `interfaces.matrix_signature`.
    tile
        Stream of what is complete: its `type`, `columns`; `left`, rows of the matrix from this tile
        on; `top`, the larger of the exponents in the matrix's header; `line`, its first line. It
        stays until its rows are not wanted any more.
    line, part, enable
        A part of a line is read in a cycle with `enable`.
    nibbles, halves
        Of all rows and lanes, in the next cycle, until the one after the next `enable`: a part of
        the 4-bit weights (or of the lower and upper halves of wide ones in the first two lanes);
        and of scale and minimum.

    Raises
    ------
    ConfigError
        If the array has fewer than two lanes, or the buffer is smaller than a line.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        arch = shape.arch
        if arch.products < 2:
            raise ConfigError("wide weights take the lanes of two 4-bit ones, and there is one")
        size = shape.outputs * GROUPS[WeightType.Q4_1].bytes(arch.block)
        #: Lines of the ring.
        self.lines = arch.stream_bytes // (size * shape.ways)
        if not self.lines:
            raise ConfigError(
                f"the stream's buffer has {arch.stream_bytes} bytes, and a line {size * shape.ways}"
            )
        #: Words of a line in a bank.
        self.parts = 1
        cycles = GROUPS[WeightType.Q4_1].bytes(arch.block) // arch.bus_bytes
        while shape.ways == 1 and 2 * self.parts <= min(shape.slices, cycles, HALF_BITS):
            self.parts *= 2
        weights = arch.block // self.parts
        self.nibbles_layout = data.ArrayLayout(
            data.ArrayLayout(data.ArrayLayout(NIBBLE, weights), shape.ways), shape.outputs
        )
        self.half_bits = 2 * HALF_BITS // self.parts
        self.halves_layout = data.ArrayLayout(
            data.ArrayLayout(self.half_bits, shape.ways), shape.outputs
        )
        self.tile_layout = data.StructLayout(
            {
                "type": 2, "columns": COUNT_BITS, "left": COUNT_BITS, "top": signed(HALF_BITS),
                "line": range(max(2, self.lines)),
            }
        )  # fmt: skip
        super().__init__(
            {
                "stream": In(matrix_signature(group_layout(arch))),
                "tile": Out(stream.Signature(self.tile_layout)),
                "line": In(range(max(2, self.lines))),
                "part": In(range(max(2, self.parts))),
                "enable": In(1),
                "nibbles": Out(self.nibbles_layout),
                "halves": Out(self.halves_layout),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A writer that goes through rows, groups and parts; a ring of lines; a queue of tiles."""
        m = Module()
        shape, arch = self.shape, self.shape.arch
        matrix, group = self.stream.matrix, self.stream.group
        m.submodules.queue = queue = fifo.SyncFIFO(width=self.tile_layout.size, depth=_WAITING)
        header = Signal.like(matrix.payload, reset_less=True)
        working = Signal()
        wide = header.type == WeightType.Q8_0
        # Rows of the matrix that are not complete, and lines of a row.
        left, lines_of_row = Signal(COUNT_BITS), Signal(COUNT_BITS)
        row, line, way = (
            Signal(range(shape.outputs)), Signal(range(max(2, self.lines))),
            Signal(range(max(2, shape.ways))),
        )  # fmt: skip
        part, count = Signal(range(max(2, self.parts))), Signal(COUNT_BITS)
        # Free lines of the ring; those of the tile that is being written are taken already.
        first = Signal(range(max(2, self.lines)))
        free = Signal(range(self.lines + 1), init=self.lines)
        reserved = Signal()
        block_shift = (arch.block * shape.ways).bit_length() - 1
        m.d.comb += matrix.ready.eq(~working)
        with m.If(matrix.valid & ~working):
            m.d.sync += [
                header.eq(matrix.payload), working.eq(1), left.eq(matrix.payload.rows), row.eq(0),
                count.eq(0), way.eq(0), part.eq(0),
                lines_of_row.eq(matrix.payload.columns >> block_shift), reserved.eq(0),
            ]  # fmt: skip
        # Room for a tile is taken before its first row.
        taken, given = Signal(range(self.lines + 1)), Signal(range(self.lines + 1))
        fits = (free >= lines_of_row) & queue.w_rdy
        with m.If(working & ~reserved & fits):
            m.d.comb += taken.eq(lines_of_row)
            m.d.sync += [reserved.eq(1), line.eq(first)]
        writing = working & reserved & group.valid
        ends_line = way == shape.ways - 1
        ends_part = part == self.parts - 1
        ends_row = count == lines_of_row - 1
        last_row = left == 1
        tile_rows = Mux(wide, arch.rows - 1, shape.outputs - 1)
        m.d.comb += group.ready.eq(working & reserved & ends_part)
        tile_ends = Signal()
        with m.If(writing):
            m.d.sync += part.eq(Mux(ends_part, 0, part + 1))
            with m.If(ends_part):
                m.d.sync += way.eq(Mux(ends_line, 0, way + 1))
                with m.If(ends_line):
                    m.d.sync += [count.eq(count + 1), line.eq(self._after(line))]
                    with m.If(ends_row):
                        m.d.sync += [
                            count.eq(0), left.eq(left - 1), row.eq(row + 1), line.eq(first),
                        ]  # fmt: skip
                        with m.If(last_row | (row == tile_rows)):
                            m.d.comb += tile_ends.eq(1)
                            m.d.sync += [
                                row.eq(0), reserved.eq(0), first.eq(self._after(line)),
                            ]  # fmt: skip
                            with m.If(last_row):
                                m.d.sync += working.eq(0)
        described = Signal(self.tile_layout)
        top = Mux(
            header.scale_exponent > header.minimum_exponent,
            header.scale_exponent, header.minimum_exponent,
        )  # fmt: skip
        m.d.comb += [
            described.type.eq(header.type),
            described.columns.eq(header.columns),
            # Those of this tile are counted down already but for the last one.
            described.left.eq(left + row),
            described.top.eq(top),
            described.line.eq(first),
            queue.w_en.eq(tile_ends),
            queue.w_data.eq(described),
            self.tile.valid.eq(queue.r_rdy),
            self.tile.payload.eq(queue.r_data),
            queue.r_en.eq(self.tile.ready),
        ]
        with m.If(self.tile.valid & self.tile.ready):
            m.d.comb += given.eq(self.tile.payload.columns >> block_shift)
        m.d.sync += free.eq(free - taken + given)
        self._banks(m, writing, wide, row, line, way, part)
        return m

    def _after(self, line: Value) -> Value:
        return Mux(line == self.lines - 1, 0, line + 1)[: len(line)]

    def _banks(
        self, m: Module, writing: Value, wide: Value, row: Value, line: Value, way: Value,
        part: Value,
    ) -> None:  # fmt: skip
        """A memory for each row and lane; ways are written one by one."""
        shape, arch = self.shape, self.shape.arch
        size = arch.block // self.parts
        weights = self.stream.group.payload.weights
        halves = Cat(self.stream.group.payload.scale, self.stream.group.payload.minimum)
        low, high = (
            Array(
                Cat(weights[first + i][begin : begin + NIBBLE] for i in range(size))
                for first in range(0, arch.block, size)
            )[part]
            for begin in (0, NIBBLE)
        )
        word = data.StructLayout({"nibbles": size * NIBBLE, "halves": self.half_bits})
        for bank in range(shape.outputs):
            lane, own = divmod(bank, arch.rows)
            store = memory.Memory(
                shape=data.ArrayLayout(word.size, shape.ways), depth=self.lines * self.parts,
                init=[], attrs=ANY_ON_COLLISION,
            )  # fmt: skip
            m.submodules[f"bank_{bank}"] = store
            into = store.write_port(granularity=1)
            read = clocked_read(m, store, self.line * self.parts + self.part, self.enable)
            mine = Mux(wide, (row == own) if lane < 2 else 0, row == bank)
            content = Cat(
                Mux(wide & (lane == 1), high, low), halves.word_select(part, self.half_bits)
            )
            m.d.comb += [
                into.addr.eq(line * self.parts + part),
                into.en.eq(Mux(writing & mine, 1 << way, 0)),
            ]
            for index in range(shape.ways):
                found = data.View(word, read[index])
                m.d.comb += [
                    into.data[index].eq(content),
                    Value.cast(self.nibbles[bank][index]).eq(found.nibbles),
                    self.halves[bank][index].eq(found.halves),
                ]
