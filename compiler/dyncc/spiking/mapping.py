"""Maps a network onto a core: places, delays, quantised weights; refuses what does not fit.

Populations follow each other by their lag (see `dyncc.spiking.delays`), relay neurons come last.
Outputs are shifted back by their lag, so that they are those of the network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy

from dyncc.arch.fixed import Integers, quantise
from dyncc.arch.neurocorex import (
    STATE_FRACTION_BITS,
    CoreImage,
    CoreSpec,
    Dynamics,
    Space,
    Termination,
    Test,
    memory_bits,
    memory_depth,
    parameter_sets,
)
from dyncc.core.errors import ConfigError
from dyncc.spiking import units
from dyncc.spiking.assembly import Assembly, real_rule
from dyncc.spiking.delays import Timing, synapses, timing
from dyncc.spiking.network import Network
from dyncc.spiking.parameters import ParameterSet
from dyncc.spiking.program import Output, SpikingProgram, SynapsePlaces
from dyncc.spiking.report import MappingReport, PlacedPopulation, PlacedProjection

__all__ = ["Output", "SpikingProgram", "map_network"]

_MAX = 4096


def map_network(
    network: Network,
    spec: CoreSpec | None = None,
    method: str = "euler",
    *,
    sparse: bool | None = None,
    **sizes: Any,
) -> SpikingProgram:
    """Map a network.

    Parameters
    ----------
    spec
        The core; by default one that is as large as the network.
    method
        How neurons are discretised: ``euler`` as most NIR simulators do, or ``exact``.
    sparse
        Whether to store synapses as lists, if no core is given; by default what takes less memory.
    sizes
        Fields of `CoreSpec` to fix, if no core is given; the others are chosen to fit.

    Raises
    ------
    ConfigError
        If the network does not fit; says what it needs and what the core has.
    """
    if method not in ("euler", "exact"):
        raise ConfigError(f"method must be euler or exact, not {method!r}")
    if spec is not None and (sizes or sparse is not None):
        raise ConfigError("give a core or some of its sizes, not both")
    if not network.populations:
        raise ConfigError("the network has no neurons")
    limits = spec or CoreSpec(
        **{"neurons": _MAX, "inputs": _MAX, "parameter_sets": _MAX} | _exact(network) | sizes
    )
    reach = limits.max_delay if spec is not None or "max_delay" in sizes else None
    when = timing(network, reach)
    _check_size(network, when, limits)
    parts = Assembly(network, limits, when, method)
    if spec is not None:
        return _program(parts, _image(parts, spec))
    return _program(parts, _fitting(parts, sparse, _exact(network) | sizes))


def _exact(network: Network) -> dict[str, Any]:
    """Widths for a network that is to be exact: SuperNeuroMAT's, whose numbers have no bounds."""
    names = [name for name, p in network.populations.items() if p.model == "superneuromat"]
    if not names:
        return {}
    values = [p.weights.ravel() for p in network.projections if p.target in names]
    every = numpy.concatenate((numpy.zeros(0), *values))
    return {"state_bits": 32, "weight_bits": units.exact_weight_bits(every, *real_rule(network))}


def _check_size(network: Network, when: Timing, limits: CoreSpec) -> None:
    neurons = sum(population.size for population in network.populations.values())
    relays = f" ({when.relays} of them relays for delays)" if when.relays else ""
    for need, has, what in (
        (neurons + when.relays, limits.neurons, f"neurons{relays}"),
        (sum(network.inputs.values()), limits.inputs, "input lines"),
    ):
        if need > has:
            raise ConfigError(
                f"the network needs {need} {what}, the core has {has}",
                hint="Choose a larger core, or a smaller network.",
            )


def _program(parts: Assembly, image: CoreImage) -> SpikingProgram:
    """The image with the places of all parts."""
    network, places, lags = parts.network, parts.places, parts.when.lags
    outputs = {
        name: _output(parts, shown, population.size, population.fires)
        for name, shown in network.outputs.items()
        for population in (network.populations[shown],)
    }
    readout = None
    if network.classifier is not None:
        watched = network.classifier.population
        readout = _output(parts, watched, network.populations[watched].size, False)
    report = MappingReport(
        tuple(
            PlacedPopulation(
                name, population.model, places.first[name], population.size, lags[name],
                parts.unit[name], parts.scale[name],
            )
            for name, population in network.populations.items()
        ),
        tuple(_placed(parts, index) for index in range(len(network.projections))),
        places.line_count,
        len(places.feeds),
        len(parts.sets),
        int(image.row_counts.sum()),
        tuple(parts.notes),
    )  # fmt: skip
    return SpikingProgram(
        image,
        network.dt,
        places.lines,
        outputs,
        tuple(
            SynapsePlaces(
                projection.source,
                projection.target,
                _moved(parts, rows, image.spec),
                places.first[projection.target],
                parts.unit[projection.target],
            )
            for projection, rows in zip(network.projections, places.rows, strict=True)
        ),
        report,
        readout,
    )


