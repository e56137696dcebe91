"""Matrices in memory: sizes, headers, and rounding real numbers to a format."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.arch.fields import pack, width
from dyncc.arch.skipopu.formats import GROUPS, MATRIX_HEADER, ZERO, WeightType
from dyncc.core.errors import ConfigError

Bytes = NDArray[numpy.uint8]

HEADER_BYTES = width(MATRIX_HEADER) // 8


def row_bytes(kind: WeightType, columns: int, group: int) -> int:
    """Bytes of a row.

    Raises
    ------
    ConfigError
        If the columns are not a multiple of the group.
    """
    if columns % group:
        raise ConfigError(f"{columns} columns are not a multiple of {group}")
    return columns // group * GROUPS[kind].bytes(group)


def matrix_bytes(kind: WeightType, rows: int, columns: int, group: int) -> int:
    """Bytes of a matrix with its header."""
    return HEADER_BYTES + rows * row_bytes(kind, columns, group)


def to_memory(kind: WeightType, group: int, rows: Bytes) -> bytes:
    """A matrix in memory: its header, then its rows' groups.

    Parameters
    ----------
    rows
        uint8 of shape (rows, bytes of a row).

    Raises
    ------
    ConfigError
        If a scale is infinite or not a number.
    """
    layout = GROUPS[kind]
    groups = rows.reshape(-1, layout.bytes(group))
    head = numpy.ascontiguousarray(groups[:, : layout.header_bytes]).view("<u2")
    used = groups[:, layout.header_bytes :].any(axis=1)
    least = ZERO
    if kind == WeightType.BFP16:
        exponents = head[used, 0].view(numpy.int16)
        scale = int(exponents.max()) if exponents.size else ZERO
    else:
        scale = _top_exponent(head[used, 0])
        if kind == WeightType.Q4_1:
            least = _top_exponent(head[:, 1])
    header = {"scale_exponent": scale, "minimum_exponent": least, "reserved": 0}
    return pack(MATRIX_HEADER, header).to_bytes(HEADER_BYTES, "little") + rows.tobytes()


def quantise(kind: WeightType, values: NDArray[Any], group: int, levels: int = 16) -> Bytes:
    """Rows of real numbers, rounded.

    Parameters
    ----------
    values
        Finite, shape (rows, columns), columns a multiple of `group`.
    levels
        Numbers that a weight of `WeightType.Q4_1` may take, 2 to 16: with 4 of them it is as
        precise as one of 2 bits. Other formats use all that they have.

    Returns
    -------
    uint8 of shape (rows, bytes of a row)

    Raises
    ------
    ConfigError
        If the shape does not fit, or a number is too large for the format.
    """
    real = numpy.asarray(values, numpy.float64)
    row_bytes(kind, real.shape[1], group)
    parts = real.reshape(-1, group)
    if kind == WeightType.BFP16:
        head, body = _bfp16(parts)
    elif kind == WeightType.Q4_1:
        least = _half(kind, parts.min(axis=1), parts)
        scale = _half(kind, (parts.max(axis=1) - least) / (levels - 1), parts)
        head = numpy.stack((scale, least), axis=1)
        body = _halves_of_bytes(_steps(parts - least[:, None], scale, 0, levels - 1))
    else:
        top = 127 if kind == WeightType.Q8_0 else 7
        scale = _half(kind, numpy.abs(parts).max(axis=1) / top, parts)
        steps = _steps(parts, scale, -top, top)
        head = scale[:, None]
        body = steps.view(numpy.uint8) if kind == WeightType.Q8_0 else _halves_of_bytes(steps)
    groups = numpy.concatenate((numpy.ascontiguousarray(head).view(numpy.uint8), body), axis=1)
    found: Bytes = groups.reshape(len(real), -1)
    return found


def dequantise(kind: WeightType, rows: Bytes, group: int) -> NDArray[numpy.float64]:
    """The numbers that groups stand for; the inverse of `quantise` but for its rounding.

    Parameters
    ----------
    rows
        uint8 of shape (rows, bytes of a row).

    Returns
    -------
    float64 of shape (rows, columns)
    """
    layout = GROUPS[kind]
    groups = rows.reshape(-1, layout.bytes(group))
    head = numpy.ascontiguousarray(groups[:, : layout.header_bytes]).view("<f2")
    body = numpy.ascontiguousarray(groups[:, layout.header_bytes :])
    if kind == WeightType.BFP16:
        exponents = head.view("<i2").astype(numpy.int32)
        return numpy.ldexp(body.view("<i2").astype(numpy.float64), exponents).reshape(len(rows), -1)
    steps: Any = body.view(numpy.int8)
    if kind != WeightType.Q8_0:
        steps = numpy.concatenate((body & 15, body >> 4), axis=1).astype(numpy.int8)
        if kind == WeightType.Q4_0G:
            steps = (steps ^ 8) - 8
    numbers: NDArray[numpy.float64] = steps * head[:, :1].astype(numpy.float64)
    if kind == WeightType.Q4_1:
        numbers += head[:, 1:]
    return numbers.reshape(len(rows), -1)


def _half(kind: WeightType, numbers: Any, parts: Any) -> Any:
    """Scales or minima of parts as binary16; raises ConfigError if one is too large."""
    with numpy.errstate(over="ignore"):
        found = numbers.astype("<f2")
    if not numpy.isfinite(found).all():
        raise ConfigError(f"numbers up to {numpy.abs(parts).max():g} are too large for {kind.name}")
    return found


def _steps(parts: Any, scale: Any, low: int, high: int) -> Any:
    wide = numpy.where(scale == 0, 1, scale).astype(numpy.float64)[:, None]
    return numpy.clip(numpy.rint(parts / wide), low, high).astype(numpy.int8)


def _halves_of_bytes(steps: Any) -> Any:
    """Two 4-bit numbers a byte: the first half of a group in the low bits."""
    half = steps.shape[1] // 2
    low, high = steps[:, :half] & 15, steps[:, half:] & 15
    return (low | high << 4).astype(numpy.uint8)


def _bfp16(parts: Any) -> tuple[Any, Any]:
    largest = numpy.abs(parts).max(axis=1)
    _, exponents = numpy.frexp(largest)
    exponents = numpy.where(largest > 0, exponents - 15, ZERO).astype("<i2")
    scaled = numpy.ldexp(parts, -exponents.astype(numpy.int32)[:, None])
    mantissas = numpy.clip(numpy.rint(scaled), -32767, 32767).astype("<i2")
    return exponents[:, None], mantissas.view(numpy.uint8)


def _top_exponent(halves: Any) -> int:
    """Largest exponent of binary16 numbers as integers of 11 bits; `ZERO` if all are zero."""
    stored = halves.astype(numpy.int32) >> 10 & 31
    if (stored == 31).any():
        raise ConfigError("a scale of a matrix is infinite or not a number")
    used = stored[halves & 0x7FFF != 0]
    return int(numpy.maximum(used, 1).max()) - 25 if used.size else ZERO
