"""Matrices and vectors for PE arrays, and the accumulators of the twin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy

from dyncc.arch.skipopu.formats import ZERO, WeightType
from dyncc.arch.skipopu.spec import ARCHS, ArchSpec
from dyncc_hw.skipopu.array.terms import PeArray
from dyncc_hw.skipopu.shape import EXPONENT_BITS, ArrayShape
from dyncc_models.skipopu.numerics.dot import accumulate
from dyncc_models.skipopu.numerics.weights import Matrix
from dyncc_sim.skipopu.bench.rig import Cases, Maker, packed, steady


@dataclass(frozen=True)
class Kind:
    """A kind of weights, as the array is told.

    Attributes
    ----------
    type
        As the twin has it; `WeightType.BFP16` stands for keys and values, whose scales are 1.
    wide, unsigned
        Whether a weight has a multiplier to itself; whether 4-bit weights are in 0..15.
    """

    type: WeightType
    wide: bool = False
    unsigned: bool = False

    def limits(self, shape: ArrayShape) -> tuple[int, int]:
        """Least and largest weight."""
        if self.type == WeightType.BFP16:
            return -shape.largest, shape.largest
        if self.wide:
            return -128, 127
        return (0, 15) if self.unsigned else (-8, 7)


KINDS = (
    Kind(WeightType.Q4_1, unsigned=True),
    Kind(WeightType.Q8_0, wide=True),
    Kind(WeightType.Q4_0G),
    Kind(WeightType.BFP16, wide=True),
)


def random_matrix(
    shape: ArrayShape, kind: Kind, groups: int, draw: numpy.random.Generator, extreme: bool
) -> Matrix:
    """As many rows as the array works on together; all weights at one end if `extreme`."""
    arch = shape.arch
    rows = arch.rows if kind.wide else shape.outputs
    low, high = kind.limits(shape)
    size = (rows, groups * arch.block)
    weights = draw.integers(low, high + 1, size)
    if extreme:
        weights = numpy.where(draw.random(size) < 0.98, draw.choice([low, high]), weights)
    cells = (rows, groups)
    none = numpy.zeros(cells, numpy.int64)
    if kind.type == WeightType.BFP16:
        scales, exponents = none + 1, draw.integers(-40, 30, cells)
    else:
        scales = draw.integers(-2047, 2048, cells)
        exponents = draw.integers(-24, 6, cells)
    minima, minimum_exponents = none, none
    top = ZERO
    if kind.unsigned:
        minima = numpy.where(extreme, -2047, draw.integers(-2047, 2048, cells))
        minimum_exponents = draw.integers(-24, 6, cells)
        top = int(minimum_exponents.max())
    if extreme:
        scales = numpy.sign(scales) * 2047 if kind.type != WeightType.BFP16 else scales
        exponents = numpy.full(cells, exponents.max())
    return Matrix(
        kind.type, arch.block, weights.astype(numpy.int16), scales, exponents, minima,
        minimum_exponents, int(exponents.max()), top,
    )  # fmt: skip


def random_blocks(
    shape: ArrayShape, groups: int, draw: numpy.random.Generator, extreme: bool
) -> tuple[Any, Any]:
    """Mantissas and exponents of a vector; a fifth of the blocks are zero."""
    size = (groups, shape.arch.block)
    top = shape.largest
    mantissas = draw.integers(-top, top + 1, size)
    # Some are so far below that nothing of their products is left.
    exponents = draw.integers(-30, 20, groups) - 70 * (draw.random(groups) < 0.15)
    if extreme:
        mantissas = numpy.full(size, top)
        exponents[:] = exponents[0]
    else:
        zeros = draw.random(groups) < 0.2
        mantissas[zeros], exponents[zeros] = 0, ZERO
    return mantissas.astype(numpy.int16), exponents


def array(arch: ArchSpec, target: str, products: int, draw: Any) -> Cases:
    """Dot products of so many matrices with one to three vectors each."""
    shape = ArrayShape(arch, target)
    block = PeArray(shape)
    required = [f"{kind.type.name} blocks" for kind in KINDS]
    cases = Cases(block, required=(*required, "a block of zeros", "shifted left", "nothing left"))
    scales: list[int] = []
    for turn in range(products):
        kind, extreme = KINDS[turn % len(KINDS)], turn < len(KINDS)
        # A slice holds whole blocks.
        groups = shape.ways * int(draw.integers(1, 5))
        matrix = random_matrix(shape, kind, groups, draw, extreme)
        for _ in range(draw.integers(1, 4)):
            mantissas, exponents = random_blocks(shape, groups, draw, extreme)
            found, bases = accumulate(matrix, mantissas.reshape(1, -1), exponents[None])
            shifts = bases[0] - exponents
            _slices(cases, shape, kind, matrix, mantissas)
            scales += _scales(shape, block, kind, matrix, shifts)
            _results(cases, shape, kind, found[0])
            apart = shifts[None, :] - matrix.scale_exponents
            live = exponents != ZERO
            cases.coverage[f"{kind.type.name} blocks"] += groups
            cases.coverage["a block of zeros"] += int((~live).sum())
            cases.coverage["shifted left"] += int((apart[:, live] < 0).sum())
            cases.coverage["nothing left"] += int((apart[:, live] > shape.term_bits).sum())
    cases.others["scales"] = scales
    return cases


def _slices(cases: Cases, shape: ArrayShape, kind: Kind, matrix: Matrix, mantissas: Any) -> None:
    """The matrix and a vector, slice by slice."""
    arch = shape.arch
    columns = matrix.shape[1]
    weights = matrix.weights.astype(numpy.int64)
    if kind.wide:
        fields = weights & ((1 << shape.wide_bits) - 1)
    else:
        lanes = (weights & 15).reshape(arch.rows, arch.products, columns)
        fields = (lanes << 4 * numpy.arange(arch.products)[None, :, None]).sum(axis=1)
    flat = mantissas.reshape(-1)
    for first in range(0, columns, arch.columns):
        part = slice(first, first + arch.columns)
        cases.give(
            weights=fields[:, part].tolist(), activations=flat[part].tolist(),
            wide=kind.wide, unsigned=kind.unsigned, first=first % arch.block == 0,
            last=(first + arch.columns) % arch.block == 0,
        )  # fmt: skip


def _scales(
    shape: ArrayShape, block: PeArray, kind: Kind, matrix: Matrix, shifts: Any
) -> list[int]:
    """The scales of each block, or of each slice of several."""
    arch = shape.arch
    lanes = 1 if kind.wide else arch.products
    groups = len(shifts)

    direct = kind.type == WeightType.BFP16

    def values(numbers: Any, exponents: Any, first: int) -> Any:
        if direct:
            words = numbers * exponents & (1 << EXPONENT_BITS) - 1
        else:
            halves = numpy.ldexp(numbers.astype(float), exponents).astype(numpy.float16)
            words = halves.view(numpy.uint16)
        return [
            [
                [
                    int(words[row * lanes + lane, first + way]) if lane < lanes else 0
                    for way in range(shape.ways)
                ]
                for lane in range(arch.products)
            ]
            for row in range(arch.rows)
        ]

    return [
        packed(
            block.scales_layout,
            {
                "scales": values(matrix.scales, matrix.scale_exponents, first),
                "minima": values(matrix.minima, matrix.minimum_exponents, first),
                "shifts": shifts[first : first + shape.ways].tolist(),
                "first": first == 0, "last": first + shape.ways == groups, "wide": kind.wide,
                "direct": direct,
            },
        )
        for first in range(0, groups, shape.ways)
    ]  # fmt: skip


def _results(cases: Cases, shape: ArrayShape, kind: Kind, accumulators: Any) -> None:
    """Accumulators, lane by lane."""
    lanes = 1 if kind.wide else shape.arch.products
    for lane in range(lanes):
        cases.want(accumulators=accumulators[lane::lanes].tolist(), lane=lane)


def _small(name: str, **changes: Any) -> ArchSpec:
    return replace(ARCHS[name], **changes)


ARRAYS: dict[str, Maker] = {
    "ice40_2x2": partial(array, ARCHS["ice40_2x2"], "SB_MAC16", 12),
    "ecp5_2x8": partial(array, _small("ecp5_85f", rows=2), "MULT18X18D", 16),
    "ecp5_2x8_steady": partial(
        steady, partial(array, _small("ecp5_85f", rows=2), "MULT18X18D", 16)
    ),
    "three_products": partial(
        array, _small("u280", rows=1, columns=4, products=3, mantissa_bits=8), "DSP48E2", 8
    ),
}
LARGE_ARRAYS: dict[str, Maker] = {
    # As many columns as a U280 has, so that a slice holds two blocks; and half a block.
    "u280_1x64": partial(array, _small("u280", rows=1), "DSP48E2", 16),
    "u280_g128_1x64": partial(array, _small("u280_g128", rows=1), "DSP48E2", 12),
    "ecp5_85f": partial(array, ARCHS["ecp5_85f"], "MULT18X18D", 24),
}
