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

from dyncc.arch.fixed import Integers, saturate
from dyncc.arch.neurocorex import WEIGHT_FRACTION_BITS, CoreImage, Rule
from dyncc_models.spiking.plasticity import (
    changed,
    delivered,
    depression,
    move_post,
    move_pre,
    potentiation,
    stored_bounds,
)


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
            self._bounds = registers["weight_min"], registers["weight_max"]
            self._stored = stored_bounds(self.learning.rule, image.spec.weight_bits, self._bounds)
            self._step = registers["drift"]

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
            return delivered(weights, self.plastic[rows], self.drift, self._bounds)
        return weights >> WEIGHT_FRACTION_BITS

    def learn(self, sources: numpy.ndarray, fired: numpy.ndarray) -> None:
        """Update traces and weights after a step in which `sources` were delivered."""
        rule = self.learning
        if rule is None:
            return
        if rule.rule != Rule.LAGS:
            self._change(numpy.flatnonzero(sources), -depression(rule, self.post))
        self.pre = move_pre(rule, self.pre, sources)
        if fired.any():
            columns = (slice(None), numpy.flatnonzero(fired))
            self._change(columns, potentiation(rule, self.pre)[:, None])
        self.post = move_post(rule, self.post, fired)
        self.drift = int(saturate(numpy.int64(self.drift + self._step), self._bits + 1))  # type: ignore[arg-type]

    def _change(self, place: Any, by: Integers) -> None:
        """Add `by` to the plastic weights at `place`, an index of `weights`, within bounds."""
        old, plastic = self.weights[place], self.plastic[place]
        self.weights[place] = changed(old, plastic, by, self._stored)
