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

import math
from typing import Any

import numpy
from numba import njit

from dyncc.arch.skipopu.formats import GUARD, PROBABILITY_BITS, ZERO
from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc_models.skipopu.numerics.dot import shift_round
from dyncc_models.skipopu.numerics.f25 import add, bit_length, compose, from_float, multiply
from dyncc_models.skipopu.numerics.functions import (
    power_of_two,
    probability,
    reciprocal,
    to_fixed,
)
from dyncc_models.skipopu.numerics.weights import PART

SCORE_BITS = 32


def score_scale(head_size: int) -> int:
    """log2(e) / sqrt(head_size) as F25."""
    return int(from_float(math.log2(math.e) / math.sqrt(head_size)))


@njit(cache=True)
def _dot(a: Any, b: Any) -> int:
    """Of `PART` mantissas of up to 14 bits, so that sums fit 32 bits."""
    found = numpy.int32(0)
    for i in range(PART):
        found = numpy.int32(found + numpy.int32(a[i]) * numpy.int32(b[i]))
    return numpy.int64(found)


@njit(cache=True)
def score(q: Any, q_exponents: Any, k: Any, k_exponents: Any, block: int, scale: int) -> int:
    """The fixed-point score of a query and a key."""
    top = ZERO
    for b in range(q_exponents.shape[0]):
        if q_exponents[b] != ZERO and k_exponents[b] != ZERO:
            top = max(top, q_exponents[b] + k_exponents[b])
    total = 0
    if top != ZERO:
        for b in range(q_exponents.shape[0]):
            if q_exponents[b] == ZERO or k_exponents[b] == ZERO:
                continue
            product = 0
            for first in range(b * block, (b + 1) * block, PART):
                product += _dot(q[first : first + PART], k[first : first + PART])
            total += shift_round(product, top - GUARD - q_exponents[b] - k_exponents[b])
    code = multiply(compose(total < 0, abs(total), top - GUARD), scale)
    return to_fixed(code, PROBABILITY_BITS, SCORE_BITS)


@njit(cache=True)
def weigh(p: Any, v: Any, v_exponents: Any, block: int, bits: int, out: Any) -> None:
    """Step 3 for one head.

    Parameters
    ----------
    p
        Probabilities with 16 fraction bits, int64 of shape (positions,), at most a tile.
    v, v_exponents
        Mantissas of shape (positions, head_size), exponents (positions, head_size / block).
    out
        F25 of shape (head_size,), written.
    """
    limit = (1 << (bits - 1)) - 1
    # A tile's products of two mantissas of up to 14 bits.
    totals = numpy.empty(block, numpy.int32)
    for b in range(v_exponents.shape[1]):
        shared = ZERO
        for t in range(p.shape[0]):
            if p[t] and v_exponents[t, b] != ZERO:
                shared = max(shared, v_exponents[t, b] + bit_length(p[t]) + 1 - bits)
        totals[:] = 0
        for t in range(p.shape[0]):
            if p[t] == 0 or v_exponents[t, b] == ZERO:
                continue
            weight = min(shift_round(p[t], shared - v_exponents[t, b]), limit)
            row = v[t, b * block : (b + 1) * block]
            for j in range(block):
                totals[j] += numpy.int32(weight) * numpy.int32(row[j])
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
    q: Any, q_exponents: Any, k: Any, k_exponents: Any, v: Any, v_exponents: Any, present: Any,
    block: int, bits: int, scale: int, out: Any,
) -> None:  # fmt: skip
    size = q.shape[0]
    state = numpy.zeros(2 + size, numpy.int64)
    state[0] = -(1 << 62)
    o = numpy.zeros(size, numpy.int64)
    scores = numpy.zeros(ATTENTION_TILE, numpy.int64)
    chosen = numpy.zeros(ATTENTION_TILE, numpy.int64)
    for first in range(0, k.shape[0], ATTENTION_TILE):
        count = 0
        for t in range(first, min(first + ATTENTION_TILE, k.shape[0])):
            if present[t]:
                scores[count] = score(q, q_exponents, k[t], k_exponents[t], block, scale)
                chosen[count] = t
                count += 1
        if count == 0:
            continue
        m = scores[:count].max()
        p = numpy.zeros(count, numpy.int64)
        total = 0
        for i in range(count):
            p[i] = probability(scores[i] - m)
            total += p[i]
        if chosen[count - 1] == first + count - 1:
            tile = slice(first, first + count)
            weigh(p, v[tile], v_exponents[tile], block, bits, o)
        else:
            weigh(p, v[chosen[:count]], v_exponents[chosen[:count]], block, bits, o)
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
        From `score_scale`.

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
        _head(
            q[h], q_exponents[h], k[:, kv], k_exponents[:, kv], v[:, kv], v_exponents[:, kv],
            present, block, bits, scale, found[h],
        )  # fmt: skip
    return found
