"""Errors of dot products and of attention, measured against float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy

from dyncc.arch.skipopu.formats import KvType, WeightType, score_scale
from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc.arch.skipopu.matrices import quantise, to_memory
from dyncc_models.skipopu.error_contract import bounds
from dyncc_models.skipopu.error_contract.measure import Measured, Real, real
from dyncc_models.skipopu.numerics import f25
from dyncc_models.skipopu.numerics.attention import attend
from dyncc_models.skipopu.numerics.bfp import to_bfp
from dyncc_models.skipopu.numerics.dot import accumulate, reconstruct
from dyncc_models.skipopu.numerics.kv import from_slots, to_slot
from dyncc_models.skipopu.numerics.norms import WIDE_BITS
from dyncc_models.skipopu.numerics.weights import Matrix, from_memory

_NONE = numpy.zeros(0, numpy.int32), numpy.zeros((0, 0), numpy.int32)


@dataclass(frozen=True)
class Dots:
    """Dot products of a matrix with vectors.

    Attributes
    ----------
    found, exact
        By the twin, and in float64 with the vectors before they became blocks: shape (tokens,
        rows).
    allowed
        The most that each may be off.
    accumulated
        Errors of the accumulators against those of the blocks, in units of their lowest bits.
    """

    found: Real
    exact: Real
    allowed: Real
    accumulated: Measured

    @property
    def errors(self) -> Measured:
        """Of the results."""
        return Measured(numpy.abs(self.found - self.exact), self.allowed)

    @property
    def relative_rms(self) -> float:
        """The norm of all errors as a part of the norm of all exact results."""
        return float(numpy.linalg.norm(self.found - self.exact) / numpy.linalg.norm(self.exact))


def numbers(matrix: Matrix) -> Real:
    """The numbers of a matrix, exactly."""
    groups = matrix.weights.reshape(*matrix.scales.shape, -1).astype(numpy.float64)
    scales = numpy.ldexp(matrix.scales.astype(float), matrix.scale_exponents)
    minima = numpy.ldexp(matrix.minima.astype(float), matrix.minimum_exponents)
    found: Real = groups * scales[..., None] + minima[..., None]
    return found.reshape(matrix.shape)


def dots(matrix: Matrix, codes: f25.Codes, bits: int) -> Dots:
    """Dot products through blocks of `bits`.

    Parameters
    ----------
    codes
        F25 of shape (tokens, columns).
    """
    (tokens, columns), group = codes.shape, matrix.group
    mantissas, exponents = to_bfp(codes.reshape(-1), group, bits)
    mantissas, exponents = mantissas.reshape(tokens, -1), exponents.reshape(tokens, -1)
    accumulators, bases = accumulate(matrix, mantissas, exponents)
    found = real(reconstruct(accumulators, bases, *_NONE))
    weights, x = numbers(matrix), real(codes)
    exact = x @ weights.T
    # In float64 blocks and sums of them are exact, but for sums that span more than 53 bits.
    blocks = numpy.ldexp(mantissas.reshape(tokens, -1, group).astype(float), exponents[..., None])
    unit = numpy.ldexp(1.0, bases)[:, None]
    lost = numpy.abs(accumulators - (blocks.reshape(tokens, -1) @ weights.T) / unit)
    terms = columns // group * (2 if matrix.kind == WeightType.Q4_1 else 1)
    largest = numpy.abs(x).reshape(tokens, -1, group).max(axis=2)
    sums = numpy.abs(weights).reshape(len(weights), -1, group).sum(axis=2)
    allowed = bounds.DOT.value(bits, largest @ sums.T, terms, unit, exact)
    most = numpy.full(lost.shape, bounds.ACCUMULATOR.value(terms))
    return Dots(found, exact, allowed, Measured(lost, most))


def random_dots(kind: WeightType, group: int, bits: int, spread: int = 0) -> Dots:
    """256 rows of 1024 normal weights, 64 vectors of normal numbers.

    Parameters
    ----------
    spread
        Blocks of both are multiplied by powers of two of up to this.
    """
    draw = numpy.random.default_rng(20)

    def values(rows: int) -> Real:
        scales = numpy.exp2(draw.integers(-spread, spread + 1, (rows, 1024 // group, 1)))
        found: Real = draw.normal(size=(rows, 1024 // group, group)) * scales
        return found.reshape(rows, 1024)

    rows = quantise(kind, values(256), group)
    matrix = from_memory(kind, 1024, group, to_memory(kind, group, rows))
    return dots(matrix, f25.from_float(values(64)), bits)


def accumulation(kind: WeightType, group: int) -> Measured:
    """Accumulators of blocks whose exponents are far apart, so that terms are rounded."""
    bits = WIDE_BITS if kind == WeightType.BFP16 else 12
    return random_dots(kind, group, bits, spread=6).accumulated


def attention(kind: KvType, bits: int) -> Measured:
    """Attention over up to 512 positions, a fifth of which have no slot, in heads of 64.

    Against float64 with the same blocks of queries, keys and values.
    """
    draw = numpy.random.default_rng(21)
    kv_heads, heads, size, block = 2, 6, 64, 32
    errors, allowed = [], []
    for positions in (1, 5, 16, 75, 512):
        k, v = (f25.from_float(draw.normal(size=(positions, kv_heads * size))) for _ in range(2))
        q = f25.from_float(draw.normal(size=heads * size) * 2)
        slots = numpy.array([to_slot(kind, *pair) for pair in zip(k, v, strict=True)])
        parts = from_slots(kind, slots, kv_heads, size, block, bits)
        mantissas, exponents = to_bfp(q, block, bits)
        own = mantissas.reshape(heads, size), exponents.reshape(heads, -1)
        present = draw.random(positions) < 0.8
        present[0] = True
        found = real(attend(*own, *parts, present, block, bits, score_scale(size)))
        q_real, keys, values = (
            numpy.ldexp(m.reshape(*e.shape, block).astype(float), e[..., None]).reshape(m.shape)
            for m, e in (own, parts[:2], parts[2:])
        )
        keys, values = (
            numpy.repeat(item, heads // kv_heads, axis=1)[present] for item in (keys, values)
        )
        scores = numpy.einsum("hs,ths->ht", q_real, keys) * math.log2(math.e) / math.sqrt(size)
        shares = numpy.exp2(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        largest = numpy.abs(values).max(axis=(0, 2))[:, None]
        wrong = numpy.abs(found - numpy.einsum("ht,ths->hs", shares, values)) / largest
        # The lowest bit of a score's accumulator: exponents are at most those of the largest.
        unit = 2.0 ** (int(exponents.max()) + int(parts[1].max()) - 8)
        tiles = -(-positions // ATTENTION_TILE)
        bound = bounds.ATTENTION.value(bits, tiles, float(numpy.abs(scores).max()), unit)
        errors.append(wrong.reshape(-1))
        allowed.append(numpy.full(wrong.size, bound))
    return Measured(numpy.concatenate(errors), numpy.concatenate(allowed))


#: Weights, block and mantissas of the published dot products; routers read 16 bits.
DOTS = (
    *product((WeightType.Q4_0G, WeightType.Q4_1, WeightType.Q8_0), (32, 128), (8, 10, 12)),
    *product((WeightType.BFP16,), (32, 128), (WIDE_BITS,)),
)
