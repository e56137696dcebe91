"""Functions of the vector engine: powers of two, reciprocals, roots, SiLU, rotations."""

from __future__ import annotations

from typing import Any

import numpy
from numba import njit, vectorize

from dyncc.arch.skipopu.formats import FRACTION_BITS
from dyncc.arch.skipopu.tables import INPUT_BITS, OUTPUT_BITS, STEP_BITS, table
from dyncc_models.skipopu.numerics.f25 import (
    HIDDEN,
    LARGEST,
    ONE,
    add,
    compose,
    exponent,
    from_float,
    is_negative,
    multiply,
    negate,
    round_even,
    significand,
)

_EXP2, _RECIPROCAL, _RSQRT, _RSQRT_DOUBLE = (
    (numpy.array(found.bases), numpy.array(found.slopes))
    for found in (table(name) for name in ("exp2", "reciprocal", "rsqrt", "rsqrt_double"))
)
#: log2(e).
LOG2_E = int(from_float(1.4426950408889634))
#: 2 to this, and to less than minus this, is beyond the range of F25.
_BEYOND = 200


@njit(cache=True)
def interpolate(bases: Any, slopes: Any, fraction: int) -> int:
    """A table's function of a 16-bit fraction, in 2^-20."""
    segment, step = fraction >> STEP_BITS, fraction & ((1 << STEP_BITS) - 1)
    rise = (slopes[segment] * step + (1 << (STEP_BITS - 1))) >> STEP_BITS
    found: int = bases[segment] + rise
    return found


@njit(cache=True)
def to_fixed(code: int, fraction_bits: int, bits: int) -> int:
    """The nearest integer to a number times ``2**fraction_bits``, halves to even, saturating."""
    # Shifted by `bits`, a significand is beyond the limit anyway.
    shift = min(exponent(code) + fraction_bits, bits)
    found = min(round_even(significand(code), -shift), (1 << (bits - 1)) - 1)
    return -found if is_negative(code) else found


@njit(cache=True)
def power_of_two(fixed: int) -> int:
    """2^x as F25, for x with 16 fraction bits; 0 or the largest number beyond the range of F25."""
    whole = min(max(fixed >> INPUT_BITS, -_BEYOND), _BEYOND)
    mantissa = interpolate(_EXP2[0], _EXP2[1], fixed & ((1 << INPUT_BITS) - 1))
    return compose(False, mantissa, whole - OUTPUT_BITS)


@njit(cache=True)
def probability(fixed: int) -> int:
    """2^x for x <= 0 with 16 fraction bits, as an integer with 16 fraction bits."""
    whole = fixed >> INPUT_BITS
    mantissa = interpolate(_EXP2[0], _EXP2[1], fixed & ((1 << INPUT_BITS) - 1))
    shift = OUTPUT_BITS - INPUT_BITS - whole
    if shift > 40:
        return 0
    return (mantissa + (1 << (shift - 1))) >> shift


@njit(cache=True)
def reciprocal(code: int) -> int:
    """1 / x; the largest number for 0."""
    mantissa = interpolate(_RECIPROCAL[0], _RECIPROCAL[1], code & (HIDDEN - 1))
    scale = exponent(code) + FRACTION_BITS
    found = compose(is_negative(code), mantissa, -scale - OUTPUT_BITS)
    return LARGEST if significand(code) == 0 else found


@njit(cache=True)
def inverse_root(code: int) -> int:
    """1 / sqrt(x) for x > 0; the largest number otherwise."""
    scale = exponent(code) + FRACTION_BITS
    fraction = code & (HIDDEN - 1)
    if scale & 1:
        mantissa = interpolate(_RSQRT_DOUBLE[0], _RSQRT_DOUBLE[1], fraction)
    else:
        mantissa = interpolate(_RSQRT[0], _RSQRT[1], fraction)
    found = compose(False, mantissa, -(scale >> 1) - OUTPUT_BITS)
    return LARGEST if (significand(code) == 0) | is_negative(code) else found


@njit(cache=True)
def silu(code: int) -> int:
    """SiLU: x / (1 + 2^(-x log2 e))."""
    fixed = to_fixed(multiply(negate(code), LOG2_E), INPUT_BITS, 28)
    return multiply(code, reciprocal(add(ONE, power_of_two(fixed))))


@vectorize(["int32(int32, int32)"], cache=True)
def swiglu(a: Any, b: Any) -> Any:
    """SiLU of `a`, times `b`, of arrays."""
    return multiply(silu(a), b)


@njit(cache=True)
def rope(vector: Any, cosine: Any, sine: Any) -> Any:
    """Turn neighbouring pairs.

    Parameters
    ----------
    vector
        Codes of shape (heads, head_size).
    cosine, sine
        Codes of shape (head_size / 2,).
    """
    found = numpy.empty_like(vector)
    for head in range(vector.shape[0]):
        for pair in range(cosine.shape[0]):
            even, odd = vector[head, 2 * pair], vector[head, 2 * pair + 1]
            c, s = cosine[pair], sine[pair]
            found[head, 2 * pair] = add(multiply(even, c), negate(multiply(odd, s)))
            found[head, 2 * pair + 1] = add(multiply(even, s), multiply(odd, c))
    return found
