"""The stream of matrices: asks memory for them ahead, and takes them apart into groups."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from dyncc.arch.skipopu.formats import GROUPS, MATRIX_HEADER, WeightType
from dyncc.arch.skipopu.isa import COUNT_BITS, Trap
from dyncc.arch.skipopu.matrices import HEADER_BYTES
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import (
    ADDRESS_BITS,
    TRAP_BITS,
    group_layout,
    matrix_signature,
    read_signature,
    wide_group_layout,
)
from dyncc_hw.skipopu.memory.bursts import Geometry
from dyncc_hw.skipopu.memory.gearbox import Gearbox
from dyncc_hw.skipopu.skid import SkidBuffer

#: Words that are asked for together at least, so that the port has time to check each request.
_CHUNK_WORDS = 8
#: A matrix to be loaded: where all its bytes are, its format and shape.
WANTED = data.StructLayout(
    {
        "address": ADDRESS_BITS, "bytes": ADDRESS_BITS,
        "type": 2, "rows": COUNT_BITS, "columns": COUNT_BITS,
    }
)  # fmt: skip
_SHAPE = data.StructLayout({"type": 2, "rows": COUNT_BITS, "columns": COUNT_BITS})
_HALF_TOP = 31


def field_places() -> dict[str, slice]:
    """Bits of the fields of a matrix's header."""
    found, bit = {}, 0
    for item in MATRIX_HEADER:
        found[item.name] = slice(bit, bit + item.bits)
        bit += item.bits
    return found


def fits(held: Any, depth: int, chunk: int) -> Value:
    """Whether there is room for a chunk beside the words that are held."""
    return held <= depth - chunk


class MatrixStream(wiring.Component):
    """Loads matrices one after the other, ahead of those that take them.

    Memory is asked for a chunk only when there is room for all of it, so that whoever does not take
    rows never holds up the port. Chunks end at multiples of a burst if the matrix begins with a
    word of the bus. There is room for one chunk more than there may be bursts on their way.

    Throughput: a word of the bus a cycle, or a group a cycle if that is less.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    load
        Stream of `WANTED`; a matrix is taken when the one before has been asked for completely.
        Columns are a multiple of the block, `bytes` is what they and the rows take.
    arrived
        In one cycle: the first word of the matrix that was taken last is there.
    memory
        To the port.
    narrow, wide
        Matrices, see `interfaces.matrix_signature`; those in BFP16 are `wide`.
    trap
        In one cycle: `Trap.SHAPE` if a scale or minimum is no finite number; else 0.
    idle
        Nothing is asked for, and everything was taken.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch, self.geometry = arch, Geometry.of(arch)
        self.chunk_words = max(self.geometry.burst_words, _CHUNK_WORDS)
        room = (self.geometry.requests + 1) * self.chunk_words
        #: Words that are asked for, or wait.
        self.depth = 1 << (room - 1).bit_length()
        super().__init__(
            {
                "load": In(stream.Signature(WANTED)),
                "arrived": Out(1),
                "memory": Out(read_signature(self.geometry.bus_bytes)),
                "narrow": Out(matrix_signature(group_layout(arch))),
                "wide": Out(matrix_signature(wide_group_layout(arch))),
                "trap": Out(TRAP_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Requests, a FIFO, and the unpacker."""
        m = Module()
        size = self.geometry.bus_bytes
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=8 * size, depth=self.depth)
        # Whether a row is taken comes from far away.
        m.submodules.skid = skid = SkidBuffer(8 * size)
        m.submodules.unpacker = unpacker = Unpacker(self.arch)
        wiring.connect(m, skid.output, unpacker.input)
        memory, load, given = self.memory, self.load, self.load.payload

        # One matrix is taken apart, and the shape of another may wait.
        asks, waits = Signal(), Signal()
        shape = Signal(_SHAPE, reset_less=True)
        address, left = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        m.d.comb += [
            load.ready.eq(~asks & ~waits),
            unpacker.shape.valid.eq(waits),
            Value.cast(unpacker.shape.payload).eq(Value.cast(shape)),
        ]
        starts = load.valid & load.ready
        with m.If(starts):
            m.d.sync += [
                asks.eq(1), waits.eq(1), address.eq(given.address), left.eq(given.bytes),
                *(shape[name].eq(given[name]) for name in _SHAPE.members),
            ]  # fmt: skip
        with m.Elif(unpacker.shape.ready):
            m.d.sync += waits.eq(0)

        # Chunks.
        held, coming = Signal(range(self.depth + 1)), Signal(range(self.depth + 1))
        count = Signal(range(self.chunk_words + 1))
        shift, bits = self.geometry.shift, exact_log2(self.chunk_words)
        up_to = Signal.like(count)
        chunk, final = Signal(range(self.chunk_words * size + 1)), Signal()
        m.d.comb += [
            up_to.eq(self.chunk_words - address[shift : shift + bits]),
            final.eq(left <= (up_to << shift)),
            chunk.eq(Mux(final, left, up_to << shift)),
            count.eq(Mux(final, (left + (size - 1)) >> shift, up_to)),
        ]
        request = memory.request
        offers = Signal()
        m.d.comb += request.valid.eq(offers)
        asked = request.valid & request.ready
        counted = Signal.like(count)
        rest = Signal()
        with m.If(asked):
            m.d.sync += [offers.eq(0), asks.eq(rest)]
        with m.Elif(asks & ~offers & fits(held, self.depth, self.chunk_words)):
            m.d.sync += [
                offers.eq(1), request.payload.address.eq(address),
                request.payload.bytes.eq(chunk), counted.eq(count),
                address.eq(address + chunk), left.eq(left - chunk), rest.eq(~final),
            ]  # fmt: skip

        # Words.
        comes, goes = Signal(), Signal()
        m.d.comb += [
            comes.eq(memory.data.valid & memory.data.ready),
            goes.eq(words.r_en & words.r_rdy),
            memory.data.ready.eq(1),
            words.w_en.eq(memory.data.valid),
            words.w_data.eq(memory.data.payload.word),
            skid.input.valid.eq(words.r_rdy),
            skid.input.payload.eq(words.r_data),
            words.r_en.eq(skid.input.ready),
        ]
        new = Mux(asked, counted, 0)
        m.d.sync += [held.eq(held + new - goes), coming.eq(coming + new - comes)]

        # Words of the matrix before that come first.
        before, awaited = Signal.like(coming), Signal()
        m.d.comb += self.arrived.eq(awaited & comes & (before == 0))
        with m.If(starts):
            m.d.sync += [before.eq(coming - comes), awaited.eq(1)]
        with m.Elif(comes):
            with m.If(before == 0):
                m.d.sync += awaited.eq(0)
            with m.Else():
                m.d.sync += before.eq(before - 1)

        wiring.connect(m, unpacker.narrow, wiring.flipped(self.narrow))
        wiring.connect(m, unpacker.wide, wiring.flipped(self.wide))
        m.d.comb += [
            self.trap.eq(unpacker.trap),
            self.idle.eq(~asks & ~offers & ~waits & unpacker.idle),
        ]
        return m


