"""F25 floats: conversion, addition, multiplication, comparison."""

from __future__ import annotations

from typing import Any

import numpy
from numba import njit, vectorize
from numpy.typing import NDArray

from dyncc.arch.skipopu.formats import EXPONENT_BITS, FRACTION_BITS

Codes = NDArray[numpy.int32]

SIGN = 1 << (EXPONENT_BITS + FRACTION_BITS)
#: The significand of 1, and one more than the largest.
HIDDEN = 1 << FRACTION_BITS
BIAS = (1 << (EXPONENT_BITS - 1)) - 1
TOP = (1 << EXPONENT_BITS) - 2
LARGEST = TOP << FRACTION_BITS | (HIDDEN - 1)
ONE = BIAS << FRACTION_BITS
_DROPPED = 23 - FRACTION_BITS


@njit(cache=True)
def bit_length(value: int) -> int:
    """Bits of a number that is not negative."""
    bits = 0
    for step in (32, 16, 8, 4, 2, 1):
        if value >> step:
            value >>= step
            bits += step
    return bits + (1 if value else 0)


@njit(cache=True)
def round_even(value: int, bits: int) -> int:
    """``value / 2**bits`` to nearest, halves to even, of a number that is not negative."""
    if bits <= 0:
        return value << -bits
    if bits > 62:
        return 0
    kept = value >> bits
    rest, half = value - (kept << bits), 1 << (bits - 1)
    if rest > half or (rest == half and kept & 1):
        kept += 1
    return kept


@njit(cache=True)
def compose(negative: bool, magnitude: int, exponent: int) -> int:
    """The F25 nearest to ``magnitude * 2**exponent``; the magnitude is not negative."""
    if magnitude == 0:
        return 0
    drop = bit_length(magnitude) - (FRACTION_BITS + 1)
    significand = round_even(magnitude, drop)
    if significand == 2 * HIDDEN:
        significand = HIDDEN
        drop += 1
    stored = exponent + drop + FRACTION_BITS + BIAS
    if stored < 1:
        return 0
    code = LARGEST if stored > TOP else stored << FRACTION_BITS | (significand - HIDDEN)
    return code | SIGN if negative else code


@njit(cache=True)
def is_negative(code: int) -> bool:
    """Whether the sign is set; there is no negative zero."""
    return code & SIGN != 0


@njit(cache=True)
def significand(code: int) -> int:
    """The magnitude's 17 bits; 0 of zero."""
    if code & (SIGN - 1) == 0:
        return 0
    return HIDDEN | (code & (HIDDEN - 1))


@njit(cache=True)
def exponent(code: int) -> int:
    """Weight of the significand's lowest bit."""
    return ((code & (SIGN - 1)) >> FRACTION_BITS) - BIAS - FRACTION_BITS


@njit(cache=True)
def negate(code: int) -> int:
    """Minus a number."""
    return code ^ SIGN if code else 0


@njit(cache=True)
def add(a: int, b: int) -> int:
    """The sum."""
    if a == 0:
        return b
    if b == 0:
        return a
    if a & (SIGN - 1) < b & (SIGN - 1):
        a, b = b, a
    shift = exponent(a) - exponent(b)
    if shift > 40:
        # Far below half of the last place, also where the sum crosses a power of two.
        return a
    total = significand(a) << shift
    if is_negative(a) == is_negative(b):
        total += significand(b)
    else:
        total -= significand(b)
    return compose(is_negative(a), total, exponent(b))


@njit(cache=True)
def multiply(a: int, b: int) -> int:
    """The product."""
    product = significand(a) * significand(b)
    return compose(is_negative(a) != is_negative(b), product, exponent(a) + exponent(b))


@njit(cache=True)
def order(code: int) -> int:
    """An integer that compares as the number does."""
    return -(code & (SIGN - 1)) if code & SIGN else code


@njit(cache=True)
def from_half(bits: int) -> int:
    """The F25 of a binary16; exact, but for NaN and infinity, which become the largest number."""
    exponent_16, fraction = bits >> 10 & 31, bits & 1023
    negative = bits >> 15 & 1 == 1
    if exponent_16 == 31:
        return LARGEST | SIGN if negative else LARGEST
    if exponent_16 == 0:
        return compose(negative, fraction, -24)
    return compose(negative, fraction | 1024, exponent_16 - 25)


@vectorize(["int32(int32, int32)"], cache=True)
def add_all(a: Any, b: Any) -> Any:
    """Sums of arrays."""
    return add(a, b)


@vectorize(["int32(int32, int32)"], cache=True)
def multiply_all(a: Any, b: Any) -> Any:
    """Products of arrays."""
    return multiply(a, b)


def to_float(codes: Any) -> NDArray[numpy.float32]:
    """The numbers, exactly."""
    wide = numpy.asarray(codes, numpy.int64)
    return (wide << _DROPPED).astype(numpy.uint32).view(numpy.float32)


def from_float(values: Any) -> Codes:
    """The nearest F25 of each binary32, halves to even.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    real = numpy.asarray(values, numpy.float32)
    if not numpy.isfinite(real).all():
        raise ValueError("only finite numbers become F25")
    bits = real.view(numpy.uint32).astype(numpy.int64)
    negative, size = bits >> 31, bits & 0x7FFFFFFF
    kept = size >> _DROPPED
    rest, half = size & ((1 << _DROPPED) - 1), 1 << (_DROPPED - 1)
    kept += (rest > half) | ((rest == half) & (kept & 1 == 1))
    kept = numpy.minimum(kept, LARGEST)
    # Binary32 may be subnormal; what rounds up to the smallest normal number is one.
    kept = numpy.where(kept < HIDDEN, 0, kept)
    return numpy.where(kept, kept | negative << (SIGN.bit_length() - 1), 0).astype(numpy.int32)
