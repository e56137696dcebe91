r"""Integer twin of the learning engine: trace-based STDP with bounded, finely stepped weights.

A plastic weight carries `WEIGHT_FRACTION_BITS` fraction bits below the delivered one, so that small
changes add up. Each source (input line or neuron) has a trace :math:`x`, each neuron a trace
:math:`y` (Q.12, 16 bits, saturating). Order in a step, after the neurons fired:

1. Traces decay: :math:`x = rs(decay_{pre}\, x, 16)`, :math:`y = rs(decay_{post}\, y, 16)`.
2. Depression, a row for each source :math:`i` whose spike was delivered in this step:
   :math:`w_{ij} = clip(w_{ij} - rs(rate_- y_j, 16))`.
3. The traces of these sources are bumped.
4. Potentiation, a column for each neuron :math:`j` that fired:
   :math:`w_{ij} = clip(w_{ij} + rs(rate_+ x_i, 16))`.
5. The traces of these neurons are bumped.

So a pre spike delivered in the same step as the post spike potentiates, and does not depress.
Rates are Q.12 and traces Q.12: their product is shifted by 16 into the weight's 8 fraction bits.
This is the pair rule of Song, Miller and Abbott (2000) with all-to-all interaction, in the form
with traces of Morrison, Diesmann and Gerstner (Biological Cybernetics 98:459, 2008), section 4.1.
"""

from __future__ import annotations

import numpy

from dyncc.arch.fixed import Integers, round_shift
from dyncc.arch.neurocorex import (
    FACTOR_BITS,
    TRACE_FRACTION_BITS,
    WEIGHT_FRACTION_BITS,
    CoreImage,
)

#: Largest value of a trace.
TRACE_MAX = (1 << 16) - 1
_SHIFT = 2 * TRACE_FRACTION_BITS - WEIGHT_FRACTION_BITS


class Synapses:
    """Weights of a core, from all sources: first the input lines, then the neurons.

    Attributes
    ----------
    weights
        With fraction bits, int64 of shape (inputs + neurons, neurons).
    pre, post
        Traces, shapes (inputs + neurons,) and (neurons,).
    """

    def __init__(self, image: CoreImage) -> None:
        self.learning = image.learning
        whole = numpy.concatenate((image.input_weights, image.recurrent_weights))
        self.weights: Integers = whole.astype(numpy.int64) << WEIGHT_FRACTION_BITS
        self.plastic = numpy.concatenate((image.input_plastic, image.recurrent_plastic)).astype(
            bool
        )
        self.pre: Integers = numpy.zeros(len(whole), numpy.int64)
        self.post: Integers = numpy.zeros(image.spec.neurons, numpy.int64)
        self.delivered: Integers = self.weights >> WEIGHT_FRACTION_BITS

    def learn(self, sources: numpy.ndarray, fired: numpy.ndarray) -> None:
        """Update traces and weights after a step in which `sources` were delivered."""
        rule = self.learning
        if rule is None:
            return
        self.pre = round_shift(rule.decay_pre * self.pre, FACTOR_BITS)
        self.post = round_shift(rule.decay_post * self.post, FACTOR_BITS)
        depression = round_shift(rule.rate_minus * self.post, _SHIFT)
        self.weights[sources] = self._clip(sources, self.weights[sources] - depression)
        self.pre[sources] = numpy.minimum(self.pre[sources] + rule.bump_pre, TRACE_MAX)
        growth = round_shift(rule.rate_plus * self.pre, _SHIFT)
        everywhere = self._clip(slice(None), self.weights + growth[:, None])
        self.weights[:, fired] = everywhere[:, fired]
        self.post[fired] = numpy.minimum(self.post[fired] + rule.bump_post, TRACE_MAX)
        self.delivered = self.weights >> WEIGHT_FRACTION_BITS

    def _clip(self, rows: slice | numpy.ndarray, changed: Integers) -> Integers:
        """`changed` within bounds where synapses of these rows learn, and the old weight else."""
        rule = self.learning
        assert rule is not None
        low = rule.weight_min << WEIGHT_FRACTION_BITS
        high = ((rule.weight_max + 1) << WEIGHT_FRACTION_BITS) - 1
        return numpy.where(self.plastic[rows], numpy.clip(changed, low, high), self.weights[rows])
