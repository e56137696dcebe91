"""Integer twin of the units that update a neuron: steps 2 to 6 of `dyncc_models.spiking.twin`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from dyncc.arch.fixed import Integers, round_shift, saturate
from dyncc.arch.neurocorex import (
    CURRENT_BITS,
    CURRENT_FRACTION_BITS,
    FACTOR_BITS,
    Dynamics,
    Reset,
)

Spikes = NDArray[numpy.bool_]


@dataclass(frozen=True)
class NeuronState:
    """What neurons keep from step to step, int64 of one shape.

    Attributes
    ----------
    v, i
        Membrane potentials (Q.16) and currents (Q.24).
    refractory
        Steps left in which a neuron cannot fire.
    travelling
        Spikes on their way to the synapses, a bit for each step from the next but one on.
    """

    v: Integers
    i: Integers
    refractory: Integers
    travelling: Integers


@dataclass(frozen=True)
class Outcome:
    """Neurons after a step: state, whether they fired, whether a spike arrives in the next."""

    state: NeuronState
    fired: Spikes
    arrives: Spikes


def update(
    neuron: Mapping[str, Integers], state: NeuronState, accumulated: Integers, state_bits: int
) -> Outcome:
    """Carry out a step for neurons, each by itself.

    Parameters
    ----------
    neuron
        For each field of `parameter_fields` an array of the shape of the state.
    accumulated
        Sums of the weights that were delivered, same shape.
    state_bits
        Width of potentials.
    """
    i = saturate(
        round_shift(neuron["decay_i"] * state.i, FACTOR_BITS) + neuron["gain"] * accumulated,
        CURRENT_BITS,
    )
    drive = round_shift(neuron["couple"] * i, CURRENT_FRACTION_BITS)
    v = saturate(_moved(neuron, state.v) + drive + neuron["bias"], state_bits)
    fired: Spikes = (v > neuron["threshold"]) & (state.refractory == 0) & (neuron["fires"] == 1)
    subtract = neuron["reset"] == Reset.BY_SUBTRACTION
    after = numpy.where(subtract, v - neuron["threshold"], neuron["reset_to"])
    waiting = numpy.maximum(state.refractory - 1, 0)
    spikes = state.travelling | fired.astype(numpy.int64) << neuron["delay"]
    return Outcome(
        NeuronState(
            numpy.where(fired, saturate(after, state_bits), v),
            i,
            numpy.where(fired, neuron["refractory"], waiting),
            spikes >> 1,
        ),
        fired,
        (spikes & 1).astype(bool),
    )


def _moved(neuron: Mapping[str, Integers], v: Integers) -> Integers:
    """The membrane, before bias and current."""
    rest, target, leak = neuron["rest"], neuron["reset_to"], neuron["leak"]
    exponential = rest + round_shift(neuron["decay_v"] * (v - rest), FACTOR_BITS)
    clamped = numpy.where(
        v > target, numpy.maximum(v - leak, target), numpy.minimum(v + leak, target)
    )
    linear = v - leak
    dynamics = neuron["dynamics"]
    return numpy.where(
        dynamics == Dynamics.EXPONENTIAL,
        exponential,
        numpy.where(dynamics == Dynamics.LINEAR_CLAMPED, clamped, linear),
    )
