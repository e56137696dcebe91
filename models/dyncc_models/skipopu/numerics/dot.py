r"""Dot products of a matrix with vectors in block floating point: integers, exactly.

`accumulate` gives the integers of `dyncc.arch.skipopu.formats`. Floats make them, `TILE_ROWS` rows
at once, because processors multiply floats fastest; no float is ever rounded:

- :math:`P = \sum q x` over `PART` inputs is a sum of float32. All partial sums are integers up to
  :math:`PART \cdot max|q| \cdot max|x|`; below :math:`2^{24}` every one is a float32, in whatever
  order, with products fused or not.
- :math:`P`, summed over a block in float64, times a scale of 11 bits and a power of two is
  :math:`n\,2^{-s}` with :math:`|n| < 2^{47}`. ``floor`` of that plus one half is ``rs``: for
  :math:`s \le 52` the sum spans at most 53 bits, and is exact; for larger :math:`s` the term is
  below :math:`2^{-5}`, and both give 0.
- Accumulators are sums of integers that stay below :math:`2^{53}`.

`exact` says whether a matrix and its vectors keep these bounds; others, such as those with 16-bit
weights, go through integers.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy
from numba import njit, prange

from dyncc.arch.skipopu.formats import GUARD, ZERO, WeightType
from dyncc_models.skipopu.numerics.f25 import add, compose, multiply
from dyncc_models.skipopu.numerics.weights import PART, TILE_ROWS, Matrix

#: Products that are worth waking other threads for; on a busy machine each time costs milliseconds.
_WORTH_THREADS = 1 << 24
_THREADS = numba.get_num_threads()


@njit(cache=True)
def shift_round(value: int, bits: int) -> int:
    """``value / 2**bits`` to nearest, halves up; a negative amount shifts left."""
    down = min(max(bits, 0), 62)
    found = (value + ((1 << down) >> 1)) >> down
    return 0 if bits > 62 else found << max(-bits, 0)


@njit(cache=True)
def base_exponent(top_scale: int, top_minimum: int, exponents: Any) -> int:
    """The exponent of an accumulator, chosen before the sum."""
    largest = ZERO
    for e in exponents:
        largest = max(largest, e)
    if largest == ZERO:
        return ZERO
    return max(top_scale, top_minimum) + largest - GUARD


@njit(cache=True, parallel=True, fastmath={"contract"})
def _accumulate(
    weights: Any, scales: Any, minima: Any, mantissas: Any, sums: Any, factors: Any,
) -> Any:  # fmt: skip
    """Dot products of all rows of tiles, float64 of shape (tokens, rows).

    Shapes: those of `Tiles`; mantissas float32 (tokens, groups, parts, PART); sums of mantissas and
    powers of two, float64 (tokens, groups).
    """
    (tiles, groups, parts), tokens = weights.shape[:3], mantissas.shape[0]
    found = numpy.empty((tokens, tiles, TILE_ROWS), numpy.float64)
    for n in prange(tiles):
        product = numpy.empty(TILE_ROWS, numpy.float32)
        products = numpy.empty(TILE_ROWS, numpy.float64)
        total = numpy.zeros((tokens, TILE_ROWS), numpy.float64)
        for g in range(groups):
            for t in range(tokens):
                products[:] = 0
                for k in range(parts):
                    q, x = weights[n, g, k], mantissas[t, g, k]
                    product[:] = 0
                    for i in range(0, PART, 8):
                        # Eight inputs a pass, so that products stay in registers.
                        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
                        e, f, h, j = x[i + 4], x[i + 5], x[i + 6], x[i + 7]
                        for r in range(TILE_ROWS):
                            product[r] += (
                                q[i, r] * a + q[i + 1, r] * b + q[i + 2, r] * c + q[i + 3, r] * d
                            ) + (
                                q[i + 4, r] * e
                                + q[i + 5, r] * f
                                + q[i + 6, r] * h
                                + q[i + 7, r] * j
                            )
                    for r in range(TILE_ROWS):
                        products[r] += product[r]
                factor, sum_factor = factors[t, g], sums[t, g] * factors[t, g]
                for r in range(TILE_ROWS):
                    total[t, r] += math.floor(products[r] * scales[n, g, r] * factor + 0.5)
                    total[t, r] += math.floor(minima[n, g, r] * sum_factor + 0.5)
        for t in range(tokens):
            found[t, n] = total[t]
    return found.reshape(tokens, tiles * TILE_ROWS)


@njit(cache=True)
def _accumulate_integers(
    weights: Any, scales: Any, scale_exponents: Any, minima: Any, minimum_exponents: Any,
    mantissas: Any, shifts: Any,
) -> Any:  # fmt: skip
    """The same by integers: weights (rows, groups, group), mantissas (tokens, groups, group)."""
    (rows, groups, group), tokens = weights.shape, mantissas.shape[0]
    found = numpy.zeros((tokens, rows), numpy.int64)
    for t in range(tokens):
        for r in range(rows):
            for g in range(groups):
                product = total = 0
                for i in range(group):
                    product += numpy.int64(weights[r, g, i]) * numpy.int64(mantissas[t, g, i])
                    total += mantissas[t, g, i]
                shift = shifts[t, g]
                found[t, r] += shift_round(scales[r, g] * product, shift - scale_exponents[r, g])
                found[t, r] += shift_round(minima[r, g] * total, shift - minimum_exponents[r, g])
    return found


def exact(matrix: Matrix, largest: int) -> bool:
    """Whether floats give the accumulators of a matrix, exactly.

    Parameters
    ----------
    largest
        Largest magnitude of a mantissa.
    """
    if matrix.weights.dtype != numpy.int8:
        return False
    weight = 128 if matrix.kind == WeightType.Q8_0 else 15
    # Of a term before it is shifted: a scale is below 2^11, and a sum of mantissas below a product.
    term = matrix.group * weight * largest << 11
    columns = matrix.shape[1]
    return (
        PART * weight * largest < 1 << 24
        and term < 1 << 47
        and 2 * (term << GUARD) * (columns // matrix.group) < 1 << 53
    )


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
    blocks = mantissas.reshape(*exponents.shape, -1)
    largest = max(int(mantissas.max(initial=0)), -int(mantissas.min(initial=0)))
    if not exact(matrix, largest):
        found = _accumulate_integers(
            matrix.weights.reshape(*matrix.scales.shape, -1), matrix.scales,
            matrix.scale_exponents, matrix.minima, matrix.minimum_exponents, blocks, shifts,
        )  # fmt: skip
        return found, bases
    rows, tiles = matrix.shape[0], matrix.tiles
    skipped = matrix.first % TILE_ROWS
    wanted = slice(matrix.first // TILE_ROWS, -(-(matrix.first + rows) // TILE_ROWS))
    alone = matrix.weights.size * len(blocks) < _WORTH_THREADS
    numba.set_num_threads(1 if alone else _THREADS)
    sums = blocks.sum(axis=2, dtype=numpy.int64)
    found = _accumulate(
        tiles.weights[wanted], tiles.scales[wanted], tiles.minima[wanted],
        blocks.reshape(*exponents.shape, -1, PART).astype(numpy.float32),
        sums.astype(numpy.float64), numpy.ldexp(1.0, -shifts),
    )  # fmt: skip
    return found[:, skipped : skipped + rows].astype(numpy.int64), bases


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
