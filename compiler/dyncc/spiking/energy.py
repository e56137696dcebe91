r"""Measures of effort that compare spiking networks with quantised ones.

By Shen, Zhao, Li, Li and Zeng, "Are Conventional SNNs Really Efficient? A Perspective from Network
Quantization", CVPR 2024: what a synapse costs is the product of the bits that meet in it, and
:math:`T` steps with :math:`b_s` bits each are so many bits of an activation.

- Bit budget of a layer: :math:`BB = T\, b_w\, b_s`, with :math:`b_w` bits of a weight.
- :math:`S\text{-}ACE = \sum_l n_l\, BB_l`, with :math:`n_l` synapses: what hardware does that
  carries out every synapse in every step.
- :math:`NS\text{-}ACE = \sum_l f_l\, n_l\, BB_l`, with :math:`f_l` the part of activations that are
  not zero: what hardware does that is driven by events.

All are in bit operations (products of one bit by one bit) for one sample. They say nothing of
memories: `Effort.memory_bits` counts what weight memories moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy

from dyncc.arch.fields import width
from dyncc.arch.neurocorex import CoreImage, synapse_fields
from dyncc.core.errors import ConfigError


@dataclass(frozen=True)
class Effort:
    r"""Effort for one sample.

    Attributes
    ----------
    bit_budget
        :math:`BB`, in bits squared; if layers differ, the mean over synapses.
    s_ace, ns_ace
        In bit operations.
    synapses
        :math:`\sum n_l`.
    memory_bits
        Bits of weights read and written, or None if not counted.
    """

    bit_budget: float
    s_ace: float
    ns_ace: float
    synapses: int
    memory_bits: float | None = None

    @property
    def activity(self) -> float:
        r""":math:`NS\text{-}ACE / S\text{-}ACE`: part of the synapses and steps that did work."""
        return self.ns_ace / self.s_ace if self.s_ace else 0.0


def of_core(counters: Mapping[str, int], image: CoreImage, samples: int = 1) -> Effort:
    r"""Effort of a core, from what it counted.

    With :math:`b_s = 1`, :math:`T` steps and :math:`n` synapses that the core holds (a dense core
    holds all pairs): :math:`BB = T b_w`, :math:`S\text{-}ACE = n BB`. In
    :math:`\sum_l f_l n_l T` the rate :math:`f_l T` is the number of spikes of a source, so that
    :math:`NS\text{-}ACE = b_w \cdot` ``synaptic_operations``, the weights that spikes fetched. With
    dynamic termination :math:`T` is the mean over samples.

    Parameters
    ----------
    counters
        Of `Core.counters`: ``steps``, ``synaptic_operations``, ``weight_reads``, ``weight_writes``.
    image
        What was run.
    samples
        Samples that the counters are of.

    Raises
    ------
    ConfigError
        If a counter is missing, or `samples` is not positive.
    """
    names = ("steps", "synaptic_operations", "weight_reads", "weight_writes")
    missing = [name for name in names if name not in counters]
    if missing:
        raise ConfigError(f"the counters lack {', '.join(missing)}")
    if samples < 1:
        raise ConfigError(f"there must be a sample or more, not {samples}")
    spec = image.spec
    budget = counters["steps"] / samples * spec.weight_bits
    synapses = int(image.present.sum())
    moved = counters["weight_reads"] + counters["weight_writes"]
    word = spec.lanes * width(synapse_fields(spec))
    return Effort(
        budget,
        synapses * budget,
        counters["synaptic_operations"] / samples * spec.weight_bits,
        synapses,
        moved * word / samples,
    )


def of_network(image: CoreImage, lines: Any, spikes: Any, samples: int = 1) -> Effort:
    """Effort of a network in a run, whatever the core stores beside its synapses.

    The equations are those of `of_core`, with the synapses that are not 0 or learn. Of a sparse
    core both are equal.

    Parameters
    ----------
    lines
        Input spikes, bool of shape (steps, inputs of the core), as `SpikingProgram.lines` gives.
    spikes
        Bool, shape (steps, neurons of the core), as `Core.run` records.
    samples
        Runs, one after the other, that the steps hold.

    Raises
    ------
    ConfigError
        If a shape does not fit the core, or `samples` is not positive.
    """
    spec = image.spec
    given, fired = numpy.asarray(lines, bool), numpy.asarray(spikes, bool)
    if fired.ndim != 2 or fired.shape[1] != spec.neurons:
        raise ConfigError(f"spikes must have shape (steps, {spec.neurons}), not {fired.shape}")
    # Dynamic termination may have ended the run before its input.
    given = given[: len(fired)]
    if given.shape != (len(fired), spec.inputs):
        raise ConfigError(f"lines must have shape ({len(fired)}, {spec.inputs}), not {given.shape}")
    if samples < 1:
        raise ConfigError(f"there must be a sample or more, not {samples}")
    fan_out = ((image.weights != 0) | image.plastic).sum(axis=1)
    delay = image.parameters["delay"][image.assignment]
    steps = numpy.arange(len(fired))[:, None]
    # A spike of the last steps does not arrive any more.
    delivered = (fired & (steps + 1 + delay < len(fired))).sum(axis=0)
    operations = int(fan_out @ numpy.concatenate((given.sum(axis=0), delivered)))
    budget = len(fired) / samples * spec.weight_bits
    synapses = int(fan_out.sum())
    return Effort(budget, synapses * budget, operations / samples * spec.weight_bits, synapses)


def of_mlp(
    sizes: Sequence[int],
    weight_bits: int | Sequence[int],
    activation_bits: int | Sequence[int],
    densities: Sequence[float] | None = None,
) -> Effort:
    r"""Effort of a quantised multilayer perceptron.

    With :math:`T = 1`: a layer has :math:`n_l = in_l \cdot out_l` synapses and the bit budget
    :math:`BB_l = b_w b_a`. :math:`NS\text{-}ACE` supposes hardware that skips activations of zero.

    Parameters
    ----------
    sizes
        Of the input and of each layer, such as ``(64, 32, 10)``.
    weight_bits
        Of each layer, or of all.
    activation_bits
        Of what goes into each layer, first the input, or of all.
    densities
        Part of what goes into each layer that is not zero; by default all.

    Raises
    ------
    ConfigError
        If there are not as many values as layers, or one is out of range.
    """
    layers = len(sizes) - 1
    if layers < 1 or min(sizes) < 1:
        raise ConfigError(f"sizes must be those of an input and of layers, not {tuple(sizes)}")
    weights, activations = (
        _each(name, values, layers)
        for name, values in (("weight_bits", weight_bits), ("activation_bits", activation_bits))
    )
    used = list(densities) if densities is not None else [1.0] * layers
    if len(used) != layers or not all(0 <= density <= 1 for density in used):
        raise ConfigError(f"densities must be {layers} numbers in 0..1, not {used}")
    synapses = [before * after for before, after in pairwise(sizes)]
    costs = [n * w * a for n, w, a in zip(synapses, weights, activations, strict=True)]
    return Effort(
        sum(costs) / sum(synapses),
        float(sum(costs)),
        sum(density * cost for density, cost in zip(used, costs, strict=True)),
        sum(synapses),
        float(sum(n * w for n, w in zip(synapses, weights, strict=True))),
    )


def _each(name: str, values: int | Sequence[int], layers: int) -> list[int]:
    found = [values] * layers if isinstance(values, int) else list(values)
    if len(found) != layers or min(found) < 1:
        raise ConfigError(f"{name} must be a positive integer for each of {layers} layers")
    return found
