"""GEMV and GEMM: the rows of a matrix with the blocks of all active tokens.

Tiles are taken in turn; for each, the blocks of one token after the other go through the array. So
a weight is read from memory once for all tokens.
"""

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.formats import GUARD, ZERO, WeightType
from dyncc.arch.skipopu.isa import COUNT_BITS, Engine, Op, Trap
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS
from dyncc_hw.skipopu.array.activations import slice_signature
from dyncc_hw.skipopu.array.feed import item_layout
from dyncc_hw.skipopu.array.results import about_layout
from dyncc_hw.skipopu.array.tiles import TileStore
from dyncc_hw.skipopu.interfaces import TRAP_BITS, work_layout
from dyncc_hw.skipopu.shape import EXPONENT_BITS, NIBBLE, ArrayShape

#: Tiles and tokens whose results may be on their way.
_RESULTS = 4


def lowest(mask: Any) -> Value:
    """Number of the lowest bit that is set; any number if none is."""
    mask = Value.cast(mask)
    if len(mask) == 1:
        return Value.cast(Const(0, 1))
    # Halves side by side: a chain of all bits would be long.
    bits = (len(mask) - 1).bit_length() - 1
    low, high = mask[: 1 << bits], mask[1 << bits :]
    found = Mux(low.any(), lowest(low), lowest(high)) if bits else Const(0, 0)
    return Cat(found[:bits], ~low.any())


