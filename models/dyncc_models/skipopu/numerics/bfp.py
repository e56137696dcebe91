"""Block floating point: vectors of F25 to blocks of mantissas with an exponent each."""

from __future__ import annotations

from typing import Any

import numpy
from numba import njit

from dyncc.arch.skipopu.formats import FRACTION_BITS, ZERO
from dyncc_models.skipopu.numerics.f25 import (
    SIGN,
    compose,
    exponent,
    is_negative,
    round_even,
    significand,
)


@njit(cache=True)
def block_exponent(codes: Any, bits: int) -> int:
    """The smallest e with ``|x| < 2**(e + bits - 1)`` for all numbers; `ZERO` for zeros."""
    largest = 0
    for code in codes:
        largest = max(largest, numpy.int64(code) & (SIGN - 1))
    return ZERO if largest == 0 else exponent(largest) + FRACTION_BITS + 2 - bits


@njit(cache=True)
def mantissa(code: int, shared: int, bits: int) -> int:
    """The mantissa of a number in a block whose exponent is `shared`."""
    limit = (1 << (bits - 1)) - 1
    size = min(round_even(significand(code), shared - exponent(code)), limit)
    return -size if is_negative(code) else size


@njit(cache=True)
def to_bfp(codes: Any, block: int, bits: int) -> Any:
    """Blocks of a vector.

    Parameters
    ----------
    codes
        F25 of shape (numbers,), a multiple of `block`.
    block, bits
        Elements that share an exponent; width of mantissas, up to 16.

    Returns
    -------
    int16 of shape (numbers,), int32 of shape (numbers / block,)
        Mantissas and exponents.
    """
    count = codes.shape[0] // block
    mantissas = numpy.zeros(codes.shape[0], numpy.int16)
    exponents = numpy.empty(count, numpy.int32)
    for b in range(count):
        part = codes[b * block : (b + 1) * block]
        shared = block_exponent(part, bits)
        exponents[b] = shared
        if shared != ZERO:
            for i in range(block):
                mantissas[b * block + i] = mantissa(part[i], shared, bits)
    return mantissas, exponents


@njit(cache=True)
def from_bfp(mantissas: Any, exponents: Any, block: int) -> Any:
    """The F25 numbers of blocks."""
    found = numpy.zeros(mantissas.shape[0], numpy.int32)
    for i in range(mantissas.shape[0]):
        number = numpy.int64(mantissas[i])
        found[i] = compose(number < 0, abs(number), numpy.int64(exponents[i // block]))
    return found
