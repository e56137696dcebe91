"""Random instructions of the vector engine, and numbers for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from dyncc.arch.fields import unpack
from dyncc.arch.skipopu.formats import (
    EXPONENT_BITS,
    FRACTION_BITS,
    MATRIX_HEADER,
    WeightType,
)
from dyncc.arch.skipopu.isa import COUNT_BITS, SCALARS, Function, Instruction, Op
from dyncc.arch.skipopu.matrices import HEADER_BYTES, matrix_bytes, to_memory
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import MATRIX, wide_group_layout
from dyncc_models.skipopu.numerics import f25
from dyncc_sim.skipopu.bench.rig import packed
from dyncc_sim.skipopu.sequencer import Work

#: Numbers at the end of each token's that no instruction uses: those of other clients.
OTHERS = 64
#: Positions that have rotations, and numbers of the longest head.
POSITIONS, HEAD = 24, 64
#: Numbers behind the last position, so that tables may begin a little later.
SPARE = 8
#: Addresses of tables of rotations.
TABLES = (0, 4 * (POSITIONS * HEAD + SPARE) + 2)
#: Address of one in which a number in eight is not finite.
STRANGE, FAR = "rotations are not finite", "far address"
STRANGE_TABLE = 2 * TABLES[1]
MOST_COUNT = (1 << COUNT_BITS) - 1
TWO_OPERANDS = (Function.ADD, Function.MUL, Function.SWIGLU, Function.TO_BFP_GAIN)
TO_BLOCKS = (Function.TO_BFP, Function.TO_BFP_GAIN)
#: Kinds of numbers: range of stored exponents, and the part that is zero.
STYLES = {
    "usual": (120, 134, 0.05), "any": (1, 254, 0.1), "small": (1, 6, 0.2), "large": (249, 254, 0.1),
    "zero": (127, 128, 1.0), "equal": (127, 128, 0.3), "around zero": (60, 68, 0.1),
}  # fmt: skip


def codes(draw: numpy.random.Generator, style: str, count: int) -> Any:
    """F25 numbers of a style, int32 of shape (count,)."""
    low, high, zeros = STYLES[style]
    fraction = draw.integers(0, 1 << FRACTION_BITS, count)
    extreme = draw.choice([0, 1, (1 << FRACTION_BITS) - 1], count)
    fraction = numpy.where(draw.random(count) < 0.3, extreme, fraction)
    if style == "equal":
        fraction = draw.integers(0, 2, count)
    sign = draw.integers(0, 2, count) << (EXPONENT_BITS + FRACTION_BITS)
    found = sign | draw.integers(low, high + 1, count) << FRACTION_BITS | fraction
    return numpy.where(draw.random(count) < zeros, 0, found).astype(numpy.int32)


def rotations(draw: numpy.random.Generator) -> Any:
    """Rotations of all positions and some numbers that are none, binary32."""
    count = POSITIONS * HEAD + SPARE
    angles = numpy.cos(draw.random(count) * 7).astype(numpy.float32)
    bits = draw.integers(0, 255 << 23, count).astype(numpy.uint32)
    bits |= (draw.integers(0, 2, count) << 31).astype(numpy.uint32)
    special = numpy.array([0.0, -0.0, 1.0, -1.0, 3.4e38, -3.4e38, 1e-45, 1.17e-38], numpy.float32)
    kind = draw.random(count)
    found = numpy.where(kind < 0.6, angles, bits.view(numpy.float32))
    return numpy.where(kind > 0.8, special[draw.integers(0, len(special), count)], found)


def strange_rotations(draw: numpy.random.Generator) -> Any:
    """The same with numbers that are not finite."""
    found = rotations(draw)
    strange = numpy.array([numpy.inf, -numpy.inf, numpy.nan], numpy.float32)
    # One in each head of 8 numbers, and more.
    for first in range(0, len(found), 8):
        found[first + draw.integers(0, 2)] = draw.choice(strange)
    return found


@dataclass(frozen=True)
class Router:
    """A matrix for `Op.ROUTE`: how it is stored, its shape, and its bytes."""

    kind: WeightType
    rows: int
    columns: int
    content: bytes


def router(draw: numpy.random.Generator, arch: ArchSpec, rows: int, columns: int) -> Router:
    """Random weights, some blocks far smaller than others."""
    groups = rows * columns // arch.block
    spread = int(draw.choice([0, 3, 40, 3000]))
    exponents = draw.integers(-16 - spread, -15, groups)
    limit = int(draw.choice([2, 300, 32767]))
    weights = draw.integers(-limit, limit + 1, (groups, arch.block))
    weights[draw.random(groups) < 0.1] = 0
    if draw.random() < 0.1:
        weights[:] = 32767
    data = numpy.concatenate((exponents[:, None], weights), axis=1).astype("<i2")
    content = to_memory(WeightType.BFP16, arch.block, data.view(numpy.uint8).reshape(rows, -1))
    return Router(WeightType.BFP16, rows, columns, content)


def strange_router(arch: ArchSpec, rows: int, columns: int) -> Router:
    """A matrix of a format that is not a router's."""
    size = matrix_bytes(WeightType.Q8_0, rows, columns, arch.block)
    return Router(WeightType.Q8_0, rows, columns, bytes(size))