class MatrixEngine(wiring.Component):
    """Feeds the array from the tiles and the activation buffer.

    Cycles: two to begin; then for each token one for each block, for exponents; then for each tile
    and token one for each slice. Results come behind that.

    Parameters
    ----------
    shape
        Of the array.
    tiles
        Where the rows are.

    Members
    -------
    begin, work
        An instruction, in the cycle of `begin`; its payload stays.
    ends, trap
        It is done, with the reason if it could not be carried out.
    starved
        It waits for a tile.
    tile, line, part, fetch, nibbles, halves
        The other side of `TileStore`.
    activations
        See `ActivationBuffer`.
    item
        To `ArrayFeed`.
    about, idle
        To `ResultWriter`.

    Raises
    ------
    ConfigError
        If rows times lanes are no power of two.
    """

    def __init__(self, shape: ArrayShape, tiles: TileStore) -> None:
        self.shape = shape
        if shape.outputs & (shape.outputs - 1):
            raise ConfigError(f"rows and lanes make {shape.outputs} outputs, not a power of two")
        store = tiles.signature.members
        super().__init__(
            {
                "begin": In(1),
                "work": In(work_layout(Engine.PE, shape.arch)),
                "ends": Out(1), "trap": Out(TRAP_BITS), "starved": Out(1),
                "tile": In(stream.Signature(tiles.tile_layout)),
                "line": Out(store["line"].shape), "part": Out(store["part"].shape),
                "fetch": Out(1),
                "nibbles": In(tiles.nibbles_layout), "halves": In(tiles.halves_layout),
                "activations": Out(slice_signature(shape)),
                "item": Out(stream.Signature(item_layout(shape))),
                "about": Out(stream.Signature(about_layout(shape))),
                "idle": In(1),
            }
        )  # fmt: skip
        self._lines, self._parts = tiles.lines, tiles.parts

    def elaborate(self, platform: Any) -> Module:
        """Check, scan exponents, go through tiles, wait for results."""
        m = Module()
        shape, arch, work = self.shape, self.shape.arch, self.work
        block_shift = (arch.block * shape.ways).bit_length() - 1
        groups = Signal(COUNT_BITS)
        last_group = Signal(len(self.activations.block))
        tokens_left = Signal(arch.tokens)
        token = lowest(tokens_left)
        others = tokens_left & (tokens_left - 1)
        largest = Array(Signal(signed(BASE_BITS), name=f"largest_{t}") for t in range(arch.tokens))
        group, at = Signal(len(self.activations.block)), Signal(len(self.activations.slice))
        rows_left, word = Signal(COUNT_BITS), Signal(COUNT_BITS)
        line, begins = Signal(self.line.shape()), Signal()
        trap, bad_shape, outside = Signal(TRAP_BITS), Signal(), Signal()
        is_wide = work.type == WeightType.Q8_0
        tile_rows = Mux(is_wide, arch.rows, shape.outputs)
        rows_here = Mux(rows_left > tile_rows, tile_rows, rows_left)[: len(self.about.payload.rows)]
        base = Signal(signed(BASE_BITS))
        # Stage 1: what was read in the cycle before.
        advance, issue, flying = Signal(), Signal(), Signal()
        scanned, scanning = Signal(range(max(2, arch.tokens))), Signal()
        m.submodules.about = about = fifo.SyncFIFOBuffered(
            width=len(Value.cast(self.about.payload)), depth=_RESULTS
        )
        m.d.comb += [
            groups.eq(work.columns >> block_shift),
            self.about.valid.eq(about.r_rdy),
            Value.cast(self.about.payload).eq(about.r_data),
            about.r_en.eq(self.about.ready),
            self.activations.token.eq(token),
            self.activations.block.eq(
                (work.blocks + group * shape.ways)[: len(self.activations.block)]
            ),
            self.activations.slice.eq(at),
            self.trap.eq(trap),
        ]
        told = Signal.like(self.about.payload)
        m.d.comb += [
            told.token.eq(token), told.word.eq(word), told.rows.eq(rows_here),
            told.base.eq(base), told.wide.eq(is_wide), about.w_data.eq(told),
        ]  # fmt: skip
        m.d.comb += base.eq(
            Mux(largest[token] == ZERO, ZERO, self.tile.payload.top + largest[token] - GUARD)
        )
        tile_line = Mux(begins, self.tile.payload.line, line)
        slices_of_part = shape.slices // self._parts
        m.d.comb += [self.line.eq(tile_line), self.part.eq(at // slices_of_part)]
        last_slice = at == shape.slices - 1
        starts_token = (group == 0) & (at == 0)
        ends_token = (group == last_group) & last_slice
        run = Signal()
        m.d.comb += [
            issue.eq(run & self.tile.valid & advance & (about.w_rdy | ~starts_token)),
            about.w_en.eq(issue & starts_token),
            self.fetch.eq(issue),
            advance.eq(~flying | self.item.ready),
        ]
        with m.If(advance):
            m.d.sync += flying.eq(issue)
        with m.If(issue):
            m.d.sync += [at.eq(at + 1), begins.eq(0), line.eq(tile_line)]
            with m.If(last_slice):
                after = Mux(tile_line == self._lines - 1, 0, tile_line + 1)
                m.d.sync += [at.eq(0), group.eq(group + 1), line.eq(after)]
            with m.If(ends_token):
                m.d.sync += [group.eq(0), begins.eq(1), tokens_left.eq(others)]
                with m.If(~others.any()):
                    m.d.sync += [
                        tokens_left.eq(work.active), rows_left.eq(rows_left - rows_here),
                        word.eq(word + tile_rows // arch.vector_lanes),
                    ]  # fmt: skip
                    m.d.comb += self.tile.ready.eq(1)
        with m.FSM():
            with m.State("IDLE"), m.If(self.begin):
                m.d.sync += [
                    flag.eq(value)
                    for flag, value in zip((bad_shape, outside), self._wrong(), strict=True)
                ]
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.starved.eq(~self.tile.valid)
                m.d.sync += [
                    tokens_left.eq(work.active), group.eq(0), at.eq(0), begins.eq(1),
                    rows_left.eq(work.rows), last_group.eq(groups - 1),
                    word.eq(work.vector // arch.vector_lanes),
                    *(item.eq(ZERO) for item in largest),
                ]  # fmt: skip
                with m.If(self.tile.valid):
                    m.d.sync += trap.eq(
                        Mux(
                            bad_shape | ~self._fits(), Trap.SHAPE,
                            Mux(outside, Trap.BUFFER, Trap.NONE),
                        )
                    )  # fmt: skip
                    m.next = "SCAN"
            with m.State("SCAN"):
                # Results of the instruction before may not be written with this one's scalar.
                m.d.comb += self.activations.enable.eq(tokens_left.any())
                m.d.sync += scanning.eq(tokens_left.any())
                with m.If(trap.any()):
                    m.next = "END"
                with m.Elif(tokens_left.any()):
                    m.d.sync += [group.eq(group + 1), scanned.eq(token)]
                    with m.If(group == last_group):
                        m.d.sync += [group.eq(0), tokens_left.eq(others)]
                with m.Elif(~scanning):
                    m.d.sync += tokens_left.eq(work.active)
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [
                    run.eq(rows_left.any()), self.activations.enable.eq(issue),
                    self.starved.eq(run & ~self.tile.valid & ~flying),
                ]  # fmt: skip
                with m.If(~rows_left.any() & ~flying & self.idle & (about.level == 0)):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += self.ends.eq(1)
                m.next = "IDLE"
        with m.If(scanning):
            for way in range(shape.ways):
                top = self.activations.exponents[way]
                with m.If(top > largest[scanned]):
                    m.d.sync += largest[scanned].eq(top)
        self._stage(m, issue, advance, flying, at, group, last_group, base, slices_of_part)
        return m

    def _wrong(self) -> tuple[Value, Value]:
        """Whether sizes are wrong whatever the matrix; whether places are outside of buffers."""
        arch, work, shape = self.shape.arch, self.work, self.shape
        several = ((work.tokens > 1) & (work.op == Op.GEMV)) if arch.tokens > 1 else Const(0)
        count = work.columns >> (arch.block.bit_length() - 1)
        return (
            several | (work.columns % (arch.block * shape.ways) != 0) | ~work.columns.any()
            | (work.vector % arch.vector_lanes != 0),
            (work.blocks + count > arch.blocks) | (work.vector + work.rows > arch.vector_words),
        )  # fmt: skip

    def _fits(self) -> Value:
        """Whether its rows can be those that are streamed."""
        work, tile, arch = self.work, self.tile.payload, self.shape.arch
        wide = work.type == WeightType.Q8_0
        rest = Mux(wide, work.rows % arch.rows, work.rows % self.shape.outputs)
        fits: Value = (
            (tile.type == work.type) & (tile.columns == work.columns) & work.rows.any()
            & (work.rows <= tile.left)
            & ((rest == 0) | (work.rows == tile.left))
        )  # fmt: skip
        return fits

    def _stage(
        self, m: Module, issue: Any, advance: Any, flying: Any, at: Any, group: Any,
        last_group: Any, base: Any, slices_of_part: int,
    ) -> None:  # fmt: skip
        """The item that goes into the array: what was read, and what was known then."""
        shape, arch, item = self.shape, self.shape.arch, self.item.payload
        last = at == shape.slices - 1
        now = Signal(range(max(2, shape.slices)))
        flags = {name: Signal(name=f"item_{name}") for name in ("first", "last", "begins", "ends")}
        held_base = Signal(signed(BASE_BITS))
        with m.If(advance & issue):
            m.d.sync += [
                now.eq(at), held_base.eq(base), flags["first"].eq(at == 0), flags["last"].eq(last),
                flags["begins"].eq(group == 0), flags["ends"].eq(group == last_group),
            ]  # fmt: skip
        wide = self.work.type == WeightType.Q8_0
        m.d.comb += [
            self.item.valid.eq(flying),
            item.wide.eq(wide),
            item.unsigned.eq(self.work.type == WeightType.Q4_1),
            *(item[name].eq(flag) for name, flag in flags.items()),
            Value.cast(item.activations).eq(Value.cast(self.activations.mantissas)),
        ]
        for way in range(shape.ways):
            m.d.comb += item.shifts[way].eq(
                (held_base - self.activations.exponents[way])[:EXPONENT_BITS]
            )
        choice = now % slices_of_part
        for row in range(arch.rows):
            for column in range(arch.columns):
                way, offset = divmod(column, shape.span)
                nibbles = [
                    Array(
                        Value.cast(self.nibbles[lane * arch.rows + row][way][first + offset])
                        for first in range(0, slices_of_part * shape.span, shape.span)
                    )[choice]
                    for lane in range(arch.products)
                ]
                packed = Cat(*nibbles)
                # What the lanes of a wide weight do not hold is its sign.
                alone = packed[: 2 * NIBBLE].as_signed()
                m.d.comb += item.weights[row][column].eq(Mux(wide, alone, packed))
        self._halves(m, now, flying)

    def _halves(self, m: Module, now: Any, flying: Any) -> None:
        """Scales come in as many pieces as a line has parts; the last slice has all of them."""
        shape, item = self.shape, self.item.payload
        slices_of_part = shape.slices // self._parts
        for bank in range(shape.outputs):
            for way in range(shape.ways):
                piece = Value.cast(self.halves[bank][way])
                kept = [
                    Signal(len(piece), name=f"half_{bank}_{way}_{number}")
                    for number in range(self._parts - 1)
                ]
                for number, register in enumerate(kept):
                    with m.If(flying & (now == number * slices_of_part)):
                        m.d.sync += register.eq(piece)
                m.d.comb += item.scales[bank][way].eq(Cat(*kept, piece))
