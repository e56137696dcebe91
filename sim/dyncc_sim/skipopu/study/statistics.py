"""Perplexity and its differences, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from dyncc_sim.skipopu.study.measure import Result


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error."""

    value: float
    error: float


def perplexity(results: Sequence[Result]) -> Estimate:
    """Perplexity over windows: exp of the mean negative log likelihood of a token.

    The error is estimated from pieces of the text, as if these were independent.
    """
    mean, error = _mean(_nats(results), _tokens(results))
    value = math.exp(mean)
    return Estimate(value, value * error)


def change(results: Sequence[Result], base: Sequence[Result]) -> Estimate:
    """Perplexity as a part of that of other results on the same windows, less one.

    The error is that of the differences of pieces: what all settings find hard drops out.

    Raises
    ------
    ValueError
        If the windows are not the same.
    """
    if not numpy.array_equal(_tokens(results), _tokens(base)):
        raise ValueError("results of different windows are compared")
    mean, error = _mean(_nats(results) - _nats(base), _tokens(results))
    return Estimate(math.expm1(mean), math.exp(mean) * error)


def skip_rates(results: Sequence[Result]) -> tuple[float, float]:
    """Shares of the executions of attention and of MLPs that were skipped."""
    ran = numpy.concatenate([result.routes for result in results]).mean((0, 1))
    return 1 - float(ran[0]), 1 - float(ran[1])


def skip_rate(results: Sequence[Result]) -> float:
    """Share of all executions of sublayers that were skipped."""
    return sum(skip_rates(results)) / 2


def _nats(results: Sequence[Result]) -> NDArray[numpy.float64]:
    return numpy.concatenate([result.nats for result in results])


def _tokens(results: Sequence[Result]) -> NDArray[numpy.int64]:
    return numpy.concatenate([result.predicted for result in results])


def _mean(sums: NDArray[numpy.float64], counts: NDArray[numpy.int64]) -> tuple[float, float]:
    """The mean over tokens of sums over pieces, and its standard error."""
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return mean, math.nan
    # Of a ratio of sums: pieces may differ in length.
    rest = sums - mean * counts
    spread = float(numpy.square(rest).sum()) * len(sums) / (len(sums) - 1)
    return mean, math.sqrt(spread) / float(counts.sum())
