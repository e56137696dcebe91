"""Dot products of a matrix with vectors in block floating point, by integers alone."""

from __future__ import annotations

from typing import Any

import numba
import numpy
from numba import njit, prange

from dyncc.arch.skipopu.formats import GUARD, ZERO
from dyncc_models.skipopu.numerics.f25 import add, compose, multiply
from dyncc_models.skipopu.numerics.weights import Matrix

#: Numbers that are multiplied together in the inner loop; blocks are multiples of it.
PART = 32
#: Products that are worth waking other threads for; on a busy machine each time costs milliseconds.
_WORTH_THREADS = 1 << 23
_THREADS = numba.get_num_threads()


@njit(cache=True)
def shift_round(value: int, bits: int) -> int:
    """``value / 2**bits`` to nearest, halves up; a negative amount shifts left."""
    if bits <= 0:
        return value << -bits
    if bits > 62:
        return 0
    return (value + (1 << (bits - 1))) >> bits


@njit(cache=True)
def base_exponent(top_scale: int, top_minimum: int, exponents: Any) -> int:
    """The exponent of an accumulator, chosen before the sum."""
    largest = ZERO
    for e in exponents:
        largest = max(largest, e)
    if largest == ZERO:
        return ZERO
    return max(top_scale, top_minimum) + largest - GUARD


@njit(cache=True, parallel=True)
def _accumulate(
    weights: Any, scales: Any, scale_exponents: Any, minima: Any, minimum_exponents: Any,
    mantissas: Any, shifts: Any,
) -> Any:  # fmt: skip
    """Dot products of all rows and tokens.

    Shapes: weights (rows, groups, parts, PART), mantissas (tokens, groups, parts, PART), shifts
    (tokens, groups). The length of a part is constant, so that a part becomes a few instructions.
    """
    (rows, groups, parts, _), tokens = weights.shape, mantissas.shape[0]
    found = numpy.zeros((tokens, rows), numpy.int64)
    sums = numpy.zeros((tokens, groups), numpy.int64)
    for t in range(tokens):
        for g in range(groups):
            sums[t, g] = mantissas[t, g].sum()
    for r in prange(rows):
        for t in range(tokens):
            total = 0
            for g in range(groups):
                product = numpy.int32(0)
                for k in range(parts):
                    for i in range(PART):
                        product += numpy.int32(weights[r, g, k, i]) * numpy.int32(
                            mantissas[t, g, k, i]
                        )
                shift = shifts[t, g]
                total += shift_round(scales[r, g] * product, shift - scale_exponents[r, g])
                least = minima[r, g] * sums[t, g]
                if least:
                    total += shift_round(least, shift - minimum_exponents[r, g])
            found[t, r] = total
    return found


@njit(cache=True, parallel=True)
def _accumulate_wide(weights: Any, exponents: Any, mantissas: Any, shifts: Any) -> Any:
    """The same for 16-bit weights, whose products do not fit 32 bits."""
    (rows, groups, parts, _), tokens = weights.shape, mantissas.shape[0]
    found = numpy.zeros((tokens, rows), numpy.int64)
    for r in prange(rows):
        for t in range(tokens):
            total = 0
            for g in range(groups):
                product = 0
                for k in range(parts):
                    for i in range(PART):
                        product += numpy.int64(weights[r, g, k, i]) * numpy.int64(
                            mantissas[t, g, k, i]
                        )
                total += shift_round(product, shifts[t, g] - exponents[r, g])
            found[t, r] = total
    return found


def accumulate(matrix: Matrix, mantissas: Any, exponents: Any) -> tuple[Any, Any]:
    """Accumulators of all rows, before they become floats.

    Parameters
    ----------
    mantissas
        int16 of shape (tokens, columns).
    exponents
        int32 of shape (tokens, columns / group).

    Returns
    -------
    int64 of shape (tokens, rows), int64 of shape (tokens,)
        The accumulators, and the exponent of their lowest bit.
    """
    bases = numpy.array(
        [base_exponent(matrix.top_scale, matrix.top_minimum, row) for row in exponents],
        numpy.int64,
    )
    # A block of zeros has so low an exponent that its terms vanish.
    shifts = bases[:, None] - exponents.astype(numpy.int64)
    weights = matrix.weights.reshape(*matrix.scales.shape, -1, PART)
    blocks = mantissas.reshape(*exponents.shape, -1, PART)
    alone = weights.size * len(blocks) < _WORTH_THREADS
    numba.set_num_threads(1 if alone else _THREADS)
    if matrix.weights.dtype == numpy.int16:
        found = _accumulate_wide(weights, matrix.scale_exponents, blocks, shifts)
    else:
        found = _accumulate(
            weights, matrix.scales, matrix.scale_exponents, matrix.minima,
            matrix.minimum_exponents, blocks, shifts,
        )  # fmt: skip
    return found, bases


@njit(cache=True)
def reconstruct(accumulators: Any, bases: Any, scalars: Any, before: Any) -> Any:
    """Accumulators as F25, times a scalar for each token, plus what was there before.

    Parameters
    ----------
    accumulators, bases
        From `accumulate`.
    scalars
        F25 of shape (tokens,), or of shape (0,) for none.
    before
        F25 of shape (tokens, rows), or of shape (0, 0) for none.
    """
    tokens, rows = accumulators.shape
    found = numpy.empty((tokens, rows), numpy.int32)
    for t in range(tokens):
        for r in range(rows):
            number = accumulators[t, r]
            code = compose(number < 0, abs(number), bases[t])
            if scalars.shape[0]:
                code = multiply(code, numpy.int64(scalars[t]))
            if before.shape[0]:
                code = add(numpy.int64(before[t, r]), code)
            found[t, r] = code
    return found
