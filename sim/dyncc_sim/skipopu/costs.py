"""Cycles and bytes of instructions: what each costs an engine, and the memory port.

The vector engine works on `ArchSpec.vector_lanes` elements in a cycle, the PE array on
`ArchSpec.tile_rows` outputs and `ArchSpec.columns` inputs of one token. Each row of the array has
one unit that turns sums into floats. `FILL` are the depths of pipelines. Constants count states and
stages of the hardware, or are what `calibration` found.
"""

from __future__ import annotations

from dataclasses import dataclass

from dyncc.arch.skipopu.formats import GROUPS, KvType, WeightType, kv_slot_bytes
from dyncc.arch.skipopu.isa import ATTENTION_TILE, Function, LoadMode, Op
from dyncc.arch.skipopu.matrices import HEADER_BYTES, row_bytes
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_sim.skipopu.sequencer import Mask, Work

#: Cycles from the last input of an instruction to its last result.
FILL = {Op.GEMV: 29, Op.GEMM: 29, Op.ATTN: 48, Op.ROUTE: 38}
#: From an instruction's start to its first tile, and beside a cycle for each block.
PRODUCT_START, PRODUCT_SCAN = 4, 2
#: Attention beside items, positions and blocks: scores to probabilities, a block of values, the end
#: of a head, its end after all tiles; a tile, and the instruction.
SCORES_FILL, VALUES_FILL, HEAD_FILL, FINAL_FILL, TILE_TURN, ATTENTION_START = 34, 9, 20, 22, 2, 12
#: Cycles from a first word to the end of a load, and of instructions that only wait and release.
DONE, SUPPRESSED = 3, 2
#: From the end of an instruction to the start of one that waits for its semaphores.
GRANT = 2
#: Loads of rows: before the request, behind a row, and from a row's number to its request.
ROW_BEFORE, ROW_AFTER, ROW_NEXT, ROW_PLACE = 5, 5, 2, 8
#: Of a matrix, beside those of two serial products.
MATRIX_BEFORE = 17
#: From a start to an engine's first cycle, and from its last one to the next start.
TURN = 2
#: Stores: before the first row, before its words and behind them.
STORE_START, STORE_AFTER = 3, 2
#: Keys and values: before the first token, and of its slot's address; a slot's latency; behind the
#: entry of a token whose slot goes on chip, and of one whose entry is all.
KV_START, KV_SLOT, SLOT_FILL, KEPT, WRITTEN = 4, 8, 6, 16, 2
#: Of an entry of the table of slots, and most bytes that a bank of the history takes.
ENTRY_CYCLES, FILL_BYTES = 3, 4
#: The same of functions of `Op.NPE`. These and that of `Op.ROUTE` are the hardware's, some with
#: more in `Costs.vector_cycles` (docs/skipopu-hardware.md).
FUNCTION_FILL = {
    Function.COPY: 13, Function.ADD: 13, Function.MUL: 13, Function.SWIGLU: 34, Function.ROPE: 39,
    Function.TO_BFP: 17, Function.TO_BFP_GAIN: 17, Function.SUM_SQUARES: 37, Function.ARGMAX: 6,
}  # fmt: skip
ENTRY_BYTES = 4
ROUTER_ROWS = 4


@dataclass(frozen=True)
class Traffic:
    """Bytes that an instruction reads and writes."""

    read: int = 0
    written: int = 0


