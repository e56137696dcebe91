"""Errors of operations, measured against float64 with all cases or many random ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc_models.skipopu.error_contract import bounds
from dyncc_models.skipopu.error_contract.bounds import Bound
from dyncc_models.skipopu.numerics import f25, functions
from dyncc_models.skipopu.numerics.attention import merge
from dyncc_models.skipopu.numerics.bfp import from_bfp, to_bfp
from dyncc_models.skipopu.numerics.dot import reconstruct
from dyncc_models.skipopu.numerics.kv import to_half
from dyncc_models.skipopu.numerics.norms import WIDE_BITS, inverse_rms

Real = NDArray[numpy.float64]
_FRACTIONS = 1 << 16


@dataclass(frozen=True)
class Measured:
    """Errors of some cases, and the most that each may be; shapes are equal."""

    errors: Real
    allowed: Real

    @property
    def worst(self) -> float:
        """The largest error."""
        return float(self.errors.max())

    @property
    def rms(self) -> float:
        """Root mean square of the errors."""
        return float(numpy.sqrt(numpy.mean(self.errors**2)))

    @property
    def used(self) -> float:
        """The largest part of what is allowed that an error takes; above 1 the bound is wrong."""
        none = self.allowed == 0
        parts = self.errors / numpy.where(none, 1.0, self.allowed)
        return float(numpy.where(none & (self.errors > 0), numpy.inf, parts).max())


@dataclass(frozen=True)
class Operation:
    """An operation with its contract.

    Attributes
    ----------
    name
        What it does.
    bound
        What its error is at most.
    measure
        Measures it.
    everything
        Whether all cases are measured.
    """

    name: str
    bound: Bound
    measure: Callable[[], Measured]
    everything: bool = False


def real(codes: Any) -> Real:
    """The numbers of F25 codes."""
    return f25.to_float(codes).astype(numpy.float64)


def each(function: Callable[[int], int], numbers: Any) -> NDArray[numpy.int64]:
    """A compiled function of each number."""
    return numpy.array([function(int(number)) for number in numbers], numpy.int64)


def relative(found: Real, exact: Real, bound: Any) -> Measured:
    """Errors as parts of the exact results, which are not 0."""
    errors = numpy.abs(found - exact) / numpy.abs(exact)
    return Measured(errors, numpy.broadcast_to(numpy.float64(bound), errors.shape))


def _codes(draw: numpy.random.Generator, count: int, spread: int = 60) -> f25.Codes:
    """Floats of all significands, with exponents up to `spread` in size."""
    size = draw.integers(-spread, spread, count) + f25.BIAS << 16 | draw.integers(0, 1 << 16, count)
    codes: f25.Codes = (size | draw.integers(0, 2, count) * f25.SIGN).astype(numpy.int32)
    return codes


def _pairs(draw: numpy.random.Generator) -> tuple[f25.Codes, f25.Codes]:
    """Half of the pairs are close to each other, or to the other's negative."""
    a, b = _codes(draw, 1_000_000), _codes(draw, 1_000_000)
    half = len(a) // 2
    b[:half] = (a[:half] + draw.integers(-_FRACTIONS, _FRACTIONS, half)) ^ (
        draw.integers(0, 2, half) * f25.SIGN
    )
    return a, b


def conversion() -> Measured:
    """Binary32 to F25."""
    draw = numpy.random.default_rng(1)
    values = numpy.ldexp(draw.uniform(1, 2, 1_000_000), draw.integers(-100, 100, 1_000_000))
    single = values.astype(numpy.float32)
    return relative(real(f25.from_float(single)), single.astype(float), bounds.ROUNDED.value())


def addition() -> Measured:
    """Sums of F25."""
    a, b = _pairs(numpy.random.default_rng(2))
    exact = real(a) + real(b)
    kept = exact != 0
    return relative(real(f25.add_all(a, b))[kept], exact[kept], bounds.ROUNDED.value())