def _output(parts: Assembly, name: str, size: int, spiking: bool) -> Output:
    first, lag = parts.places.first[name], parts.when.lags[name]
    return Output(first, size, lag, spiking, parts.scale[name])


def _moved(parts: Assembly, rows: Integers, spec: CoreSpec) -> Integers:
    """Rows of a core, which may have more input lines than the network."""
    return numpy.where(
        rows >= parts.places.line_count, rows + spec.inputs - parts.places.line_count, rows
    )


def _placed(parts: Assembly, index: int) -> PlacedProjection:
    projection = parts.network.projections[index]
    unit = parts.unit[projection.target]
    used = synapses(projection)
    exact = projection.weights[used]
    error = numpy.rint(exact / unit) * unit - exact
    largest = float(numpy.abs(exact).max(initial=0.0)) or 1.0
    delays = parts.when.delays[index][used].tolist() or [0]
    return PlacedProjection(
        projection.source,
        projection.target,
        int(used.sum()),
        int((used & projection.plastic).sum()),
        (min(delays), max(delays)),
        float(numpy.abs(error).max(initial=0.0)) / largest,
        float(numpy.sqrt(numpy.square(error).mean())) / largest if exact.size else 0.0,
    )


def _fitting(parts: Assembly, sparse: bool | None, sizes: dict[str, Any]) -> CoreImage:
    """The image for the smallest core that the network fits."""
    classifier = parts.network.classifier
    watched = "" if classifier is None else classifier.population
    needed: dict[str, Any] = {
        "neurons": parts.places.neurons,
        "inputs": parts.places.line_count,
        "learning": parts.learning is not None,
        "max_delay": int(parts.places.delay.max()) + 1,
        "classes": parts.network.populations[watched].size if watched else 0,
    } | sizes
    spare = needed["neurons"] > parts.places.neurons and _quiet(parts.sets) is None
    spec = CoreSpec(**{"parameter_sets": len(parts.sets) + spare} | needed)
    if "synapse_words" in sizes or sparse is False:
        return _image(parts, spec)
    try:
        listed = _image(parts, replace(spec, synapse_words=1 << 20))
    except ConfigError:
        if sparse:
            raise
        return _image(parts, spec)
    words = max(1, int(listed.row_counts.sum()))
    smaller = replace(spec, synapse_words=words)
    if sparse is None and _synapse_bits(spec) <= _synapse_bits(smaller):
        return _image(parts, spec)
    return replace(listed, spec=smaller)


def _quiet(sets: list[ParameterSet]) -> int | None:
    """A parameter set with which a neuron at rest, without input, does nothing; None if none is."""
    for place, values in enumerate(sets):
        drift = values.get("leak", 0) if values["dynamics"] == Dynamics.LINEAR else 0
        still = not values.get("bias", 0) and not drift
        if still and (not values["fires"] or units.resting(values) <= values["threshold"]):
            return place
    return None


def _image(parts: Assembly, spec: CoreSpec) -> CoreImage:
    """The image for a core, whose spare neurons and lines are left silent."""
    lines, used = parts.places.line_count, parts.places.neurons
    spare = spec.neurons - used
    sets = parts.sets
    assignment, initial = parts.assignment, parts.initial
    if spare:
        quiet = _quiet(sets)
        if quiet is None:
            quiet = len(sets)
            sets.append({"dynamics": Dynamics.EXPONENTIAL})
        rest = {"initial_v": units.resting(sets[quiet])}
        assignment = numpy.concatenate((assignment, numpy.full(spare, quiet)))
        initial = {
            name: numpy.concatenate((start, numpy.full(spare, rest.get(name, 0))))
            for name, start in initial.items()
        }

    def padded(values: Any, height: int) -> Any:
        found = numpy.zeros((height, spec.neurons), values.dtype)
        found[: len(values), :used] = values
        return found

    return CoreImage(
        spec,
        parameter_sets(spec, sets),
        assignment,
        padded(parts.weights[:lines], spec.inputs),
        padded(parts.weights[lines:], spec.neurons),
        parts.learning,
        padded(parts.plastic[:lines], spec.inputs),
        padded(parts.plastic[lines:], spec.neurons),
        _termination(parts),
        **initial,
    )


def _termination(parts: Assembly) -> Termination | None:
    rule = parts.network.classifier
    if rule is None:
        return None
    name = rule.population
    first, count = parts.places.first[name], parts.network.populations[name].size
    steps = rule.least_steps + parts.when.lags[name]
    if rule.confidence is not None:
        alpha = rule.alpha / parts.scale[name]
        return Termination.softmax(first, count, rule.confidence, alpha, steps)
    limit = int(quantise((rule.margin or 0.0) / parts.scale[name], STATE_FRACTION_BITS))
    return Termination(Test.MARGIN, first, count, limit, least_steps=steps)


def _synapse_bits(spec: CoreSpec) -> int:
    spaces = (Space.WEIGHTS, Space.ROWS) if spec.sparse else (Space.WEIGHTS,)
    return sum(memory_bits(spec, space) * memory_depth(spec, space) for space in spaces)
