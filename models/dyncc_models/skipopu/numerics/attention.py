r"""Attention over slots of keys and values, tile by tile, with a softmax that merges.

For a query head :math:`q` (blocks of `mantissa_bits`), positions come in tiles of
`ATTENTION_TILE`, in order; a tile's position without a slot is left out. With :math:`c` the F25 of
:math:`log_2(e)/\sqrt{head\_size}`:

1. Scores: integer dots of :math:`q` and :math:`k_t` over blocks, accumulated as in
   `dyncc.arch.skipopu.formats` with scales of one, become F25, times :math:`c`, and then
   fixed-point :math:`s_t` with 16 fraction bits (32 bits, saturating).
2. :math:`m = max_t s_t`, :math:`p_t = 2^{s_t - m}` with 16 fraction bits, :math:`d = \sum p_t`.
3. :math:`o_j = \sum_t p_t v_{t,j}`: for each block of the head, :math:`p_t 2^{e_t}`, with
   :math:`e_t` the exponent of that block of :math:`v_t`, becomes one block of `mantissa_bits` over
   the tile; the integer dot with the mantissas of :math:`v` becomes F25.
4. A tile merges into what was before (Milakov and Gimelshein, "Online normalizer calculation for
   softmax", 2018): with :math:`m' = max(m_1, m_2)`, both :math:`d` and :math:`o` are scaled by
   :math:`2^{m_i - m'}` as F25 and added.
5. The result is :math:`o_j \cdot (1/d)`.
"""

from __future__ import annotations

from typing import Any

import numpy
from numba import njit

from dyncc.arch.skipopu.formats import GUARD, PROBABILITY_BITS, ZERO
from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc_models.skipopu.numerics.dot import shift_round
from dyncc_models.skipopu.numerics.f25 import add, bit_length, compose, multiply
from dyncc_models.skipopu.numerics.functions import (
    power_of_two,
    probability,
    reciprocal,
    to_fixed,
)
from dyncc_models.skipopu.numerics.weights import PART

SCORE_BITS = 32


@njit(cache=True)
def _dot(a: Any, b: Any) -> int:
    """Of `PART` mantissas of up to 14 bits, so that sums fit 32 bits."""
    found = numpy.int32(0)
    for i in range(PART):
        found = numpy.int32(found + numpy.int32(a[i]) * numpy.int32(b[i]))
    return int(found)


@njit(cache=True)
def scores(
    q: Any, q_exponents: Any, k: Any, k_exponents: Any, kv: int, block: int, scale: int
) -> Any:
    """Step 1 for a query head and all positions of the key head `kv`.

    Parameters
    ----------
    q, q_exponents
        Mantissas of shape (head_size,), exponents (head_size / block,).
    k, k_exponents, block, scale
        As of `attend`.

    Returns
    -------
    int64 of shape (positions,)
        Fixed-point scores; of a position without a slot they mean nothing.
    """
    positions, blocks = k.shape[0], q_exponents.shape[0]
    products = numpy.zeros((blocks, positions), numpy.int64)
    exponents = numpy.empty((blocks, positions), numpy.int64)
    for t in range(positions):
        for b in range(blocks):
            for first in range(b * block, (b + 1) * block, PART):
                part = slice(first, first + PART)
                products[b, t] += _dot(q[part], k[t, kv, part])
            none = (q_exponents[b] == ZERO) | (k_exponents[t, kv, b] == ZERO)
            exponents[b, t] = ZERO if none else q_exponents[b] + k_exponents[t, kv, b]
    bases, totals = exponents[0].copy(), numpy.zeros(positions, numpy.int64)
    for b in range(1, blocks):
        for t in range(positions):
            bases[t] = max(bases[t], exponents[b, t])
    for b in range(blocks):
        for t in range(positions):
            # Products with a block of zeros are 0.
            totals[t] += shift_round(products[b, t], bases[t] - GUARD - exponents[b, t])
    for t in range(positions):
        code = multiply(compose(totals[t] < 0, abs(totals[t]), bases[t] - GUARD), scale)
        totals[t] = to_fixed(code, PROBABILITY_BITS, SCORE_BITS)
    return totals