def product() -> Measured:
    """Products of F25."""
    a, b = _pairs(numpy.random.default_rng(3))
    return relative(real(f25.multiply_all(a, b)), real(a) * real(b), bounds.ROUNDED.value())


def comparison() -> Measured:
    """Comparisons of F25: 1 where one is wrong."""
    a, b = (item[::5] for item in _pairs(numpy.random.default_rng(4)))
    found = each(f25.order, a) < each(f25.order, b)
    errors = (found != (real(a) < real(b))).astype(float)
    return Measured(errors, numpy.full(errors.shape, bounds.EXACT.value()))


def from_half() -> Measured:
    """All finite binary16 to F25."""
    bits = numpy.arange(1 << 16)
    bits = bits[bits >> 10 & 31 != 31]
    exact = bits.astype("<u2").view("<f2").astype(float)
    errors = numpy.abs(real(each(f25.from_half, bits)) - exact)
    return Measured(errors, numpy.full(errors.shape, bounds.EXACT.value()))


def half() -> Measured:
    """All significands to binary16."""
    codes = f25.ONE + numpy.arange(_FRACTIONS)
    found = each(to_half, codes).astype("<u2").view("<f2").astype(float)
    return relative(found, real(codes), bounds.HALF_FLOAT.value())


def power_of_two() -> Measured:
    """2^x for all fractions."""
    fixed = numpy.arange(_FRACTIONS)
    found = real(each(functions.power_of_two, fixed))
    return relative(found, numpy.exp2(fixed / _FRACTIONS), bounds.TABLE.value())


def probability() -> Measured:
    """2^x in fixed point for all x in (-20, 0]; below, it is 0."""
    fixed = numpy.arange((-20 << 16) + 1, 1)
    found = each(functions.probability, fixed) / _FRACTIONS
    errors = numpy.abs(found - numpy.exp2(fixed / _FRACTIONS))
    return Measured(errors, numpy.full(errors.shape, bounds.PROBABILITY.value()))


def reciprocal() -> Measured:
    """1 / x for all significands."""
    codes = f25.ONE + numpy.arange(_FRACTIONS)
    return relative(real(each(functions.reciprocal, codes)), 1 / real(codes), bounds.TABLE.value())


def inverse_root() -> Measured:
    """1 / sqrt(x) for all significands, with even and odd exponents."""
    codes = f25.ONE + numpy.arange(2 * _FRACTIONS)
    found = real(each(functions.inverse_root, codes))
    return relative(found, real(codes) ** -0.5, bounds.TABLE.value())


def swiglu() -> Measured:
    """SiLU(x) y for x in [-30, 30]."""
    draw = numpy.random.default_rng(5)
    a = f25.from_float(draw.uniform(-30, 30, 500_000))
    b = f25.from_float(draw.normal(size=len(a)))
    x = real(a)
    exact = x / (1 + numpy.exp(-x)) * real(b)
    kept = exact != 0
    return relative(real(functions.swiglu(a, b))[kept], exact[kept], bounds.SWIGLU.value(x[kept]))


def rope() -> Measured:
    """Rotations at positions up to 2048, with cosines and sines rounded from float64."""
    draw = numpy.random.default_rng(6)
    found = []
    for position in range(0, 2048, 8):
        vector = f25.from_float(draw.normal(size=(4, 64)))
        angles = position * 10000.0 ** (-numpy.arange(0, 64, 2) / 64)
        turns = numpy.cos(angles), numpy.sin(angles)
        turned = real(functions.rope(vector, *(f25.from_float(turn) for turn in turns)))
        pairs = real(vector)[:, 0::2], real(vector)[:, 1::2]
        even = pairs[0] * turns[0] - pairs[1] * turns[1]
        odd = pairs[0] * turns[1] + pairs[1] * turns[0]
        wrong = numpy.abs(turned - numpy.stack((even, odd), axis=-1).reshape(turned.shape))
        found.append(wrong / numpy.repeat(numpy.hypot(*pairs), 2, axis=1))
    errors = numpy.concatenate(found).reshape(-1)
    return Measured(errors, numpy.full(errors.shape, bounds.ROPE.value()))


