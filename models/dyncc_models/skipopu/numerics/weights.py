"""Matrices as they are in memory, taken apart for the dot products."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.arch.fields import unpack
from dyncc.arch.skipopu.formats import GROUPS, MATRIX_HEADER, WeightType
from dyncc.arch.skipopu.matrices import HEADER_BYTES, row_bytes
from dyncc.core.errors import ConfigError

#: Rows of a tile, and inputs that are multiplied together; groups are multiples of it.
TILE_ROWS, PART = 64, 32


@dataclass(frozen=True)
class Tiles:
    """A matrix in the order in which its products are made: `TILE_ROWS` rows side by side.

    Attributes
    ----------
    weights
        int8 of shape (tiles, groups, group / PART, PART, TILE_ROWS); rows beyond the last are 0.
    scales, minima
        float32 of shape (tiles, groups, TILE_ROWS), which holds a binary16 exactly.
    """

    weights: NDArray[numpy.int8]
    scales: NDArray[numpy.float32]
    minima: NDArray[numpy.float32]


@dataclass(frozen=True)
class Matrix:
    """A matrix of integers in groups; see `dyncc.arch.skipopu.formats`.

    Attributes
    ----------
    kind
        How it is stored.
    group
        Weights of a group.
    weights
        int8 or int16 of shape (rows, columns).
    scales, scale_exponents
        Integers of 11 bits and a sign, and their exponents, int64 of shape (rows, groups).
        With `WeightType.BFP16` scales are 1.
    minima, minimum_exponents
        The same, zeros unless `WeightType.Q4_1`.
    top_scale, top_minimum
        Largest exponents, as in the header.
    whole, first
        Of a part: the matrix that it is of, and the number of its first row there.
    """

    kind: WeightType
    group: int
    weights: NDArray[Any]
    scales: NDArray[numpy.int64]
    scale_exponents: NDArray[numpy.int64]
    minima: NDArray[numpy.int64]
    minimum_exponents: NDArray[numpy.int64]
    top_scale: int
    top_minimum: int
    whole: Matrix | None = None
    first: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.weights.shape
        return rows, columns

    @cached_property
    def tiles(self) -> Tiles:
        """Of the whole matrix; made once. Not for 16-bit weights."""
        if self.whole is not None:
            return self.whole.tiles
        return Tiles(
            _side_by_side(self.weights.reshape(*self.scales.shape, -1, PART)),
            _side_by_side(_real(self.scales, self.scale_exponents)),
            _side_by_side(_real(self.minima, self.minimum_exponents)),
        )

    def part(self, first: int, end: int) -> Matrix:
        """Some rows, with the header of the whole; not a copy."""
        rows = slice(first, end)
        return Matrix(
            self.kind, self.group, self.weights[rows], self.scales[rows],
            self.scale_exponents[rows], self.minima[rows], self.minimum_exponents[rows],
            self.top_scale, self.top_minimum, self.whole or self, self.first + first,
        )  # fmt: skip


def _real(numbers: NDArray[numpy.int64], exponents: NDArray[numpy.int64]) -> Any:
    return numpy.ldexp(numbers.astype(numpy.float32), exponents.astype(numpy.int32))


def _side_by_side(rows: NDArray[Any]) -> Any:
    """From shape (rows, ...) to (tiles, ..., TILE_ROWS)."""
    count = -(-len(rows) // TILE_ROWS)
    found = numpy.zeros((count, *rows.shape[1:], TILE_ROWS), rows.dtype)
    for tile in range(count):
        part = rows[tile * TILE_ROWS : (tile + 1) * TILE_ROWS]
        found[tile, ..., : len(part)] = numpy.moveaxis(part, 0, -1)
    return found


def from_memory(kind: WeightType, columns: int, group: int, content: bytes | Any) -> Matrix:
    """Take a matrix apart; the inverse of `dyncc.arch.skipopu.matrices.to_memory`."""
    header = unpack(MATRIX_HEADER, int.from_bytes(bytes(content[:HEADER_BYTES]), "little"))
    # No offset, which must not be at the end: a matrix may have no rows.
    rows = numpy.frombuffer(content, numpy.uint8)[HEADER_BYTES:]
    weights, scales, scale_exponents, minima, minimum_exponents = _split(
        kind, group, rows.reshape(-1, row_bytes(kind, columns, group))
    )
    return Matrix(
        kind, group, weights, scales, scale_exponents, minima, minimum_exponents,
        header["scale_exponent"], header["minimum_exponent"],
    )  # fmt: skip


def _split(kind: WeightType, group: int, rows: NDArray[numpy.uint8]) -> tuple[Any, ...]:
    """Weights, scales, their exponents, minima, their exponents."""
    layout = GROUPS[kind]
    count = rows.shape[1] // layout.bytes(group)
    groups = rows.reshape(rows.shape[0], count, layout.bytes(group))
    head = numpy.ascontiguousarray(groups[..., : layout.header_bytes]).view("<u2")
    body = numpy.ascontiguousarray(groups[..., layout.header_bytes :])
    none = numpy.zeros(groups.shape[:2], numpy.int64)
    if kind == WeightType.BFP16:
        weights = body.view("<i2").astype(numpy.int16)
        exponents = head[..., 0].view(numpy.int16).astype(numpy.int64)
        parts = (none + 1, exponents, none, none)
    else:
        if kind == WeightType.Q8_0:
            weights = body.view(numpy.int8)
        else:
            weights = numpy.concatenate((body & 15, body >> 4), axis=2).astype(numpy.int8)
            if kind == WeightType.Q4_0G:
                weights = ((weights ^ 8) - 8).astype(numpy.int8)
        scales, scale_exponents = _halves(head[..., 0])
        if kind == WeightType.Q4_1:
            parts = (scales, scale_exponents, *_halves(head[..., 1]))
        else:
            parts = (scales, scale_exponents, none, none)
    return weights.reshape(rows.shape[0], count * group), *parts


def _halves(bits: Any) -> tuple[Any, Any]:
    """Binary16 as integers of 11 bits and a sign, and exponents; the numbers must be finite."""
    wide = bits.astype(numpy.int32)
    stored, fraction = wide >> 10 & 31, wide & 1023
    if (stored == 31).any():
        raise ConfigError("a scale of a matrix is infinite or not a number")
    size = numpy.where(stored == 0, fraction, fraction | 1024)
    exponents = numpy.where(stored == 0, 1, stored) - 25
    signed = numpy.where(wide >> 15 & 1, -size, size)
    return signed.astype(numpy.int64), exponents.astype(numpy.int64)