@njit(cache=True)
def weigh(
    p: Any, chosen: Any, v: Any, v_exponents: Any, kv: int, block: int, bits: int, out: Any
) -> None:
    """Step 3 for a head.

    Parameters
    ----------
    p
        Probabilities with 16 fraction bits, int64 of shape (tile,), at most `ATTENTION_TILE`.
    chosen
        Their positions, int64 of the same shape.
    v, v_exponents, kv, block, bits
        As of `attend`, and the number of the value head.
    out
        F25 of shape (head_size,), written.
    """
    limit = (1 << (bits - 1)) - 1
    # A tile's products of two mantissas of up to 14 bits.
    totals = numpy.empty(block, numpy.int32)
    for b in range(v_exponents.shape[2]):
        shared = ZERO
        for i in range(p.shape[0]):
            own = v_exponents[chosen[i], kv, b]
            if p[i] and own != ZERO:
                shared = max(shared, own + bit_length(p[i]) + 1 - bits)
        totals[:] = 0
        for i in range(p.shape[0]):
            own = v_exponents[chosen[i], kv, b]
            if p[i] == 0 or own == ZERO:
                continue
            weight = numpy.int32(min(shift_round(p[i], shared - own), limit))
            row = v[chosen[i], kv, b * block : (b + 1) * block]
            for j in range(block):
                totals[j] += weight * numpy.int32(row[j])
        for j in range(block):
            total = numpy.int64(totals[j])
            out[b * block + j] = compose(total < 0, abs(total), shared - PROBABILITY_BITS)


@njit(cache=True)
def merge(state: Any, m: int, d: int, o: Any) -> None:
    """Step 4: `state` holds m, d and o, and an m of -2^62 for nothing yet."""
    if state[0] == -(1 << 62):
        state[0], state[1] = m, d
        state[2:] = o
        return
    top = max(state[0], m)
    mine, theirs = power_of_two(state[0] - top), power_of_two(m - top)
    state[0] = top
    state[1] = add(multiply(state[1], mine), multiply(d, theirs))
    for j in range(o.shape[0]):
        state[2 + j] = add(multiply(state[2 + j], mine), multiply(o[j], theirs))


@njit(cache=True)
def _head(
    scored: Any, v: Any, v_exponents: Any, kv: int, present: Any, block: int, bits: int, out: Any
) -> None:
    size, positions = out.shape[0], scored.shape[0]
    state = numpy.zeros(2 + size, numpy.int64)
    state[0] = -(1 << 62)
    o = numpy.zeros(size, numpy.int64)
    chosen = numpy.zeros(ATTENTION_TILE, numpy.int64)
    p = numpy.zeros(ATTENTION_TILE, numpy.int64)
    for first in range(0, positions, ATTENTION_TILE):
        count = 0
        for t in range(first, min(first + ATTENTION_TILE, positions)):
            if present[t]:
                chosen[count] = t
                count += 1
        if count == 0:
            continue
        m = scored[chosen[0]]
        for i in range(1, count):
            m = max(m, scored[chosen[i]])
        total = 0
        for i in range(count):
            p[i] = probability(scored[chosen[i]] - m)
            total += p[i]
        weigh(p[:count], chosen, v, v_exponents, kv, block, bits, o)
        merge(state, m, compose(False, total, -PROBABILITY_BITS), o)
    inverse = reciprocal(state[1])
    for j in range(size):
        out[j] = multiply(state[2 + j], inverse) if state[0] != -(1 << 62) else 0


@njit(cache=True)
def attend(
    q: Any, q_exponents: Any, k: Any, k_exponents: Any, v: Any, v_exponents: Any, present: Any,
    block: int, bits: int, scale: int,
) -> Any:  # fmt: skip
    """Attention of one token.

    Parameters
    ----------
    q, q_exponents
        Mantissas int16 of shape (heads, head_size), exponents int32 (heads, head_size / block).
    k, k_exponents, v, v_exponents
        The same for keys and values: (positions, kv_heads, head_size) and so on.
    present
        Bool of shape (positions,): positions that have a slot.
    block, bits
        Of blocks; width of activations' mantissas.
    scale
        From `dyncc.arch.skipopu.formats.score_scale`.

    Returns
    -------
    int32 of shape (heads, head_size)
        F25.
    """
    heads, size = q.shape
    shared = heads // k.shape[1]
    found = numpy.zeros((heads, size), numpy.int32)
    for h in range(heads):
        kv = h // shared
        scored = scores(q[h], q_exponents[h], k, k_exponents, kv, block, scale)
        _head(scored, v, v_exponents, kv, present, block, bits, found[h])
    return found