class Unpacker(wiring.Component):
    """Takes matrices apart: the header, then group by group.

    Latency: 2 cycles from a group's last word. Throughput: as `gearbox.Gearbox`; a cycle is lost
    from a matrix to the next.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    shape
        Stream of the matrices' type, rows and columns.
    input
        Stream of their words; each begins with a word of its own.
    narrow, wide, trap, idle
        As of `MatrixStream`.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch = arch
        self.lengths = {kind: GROUPS[kind].bytes(arch.block) for kind in WeightType}
        super().__init__(
            {
                "shape": In(stream.Signature(_SHAPE)),
                "input": In(stream.Signature(8 * arch.bus_bytes)),
                "narrow": Out(matrix_signature(group_layout(arch))),
                "wide": Out(matrix_signature(wide_group_layout(arch))),
                "trap": Out(TRAP_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Counts groups; a gearbox finds them."""
        m = Module()
        tag = data.StructLayout({"type": 2, "header": 1})
        most = max(*self.lengths.values(), HEADER_BYTES)
        m.submodules.gearbox = box = Gearbox(self.arch.bus_bytes, most, tag)
        wiring.connect(m, wiring.flipped(self.input), box.input)
        active, header = Signal(), Signal()
        shape = Signal(_SHAPE, reset_less=True)
        group_bits = COUNT_BITS - exact_log2(self.arch.block)
        columns, groups, rows = Signal(group_bits), Signal(group_bits), Signal(COUNT_BITS)
        one_column, one_row, none = Signal(), Signal(), Signal()
        item, out = Signal(box.gives), box.output
        m.d.comb += [
            columns.eq(shape.columns >> exact_log2(self.arch.block)),
            none.eq((shape.rows == 0) | (columns == 0)),
            Value.cast(item).eq(Value.cast(out.payload)),
        ]
        # Pairs of bytes of a group.
        length = Signal(range(most // 2 + 1), reset_less=True)
        final = Mux(header, none, one_column & one_row)
        m.d.comb += [
            box.enable.eq(active),
            box.length.eq(Mux(header, HEADER_BYTES // 2, length)),
            box.after.eq(Mux(final, 0, length)),
            box.tag.type.eq(shape.type),
            box.tag.header.eq(header),
        ]
        # Not while the header before is to be taken, whose shape this is.
        take = ~active & ~(out.valid & item.tag.header)
        m.d.comb += [
            self.shape.ready.eq(take),
            self.idle.eq(~active & ~out.valid),
        ]
        with m.If(take & self.shape.valid):
            m.d.sync += [
                Value.cast(shape).eq(Value.cast(self.shape.payload)),
                active.eq(1),
                header.eq(1),
            ]
            with m.Switch(self.shape.payload.type):
                for kind, size in self.lengths.items():
                    with m.Case(kind):
                        m.d.sync += length.eq(size // 2)
        with m.If(box.moves):
            m.d.sync += [header.eq(0), active.eq(~final)]
            with m.If(header):
                m.d.sync += [
                    rows.eq(shape.rows), one_row.eq(shape.rows == 1),
                    groups.eq(columns), one_column.eq(columns == 1),
                ]  # fmt: skip
            with m.Elif(one_column):
                m.d.sync += [
                    groups.eq(columns), one_column.eq(columns == 1),
                    rows.eq(rows - 1), one_row.eq(rows == 2),
                ]  # fmt: skip
            with m.Else():
                m.d.sync += [groups.eq(groups - 1), one_column.eq(groups == 2)]

        wide = item.tag.type == WeightType.BFP16
        self._header(m, shape, item, out.valid, wide)
        self._narrow(m, item)
        self._wide(m, item)
        for port, mine in ((self.narrow, ~wide), (self.wide, wide)):
            chosen = port.matrix.ready & item.tag.header | port.group.ready & ~item.tag.header
            m.d.comb += port.group.valid.eq(out.valid & mine & ~item.tag.header)
            with m.If(mine):
                m.d.comb += out.ready.eq(chosen)
        return m

    def _header(self, m: Module, shape: Any, item: Any, valid: Any, wide: Any) -> None:
        header = item.item[-8 * HEADER_BYTES :]
        for port, mine in ((self.narrow, ~wide), (self.wide, wide)):
            found = port.matrix.payload
            m.d.comb += [
                port.matrix.valid.eq(valid & mine & item.tag.header),
                *(found[name].eq(shape[name]) for name in _SHAPE.members),
                *(
                    found[name].eq(header[place])
                    for name, place in field_places().items()
                    if name != "reserved"
                ),
            ]

    def _halves(self, item: Any, kind: WeightType) -> list[Any]:
        """What is before the weights of a group: halves of 16 bits."""
        size = self.lengths[kind]
        group = item.item[-8 * size :]
        return [group.word_select(i, 16) for i in range(GROUPS[kind].header_bytes // 2)]

    def _narrow(self, m: Module, item: Any) -> None:
        """Groups of 4- and 8-bit weights."""
        group, block = self.narrow.group.payload, self.arch.block
        bytes_of = item.item[-8 * block :]
        nibbles = item.item[-4 * block :]
        eight = item.tag.type == WeightType.Q8_0
        for i in range(block):
            # GGUF's order: the first half of a group is in the lower halves of bytes.
            byte, high = i % (block // 2), i // (block // 2)
            whole = bytes_of.word_select(i, 8)
            low = Mux(eight, whole[:4], nibbles.word_select(2 * byte + high, 4))
            m.d.comb += group.weights[i].eq(Cat(low, Mux(eight, whole[4:], 0)))
        minimum = Signal(16)
        with m.Switch(item.tag.type):
            for kind in (WeightType.Q4_1, WeightType.Q8_0, WeightType.Q4_0G):
                with m.Case(kind):
                    scale, *others = self._halves(item, kind)
                    m.d.comb += group.scale.eq(scale)
                    if others:
                        m.d.comb += minimum.eq(others[0])
        m.d.comb += group.minimum.eq(minimum)
        wrong = Signal()
        m.d.comb += wrong.eq((group.scale[10:15] == _HALF_TOP) | (minimum[10:15] == _HALF_TOP))
        with m.If(self.narrow.group.valid & wrong):
            m.d.comb += self.trap.eq(Trap.SHAPE)

    def _wide(self, m: Module, item: Any) -> None:
        """Groups of 16-bit weights."""
        group, block = self.wide.group.payload, self.arch.block
        weights = item.item[-16 * block :]
        m.d.comb += group.exponent.eq(self._halves(item, WeightType.BFP16)[0])
        for i in range(block):
            m.d.comb += group.weights[i].eq(weights.word_select(i, 16))
