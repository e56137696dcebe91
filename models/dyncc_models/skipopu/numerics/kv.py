"""Slots of keys and values: from floats to bytes, and to the blocks that attention reads."""

from __future__ import annotations

from typing import Any

import numpy
from numba import njit

from dyncc.arch.skipopu.formats import ZERO, KvType
from dyncc_models.skipopu.numerics.bfp import block_exponent, mantissa, to_bfp
from dyncc_models.skipopu.numerics.f25 import (
    exponent,
    from_half,
    is_negative,
    round_even,
    significand,
)

KV_BLOCK, KV_BITS = 32, 8
#: Exponents of BFP8 are signed bytes; the least marks a block of zeros.
_LEAST, _MOST = -127, 127
_HALF_LARGEST = 0x7BFF


@njit(cache=True)
def to_half(code: int) -> int:
    """The nearest binary16, halves to even; the largest instead of infinity."""
    size = significand(code)
    sign = 0x8000 if is_negative(code) else 0
    if size == 0:
        return 0
    scale = exponent(code) + 16
    if scale < -14:
        found = round_even(size, -24 - exponent(code))
    else:
        found = (scale + 14 << 10) + round_even(size, 6)
    return sign | min(found, _HALF_LARGEST)


@njit(cache=True)
def _write_bfp8(numbers: Any, out: Any) -> None:
    """Mantissas, then an exponent for each block."""
    count = numbers.shape[0]
    for b in range(count // KV_BLOCK):
        part = numbers[b * KV_BLOCK : (b + 1) * KV_BLOCK]
        shared = block_exponent(part, KV_BITS)
        stored = -128 if shared < _LEAST else min(shared, _MOST)
        out[count + b] = stored & 255
        for i in range(KV_BLOCK):
            number = 0 if stored == -128 else mantissa(part[i], stored, KV_BITS)
            out[b * KV_BLOCK + i] = number & 255


@njit(cache=True)
def _write_half(numbers: Any, out: Any) -> None:
    for i in range(numbers.shape[0]):
        bits = to_half(numbers[i])
        out[2 * i], out[2 * i + 1] = bits & 255, bits >> 8


def to_slot(kind: KvType, k: Any, v: Any) -> Any:
    """Bytes of a slot.

    Parameters
    ----------
    k, v
        F25 of shape (kv_heads * head_size,).
    """
    size = k.shape[0] * 2 if kind == KvType.F16 else k.shape[0] + k.shape[0] // KV_BLOCK
    found = numpy.zeros((2, size), numpy.uint8)
    for numbers, out in ((k, found[0]), (v, found[1])):
        if kind == KvType.F16:
            _write_half(numbers, out)
        else:
            _write_bfp8(numbers, out)
    return found.reshape(-1)


@njit(cache=True)
def _blocks_of_halves(halves: Any, block: int, bits: int) -> Any:
    rows, count = halves.shape
    mantissas = numpy.empty((rows, count), numpy.int16)
    exponents = numpy.empty((rows, count // block), numpy.int32)
    codes = numpy.empty(count, numpy.int32)
    for r in range(rows):
        for i in range(count):
            codes[i] = from_half(numpy.int64(halves[r, i]))
        mantissas[r], exponents[r] = to_bfp(codes, block, bits)
    return mantissas, exponents


def from_slots(
    kind: KvType, slots: Any, kv_heads: int, head_size: int, block: int, bits: int
) -> tuple[Any, Any, Any, Any]:
    """Keys and values as blocks.

    Parameters
    ----------
    slots
        uint8 of shape (positions, bytes of a slot).
    block, bits
        Of activations; `KvType.BFP8` keeps its own.

    Returns
    -------
    tuple
        Mantissas of keys, shape (positions, kv_heads, head_size), their exponents int32
        (positions, kv_heads, head_size / block), and the same of values.
    """
    halves = slots.reshape(len(slots), 2, -1)
    found = []
    for part in (halves[:, 0], halves[:, 1]):
        if kind == KvType.F16:
            numbers = numpy.ascontiguousarray(part).view("<u2")
            mantissas, exponents = _blocks_of_halves(numbers, block, bits)
        else:
            count = kv_heads * head_size
            mantissas = numpy.ascontiguousarray(part[:, :count]).view(numpy.int8)
            stored = numpy.ascontiguousarray(part[:, count:]).view(numpy.int8).astype(numpy.int32)
            exponents = numpy.where(stored == -128, ZERO, stored)
        found.append(mantissas.reshape(len(slots), kv_heads, head_size))
        found.append(exponents.reshape(len(slots), kv_heads, -1))
    return found[0], found[1], found[2], found[3]
