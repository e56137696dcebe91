"""Cycles and bytes of instructions: what each costs an engine, and the memory port.

The vector engine works on `ArchSpec.vector_lanes` elements in a cycle, the PE array on
`ArchSpec.tile_rows` outputs and `ArchSpec.columns` inputs of one token. Each row of the array has
one unit that turns sums into floats. `FILL` are the depths of pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass

from dyncc.arch.skipopu.formats import GROUPS, WeightType, kv_slot_bytes
from dyncc.arch.skipopu.isa import ATTENTION_TILE, Function, LoadMode, Op
from dyncc.arch.skipopu.matrices import HEADER_BYTES, row_bytes
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_sim.skipopu.sequencer import Mask, Work

#: Cycles from the last input of an instruction to its last result; those of the vector engine are
#: the hardware's (docs/skipopu-hardware.md), some with more in `Costs.vector_cycles`.
FILL = {
    Op.GEMV: 24, Op.GEMM: 24, Op.ATTN: 48, Op.ROUTE: 37, Op.KVAPP: 16, Op.KVSEL: 4,
    Function.COPY: 13, Function.ADD: 13, Function.MUL: 13, Function.SWIGLU: 34, Function.ROPE: 39,
    Function.TO_BFP: 16, Function.TO_BFP_GAIN: 16, Function.SUM_SQUARES: 36, Function.ARGMAX: 6,
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
            return [(rows * row + header, self.vector_cycles(work))]
        # The units behind the rows take a cycle for each of the packed outputs.
        whole = max(_parts(v["columns"], arch.columns), _parts(together, arch.rows))
        cycles = float(whole * int(work.active.sum()))
        found = []
        for first in range(0, rows, together):
            found.append((min(together, rows - first) * row + header, cycles))
            header = 0
        return found

    def multiplications(self, work: Work) -> int:
        """Products of the PE array, without those of parts of it that lie idle."""
        v, op, tokens = work.values, work.instruction.op, int(work.active.sum())
        if op in (Op.GEMV, Op.GEMM):
            return tokens * v["rows"] * v["columns"]
        if op == Op.ATTN:
            positions = int((work.position + 1 + work.active.nonzero()[0]).sum())
            return 2 * positions * v["heads"] * v["head_size"]
        return 0

    def attention_tile(self, work: Work) -> tuple[float, float]:
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

    # --- the other engines --------------------------------------------------------------------

    def vector_cycles(self, work: Work) -> float:
        """Cycles of an instruction that goes through the elements of each token once."""
        v, op = work.values, work.instruction.op
        if op == Op.KVAPP:
            elements = 2 * v["kv_heads"] * v["head_size"]
        else:
            elements = 1 if op == Op.KVSEL else v["columns"]
        key = Function(v["function"]) if op == Op.NPE else op
        turns = int(work.active.sum()) * _parts(elements, self._arch.vector_lanes)
        return float(turns + FILL[key] + self._beside(work, key))

    def _beside(self, work: Work, key: Function | Op) -> int:
        """Cycles of the vector engine that do not follow from the numbers of elements alone."""
        v, arch, tokens = work.values, self._arch, int(work.active.sum())
        block = arch.block // arch.vector_lanes
        if key in (Function.TO_BFP, Function.TO_BFP_GAIN):
            # A block waits until it is whole.
            return block
        if key in (Function.SUM_SQUARES, Op.ROUTE):
            # Sums of all blocks wait until the vector's exponent is known.
            sums = v["columns"] // arch.block * arch.norm_turns
            return block + sums + (tokens - 1) * max(0, sums - block)
        if key == Function.ARGMAX:
            return 5 * tokens + (arch.vector_lanes - 1).bit_length()
        if key == Function.ROPE:
            # Rotations become F25 as fast as pairs are turned; faster ones wait for that.
            single = 4 * v["b"] // arch.bus_bytes
            return max(0, v["b"] // max(1, arch.vector_lanes // 2) - single)
        return 0

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