def block(bits: int, size: int) -> Measured:
    """Floats to blocks; in half of the blocks a few numbers are much larger than the others."""
    draw = numpy.random.default_rng(7)
    values = draw.normal(size=(4096, size))
    values[::2] *= numpy.where(draw.random((2048, size)) < 4 / size, 30, 1)
    codes = f25.from_float(values.reshape(-1))
    mantissas, exponents = to_bfp(codes, size, bits)
    found = real(from_bfp(mantissas, exponents, size)).reshape(-1, size)
    exact = real(codes).reshape(-1, size)
    errors = numpy.abs(found - exact) / numpy.abs(exact).max(axis=1, keepdims=True)
    return Measured(errors, numpy.full(errors.shape, bounds.BFP.value(bits)))


def reconstruction() -> Measured:
    """Accumulators of all sizes to F25, times a scalar, plus what was before."""
    draw = numpy.random.default_rng(8)
    tokens, rows = 64, 2048
    accumulators = draw.integers(1, 1 << 56, (tokens, rows)) >> draw.integers(0, 50, (tokens, rows))
    accumulators = (accumulators + 1) * draw.choice([-1, 1], (tokens, rows))
    bases = draw.integers(-60, -20, tokens)
    scalars = f25.from_float(draw.uniform(0.1, 9, tokens))
    scaled = numpy.ldexp(accumulators.astype(float), bases[:, None]) * real(scalars)[:, None]
    # Half of them nearly cancel.
    before = f25.from_float(numpy.where(draw.random(scaled.shape) < 0.5, -scaled, 1) * 0.999)
    found = real(reconstruct(accumulators, bases, scalars, before))
    size = numpy.abs(scaled) + numpy.abs(real(before))
    errors = numpy.abs(found - (scaled + real(before))) / size
    return Measured(errors, numpy.full(errors.shape, bounds.RECONSTRUCTION.value()))


def inverse_rms_of(size: int) -> Measured:
    """1 / sqrt(mean(x^2) + eps) of vectors of 640 numbers, a few of which are large."""
    draw = numpy.random.default_rng(9)
    values = draw.normal(size=(2000, 640)) * 10.0 ** draw.uniform(-3, 4, (2000, 1))
    values[::2] *= numpy.where(draw.random((1000, 640)) < 0.01, 100, 1)
    eps = int(f25.from_float(1e-5))
    codes = f25.from_float(values)
    found = []
    for row in codes:
        mantissas, exponents = to_bfp(row, size, WIDE_BITS)
        found.append(inverse_rms(mantissas, exponents, size, eps))
    exact = (numpy.mean(real(codes) ** 2, axis=1) + real(eps)) ** -0.5
    return relative(real(found), exact, bounds.RMS.value(size))


def merging() -> Measured:
    """Two states of an online softmax to one: its sum, and what it weighed."""
    draw = numpy.random.default_rng(10)
    found = []
    for _ in range(4000):
        tops = [int(item) for item in draw.integers(-12 << 16, 12 << 16, 2)]
        numbers = f25.from_float(
            numpy.concatenate((draw.uniform(1, 16, (2, 1)), draw.normal(size=(2, 32))), axis=1)
        ).astype(numpy.int64)
        state = numpy.concatenate(([tops[0]], numbers[0]))
        merge(state, tops[1], int(numbers[1, 0]), numbers[1, 1:])
        scales = numpy.exp2((numpy.array(tops) - max(tops)) / _FRACTIONS)[:, None]
        terms = real(numbers) * scales
        found.append(numpy.abs(real(state[1:]) - terms.sum(axis=0)) / numpy.abs(terms).sum(axis=0))
    errors = numpy.concatenate(found)
    return Measured(errors, numpy.full(errors.shape, bounds.MERGE.value()))
