"""F25 floats: conversion, addition, multiplication, comparison.

Functions choose between results instead of branching, so that loops over them become instructions
on many numbers at once.
"""

from __future__ import annotations

from typing import Any

import numpy
from numba import njit, vectorize
from numba.cpython.unsafe.numbers import leading_zeros
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
    return 64 - leading_zeros(numpy.int64(value))  # type: ignore[call-arg]  # Numba gives the rest


@njit(cache=True)
def round_even(value: int, bits: int) -> int:
    """``value / 2**bits`` to nearest, halves to even, of a number that is not negative."""
    down = min(max(bits, 0), 62)
    kept = value >> down
    # A unit less twice the rest: 1 if no bits are dropped.
    left = (1 << down) - 2 * (value - (kept << down))
    kept += (left < 0) | ((left == 0) & (kept & 1 == 1))
    return 0 if bits > 62 else kept << max(-bits, 0)


@njit(cache=True)
def compose(negative: bool, magnitude: int, exponent: int) -> int:
    """The F25 nearest to ``magnitude * 2**exponent``; the magnitude is not negative."""
    drop = bit_length(magnitude) - (FRACTION_BITS + 1)
    # A significand that is rounded up to 2 carries into the exponent.
    stored = exponent + drop + FRACTION_BITS + BIAS
    size = min((stored << FRACTION_BITS) + round_even(magnitude, drop) - HIDDEN, LARGEST)
    return 0 if (magnitude == 0) | (size < HIDDEN) else size | (SIGN if negative else 0)


@njit(cache=True)
def is_negative(code: int) -> bool:
    """Whether the sign is set; there is no negative zero."""
    return code & SIGN != 0


@njit(cache=True)
def significand(code: int) -> int:
    """The magnitude's 17 bits; 0 of zero."""
    return 0 if code & (SIGN - 1) == 0 else HIDDEN | (code & (HIDDEN - 1))


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
    turned = a & (SIGN - 1) < b & (SIGN - 1)
    large, small = b if turned else a, a if turned else b
    shift = exponent(large) - exponent(small)
    lower = significand(small)
    total = (significand(large) << min(shift, 41)) + (
        lower if is_negative(large) == is_negative(small) else -lower
    )
    found = compose(is_negative(large), total, exponent(small))
    # Beyond 40 it is far below half of the last place, also where the sum crosses a power of two.
    return large if (shift > 40) | (lower == 0) else found


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
    hidden = 0 if exponent_16 == 0 else 1024
    found = compose(negative, fraction | hidden, max(exponent_16, 1) - 25)
    return LARGEST | (SIGN if negative else 0) if exponent_16 == 31 else found


@vectorize(["int32(int32, int32)"], cache=True)
def add_all(a: Any, b: Any) -> Any:
    """Sums of arrays."""
    return add(a, b)


@vectorize(["int32(int32, int32)"], cache=True)
def multiply_all(a: Any, b: Any) -> Any:
    """Products of arrays."""
    return multiply(a, b)


@vectorize(["int32(uint32)"], cache=True)
def _from_bits(bits: Any) -> Any:
    """The nearest F25 of a finite binary32."""
    size = min(round_even(numpy.int64(bits) & 0x7FFFFFFF, _DROPPED), LARGEST)
    # Binary32 may be subnormal; what rounds up to the smallest normal number is one.
    return 0 if size < HIDDEN else size | (SIGN if bits >> 31 else 0)


def to_float(codes: Any) -> NDArray[numpy.float32]:
    """The numbers, exactly."""
    return (numpy.asarray(codes).astype(numpy.uint32) << _DROPPED).view(numpy.float32)


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
    found: Codes = _from_bits(real.view(numpy.uint32))
    return found
