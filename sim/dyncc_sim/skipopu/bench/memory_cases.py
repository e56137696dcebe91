"""Instructions for the load and store engines, and what the simulator makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy

from dyncc.arch.skipopu.formats import GROUPS, KvType, WeightType
from dyncc.arch.skipopu.isa import Engine, Instruction, LoadMode, Op, Trap
from dyncc.arch.skipopu.matrices import HEADER_BYTES, quantise, row_bytes, to_memory
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.interfaces import MATRIX, group_layout, wide_group_layout, work_layout
from dyncc_models.skipopu.numerics.weights import from_memory
from dyncc_sim.skipopu.bench.rig import packed
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.sequencer import Work
from dyncc_sim.skipopu.trap import Fault

_INFINITE = 0x7C00


def described(arch: ArchSpec) -> dict[str, Any]:
    """An instance as JSON."""
    return {**asdict(arch), "kv": int(arch.kv)}


def instance(text: dict[str, Any]) -> ArchSpec:
    """The inverse of `described`."""
    return ArchSpec(**{**text, "kv": KvType(text["kv"])})


@dataclass
class Case:
    """An instruction.

    Attributes
    ----------
    engine, payload
        What the engine is told.
    trap
        What it must say.
    matrix
        Of a matrix: the payloads of its header and of its groups, and whether it is wide.
    """

    engine: Engine
    payload: int
    trap: Trap = Trap.NONE
    matrix: tuple[int, list[int], bool] | None = None
    name: str = ""


class Cases:
    """Draws instructions, and carries them out on a twin.

    Attributes
    ----------
    twin
        Memory and vector buffer as they must be.
    """

    def __init__(self, arch: ArchSpec, size: int, windows: Any, draw: random.Random) -> None:
        self.arch, self.draw, self.size = arch, draw, size
        writable = [range(start, end) for start, end in windows]
        self.twin = Executor(arch, Memory(size, writable))
        self.memory = self.twin.memory.content
        self.memory[:] = numpy.frombuffer(draw.randbytes(size), numpy.uint8)
        self._next = 0
        #: Instructions work on all tokens; otherwise on any.
        self.all_tokens = False
        self._numbers = numpy.random.default_rng(draw.getrandbits(32))

    # --- what stands in memory ----------------------------------------------------------------

    def place(self, length: int, align: int = 2) -> int:
        """An address in the second quarter, which nothing writes."""
        quarter = self.size // 4
        return quarter + align * self.draw.randint(0, (quarter - length) // align)

    def next_place(self, length: int, align: int) -> int:
        """An address in the first quarter, where matrices that were not read yet stay."""
        place = -(-self._next // align) * align + align * self.draw.randint(0, 64 // align)
        if place + length > self.size // 4:
            place = 0
        self._next = place + length
        return place

    def real(self, *shape: int) -> Any:
        """Numbers of all magnitudes, some of them zero."""
        found = self._numbers.normal(size=shape) * 2.0 ** self._numbers.integers(
            -10, 10, size=shape
        )
        return numpy.where(self._numbers.random(shape) < 0.1, 0.0, found)

    def singles(self, address: int, count: int) -> None:
        """Binary32 numbers in memory: any bits, if they are finite."""
        bits = self._numbers.integers(0, 1 << 32, count, dtype=numpy.uint64).astype("<u4")
        kind = bits >> 23 & 255
        bits = numpy.where(kind == 255, bits & ~numpy.uint32(1 << 30), bits).astype("<u4")
        self.memory[address : address + 4 * count] = bits.view(numpy.uint8)

    def matrix(
        self, kind: WeightType, rows: int, columns: int, align: int, streamed: bool = True
    ) -> int:
        """A matrix in memory, with random weights and scales that are sometimes subnormal."""
        block = self.arch.block
        if rows and columns:
            content = quantise(kind, self.real(rows, columns), block)
            groups = content.reshape(-1, GROUPS[kind].bytes(block))
            body = GROUPS[kind].header_bytes
            any_bits = self._numbers.integers(0, 256, groups[:, body:].shape, dtype=numpy.uint8)
            groups[:, body:] = numpy.where(
                self._numbers.random((len(groups), 1)) < 0.5, any_bits, groups[:, body:]
            )
            image = to_memory(kind, block, content)
        else:
            image = bytes(HEADER_BYTES)
        address = (self.next_place if streamed else self.place)(len(image), align)
        self.memory[address : address + len(image)] = numpy.frombuffer(image, numpy.uint8)
        return address

    # --- instructions -------------------------------------------------------------------------

    def active(self) -> Any:
        """Tokens, one at least."""
        if self.all_tokens:
            return numpy.ones(self.arch.tokens, bool)
        found = self._numbers.random(self.arch.tokens) < 0.6
        found[self.draw.randrange(self.arch.tokens)] = True
        return found

    def case(self, engine: Engine, op: Op, name: str, values: dict[str, int]) -> Case:
        """Carry an instruction out on the twin."""
        active = self.active()
        work = Work(0, 0, Instruction(op, {}), values, active, 0, 0)
        layout = work_layout(engine, self.arch)
        mask = sum(int(bit) << i for i, bit in enumerate(active))
        rest = {"op": op, "active": mask, "tokens": self.arch.tokens, "position": 0, "context": 0}
        case = Case(engine, packed(layout, {**values, **rest}), name=name)
        try:
            self.twin.execute(work)
        except Fault as fault:
            case.trap = fault.trap
        except ConfigError:
            # A row of embeddings with a scale that is no number.
            case.trap = Trap.SHAPE
        return case

    def vector_place(self, columns: int, half: int | None) -> int:
        """A place for numbers, in a half of the vector buffer or anywhere."""
        words = self.arch.vector_words // 2
        first, room = (half * words, words) if half is not None else (0, 2 * words)
        lanes = self.arch.vector_lanes
        return first + lanes * self.draw.randint(0, (room - columns) // lanes)

    def load(
        self,
        mode: LoadMode,
        half: int | None,
        change: Callable[[dict[str, int]], None] | None,
        **given: int,
    ) -> Case:
        """A load, made wrong by `change` before it is carried out; fields may be given."""
        arch, draw = self.arch, self.draw
        groups = draw.randint(1, 4)
        values = {"mode": mode, "type": draw.randrange(4), "rows": draw.randint(1, 12),
                  "columns": groups * arch.block, "vector": 0, "index": 0}  # fmt: skip
        name = mode.name
        if mode == LoadMode.WEIGHTS:
            values |= given
            kind = WeightType(values["type"])
            if kind == WeightType.BFP16:
                values["rows"] = 4
            align = draw.choice([64, 64, 2])
            values["memory"] = self.matrix(kind, values["rows"], values["columns"], align)
            name = f"{mode.name} {kind.name}"
        elif mode == LoadMode.VECTOR_F32:
            values["columns"] = draw.choice([1, 3, draw.randint(1, 200), values["columns"]])
            row = 4 * values["columns"]
            values["index"] = draw.choice([0, row, row + 2 * draw.randint(0, 99), 4])
            values |= given
            values["memory"] = self.place(row + (arch.tokens - 1) * values["index"])
            for token in range(arch.tokens):
                self.singles(values["memory"] + token * values["index"], values["columns"])
            name += " for all" if not values["index"] else ""
        else:
            rows = values["rows"]
            values["memory"] = self.matrix(WeightType.Q8_0, rows, values["columns"], 2, False)
            if draw.random() < 0.2:
                values["type"] = WeightType.Q4_1
            numbers = self._numbers.integers(0, rows, arch.tokens).astype("<u4")
            values["index"] = self.numbers_place(values, 4 * arch.tokens)
            self.memory[values["index"] : values["index"] + 4 * arch.tokens] = numbers.view(
                numpy.uint8
            )
        if mode != LoadMode.WEIGHTS:
            values["vector"] = self.vector_place(values["columns"], half)
        if change is not None:
            change(values)
        case = self.case(Engine.LOAD, Op.LD, name, values)
        if mode == LoadMode.WEIGHTS and case.trap == Trap.NONE:
            case.matrix = self.streamed(values)
        return case

    def numbers_place(self, values: dict[str, int], length: int) -> int:
        """A place for the tokens' numbers that is not in their matrix."""
        size = HEADER_BYTES + values["rows"] * row_bytes(
            WeightType.Q8_0, values["columns"], self.arch.block
        )
        while True:
            place = self.place(length)
            if place + length <= values["memory"] or values["memory"] + size <= place:
                return place

    def streamed(self, values: dict[str, int]) -> tuple[int, list[int], bool]:
        """What comes of a matrix that is loaded."""
        kind, block, address = WeightType(values["type"]), self.arch.block, values["memory"]
        shape = {"type": kind, "rows": values["rows"], "columns": values["columns"]}
        size = GROUPS[kind].bytes(block)
        count = values["rows"] * values["columns"] // block
        content = self.memory[address : address + HEADER_BYTES + count * size]
        wide = kind == WeightType.BFP16
        if not count:
            head = content[:4].view("<i2")
            found = {"scale_exponent": int(head[0]), "minimum_exponent": int(head[1])}
            return packed(MATRIX, {**shape, **found}), [], wide
        matrix = from_memory(kind, values["columns"], block, content)
        found = {"scale_exponent": matrix.top_scale, "minimum_exponent": matrix.top_minimum}
        header = packed(MATRIX, {**shape, **found})
        halves = content[HEADER_BYTES:].reshape(count, size)[:, :4].copy().view("<u2")
        groups = []
        for weights, (first, second) in zip(
            matrix.weights.reshape(count, block).tolist(), halves.tolist(), strict=True
        ):
            if wide:
                exponent = first - (first >> 15 << 16)
                value = {"weights": weights, "exponent": exponent}
                groups.append(packed(wide_group_layout(self.arch), value))
            else:
                mask = 255 if kind == WeightType.Q8_0 else 15
                value = {"weights": [weight & mask for weight in weights], "scale": first,
                         "minimum": second if kind == WeightType.Q4_1 else 0}  # fmt: skip
                groups.append(packed(group_layout(self.arch), value))
        return header, groups, wide

    def store(
        self, half: int | None, change: Callable[[dict[str, int]], None] | None, window: range
    ) -> Case:
        """A store into a window."""
        draw, tokens = self.draw, self.arch.tokens
        columns = draw.choice([1, 3, draw.randint(1, 100)])
        stride = draw.choice([4 * columns, 4 * columns + 2 * draw.randint(0, 20)])
        length = stride * (tokens - 1) + 4 * columns
        address = window.start + 2 * draw.randint(0, (len(window) - length) // 2)
        values = {"memory": address, "vector": self.vector_place(columns, half),
                  "columns": columns, "stride": stride}  # fmt: skip
        if change is not None:
            change(values)
        return self.case(Engine.STORE, Op.ST, "ST", values)

    # --- what is wrong ------------------------------------------------------------------------

    def wrong(self, window: range) -> list[Callable[[], Case]]:
        """Makers of instructions that trap."""
        arch, size = self.arch, self.size
        words = arch.vector_words

        def load(mode: LoadMode, change: Any) -> Callable[[], Case]:
            return lambda: self.load(mode, None, change)

        def store(change: Any) -> Callable[[], Case]:
            return lambda: self.store(None, change, window)

        def infinite(values: dict[str, int]) -> None:
            values["index"] = 0
            place = values["memory"] + 4 * self.draw.randrange(values["columns"])
            code = numpy.array([self.draw.choice([0x7F800000, 0xFF800000, 0x7FC00001])], "<u4")
            self.memory[place : place + 4] = code.view(numpy.uint8)

        def number(values: dict[str, int]) -> None:
            for token in range(arch.tokens):
                place = values["index"] + 4 * token
                row = values["rows"] + self.draw.choice([0, 1, 1 << 24, (1 << 31) - 1])
                self.memory[place : place + 4] = numpy.array([row], "<u4").view(numpy.uint8)

        def scale(values: dict[str, int]) -> None:
            place = values["memory"] + HEADER_BYTES
            for row in range(values["rows"]):
                start = place + row * row_bytes(WeightType.Q8_0, values["columns"], arch.block)
                self.memory[start : start + 2] = numpy.array([_INFINITE], "<u2").view(numpy.uint8)

        def weights_scale(values: dict[str, int]) -> None:
            values["type"], values["rows"], values["columns"] = WeightType.Q4_1, 2, arch.block
            values["memory"] = self.matrix(WeightType.Q4_1, 2, arch.block, 64)
            place = values["memory"] + HEADER_BYTES + self.draw.choice([0, 2, 20, 22])
            self.memory[place : place + 2] = numpy.array([_INFINITE], "<u2").view(numpy.uint8)

        def put(**given: int) -> Callable[[dict[str, int]], None]:
            return lambda values: values.update(given)

        found = []
        for mode in (LoadMode.VECTOR_F32, LoadMode.ROW_Q8_0):
            found += [
                load(mode, put(columns=0)),
                load(mode, put(vector=words)),
                load(mode, put(vector=words - arch.block, columns=2 * arch.block)),
            ]
            if arch.vector_lanes > 1:
                found.append(load(mode, put(vector=1)))
        huge = (1 << 24) - arch.block
        found += [
            load(LoadMode.ROW_Q8_0, put(columns=arch.block + 1)),
            load(LoadMode.WEIGHTS, put(rows=1, columns=arch.block - 1)),
            load(LoadMode.WEIGHTS, put(rows=0, columns=arch.block)),
            load(LoadMode.WEIGHTS, put(rows=1, columns=0)),
            load(LoadMode.WEIGHTS, put(rows=1 << 23, columns=arch.block)),
            load(LoadMode.WEIGHTS, put(rows=(1 << 24) - 1, columns=huge)),
            load(LoadMode.WEIGHTS, put(memory=size - 16, rows=1, columns=arch.block)),
            load(LoadMode.WEIGHTS, put(memory=(1 << 40) - 64, rows=1, columns=arch.block)),
            load(LoadMode.VECTOR_F32, infinite),
            load(LoadMode.VECTOR_F32, put(memory=size - 2, index=0)),
            load(LoadMode.VECTOR_F32, put(memory=(1 << 40) - 2, index=0)),
            load(LoadMode.ROW_Q8_0, number),
            load(LoadMode.ROW_Q8_0, scale),
            load(LoadMode.ROW_Q8_0, put(index=size - 2)),
            load(LoadMode.ROW_Q8_0, put(memory=size)),
            load(LoadMode.WEIGHTS, weights_scale),
            store(put(columns=0)),
            store(put(vector=words - arch.vector_lanes, columns=arch.vector_lanes + 1)),
            store(put(memory=window.start - 2)),
            store(put(memory=window.stop - 2)),
            store(put(memory=0)),
        ]
        if arch.vector_lanes > 1:
            found.append(store(put(vector=1)))
        if arch.tokens > 1:
            last = (1 << 40) - 2
            found += [
                load(LoadMode.VECTOR_F32, put(index=last)),
                store(put(stride=last)),
            ]
        return found
