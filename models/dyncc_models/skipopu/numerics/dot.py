"""Dot products of a matrix with vectors in block floating point, by integers alone."""

from __future__ import annotations

from typing import Any

import numpy
from numba import njit, prange

from dyncc.arch.skipopu.formats import GUARD, ZERO
from dyncc_models.skipopu.numerics.f25 import add, compose, multiply
from dyncc_models.skipopu.numerics.weights import Matrix


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
    weights: Any, group: int, scales: Any, scale_exponents: Any, minima: Any,
    minimum_exponents: Any, mantissas: Any, exponents: Any, bases: Any,
) -> Any:  # fmt: skip
    tokens, rows, groups = mantissas.shape[0], weights.shape[0], scales.shape[1]
    found = numpy.zeros((tokens, rows), numpy.int64)
    sums = numpy.zeros((tokens, groups), numpy.int64)
    for t in range(tokens):
        for g in range(groups):
            total = 0
            for i in range(g * group, (g + 1) * group):
                total += mantissas[t, i]
            sums[t, g] = total
    for r in prange(rows):
        for g in range(groups):
            first = g * group
            scale, minimum = numpy.int64(scales[r, g]), numpy.int64(minima[r, g])
            for t in range(tokens):
                if exponents[t, g] == ZERO:
                    continue
                product = numpy.int32(0)
                for i in range(group):
                    product += numpy.int32(weights[r, first + i]) * numpy.int32(
                        mantissas[t, first + i]
                    )
                shift = bases[t] - exponents[t, g]
                term = shift_round(scale * product, shift - scale_exponents[r, g])
                if minimum != 0:
                    term += shift_round(minimum * sums[t, g], shift - minimum_exponents[r, g])
                found[t, r] += term
    return found


@njit(cache=True, parallel=True)
def _accumulate_wide(weights: Any, group: int, weight_exponents: Any, mantissas: Any,
                     exponents: Any, bases: Any) -> Any:  # fmt: skip
    """The same for 16-bit weights, whose products do not fit 32 bits."""
    tokens, rows, groups = mantissas.shape[0], weights.shape[0], weight_exponents.shape[1]
    found = numpy.zeros((tokens, rows), numpy.int64)
    for r in prange(rows):
        for g in range(groups):
            if weight_exponents[r, g] == ZERO:
                continue
            for t in range(tokens):
                if exponents[t, g] == ZERO:
                    continue
                product = numpy.int64(0)
                for i in range(g * group, (g + 1) * group):
                    product += numpy.int64(weights[r, i]) * numpy.int64(mantissas[t, i])
                shift = bases[t] - exponents[t, g] - weight_exponents[r, g]
                found[t, r] += shift_round(product, shift)
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
    if matrix.weights.dtype == numpy.int16:
        found = _accumulate_wide(
            matrix.weights, matrix.group, matrix.scale_exponents, mantissas, exponents, bases
        )
    else:
        found = _accumulate(
            matrix.weights, matrix.group, matrix.scales, matrix.scale_exponents, matrix.minima,
            matrix.minimum_exponents, mantissas, exponents, bases,
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