class Maker:
    """Makes instructions.

    Parameters
    ----------
    arch
        The instance.
    draw
        Random numbers.
    """

    def __init__(self, arch: ArchSpec, draw: numpy.random.Generator) -> None:
        self._arch, self._draw = arch, draw
        self.room = arch.vector_words - OTHERS
        self._number = 0

    def integer(self, low: int, high: int) -> int:
        """A number from `low` to `high`."""
        return int(self._draw.integers(low, high + 1))

    def columns(self, whole: bool, most: int = 200) -> int:
        """Numbers of a token; if `whole`, blocks."""
        block = self._arch.block
        if whole:
            return block * self.integer(1, most // block)
        return self.integer(1, int(self._draw.choice([3, 40, most])))

    def place(self, count: int) -> int:
        """A place for so many numbers, sometimes the first or the last."""
        lanes = self._arch.vector_lanes
        last = (self.room - count) // lanes
        return lanes * int(self._draw.choice([0, last, self.integer(0, last)], p=[0.1, 0.1, 0.8]))

    def npe(self, function: Function) -> dict[str, int]:
        """Values of a right instruction."""
        arch, draw = self._arch, self._draw
        norm = function == Function.SUM_SQUARES
        whole = function in TO_BLOCKS or norm
        columns = self.columns(whole, arch.route_columns if norm else 200)
        v = {"function": int(function), "scalar": self.integer(0, SCALARS - 1), "memory": 0}
        if function == Function.ROPE:
            unit = max(2, arch.vector_lanes)
            size = unit * self.integer(1, HEAD // unit)
            columns = size * self.integer(1, max(1, 200 // size))
            v["memory"] = int(draw.choice(TABLES)) + 4 * self.integer(0, SPARE - 1)
        a = self.place(columns)
        b = a if draw.random() < 0.1 else self._apart(columns, a)
        if function not in TWO_OPERANDS:
            # Where there is no second operand, it does not matter.
            b = a
        d = int(draw.choice([a, b])) if draw.random() < 0.4 else self._apart(columns, a, b)
        v |= {"columns": columns, "a": a, "b": b, "d": d}
        if function == Function.ROPE:
            v["b"] = size
        elif norm:
            v["memory"] = self._eps()
        elif whole:
            v["d"] = self.integer(0, arch.blocks - columns // arch.block)
        elif function == Function.ARGMAX:
            first = [0, 1, self.integer(1, 70000), MOST_COUNT, MOST_COUNT - self.integer(0, 60)]
            v |= {"b": int(draw.choice(first)), "d": self.place(2)}
        return v

    def _apart(self, count: int, *others: int) -> int:
        """A place that does not begin or end within others."""
        while True:
            found = self.place(count)
            if all(abs(found - other) >= count for other in others):
                return found

    def _eps(self) -> int:
        """An F25, and bits above it that do not count."""
        eps = int(f25.from_float(numpy.float32(self._draw.choice([0, 1e-6, 1e-5, 1, 1e30]))))
        return eps | self.integer(0, 7) << 25

    def route(self, route: bool, columns: int) -> dict[str, int]:
        """Values of a right `Op.ROUTE`."""
        return {
            "route": int(route), "scalar": self.integer(0, SCALARS - 1),
            "vector": self.place(columns), "columns": columns, "eps": self._eps(),
        }  # fmt: skip

    def work(self, op: Op, values: dict[str, int], active: Any = None) -> Work:
        """An instruction for tokens; random ones if none are given."""
        if active is None:
            tokens = self.integer(1, self._arch.tokens)
            active = self._draw.random(tokens) < self._draw.choice([0.3, 0.7, 1.0])
            active[self.integer(0, tokens - 1)] = True
        self._number += 1
        last = POSITIONS - self._arch.tokens - 1
        return Work(self._number, 0, Instruction(op, {}), values, active, self.integer(0, last), 0)

    def faults(self, function: Function) -> dict[str, dict[str, int]]:
        """Values of instructions with something wrong, by what it is."""
        arch, v = self._arch, self.npe(function)
        lanes, words, columns = arch.vector_lanes, arch.vector_words, v["columns"]
        outside = words - columns // lanes * lanes + lanes
        if function == Function.ROPE:
            long = arch.kv_width + max(2, lanes)
            return {
                "no head": v | {"b": 0},
                "odd head": v | {"b": 1},
                "heads do not fit": v | {"columns": v["b"] + 1, "a": 0, "d": 0},
                "long head": v | {"b": long, "columns": long, "a": 0, "d": 0},
                FAR: v | {"memory": (1 << 40) - 2},
                STRANGE: v | {"memory": STRANGE_TABLE},
            }
        found = {
            "a outside": v | {"a": outside},
            "a far outside": v | {"a": MOST_COUNT // lanes * lanes},
            "no columns": v | {"columns": 0},
            "most columns": v | {"columns": MOST_COUNT},
        }
        places = ["a"]
        if function in TWO_OPERANDS:
            found["b outside"] = v | {"b": outside}
            places.append("b")
        if function in TO_BLOCKS:
            found["blocks outside"] = v | {"d": arch.blocks - columns // arch.block + 1}
            found["blocks far outside"] = v | {"d": MOST_COUNT}
        elif function == Function.ARGMAX:
            found["result outside"] = v | {"d": words}
            places.append("d")
        elif function != Function.SUM_SQUARES:
            found["d outside"] = v | {"d": outside}
            places.append("d")
        if function in (*TO_BLOCKS, Function.SUM_SQUARES):
            found["no whole blocks"] = v | {"columns": columns + 1}
        if function == Function.SUM_SQUARES:
            found["too long"] = v | {"columns": arch.route_columns + arch.block, "a": 0}
        if lanes > 1:
            found |= {f"{name} between words": v | {name: v[name] + 1} for name in places}
        return found


def streamed(found: Router, arch: ArchSpec) -> tuple[int, list[int]]:
    """Payloads of a matrix and of its groups, see `interfaces.matrix_signature`."""
    header = unpack(MATRIX_HEADER, int.from_bytes(found.content[:HEADER_BYTES], "little"))
    matrix = {
        "type": int(found.kind), "rows": found.rows, "columns": found.columns,
        "scale_exponent": header["scale_exponent"],
        "minimum_exponent": header["minimum_exponent"],
    }  # fmt: skip
    groups = []
    if found.kind == WeightType.BFP16:
        rows = numpy.frombuffer(found.content, "<i2", offset=HEADER_BYTES)
        layout = wide_group_layout(arch)
        groups = [
            packed(layout, {"exponent": row[0], "weights": row[1:].tolist()})
            for row in rows.reshape(-1, 1 + arch.block)
        ]
    return packed(MATRIX, matrix), groups
