"""Integer twin of traces, and of how weights are delivered and changed.

The equations are in `dyncc_models.spiking.learning`; here each is a function of what it needs.
"""

from __future__ import annotations

import numpy

from dyncc.arch.fixed import Integers, limit, round_shift
from dyncc.arch.neurocorex import (
    FACTOR_BITS,
    LAGS,
    TRACE_BITS,
    TRACE_FRACTION_BITS,
    WEIGHT_FRACTION_BITS,
    Learning,
    Rule,
)

TRACE_MAX = (1 << TRACE_BITS) - 1
_SHIFT = 2 * TRACE_FRACTION_BITS - WEIGHT_FRACTION_BITS

#: Least and largest value.
Bounds = tuple[int, int]


def move_pre(rule: Learning, trace: Integers, arrived: numpy.ndarray) -> Integers:
    """Traces of sources after a step in which the spikes of some `arrived` (bool)."""
    if rule.rule == Rule.LAGS:
        shifted: Integers = (trace << 1 | arrived) & ((1 << LAGS) - 1)
        return shifted
    if rule.rule == Rule.WINDOWS:
        return numpy.where(arrived, rule.bump_pre, numpy.maximum(trace - 1, 0))
    decayed = _decay(rule.decay_pre, trace)
    found: Integers = numpy.minimum(decayed + numpy.where(arrived, rule.bump_pre, 0), TRACE_MAX)
    return found


def move_post(rule: Learning, trace: Integers, fired: numpy.ndarray) -> Integers:
    """Traces of neurons after a step in which some `fired` (bool)."""
    if rule.rule == Rule.LAGS:
        return trace
    if rule.rule == Rule.WINDOWS:
        return numpy.where(fired, rule.bump_post, numpy.maximum(trace - 1, 0))
    bumped = numpy.minimum(trace + numpy.where(fired, rule.bump_post, 0), TRACE_MAX)
    return _decay(rule.decay_post, bumped)


def _decay(factor: int, trace: Integers) -> Integers:
    """To the nearest integer, but down by at least one, so that a trace ends at 0."""
    lost = int(factor < 1 << FACTOR_BITS)
    found: Integers = numpy.minimum(
        round_shift(factor * trace, FACTOR_BITS), numpy.maximum(trace - lost, 0)
    )
    return found


def potentiation(rule: Learning, trace: Integers) -> Integers:
    """By how much synapses of sources with these traces grow towards neurons that fire."""
    if rule.rule == Rule.LAGS:
        gains = numpy.zeros(LAGS, numpy.int64)
        gains[: len(rule.lags)] = rule.lags
        bits: Integers = trace[..., None] >> numpy.arange(LAGS) & 1
        found: Integers = bits @ gains
        return found
    return round_shift(rule.rate_plus * _worth(rule, trace), _SHIFT)


def depression(rule: Learning, trace: Integers) -> Integers:
    """By how much a spike depresses synapses to neurons with these traces."""
    if rule.rule == Rule.LAGS:
        return numpy.zeros_like(trace)
    return round_shift(rule.rate_minus * _worth(rule, trace), _SHIFT)


def _worth(rule: Learning, trace: Integers) -> Integers:
    if rule.rule == Rule.WINDOWS:
        return numpy.where(trace > 0, 1 << TRACE_FRACTION_BITS, 0)
    return trace


def delivered(weights: Integers, plastic: numpy.ndarray, drift: int, bounds: Bounds) -> Integers:
    """What neurons get of weights of a core that learns.

    Parameters
    ----------
    weights
        With fraction bits.
    plastic
        Which of them learn, bool.
    drift
        What all plastic weights gained together, with fraction bits.
    """
    limited = limit(weights + drift, *bounds)
    return numpy.where(plastic, limited, weights) >> WEIGHT_FRACTION_BITS


def stored_bounds(rule: Rule, weight_bits: int, bounds: Bounds) -> Bounds:
    """Bounds of weights as they are stored.

    With lags the sum of weight and drift is within bounds, not the weight itself.

    Parameters
    ----------
    weight_bits
        Width of a delivered weight.
    bounds
        Of weights as they are delivered, with fraction bits.
    """
    if rule != Rule.LAGS:
        return bounds
    wide = 1 << (weight_bits + WEIGHT_FRACTION_BITS - 1)
    return -wide, wide - 1


def changed(weights: Integers, plastic: numpy.ndarray, by: Integers, bounds: Bounds) -> Integers:
    """Weights after the plastic ones gained `by`, within `bounds` of what is stored."""
    return numpy.where(plastic, limit(weights + by, *bounds), weights)
