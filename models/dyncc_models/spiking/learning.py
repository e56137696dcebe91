r"""Integer twin of the learning engine: STDP with bounded, finely stepped weights.

A plastic weight carries `WEIGHT_FRACTION_BITS` fraction bits below the delivered one, so that small
changes add up. Each source (input line or neuron) has a trace :math:`x`, each neuron a trace
:math:`y` (unsigned, 16 bits, saturating). Order in a step:

1. Depression, as the rows of weights are delivered: :math:`w_{ij} = clip(w_{ij} - d(y_j))` for
   every source :math:`i` whose spike arrives; its weight before that is delivered.
2. The neurons fire.
3. The traces of sources move, with the spikes that arrived.
4. Potentiation, a column for each neuron :math:`j` that fired:
   :math:`w_{ij} = clip(w_{ij} + g(x_i))`.
5. The traces of neurons move, with those that fired.

So a pre spike delivered in the step of the post spike potentiates, and does not depress. By rule:

- *Traces* (Q.12): :math:`x = rs(decay_{pre}\, x, 16)`, then bumped; :math:`y` is bumped, then
  :math:`y = rs(decay_{post}\, y, 16)`; :math:`g = rs(rate_+ x, 16)`, :math:`d = rs(rate_- y, 16)`
  in the weight's fraction. This is the pair rule of Song, Miller and Abbott (2000) with all-to-all
  interaction, in the form with traces of Morrison, Diesmann and Gerstner (Biological Cybernetics
  98:459, 2008), section 4.1.
- *Windows*: a spike sets its trace to ``bump``, and it counts down to 0, from the next step on;
  :math:`g` and :math:`d` are the rates where the trace is not 0. This is the rectangular rule of
  NeuroCoreX as published.
- *Lags*: :math:`x` holds the last 8 steps of a source, :math:`g` is the sum of ``lag_k`` over the
  steps :math:`k` in which its spike arrived, :math:`d = 0`; in every step all plastic weights gain
  ``drift``, kept as one number: what is delivered is :math:`clip(w_{ij} + drift_{sum})`. With
  ``drift`` the sum of its Aneg, and ``lag_k = Apos_k - Aneg_k``, this is the rule of SuperNeuroMAT.
"""

from __future__ import annotations

from typing import Any

import numpy

from dyncc.arch.fixed import Integers, round_shift, saturate
from dyncc.arch.neurocorex import (
    FACTOR_BITS,
    LAGS,
    TRACE_BITS,
    TRACE_FRACTION_BITS,
    WEIGHT_FRACTION_BITS,
    CoreImage,
    Learning,
    Rule,
)

TRACE_MAX = (1 << TRACE_BITS) - 1
_SHIFT = 2 * TRACE_FRACTION_BITS - WEIGHT_FRACTION_BITS