class Costs:
    """Costs on an instance.

    Parameters
    ----------
    arch
        The instance.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self._arch = arch

    # --- products -----------------------------------------------------------------------------

    def tiles(self, work: Work, fresh: bool) -> list[tuple[int, float]]:
        """Bytes and cycles of each tile of rows of a `Op.GEMV`, `Op.GEMM` or `Op.ROUTE`.

        Parameters
        ----------
        fresh
            Whether its rows are the first of their matrix, behind a header.
        """
        v, arch = work.values, self._arch
        if work.instruction.op == Op.ROUTE:
            kind, rows, together = WeightType.BFP16, ROUTER_ROWS, ROUTER_ROWS
        else:
            kind, rows = WeightType(v["type"]), v["rows"]
            together = arch.tile_rows(kind)
        row = row_bytes(kind, v["columns"], arch.block)
        header = HEADER_BYTES if fresh else 0
        if work.instruction.op == Op.ROUTE:
            return [(rows * row + header, self.vector_cycles(work) + TURN)]
        # The unit behind the rows makes as many results in a cycle as the vector buffer takes.
        tokens = int(work.active.sum())
        whole = max(_parts(v["columns"], arch.columns), _parts(together, arch.vector_lanes))
        # The largest exponent of each token is looked for once the first rows are there.
        cycles = float(whole * tokens + tokens * (v["columns"] // arch.block) + PRODUCT_SCAN)
        found = []
        for first in range(0, rows, together):
            found.append((min(together, rows - first) * row + header, cycles))
            header, cycles = 0, float(whole * tokens)
        return found

    def product_fill(self, work: Work) -> tuple[float, float]:
        """Cycles before the first tile of a product, and behind the last one."""
        op, arch = work.instruction.op, self._arch
        if op == Op.ROUTE:
            return 0.0, 0.0
        outputs = arch.tile_rows(WeightType(work.values["type"]))
        return PRODUCT_START, FILL[op] + _parts(outputs, arch.vector_lanes)

    def stream_tiles(self, work: Work) -> list[int]:
        """Bytes of the tiles of a matrix that is loaded."""
        v, arch = work.values, self._arch
        kind = WeightType(v["type"])
        together = ROUTER_ROWS if kind == WeightType.BFP16 else arch.tile_rows(kind)
        row = v["columns"] // arch.block * GROUPS[kind].bytes(arch.block)
        found = [min(together, v["rows"] - first) * row for first in range(0, v["rows"], together)]
        return [found[0] + HEADER_BYTES, *found[1:]] if found else []

    def multiplications(self, work: Work) -> int:
        """Products of the PE array, without those of parts of it that lie idle."""
        v, op, tokens = work.values, work.instruction.op, int(work.active.sum())
        if op in (Op.GEMV, Op.GEMM):
            return tokens * v["rows"] * v["columns"]
        if op == Op.ATTN:
            positions = int((work.position + 1 + work.active.nonzero()[0]).sum())
            return 2 * positions * v["heads"] * v["head_size"]
        return 0

    # --- attention ----------------------------------------------------------------------------

    def attention(self, work: Work, tiles: int) -> tuple[list[float], float]:
        """Cycles of each tile of positions, and those behind the last one."""
        if self._arch.overlapped_heads > 1:
            steady, alone = self._overlapped(work)
            return [steady] * tiles, alone - steady + FILL[Op.ATTN]
        found = []
        for tile in range(tiles):
            cycles = 0
            for token in work.active.nonzero()[0]:
                below = work.position + int(token) + 1 - ATTENTION_TILE * tile
                cycles += TILE_TURN
                if below > 0:
                    cycles += work.values["heads"] * self._head(work, min(below, ATTENTION_TILE))
            found.append(float(cycles))
        ends = 1 + FINAL_FILL + _parts(work.values["head_size"], self._arch.vector_lanes)
        return found, float(work.values["heads"] * int(work.active.sum()) * ends)

    def _head(self, work: Work, positions: int) -> int:
        """Cycles of a head over a tile in which so many positions count, one step after the other.

        Exponents of keys; scores; probabilities; for each block of values its exponents, weights,
        weighted sums.
        """
        arch = self._arch
        blocks = work.values["head_size"] // arch.block
        scores = _parts(ATTENTION_TILE, arch.rows) * _parts(work.values["head_size"], arch.columns)
        turns = _parts(arch.block, arch.rows)
        sums = turns * max(
            _parts(ATTENTION_TILE, arch.columns), _parts(arch.rows, arch.merge_lanes)
        )
        block = VALUES_FILL + 2 * positions + sums
        return blocks + scores + SCORES_FILL + positions + blocks * block + HEAD_FILL

    def _overlapped(self, work: Work) -> tuple[float, float]:
        """Cycles of a tile of positions once the pipeline is full, and those of one alone.

        Scores and weighted sums share the array, head by head; powers of two come from the lanes
        of the vector engine's kind, partial results merge in the units of the rows.
        """
        v, arch = work.values, self._arch
        heads, size = v["heads"] * int(work.active.sum()), v["head_size"]
        scores = _parts(ATTENTION_TILE, arch.rows) * _parts(size, arch.columns)
        sums = _parts(size, arch.rows) * _parts(ATTENTION_TILE, arch.columns)
        stages = (
            heads * (scores + sums),
            _parts(heads * ATTENTION_TILE, arch.vector_lanes),
            _parts(heads * size, arch.rows),
        )
        return float(max(stages)), float(sum(stages))

    def attention_setup(self, work: Work, entries: int) -> float:
        """Cycles from the table of slots to the first tile."""
        return float(ATTENTION_START + entries * ENTRY_CYCLES)

    def slots_cycles(self, work: Work, slots: int) -> float:
        """Cycles in which slots that were fetched are put into their places.

        Instances with overlapping heads, which are not built, put them there as they come.
        """
        if self._arch.overlapped_heads > 1:
            return 0.0
        return float(slots * (self._fill_cycles(work) + 3))

    def _fill_cycles(self, work: Work) -> int:
        """Of a slot: as many of its bytes a cycle as a bank of the history takes."""
        arch, v = self._arch, work.values
        width = min(arch.bus_bytes, (2 if arch.kv == KvType.F16 else 1) * arch.columns, FILL_BYTES)
        return _parts(kv_slot_bytes(arch.kv, v["kv_heads"], v["head_size"]), width)

    # --- keys and values ----------------------------------------------------------------------

    def kv_setup(self, work: Work) -> float:
        """Cycles before the first token of `Op.KVAPP` or `Op.KVSEL`: serial products."""
        cycles = KV_START + work.context.bit_length()
        if work.instruction.op == Op.KVAPP:
            cycles += KV_SLOT
        return float(cycles)

    def kv_after(self, work: Work) -> float:
        """Cycles from the entry of a token to the next token."""
        return float(KEPT if work.instruction.op == Op.KVAPP else WRITTEN)

    def slot_cycles(self, work: Work) -> float:
        """Cycles in which a slot is made from numbers of the vector buffer."""
        v, arch = work.values, self._arch
        numbers = 2 * v["kv_heads"] * v["head_size"]
        cycles = _parts(numbers, arch.vector_lanes) + SLOT_FILL
        if arch.kv == KvType.BFP8:
            cycles += numbers // 32 + 32 // arch.vector_lanes + 1
        return float(cycles)

    def kv_cycles(self, work: Work) -> float:
        """Cycles in which the engine of keys and values works, and does not wait for memory."""
        each = self.slot_cycles(work) if work.instruction.op == Op.KVAPP else 1.0
        return self.kv_setup(work) + int(work.active.sum()) * each

    # --- rows ---------------------------------------------------------------------------------

    def matrix_setup(self, work: Work) -> float:
        """Cycles until the first request for a matrix is before memory."""
        v = work.values
        size = GROUPS[WeightType(v["type"])].bytes(self._arch.block)
        return float(MATRIX_BEFORE + size.bit_length() + v["rows"].bit_length())

    def row_setup(self, work: Work) -> tuple[float, float, float]:
        """Cycles of a row before its request, from its number to its request, and behind it."""
        v = work.values
        if v["mode"] == LoadMode.ROW_Q8_0:
            size = GROUPS[WeightType.Q8_0].bytes(self._arch.block).bit_length()
            numbers = max(1, v["rows"] - 1).bit_length()
            return ROW_BEFORE + 1 + size, ROW_PLACE + numbers, ROW_AFTER + ROW_NEXT + 1
        return ROW_BEFORE, 0, ROW_AFTER + (ROW_NEXT if v["index"] else 0)

    def row_bytes(self, work: Work) -> int:
        """Bytes of a row that is loaded."""
        v = work.values
        if v["mode"] == LoadMode.ROW_Q8_0:
            return self._matrix_bytes(WeightType.Q8_0, 1, v["columns"])
        return 4 * v["columns"]

    def row_cycles(self, work: Work) -> float:
        """Cycles in which a row is written: one for all tokens is written once for each."""
        v, arch = work.values, self._arch
        if v["mode"] == LoadMode.ROW_Q8_0:
            # A scale takes a cycle, and then two weights do.
            return float(v["columns"] // min(arch.vector_lanes, 2) + v["columns"] // arch.block)
        together = min(arch.vector_lanes, max(1, arch.bus_bytes // 4))
        tokens = 1 if v["index"] else int(work.active.sum())
        return float(tokens * _parts(v["columns"], together))

    def store_cycles(self, work: Work) -> float:
        """Cycles in which a row is read from the vector buffer."""
        return float(_parts(work.values["columns"], self._arch.vector_lanes))

    # --- the other engines --------------------------------------------------------------------

    def vector_cycles(self, work: Work) -> float:
        """Cycles of an instruction that goes through the elements of each token once."""
        v, op = work.values, work.instruction.op
        turns = int(work.active.sum()) * _parts(v["columns"], self._arch.vector_lanes)
        if op != Op.NPE:
            return float(turns + FILL[op] + self._norm(work))
        return float(turns + self._fill(work))

    def _norm(self, work: Work) -> int:
        """Cycles in which sums of blocks wait until a vector's exponent is known."""
        arch = self._arch
        block = arch.block // arch.vector_lanes
        sums = work.values["columns"] // arch.block * arch.norm_turns
        return block + sums + (int(work.active.sum()) - 1) * max(0, sums - block)

    def _fill(self, work: Work) -> int:
        """Cycles of a function that do not follow from the numbers of elements alone."""
        v, arch, lanes = work.values, self._arch, self._arch.vector_lanes
        function = Function(v["function"])
        found = FUNCTION_FILL[function]
        if function in (Function.TO_BFP, Function.TO_BFP_GAIN):
            # A block waits until it is whole.
            found += arch.block // lanes
        elif function == Function.SUM_SQUARES:
            found += self._norm(work)
        elif function == Function.ARGMAX:
            # With one lane the number is written after the element.
            found += (6 if lanes == 1 else 5) * int(work.active.sum()) + (lanes - 1).bit_length()
            found -= lanes == 1
        elif function == Function.ROPE:
            # Rotations become F25 as fast as pairs are turned; faster ones wait for that.
            found += max(0, v["b"] // max(1, lanes // 2) - 4 * v["b"] // arch.bus_bytes)
        return found

    def traffic(self, work: Work, active: Mask, fetched: int) -> Traffic:
        """Bytes that an instruction moves.

        Parameters
        ----------
        active
            Tokens that it works on.
        fetched
            Slots that attention has to fetch.
        """
        v, op, arch, tokens = work.values, work.instruction.op, self._arch, int(active.sum())
        if op == Op.LD:
            return Traffic(read=self._loaded(v, tokens))
        if op == Op.ST:
            return Traffic(written=4 * v["columns"] * tokens)
        if op == Op.NPE and v["function"] == Function.ROPE:
            return Traffic(read=4 * v["b"] * tokens)
        if op in (Op.KVAPP, Op.ATTN):
            slot = kv_slot_bytes(arch.kv, v["kv_heads"], v["head_size"])
            if op == Op.KVAPP:
                return Traffic(written=(slot + ENTRY_BYTES) * tokens)
            return Traffic(read=self.table_bytes(work, active) + slot * fetched)
        if op == Op.KVSEL:
            return Traffic(0 if v["evict"] else ENTRY_BYTES * tokens, ENTRY_BYTES * tokens)
        return Traffic()

    def table_bytes(self, work: Work, active: Mask) -> int:
        """Bytes of the table of slots that attention reads: up to the last token."""
        return ENTRY_BYTES * (work.position + int(active.nonzero()[0][-1]) + 1)

    def _loaded(self, v: dict[str, int], tokens: int) -> int:
        mode = LoadMode(v["mode"])
        if mode == LoadMode.WEIGHTS:
            return self._matrix_bytes(WeightType(v["type"]), v["rows"], v["columns"])
        if mode == LoadMode.VECTOR_F32:
            return 4 * v["columns"] * (tokens if v["index"] else 1)
        return (ENTRY_BYTES + self._matrix_bytes(WeightType.Q8_0, 1, v["columns"])) * tokens

    def _matrix_bytes(self, kind: WeightType, rows: int, columns: int) -> int:
        """As `matrix_bytes`, but also of shapes that a suppressed instruction may have."""
        block = self._arch.block
        return HEADER_BYTES + rows * (columns // block) * GROUPS[kind].bytes(block)


def _parts(count: int, size: int) -> int:
    return -(-count // size)
