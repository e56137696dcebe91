"""What the engines of the simulated machine do, one method for each instruction."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy

from dyncc.arch.skipopu.formats import (
    EXPONENT_BITS,
    FRACTION_BITS,
    KvType,
    WeightType,
    kv_slot_bytes,
    score_scale,
)
from dyncc.arch.skipopu.isa import (
    NO_SLOT,
    R_NEXT_SLOT,
    R_SLOT_LIMIT,
    SCALARS,
    Function,
    LoadMode,
    Op,
    Pred,
    Trap,
)
from dyncc.arch.skipopu.matrices import HEADER_BYTES, matrix_bytes
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_models.skipopu.numerics import f25
from dyncc_models.skipopu.numerics.attention import attend
from dyncc_models.skipopu.numerics.bfp import to_bfp
from dyncc_models.skipopu.numerics.dot import accumulate, reconstruct
from dyncc_models.skipopu.numerics.functions import rope, swiglu
from dyncc_models.skipopu.numerics.kv import from_slots, to_slot
from dyncc_models.skipopu.numerics.norms import WIDE_BITS, inverse_rms
from dyncc_models.skipopu.numerics.weights import Matrix, from_memory
from dyncc_sim.skipopu.history import History
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.sequencer import Mask, Work, holders
from dyncc_sim.skipopu.trap import Fault

_NO_SCALARS, _NO_BEFORE = numpy.zeros(0, numpy.int32), numpy.zeros((0, 0), numpy.int32)
_INDEX_BYTES = 4
#: Bits of an F25 code.
_CODE = (1 << (1 + EXPONENT_BITS + FRACTION_BITS)) - 1


@dataclass
class KvCount:
    """Slots that attention read: those that were in the history buffer, and the others."""

    resident: int = 0
    fetched: int = 0


class Executor:
    """Buffers and engines.

    Parameters
    ----------
    arch
        The instance.
    memory
        Its memory. Matrices that were read once are taken to stay as they are, until
        `forget_matrices`.

    Attributes
    ----------
    vector
        F25 codes, int32 of shape (tokens, vector_words).
    mantissas, exponents
        The activation buffer: int16 (tokens, blocks, block), int32 (tokens, blocks).
    scalars
        F25, int32 of shape (SCALARS, tokens).
    runs_attention, runs_mlp
        The predicates, bool of shape (tokens,).
    next_slot, slot_limit
        Counter and number of slots.
    kv
        What attention read.
    """

    def __init__(self, arch: ArchSpec, memory: Memory) -> None:
        self.arch, self.memory = arch, memory
        self.vector = numpy.zeros((arch.tokens, arch.vector_words), numpy.int32)
        self.mantissas = numpy.zeros((arch.tokens, arch.blocks, arch.block), numpy.int16)
        self.exponents = numpy.zeros((arch.tokens, arch.blocks), numpy.int32)
        self.scalars = numpy.zeros((SCALARS, arch.tokens), numpy.int32)
        self.runs_attention = numpy.ones(arch.tokens, bool)
        self.runs_mlp = numpy.ones(arch.tokens, bool)
        self.next_slot = self.slot_limit = 0
        self.kv = KvCount()
        self._history = History(arch.kv_tokens)
        self._stream: deque[Matrix] = deque()
        self._matrix = lru_cache(maxsize=None)(self._read_matrix)
        self._methods = {
            Op.LD: self._load,
            Op.ST: self._store,
            Op.GEMV: self._multiply,
            Op.GEMM: self._multiply,
            Op.ATTN: self._attend,
            Op.NPE: self._vector,
            Op.ROUTE: self._route,
            Op.KVAPP: self._append,
            Op.KVSEL: self._select,
        }

    def start(self, registers: Sequence[int]) -> None:
        """Get ready for a program: nothing is on its way, all tokens run, slots are counted anew.

        What buffers and scalars hold stays.
        """
        self._stream.clear()
        self.runs_attention[:] = self.runs_mlp[:] = True
        self.next_slot, self.slot_limit = registers[R_NEXT_SLOT], registers[R_SLOT_LIMIT]

    def forget_matrices(self) -> None:
        """Matrices in memory were changed: they are read again."""
        self._matrix.cache_clear()

    def predicates(self, pred: Pred, tokens: int) -> Mask:
        """Tokens of a batch that have a predicate."""
        return holders(pred, self.runs_attention[:tokens], self.runs_mlp[:tokens])

    def execute(self, work: Work) -> Any:
        """Carry out an instruction that is not suppressed; returns what it wrote, or None.

        Raises
        ------
        Fault
            If it cannot be carried out.
        """
        method = self._methods[work.instruction.op]
        return method(work.values, work.active.nonzero()[0], work)

    # --- memory -------------------------------------------------------------------------------

    def _load(self, v: dict[str, int], tokens: Any, work: Work) -> Any:
        mode, columns = LoadMode(v["mode"]), v["columns"]
        if mode == LoadMode.WEIGHTS:
            kind = WeightType(v["type"])
            if not v["rows"] or not columns:
                raise Fault(Trap.SHAPE, f"a matrix of {v['rows']} rows of {columns}")
            size = self._matrix_bytes(kind, v["rows"], columns)
            self.memory.read(v["memory"], size)
            self._stream.append(self._matrix(v["memory"], kind, v["rows"], columns))
            return None
        place = self._place(v["vector"], columns)
        if mode == LoadMode.VECTOR_F32 and v["index"] == 0:
            # One row for all: read once.
            self.vector[tokens, place] = self._numbers(v["memory"], columns)
            return self.vector[tokens, place]
        for token in tokens:
            if mode == LoadMode.VECTOR_F32:
                address = v["memory"] + v["index"] * int(token)
                self.vector[token, place] = self._numbers(address, columns)
            else:
                self.vector[token, place] = self._embedding(v, int(token), columns)
        return self.vector[tokens, place]

    def _numbers(self, address: int, columns: int) -> Any:
        """A row of binary32 numbers as F25."""
        numbers = self.memory.read(address, 4 * columns).view("<f4")
        if not numpy.isfinite(numbers).all():
            raise Fault(Trap.SHAPE, f"numbers at {address:#x} are not finite")
        return f25.from_float(numbers)

    def _embedding(self, v: dict[str, int], token: int, columns: int) -> Any:
        index = self.memory.read(v["index"] + _INDEX_BYTES * token, _INDEX_BYTES)
        row = int(index.view("<u4")[0])
        if row >= v["rows"]:
            raise Fault(Trap.MEMORY, f"token {row} of a matrix of {v['rows']} rows")
        size = self._matrix_bytes(WeightType.Q8_0, 1, columns) - HEADER_BYTES
        address = v["memory"] + HEADER_BYTES + row * size
        header = self.memory.read(v["memory"], HEADER_BYTES)
        content = numpy.concatenate((header, self.memory.read(address, size)))
        try:
            matrix = from_memory(WeightType.Q8_0, columns, self.arch.block, content)
        except ConfigError as error:
            where = f"row {row} of the matrix at {v['memory']:#x}"
            raise Fault(Trap.SHAPE, f"{where}: {error.message}") from error
        return dequantise(matrix)[0]

    def _store(self, v: dict[str, int], tokens: Any, work: Work) -> Any:
        place = self._place(v["vector"], v["columns"])
        for token in tokens:
            numbers = f25.to_float(self.vector[token, place]).astype("<f4")
            self.memory.write(v["memory"] + v["stride"] * int(token), numbers.view(numpy.uint8))
        return self.vector[tokens, place]

    def _matrix_bytes(self, kind: WeightType, rows: int, columns: int) -> int:
        try:
            return matrix_bytes(kind, rows, columns, self.arch.block)
        except ConfigError as error:
            raise Fault(Trap.SHAPE, error.message) from error

    def _read_matrix(self, address: int, kind: WeightType, rows: int, columns: int) -> Matrix:
        size = self._matrix_bytes(kind, rows, columns)
        content = self.memory.content[address : address + size]
        try:
            return from_memory(kind, columns, self.arch.block, content)
        except ConfigError as error:
            raise Fault(Trap.SHAPE, f"the matrix at {address:#x}: {error.message}") from error

    # --- products -----------------------------------------------------------------------------

    @property
    def idle_stream(self) -> bool:
        """Whether all rows of matrices that were loaded are taken."""
        return not self._stream

    def streamed(self, work: Work) -> bool:
        """Whether the matrix that an instruction takes rows of is at the head of the stream."""
        op = work.instruction.op
        if op not in (Op.GEMV, Op.GEMM) and not (op == Op.ROUTE and work.values["route"]):
            return True
        if not self._stream:
            return False
        return (self._stream[0].kind == WeightType.BFP16) == (op == Op.ROUTE)

    def _take_rows(self, rows: int, columns: int, kind: WeightType) -> Matrix:
        """The next rows of the stream."""
        matrix = self._stream.popleft()
        have, wide = matrix.shape
        if wide != columns or matrix.kind != kind or not 0 < rows <= have:
            raise Fault(
                Trap.SHAPE,
                f"{rows} rows of {columns} in {kind.name} are wanted, and {have} rows of {wide} in "
                f"{matrix.kind.name} are streamed",
            )
        together = rows if kind == WeightType.BFP16 else self.arch.tile_rows(kind)
        if rows < have and rows % together:
            raise Fault(
                Trap.SHAPE,
                f"{rows} of {have} rows, no multiple of the {together} that are worked on together",
            )
        if rows < have:
            self._stream.appendleft(matrix.part(rows, have))
        return matrix.part(0, rows)

    def _multiply(self, v: dict[str, int], tokens: Any, work: Work) -> Any:
        if work.instruction.op == Op.GEMV and len(work.active) > 1:
            raise Fault(Trap.SHAPE, f"GEMV of a batch of {len(work.active)} tokens")
        matrix = self._take_rows(v["rows"], v["columns"], WeightType(v["type"]))
        mantissas, exponents = self._blocks(tokens, v["blocks"], v["columns"])
        place = self._place(v["vector"], v["rows"])
        accumulators, bases = accumulate(matrix, mantissas, exponents)
        scalars = self.scalars[v["scalar"], tokens] if v["scaled"] else _NO_SCALARS
        before = self.vector[tokens, place] if v["add"] else _NO_BEFORE
        self.vector[tokens, place] = reconstruct(accumulators, bases, scalars, before)
        return self.vector[tokens, place]

    def _route(self, v: dict[str, int], tokens: Any, work: Work) -> Any:
        columns = v["columns"]
        place = self._place(v["vector"], columns)
        count = len(work.active)
        matrix = self._take_rows(4, columns, WeightType.BFP16) if v["route"] else None
        self.runs_attention[:count] = self.runs_mlp[:count] = True
        for token in tokens:
            mantissas, exponents = self._wide(self.vector[token, place])
            self.scalars[v["scalar"], token] = inverse_rms(
                mantissas, exponents, self.arch.block, v["eps"] & _CODE
            )
            if matrix is not None:
                logits, _ = accumulate(matrix, mantissas[None], exponents[None])
                self.runs_attention[token] = logits[0, 1] > logits[0, 0]
                self.runs_mlp[token] = logits[0, 3] > logits[0, 2]
        return numpy.stack(
            (
                self.scalars[v["scalar"], tokens],
                self.runs_attention[tokens].astype(numpy.int32),
                self.runs_mlp[tokens].astype(numpy.int32),
            )
        )

    # --- element by element -------------------------------------------------------------------

    def _vector(self, v: dict[str, int], tokens: Any, work: Work) -> Any:
        function, columns = Function(v["function"]), v["columns"]
        a = self.vector[tokens, self._place(v["a"], columns)]
        if function == Function.SUM_SQUARES:
            for token, row in zip(tokens, a, strict=True):
                wide = self._wide(row)
                scalar = inverse_rms(*wide, self.arch.block, v["memory"] & _CODE)
                self.scalars[v["scalar"], token] = scalar
            return self.scalars[v["scalar"], tokens]
        if function in (Function.TO_BFP, Function.TO_BFP_GAIN):
            if function == Function.TO_BFP_GAIN:
                gain = self.vector[tokens, self._place(v["b"], columns)]
                a = f25.multiply_all(a, gain)
            return self._to_blocks(tokens, v["d"], a)
        if function == Function.ARGMAX:
            return self._argmax(v, tokens, a)
        if function == Function.ROPE:
            result = self._rope(v, tokens, work, a)
        elif function == Function.COPY:
            result = a
        else:
            b = self.vector[tokens, self._place(v["b"], columns)]
            operation = {
                Function.ADD: f25.add_all,
                Function.MUL: f25.multiply_all,
                Function.SWIGLU: swiglu,
            }[function]
            result = operation(a, b)
        self.vector[tokens, self._place(v["d"], columns)] = result
        return result

    def _rope(self, v: dict[str, int], tokens: Any, work: Work, a: Any) -> Any:
        size, unit, most = v["b"], max(2, self.arch.vector_lanes), self.arch.kv_width
        if size == 0 or size % unit or a.shape[1] % size:
            raise Fault(
                Trap.SHAPE,
                f"heads of {size} numbers in {a.shape[1]}, to be worked on by {unit} at a time",
            )
        if size > most:
            raise Fault(Trap.SHAPE, f"heads of {size} numbers, and {most} fit")
        positions = work.position + tokens
        self.memory.check(v["memory"], 4 * size)
        numbers = self.memory.rows(v["memory"], 4 * size, positions, 4 * size).view("<f4")
        self.memory.bytes_read += 4 * numbers.size
        if not numpy.isfinite(numbers).all():
            raise Fault(Trap.SHAPE, f"rotations at {v['memory']:#x} are not finite")
        turns = f25.from_float(numbers)
        found = numpy.empty_like(a)
        for row, turn in enumerate(turns):
            turned = rope(a[row].reshape(-1, size), turn[: size // 2], turn[size // 2 :])
            found[row] = turned.reshape(-1)
        return found

    def _argmax(self, v: dict[str, int], tokens: Any, a: Any) -> Any:
        place = self._place(v["d"], 2)
        for token, row in zip(tokens, a, strict=True):
            # As integers that compare as the numbers do; the first of equal ones.
            size = row & (f25.SIGN - 1)
            best = int(numpy.where(row & f25.SIGN, -size, size).argmax())
            kept = self.vector[token, place]
            if v["b"] == 0 or f25.order(int(row[best])) > f25.order(int(kept[0])):
                number = f25.from_float(numpy.float32(v["b"] + best))
                self.vector[token, place] = (row[best], number)
        return self.vector[tokens, place]

    # --- keys and values ----------------------------------------------------------------------

    def _append(self, v: dict[str, int], tokens: Any, work: Work) -> Any:
        count = v["kv_heads"] * v["head_size"]
        self._check_head(v["kv_heads"], v["head_size"])
        written = []
        for token in tokens:
            if self.next_slot >= self.slot_limit:
                raise Fault(Trap.SLOTS, f"all {self.slot_limit} slots are taken")
            k = self.vector[token, self._place(v["k"], count)]
            data = to_slot(self.arch.kv, k, self.vector[token, self._place(v["v"], count)])
            self.memory.write(v["pool"] + self.next_slot * len(data), data)
            self._write_table(v, work, int(token), self.next_slot)
            self._history.keep(work.position + int(token), self.next_slot)
            written.append(data)
            self.next_slot += 1
        return numpy.concatenate(written)

    def _select(self, v: dict[str, int], tokens: Any, work: Work) -> Any:
        if v["layer"] == 0:
            raise Fault(Trap.SHAPE, "layer 0 has no layer before it")
        slots = []
        for token in tokens:
            slot = NO_SLOT
            if not v["evict"]:
                before = {**v, "layer": v["layer"] - 1}
                address = self._table_address(before, work, int(token))
                slot = int(self.memory.read(address, 4).view("<u4")[0])
            self._write_table(v, work, int(token), slot)
            slots.append(slot)
        return numpy.array(slots, numpy.uint32)

    def _attend(self, v: dict[str, int], tokens: Any, work: Work) -> Any:
        heads, kv_heads, size = v["heads"], v["kv_heads"], v["head_size"]
        self._check_head(kv_heads, size)
        if heads % kv_heads or not 0 < heads <= self.arch.heads:
            raise Fault(
                Trap.SHAPE,
                f"{heads} heads of at most {self.arch.heads} do not share {kv_heads} key heads",
            )
        if heads * size > self.arch.route_columns:
            raise Fault(
                Trap.SHAPE, f"{heads * size} numbers of heads, and {self.arch.route_columns} fit"
            )
        last = work.position + int(tokens[-1])
        # The last entry has to be in the row too.
        self._table_address(v, work, int(tokens[-1]))
        first = self._table_address(v, work, -work.position)
        slots = self.memory.read(first, 4 * (last + 1)).view("<u4").astype(numpy.int64)
        present = slots != NO_SLOT
        slot_bytes = kv_slot_bytes(self.arch.kv, kv_heads, size)
        if (slots[present] >= self.slot_limit).any():
            slot = int(slots[present].max())
            raise Fault(Trap.MEMORY, f"slot {slot} of {self.slot_limit}")
        fetched = self._history.fetch(slots)
        if fetched.any():
            self.memory.check(v["pool"], slot_bytes)
        # What is resident equals what memory holds: slots do not change.
        data = numpy.zeros((last + 1, slot_bytes), numpy.uint8)
        data[present] = self.memory.rows(v["pool"], slot_bytes, slots[present], slot_bytes)
        self.memory.bytes_read += int(fetched.sum()) * slot_bytes
        self.kv.fetched += int(fetched.sum())
        self.kv.resident += int((present & ~fetched).sum())
        block, bits = self.arch.block, self.arch.mantissa_bits
        k, k_exponents, values, v_exponents = from_slots(
            self.arch.kv, data, kv_heads, size, block, bits
        )
        place = self._place(v["vector"], heads * size)
        mantissas, exponents = self._blocks(tokens, v["blocks"], heads * size)
        for row, token in enumerate(tokens):
            end = work.position + int(token) + 1
            found = attend(
                mantissas[row].reshape(heads, size), exponents[row].reshape(heads, -1),
                k[:end], k_exponents[:end], values[:end], v_exponents[:end], present[:end],
                block, bits, score_scale(size),
            )  # fmt: skip
            self.vector[token, place] = found.reshape(-1)
        return self.vector[tokens, place]

    def _check_head(self, kv_heads: int, size: int) -> None:
        block = 32 if self.arch.kv == KvType.BFP8 else self.arch.block
        if size == 0 or size % block:
            raise Fault(Trap.SHAPE, f"heads of {size} numbers are no multiple of {block}")
        if not 0 < kv_heads * size <= self.arch.kv_width:
            raise Fault(
                Trap.SHAPE,
                f"keys of {kv_heads} heads of {size} numbers, and {self.arch.kv_width} fit",
            )

    def _table_address(self, v: dict[str, int], work: Work, token: int) -> int:
        position = work.position + token
        if position >= work.context:
            raise Fault(Trap.MEMORY, f"position {position} of a context of {work.context}")
        return v["table"] + 4 * (v["layer"] * work.context + position)

    def _write_table(self, v: dict[str, int], work: Work, token: int, slot: int) -> None:
        entry = numpy.array([slot], "<u4").view(numpy.uint8)
        self.memory.write(self._table_address(v, work, token), entry)

    # --- buffers ------------------------------------------------------------------------------

    def _place(self, first: int, count: int) -> slice:
        if first % self.arch.vector_lanes:
            raise Fault(
                Trap.SHAPE, f"place {first} is no multiple of {self.arch.vector_lanes} numbers"
            )
        if count == 0 or first + count > self.arch.vector_words:
            raise Fault(
                Trap.BUFFER,
                f"numbers {first}..{first + count - 1} of a vector buffer of "
                f"{self.arch.vector_words}",
            )
        return slice(first, first + count)

    def _block_range(self, first: int, columns: int) -> slice:
        count, rest = divmod(columns, self.arch.block)
        if rest or not count:
            raise Fault(Trap.SHAPE, f"{columns} numbers are no blocks of {self.arch.block}")
        if first + count > self.arch.blocks:
            raise Fault(
                Trap.BUFFER,
                f"blocks {first}..{first + count - 1} of an activation buffer of "
                f"{self.arch.blocks}",
            )
        return slice(first, first + count)

    def _blocks(self, tokens: Any, first: int, columns: int) -> tuple[Any, Any]:
        place = self._block_range(first, columns)
        return self.mantissas[tokens, place].reshape(len(tokens), -1), self.exponents[tokens, place]

    def _to_blocks(self, tokens: Any, first: int, a: Any) -> Any:
        place = self._block_range(first, a.shape[1])
        mantissas, exponents = to_bfp(a.reshape(-1), self.arch.block, self.arch.mantissa_bits)
        self.mantissas[tokens, place] = mantissas.reshape(len(tokens), -1, self.arch.block)
        self.exponents[tokens, place] = exponents.reshape(len(tokens), -1)
        return self.mantissas[tokens, place]

    def _wide(self, row: Any) -> tuple[Any, Any]:
        if len(row) % self.arch.block:
            raise Fault(Trap.SHAPE, f"{len(row)} numbers are no blocks of {self.arch.block}")
        if len(row) > self.arch.route_columns:
            raise Fault(
                Trap.SHAPE, f"{len(row)} numbers, and norms read {self.arch.route_columns} at most"
            )
        mantissas, exponents = to_bfp(row, self.arch.block, WIDE_BITS)
        return mantissas, exponents


def dequantise(matrix: Matrix) -> Any:
    """The numbers of a matrix without minima as F25, int32 of its shape."""
    products = matrix.weights.reshape(*matrix.scales.shape, -1) * matrix.scales[..., None]
    # Products of 8 and 11 bits are exact in binary32.
    numbers = numpy.ldexp(products.astype(numpy.float32), matrix.scale_exponents[..., None])
    return f25.from_float(numbers).reshape(matrix.shape)