class Synapses:
    """Weights of a core, from all sources: first the input lines, then the neurons.

    Attributes
    ----------
    weights
        With fraction bits, int64 of shape (inputs + neurons, neurons).
    pre, post
        Traces, shapes (inputs + neurons,) and (neurons,).
    drift
        What all plastic weights gained together, with fraction bits.
    """

    def __init__(self, image: CoreImage) -> None:
        rule = image.learning
        self.learning = rule if rule is not None and rule.rule != Rule.OFF else None
        self.weights: Integers = image.weights.astype(numpy.int64) << WEIGHT_FRACTION_BITS
        self.plastic = image.plastic
        self.pre: Integers = numpy.zeros(image.spec.sources, numpy.int64)
        self.post: Integers = numpy.zeros(image.spec.neurons, numpy.int64)
        self.drift = 0
        self._bits = image.spec.weight_bits + WEIGHT_FRACTION_BITS
        if self.learning is not None:
            registers = self.learning.registers(image.spec)
            self._low, self._high = registers["weight_min"], registers["weight_max"]
            self._lags = numpy.array([registers[f"lag_{lag}"] for lag in range(LAGS)])
            self._step = registers["drift"]
            # With lags the sum of weight and drift is within bounds, not the weight itself.
            wide = 1 << (self._bits - 1)
            lags = self.learning.rule == Rule.LAGS
            self._bounds = (-wide, wide - 1) if lags else (self._low, self._high)

    @property
    def delivered(self) -> Integers:
        """Weights as neurons get them, shape as `weights`."""
        return self._delivered(slice(None))

    def collect(self, sources: numpy.ndarray) -> Integers:
        """What neurons get from the sources (bool) whose spikes arrive, shape (neurons,)."""
        found: Integers = self._delivered(numpy.flatnonzero(sources)).sum(axis=0)
        return found

    def _delivered(self, rows: slice | numpy.ndarray) -> Integers:
        weights = self.weights[rows]
        if self.learning is not None:
            limited = numpy.clip(weights + self.drift, self._low, self._high)
            weights = numpy.where(self.plastic[rows], limited, weights)
        return weights >> WEIGHT_FRACTION_BITS

    def learn(self, sources: numpy.ndarray, fired: numpy.ndarray) -> None:
        """Update traces and weights after a step in which `sources` were delivered."""
        rule = self.learning
        if rule is None:
            return
        if rule.rule != Rule.LAGS:
            self._change(numpy.flatnonzero(sources), -self._depression(rule))
        self.pre = self._move_pre(rule, sources)
        if fired.any():
            columns = (slice(None), numpy.flatnonzero(fired))
            self._change(columns, self._potentiation(rule)[:, None])
        self.post = self._move_post(rule, fired)
        self.drift = int(saturate(numpy.int64(self.drift + self._step), self._bits + 1))  # type: ignore[arg-type]

    def _depression(self, rule: Learning) -> Integers:
        return round_shift(rule.rate_minus * self._strength(rule, self.post), _SHIFT)

    def _potentiation(self, rule: Learning) -> Integers:
        if rule.rule == Rule.LAGS:
            bits: Integers = self.pre[:, None] >> numpy.arange(LAGS) & 1
            found: Integers = bits @ self._lags
            return found
        return round_shift(rule.rate_plus * self._strength(rule, self.pre), _SHIFT)

    @staticmethod
    def _strength(rule: Learning, trace: Integers) -> Integers:
        if rule.rule == Rule.WINDOWS:
            return numpy.where(trace > 0, 1 << TRACE_FRACTION_BITS, 0)
        return trace

    def _move_pre(self, rule: Learning, sources: numpy.ndarray) -> Integers:
        if rule.rule == Rule.LAGS:
            shifted: Integers = (self.pre << 1 | sources) & ((1 << LAGS) - 1)
            return shifted
        if rule.rule == Rule.WINDOWS:
            return numpy.where(sources, rule.bump_pre, numpy.maximum(self.pre - 1, 0))
        decayed = round_shift(rule.decay_pre * self.pre, FACTOR_BITS)
        return numpy.minimum(decayed + numpy.where(sources, rule.bump_pre, 0), TRACE_MAX)

    def _move_post(self, rule: Learning, fired: numpy.ndarray) -> Integers:
        if rule.rule == Rule.LAGS:
            return self.post
        if rule.rule == Rule.WINDOWS:
            return numpy.where(fired, rule.bump_post, numpy.maximum(self.post - 1, 0))
        bumped = numpy.minimum(self.post + numpy.where(fired, rule.bump_post, 0), TRACE_MAX)
        return round_shift(rule.decay_post * bumped, FACTOR_BITS)

    def _change(self, place: Any, by: Integers) -> None:
        """Add `by` to the plastic weights at `place`, an index of `weights`, within bounds."""
        old = self.weights[place]
        changed = numpy.clip(old + by, *self._bounds)
        self.weights[place] = numpy.where(self.plastic[place], changed, old)
