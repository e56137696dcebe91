"""Instructions for the engine of products and attention, and what the simulator makes of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
from amaranth import Array, Module, Shape, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from dyncc.arch.skipopu.formats import GROUPS, WeightType, kv_slot_bytes
from dyncc.arch.skipopu.isa import (
    ATTENTION_TILE,
    NO_SLOT,
    R_SLOT_LIMIT,
    SCALARS,
    Engine,
    Instruction,
    Op,
    Trap,
)
from dyncc.arch.skipopu.matrices import matrix_bytes, quantise, to_memory
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS
from dyncc_hw.skipopu.array.engine import PeEngine
from dyncc_hw.skipopu.interfaces import (
    MATRIX,
    block_write_signature,
    group_layout,
    history_signature,
    place_layout,
    work_layout,
)
from dyncc_hw.skipopu.shape import ArrayShape
from dyncc_models.skipopu.numerics import f25
from dyncc_models.skipopu.numerics.kv import from_slots
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import build_bench
from dyncc_sim.skipopu.bench.instances import TARGETS
from dyncc_sim.skipopu.bench.rig import packed
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.sequencer import Work
from dyncc_sim.skipopu.trap import Fault

_MATRIX, _TABLE, _POOL = 0, 1 << 16, 1 << 17
_CONTEXT, _LAYERS = 48, 2


class PeRig(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """The engine, with scalars from a port."""

    def __init__(self, arch: ArchSpec) -> None:
        self.arch = arch
        self.engine = PeEngine(ArrayShape(arch, TARGETS[arch.name]))
        members = {
            name: member
            for name, member in self.engine.signature.members.items()
            if name != "scalars"
        }
        scalars = data.ArrayLayout(CODE_BITS, SCALARS * arch.tokens)
        super().__init__({**members, "values": In(scalars)})

    def elaborate(self, platform: Any) -> Module:
        """Connect all but the scalars."""
        m = Module()
        m.submodules.engine = engine = self.engine
        for name in self.signature.members:
            if name != "values":
                wiring.connect(m, getattr(engine, name), wiring.flipped(getattr(self, name)))
        values = Array(Value.cast(item) for item in self.values)
        asked = engine.scalars
        m.d.comb += asked.value.eq(values[asked.scalar * self.arch.tokens + asked.token])
        return m


class PeCases:
    """Makes a list of operations for `pe_bench`.

    Parameters
    ----------
    arch
        The instance.
    draw
        Chooses everything.
    """

    def __init__(self, arch: ArchSpec, draw: numpy.random.Generator) -> None:
        self.arch, self.draw = arch, draw
        memory = Memory(1 << 20)
        self.executor = Executor(arch, memory)
        self.coverage: Coverage = Coverage()
        self.operations: list[dict[str, Any]] = []
        shape = self.executor.scalars.shape
        self.executor.scalars[:] = f25.from_float(draw.normal(0, 4, shape))
        self.executor.slot_limit = 2 * _LAYERS * _CONTEXT
        memory.content[_TABLE : _TABLE + 4 * _LAYERS * _CONTEXT] = 255

    @property
    def scalars(self) -> list[int]:
        """Scalars by number and token."""
        return [int(code) for code in self.executor.scalars.reshape(-1)]

    # --- products -------------------------------------------------------------------------------

    def product(
        self, kind: WeightType, rows: int, columns: int, parts: int = 1, extreme: bool = False,
        changes: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """A matrix, taken by one instruction or several.

        Parameters
        ----------
        changes
            Of the instruction's fields, so that it cannot be carried out.
        """
        arch, draw, executor = self.arch, self.draw, self.executor
        values = draw.normal(0, 1, (rows, columns)) * 2.0 ** draw.integers(-12, 4)
        if extreme:
            values = numpy.where(draw.random((rows, columns)) < 0.9, 0.5, values)
        content = to_memory(kind, arch.block, quantise(kind, values, arch.block))
        executor.memory.load(_MATRIX, content)
        executor._matrix.cache_clear()
        size = matrix_bytes(kind, rows, columns, arch.block)
        assert size == len(content)
        place = {"type": kind, "memory": _MATRIX, "vector": 0, "rows": rows, "columns": columns}
        load = self._work(Op.LD, {"mode": 2, "index": 0, **place}, 1)
        executor.execute(load)
        together = arch.tile_rows(kind)
        steps = [rows]
        if parts > 1 and rows > together:
            first = int(draw.integers(1, -(-rows // together))) * together
            steps = [first, rows - first]
        for number, count in enumerate(steps):
            tokens = int(draw.integers(1, arch.tokens + 1))
            writes, first_block = self._blocks(columns, tokens, zeros=bool(draw.random() < 0.3))
            fields = {
                "type": kind, "scaled": int(draw.integers(2)),
                "scalar": int(draw.integers(SCALARS)),
                "add": int(draw.integers(2)), "blocks": first_block,
                "vector": self._vector(count), "rows": count, "columns": columns,
            }  # fmt: skip
            fields |= changes or {}
            op = Op.GEMM if tokens > 1 or draw.random() < 0.5 else Op.GEMV
            work = self._work(op, fields, tokens)
            matrices = []
            if number == 0:
                matrices = [self._stream(kind, content, rows, columns)]
            self.coverage[f"{kind.name} {op.name}"] += 1
            self.coverage["added"] += fields["add"]
            self.coverage["scaled"] += fields["scaled"]
            self.coverage["part of a matrix"] += len(steps) > 1
            self._operation(work, writes, matrices)

    def _stream(self, kind: WeightType, content: bytes, rows: int, columns: int) -> dict[str, Any]:
        """A matrix as the load engine gives it."""
        arch = self.arch
        header = numpy.frombuffer(content[:4], "<i2")
        told = {
            "type": kind, "rows": rows, "columns": columns, "scale_exponent": header[0],
            "minimum_exponent": header[1],
        }  # fmt: skip
        size = GROUPS[kind].bytes(arch.block)
        body = numpy.frombuffer(content[16:], numpy.uint8).reshape(-1, size)
        groups = []
        for group in body:
            halves = group[: GROUPS[kind].header_bytes].view("<u2")
            raw = group[GROUPS[kind].header_bytes :]
            weights = raw
            if GROUPS[kind].weight_bits == 4:
                weights = numpy.concatenate((raw & 15, raw >> 4))
            minimum = halves[1] if kind == WeightType.Q4_1 else 0
            value = {"weights": weights, "scale": halves[0], "minimum": minimum}
            groups.append(packed(group_layout(arch), value))
        return {"matrix": packed(MATRIX, told), "groups": groups}

    # --- attention ------------------------------------------------------------------------------

    def remember(self, layer: int, position: int, heads: int, size: int) -> None:
        """Keys and values of a token."""
        v = {
            "k": 0, "v": heads * size, "layer": layer, "kv_heads": heads, "head_size": size,
            "table": _TABLE, "pool": _POOL,
        }  # fmt: skip
        numbers = self.draw.normal(0, 2, 2 * heads * size)
        if self.draw.random() < 0.2:
            numbers[:32] = 0
        self.executor.vector[0, : 2 * heads * size] = f25.from_float(numbers)
        work = self._work(Op.KVAPP, v, 1, position)
        self.executor.execute(work)

    def forget(self, layer: int, position: int) -> None:
        """A position without a slot."""
        at = _TABLE + 4 * (layer * _CONTEXT + position)
        self.executor.memory.content[at : at + 4] = 255

    def attention(
        self, layer: int, position: int, tokens: int, heads: int, kv_heads: int, size: int,
        changes: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """Attention over what is remembered; `changes` as of `product`."""
        arch, executor = self.arch, self.executor
        writes, first_block = self._blocks(heads * size, tokens, zeros=False)
        fields = {
            "blocks": first_block, "vector": self._vector(heads * size), "layer": layer,
            "heads": heads, "kv_heads": kv_heads, "head_size": size, "table": _TABLE, "pool": _POOL,
        }  # fmt: skip
        fields |= changes or {}
        work = self._work(Op.ATTN, fields, tokens, position)
        if changes:
            self._operation(work, writes, [])
            return
        last = position + int(work.active.nonzero()[0][-1])
        table = executor.memory.content[_TABLE:].view("<u4")[layer * _CONTEXT :][: last + 1]
        slots = table.astype(numpy.int64)
        present = slots != NO_SLOT
        slot = kv_slot_bytes(arch.kv, kv_heads, size)
        content = numpy.zeros((len(slots), slot), numpy.uint8)
        content[present] = executor.memory.rows(_POOL, slot, slots[present], slot)
        found = from_slots(arch.kv, content, kv_heads, size, arch.block, arch.mantissa_bits)
        members = history_signature(arch).members
        tile_layout = members["tile"].signature.members["payload"].shape
        tiles = []
        for first in range(0, last + 1, ATTENTION_TILE):
            mask = present[first : first + ATTENTION_TILE]
            end = first + ATTENTION_TILE > last
            group = int(self.draw.integers(arch.kv_tokens // ATTENTION_TILE + 2))
            told = {
                "present": sum(int(bit) << i for i, bit in enumerate(mask)), "group": group,
                "last": end, "trap": 0,
            }  # fmt: skip
            tiles.append({"tile": packed(tile_layout, told), "words": self._words(found, first)})
        self.coverage["tiles"] += len(tiles)
        self.coverage["tile without positions"] += any(
            not present[first : first + ATTENTION_TILE].any()
            for first in range(0, last + 1, ATTENTION_TILE)
        )
        self.coverage["shared keys"] += heads != kv_heads
        self.coverage["several tokens"] += int(work.active.sum()) > 1
        self._operation(work, writes, [], tiles)

    def _words(self, found: Any, first: int) -> dict[str, list[str]]:
        """What the history gives of a tile, by word."""
        arch = self.arch
        members = history_signature(arch).members
        words = {}
        for which, (mantissas, exponents) in enumerate((found[:2], found[2:])):
            rows = mantissas[first : first + ATTENTION_TILE].reshape(-1, mantissas[0].size)
            blocks = exponents[first : first + ATTENTION_TILE].reshape(len(rows), -1)
            for word in range(rows.shape[1] // arch.columns):
                begin = word * arch.columns
                values = numpy.zeros((ATTENTION_TILE, arch.columns), int)
                owns = numpy.zeros(ATTENTION_TILE, int)
                values[: len(rows)] = rows[:, begin : begin + arch.columns]
                owns[: len(rows)] = blocks[:, begin // arch.block]
                at = which * (arch.kv_width // arch.columns) + word
                words[str(at)] = [
                    hex(packed(members["mantissas"].shape, values)),
                    hex(packed(members["exponents"].shape, owns)),
                ]
        return words

    # --- pieces -----------------------------------------------------------------------------------

    def _vector(self, count: int) -> int:
        lanes = self.arch.vector_lanes
        return int(self.draw.integers((self.arch.vector_words - count) // lanes)) * lanes

    def _blocks(self, columns: int, tokens: int, zeros: bool) -> tuple[list[str], int]:
        """Fill a place of the activation buffer."""
        arch, draw, executor = self.arch, self.draw, self.executor
        count = columns // arch.block
        first = int(draw.integers(arch.blocks - count + 1))
        numbers = draw.normal(0, 1, (tokens, columns)) * 2.0 ** draw.integers(-8, 8, (tokens, 1))
        if zeros:
            numbers[:, : arch.block] = 0
        codes = f25.from_float(numbers)
        who = numpy.arange(tokens)
        executor._to_blocks(who, first, codes)
        writes = []
        layout = block_write_signature(arch).members["write"].signature.members["payload"].shape
        for token in range(tokens):
            for block in range(first, first + count):
                runs = executor.mantissas[token, block].reshape(-1, arch.vector_lanes)
                for word, run in enumerate(runs):
                    value = {
                        "token": token, "block": block, "word": word, "mantissas": run,
                        "exponent": executor.exponents[token, block],
                    }  # fmt: skip
                    writes.append(hex(packed(layout, value)))
        return writes, first

    def _work(self, op: Op, fields: dict[str, int], tokens: int, position: int = 0) -> Work:
        active = self.draw.random(tokens) < 0.7
        active[int(self.draw.integers(tokens))] = True
        if tokens == 1 or op in (Op.KVAPP, Op.LD):
            active[:] = True
        return Work(0, 0, Instruction(op, {}), fields, active, position, _CONTEXT)

    def _operation(
        self, work: Work, writes: list[str], matrices: list[Any], tiles: list[Any] | None = None
    ) -> None:
        """Carry it out in the simulator, and write down what the engine has to do."""
        arch, executor = self.arch, self.executor
        before = executor.vector.copy()
        trap = Trap.NONE
        try:
            executor.execute(work)
        except Fault as fault:
            trap = fault.trap
            executor.start([0] * R_SLOT_LIMIT + [executor.slot_limit, executor.next_slot])
        self.coverage[f"trap {trap.name}"] += 1
        layout = work_layout(Engine.PE, arch)
        told = dict.fromkeys(layout.members, 0) | work.values
        told |= {
            "op": work.instruction.op, "tokens": len(work.active), "position": work.position,
            "active": sum(int(bit) << i for i, bit in enumerate(work.active)),
            "context": work.context,
        }  # fmt: skip
        self.operations.append(
            {
                "blocks": writes,
                "matrices": [
                    {
                        "matrix": hex(item["matrix"]),
                        "groups": [hex(group) for group in item["groups"]],
                    }
                    for item in matrices
                ],
                "work": hex(packed(layout, told)), "name": work.instruction.op.name,
                "tiles": [
                    {"tile": hex(item["tile"]), "words": item["words"]} for item in tiles or []
                ],
                "before": before.tolist(), "after": executor.vector.tolist(), "trap": int(trap),
            }
        )  # fmt: skip


def random_cases(arch: ArchSpec, seed: int, count: int) -> PeCases:
    """Products of all formats, and attention over some tiles."""
    draw = numpy.random.default_rng(seed)
    cases = PeCases(arch, draw)
    kinds = (WeightType.Q4_1, WeightType.Q8_0, WeightType.Q4_0G)
    size, kv_heads = 32, 2
    for layer in range(_LAYERS):
        for position in range(_CONTEXT):
            cases.remember(layer, position, kv_heads, size)
            if draw.random() < 0.2 or (16 <= position < 32 and layer == 1):
                cases.forget(layer, position)
    for number in range(count):
        rows = int(draw.integers(1, 5)) * 4 + int(draw.integers(4)) * (number % 3 == 0)
        columns = int(draw.choice([32, 64, 96, 160]))
        cases.product(kinds[number % 3], rows, columns, 1 + number % 2, number % 5 == 0)
        if number % 2:
            tokens = int(draw.integers(1, arch.tokens + 1))
            position = int(draw.integers(_CONTEXT - tokens))
            heads = int(draw.choice([2, 4]))
            cases.attention(number // 2 % 2, position, tokens, heads, kv_heads, size)
    return cases


#: What `random_cases` has to bring about, if there are some.
REQUIRED = (
    "Q4_1 GEMM", "Q8_0 GEMM", "Q4_0G GEMM", "added", "scaled", "part of a matrix", "tiles",
    "tile without positions", "shared keys",
)  # fmt: skip


def wrong_cases(arch: ArchSpec, seed: int) -> PeCases:
    """Instructions that cannot be carried out, each with one behind it that can."""
    cases = PeCases(arch, numpy.random.default_rng(seed))
    kind = WeightType.Q4_1
    beyond = {"blocks": arch.blocks, "vector": arch.vector_words - arch.vector_lanes}
    products: list[dict[str, int]] = [
        {"type": int(WeightType.Q8_0)}, {"columns": 32}, {"columns": 65}, {"columns": 0},
        {"rows": 17}, {"rows": 3}, {"rows": 0}, {"rows": (1 << 24) - 1}, beyond,
        {"vector": beyond["vector"]},
    ]  # fmt: skip
    if arch.vector_lanes > 1:
        products.append({"vector": 1})
    for changes in products:
        cases.product(kind, 16, 64, changes=changes)
        cases.product(kind, 8, 32)
    heads = [
        {"heads": 3}, {"heads": 0}, {"kv_heads": 0}, {"kv_heads": 8}, {"head_size": 31},
        {"head_size": 0}, {"head_size": 96}, {"heads": 64}, {"blocks": arch.blocks - 1},
        {"vector": beyond["vector"]},
    ]  # fmt: skip
    for changes in heads:
        cases.attention(0, 3, 1, 2, 2, 32, changes)
        cases.product(kind, 8, 32)
    return cases


def run(cases: PeCases, seed: int, steady: bool, required: Sequence[str], simulator: str) -> None:
    """Compare the engine with the simulator; raises as `dyncc_sim.runner.run_bench`."""
    arch = cases.arch
    place = place_layout(arch)
    options = {
        "seed": seed, "steady": steady, "required": list(required),
        "coverage": {name: int(count) for name, count in cases.coverage.items()},
        "lanes": arch.vector_lanes, "token_bits": Shape.cast(place["token"].shape).width,
        "word_bits": Shape.cast(place["word"].shape).width, "code_bits": CODE_BITS,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="dyncc-cases.") as folder:
        path = Path(folder) / "cases.json"
        content = {"scalars": cases.scalars, "operations": cases.operations}
        path.write_text(json.dumps(content), encoding="utf-8")
        build = build_bench(PeRig(arch), simulator)
        build.run("dyncc_sim.skipopu.bench.pe_bench", {"cases": str(path), **options})
