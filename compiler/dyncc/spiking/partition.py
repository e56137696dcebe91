"""Splits an image that is too large for a core among the cores of a cluster.

A source, input or neuron, takes an input line on each core that it has synapses on and is not on
itself. `dyncc.spiking.placement` places the neurons so that few lines are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import CoreImage, CoreSpec, parameter_sets
from dyncc.arch.neurocorex.cluster import ClusterImage, ClusterSpec
from dyncc.core.errors import ConfigError
from dyncc.spiking.placement import place_neurons

_STARTS = ("initial_v", "initial_i", "initial_refractory")
_HINT = "Use more or larger cores."


def partition(image: CoreImage, cores: Sequence[CoreSpec], assignment: Any = None) -> ClusterImage:
    """An image for a cluster that does the same, bit for bit.

    Parameters
    ----------
    image
        For one core, which need not exist.
    cores
        The cores; their potentials and weights must be as wide as those of the image's core.
    assignment
        Core of each neuron, int of shape (neurons,); by default one that needs few input lines.

    Raises
    ------
    ConfigError
        If the network does not fit; says what each core lacks.
    """
    spec = ClusterSpec(tuple(cores))
    neurons, room = image.spec.neurons, sum(core.neurons for core in spec.cores)
    if neurons > room:
        raise ConfigError(
            f"the network needs {neurons} neurons, the {len(spec.cores)} cores have {room}",
            hint=_HINT,
        )
    used = (image.weights != 0) | image.plastic
    watched = numpy.zeros(neurons, bool)
    if image.termination is not None:
        first = image.termination.first_class
        watched[first : first + image.termination.class_count] = True
    if assignment is None:
        core = place_neurons(used, spec.cores, watched)
    else:
        core = _checked(assignment, spec, watched)

    inputs = image.spec.inputs
    home = numpy.concatenate((numpy.full(inputs, -1), core))
    index = numpy.zeros(neurons, numpy.int64)
    lines = numpy.full((len(used), len(spec.cores)), -1)
    images, lacks = [], []
    for number, on_core in enumerate(spec.cores):
        own = numpy.flatnonzero(core == number)
        sources = numpy.flatnonzero(used[:, own].any(axis=1) & (home != number))
        index[own] = numpy.arange(len(own))
        lines[sources, number] = numpy.arange(len(sources))
        missing = _lacks(image, on_core, own, sources, watched[own])
        lacks += [f"core {number} {what}" for what in missing]
        if not missing:
            try:
                images.append(_image(image, on_core, own, sources, watched[own]))
            except ConfigError as error:
                lacks.append(f"core {number}: {error.message}")
    if lacks:
        raise ConfigError("the network does not fit: " + "; ".join(lacks), hint=_HINT)
    return ClusterImage(spec, tuple(images), core, index, lines[inputs:], lines[:inputs])


def _checked(assignment: Any, spec: ClusterSpec, watched: Any) -> Integers:
    core = numpy.asarray(assignment)
    if core.shape != watched.shape or core.dtype.kind not in "iu":
        raise ConfigError(
            f"assignment must be integers of shape {watched.shape}, not {core.dtype} of shape "
            f"{core.shape}"
        )
    if not 0 <= core.min() <= core.max() < len(spec.cores):
        raise ConfigError(
            f"assignment must be in 0..{len(spec.cores) - 1}, and spans {core.min()}..{core.max()}"
        )
    watching = numpy.unique(core[watched]).tolist()
    if len(watching) > 1:
        raise ConfigError(
            "dynamic termination watches neurons of one core, and the assignment has them on cores "
            + ", ".join(map(str, watching))
        )
    return core.astype(numpy.int64)


def _lacks(
    whole: CoreImage, spec: CoreSpec, own: Integers, sources: Integers, watched: Any
) -> list[str]:
    """What a core needs and has not, for its part of a network.

    Parameters
    ----------
    own
        The neurons that are on it, ascending.
    sources
        Rows, among all weights, of the sources that take its input lines.
    watched
        Which of its neurons dynamic termination watches.
    """
    sets = whole.assignment[own]
    counts = (
        (len(own), spec.neurons, "neurons"),
        (len(sources), spec.inputs, "input lines"),
        (int(whole.parameters["delay"][sets].max(initial=0)) + 1, spec.max_delay, "steps of delay"),
        (int(watched.sum()), spec.classes, "classes"),
    )
    found = [f"needs {needs} {what}, has {has}" for needs, has, what in counts if needs > has]
    for name, what in (("state_bits", "potentials"), ("weight_bits", "weights")):
        needs, has = getattr(whole.spec, name), getattr(spec, name)
        if needs != has:
            found.append(f"needs {what} of {needs} bits, has {has}")
    return found


def _image(
    whole: CoreImage, spec: CoreSpec, own: Integers, sources: Integers, watched: Any
) -> CoreImage:
    """What a core gets of a network; see `_lacks`."""
    sets, assignment = numpy.unique(whole.assignment[own], return_inverse=True)
    spare = spec.neurons - len(own)
    chosen = [
        {name: int(values[number]) for name, values in whole.parameters.items()} for number in sets
    ]
    # Neurons that are not used get a set with which they never fire, if need be of zeros.
    quiet = next((place for place, values in enumerate(chosen) if not values["fires"]), len(chosen))
    if spare and quiet == len(chosen):
        chosen.append({})
    rows = numpy.concatenate((sources, whole.spec.inputs + own))
    places = numpy.concatenate((numpy.arange(len(sources)), spec.inputs + numpy.arange(len(own))))

    def matrix(values: Any) -> Any:
        found = numpy.zeros((spec.sources, spec.neurons), values.dtype)
        found[places, : len(own)] = values[numpy.ix_(rows, own)]
        return found

    weights, plastic = matrix(whole.weights), matrix(whole.plastic)
    termination = None
    if whole.termination is not None and watched.any():
        termination = replace(whole.termination, first_class=int(numpy.flatnonzero(watched)[0]))
    return CoreImage(
        spec,
        parameter_sets(spec, chosen),
        numpy.pad(assignment, (0, spare), constant_values=quiet),
        weights[: spec.inputs],
        weights[spec.inputs :],
        whole.learning if spec.learning else None,
        plastic[: spec.inputs],
        plastic[spec.inputs :],
        termination,
        **{name: numpy.pad(getattr(whole, name)[own], (0, spare)) for name in _STARTS},
    )
