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
    CURRENT_BITS,
    CURRENT_FRACTION_BITS,
    STATE_FRACTION_BITS,
    CoreImage,
    CoreSpec,
    Dynamics,
    Learning,
    Space,
    Termination,
    Test,
    memory_bits,
    memory_depth,
    parameter_sets,
)
from dyncc.core.errors import ConfigError
from dyncc.spiking import parameters, units
from dyncc.spiking.delays import Timing, synapses, timing
from dyncc.spiking.network import Network
from dyncc.spiking.places import place
from dyncc.spiking.program import Output, SpikingProgram, SynapsePlaces
from dyncc.spiking.report import MappingReport, PlacedPopulation, PlacedProjection

__all__ = ["Output", "SpikingProgram", "map_network"]

#: A relay fires when a spike arrives, and forgets it at once.
_RELAY = parameters.superneuromat(leak=numpy.inf, threshold=0.5, state_bits=18)
_MAX = 4096
#: Largest current, and the bits by which it is finer than a potential.
_CURRENT_TOP = (1 << (CURRENT_BITS - 1)) - 1
_FINER = CURRENT_FRACTION_BITS - STATE_FRACTION_BITS


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
    return _Mapper(network, limits, when, method).program(spec, sparse, _exact(network) | sizes)


def _exact(network: Network) -> dict[str, Any]:
    """Widths for a network that is to be exact: SuperNeuroMAT's, whose numbers have no bounds."""
    names = [name for name, p in network.populations.items() if p.model == "superneuromat"]
    if not names:
        return {}
    values = [p.weights.ravel() for p in network.projections if p.target in names]
    every = numpy.concatenate((numpy.zeros(0), *values))
    return {"state_bits": 32, "weight_bits": units.exact_weight_bits(every, *_real_rule(network))}


def _real_rule(network: Network) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Bounds and amounts of the learning rule, in the network's units."""
    rule = network.learning
    if rule is None or isinstance(rule, Learning):
        return (), ()
    return rule.bounds, rule.amounts


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


class _Mapper:
    """Weights and parameters of a network whose timing is known."""

    def __init__(self, network: Network, limits: CoreSpec, when: Timing, method: str) -> None:
        self._network = network
        self._limits = limits
        self._when = when
        self._places = place(network, when)
        self._notes: list[str] = []
        shape = (self._places.line_count + self._places.neurons, self._places.neurons)
        self._real = numpy.zeros(shape)
        self._fixed, self._plastic = numpy.zeros(shape, bool), numpy.zeros(shape, bool)
        self._bias = numpy.zeros(self._places.neurons)
        for index in range(len(network.projections)):
            self._add(index)
        self._weights = numpy.zeros(shape, numpy.int64)
        self._sets: dict[tuple[tuple[str, int], ...], int] = {}
        self._assignment = numpy.zeros(self._places.neurons, numpy.int64)
        self._initial_v, self._initial_i, self._initial_refractory = numpy.zeros(
            (3, self._places.neurons), numpy.int64
        )
        self._unit: dict[str, float] = {}
        self._scale: dict[str, float] = {}
        self._learning = self._units()
        for name in network.populations:
            self._quantise(name, method)
        for relay, row in enumerate(self._places.feeds):
            neuron = self._places.neuron_count + relay
            self._weights[row, neuron] = 1
            self._assign(neuron, _RELAY)

    def _columns(self, name: str) -> slice:
        first = self._places.first[name]
        return slice(first, first + self._network.populations[name].size)

    def _add(self, index: int) -> None:
        """Add the synapses of a projection to the weights."""
        projection = self._network.projections[index]
        rows, columns = self._places.rows[index], self._columns(projection.target)
        sources, targets = numpy.nonzero(rows >= 0)
        place = rows[sources, targets], targets + columns.start
        plastic = projection.plastic[sources, targets]
        if (plastic & (self._fixed[place] | self._plastic[place])).any() or (
            ~plastic & self._plastic[place]
        ).any():
            raise ConfigError(
                f"there are several projections from {projection.source!r} to "
                f"{projection.target!r} with the same delay, and a synapse of them learns",
                hint="Join them into one.",
            )
        self._real[place] += projection.weights[sources, targets]
        self._plastic[place] |= plastic
        self._fixed[place] |= ~plastic
        if projection.bias is not None:
            self._bias[columns] += projection.bias

    def _units(self) -> Learning | None:
        """Choose units of weights and potentials, and tell the learning rule of them."""
        network, bits = self._network, self._limits.weight_bits
        rule = network.learning
        learners = [p.target for p in network.projections if p.plastic.any()]
        if learners and rule is None:
            raise ConfigError(
                f"synapses to {learners[0]!r} are plastic, and the network has no learning rule",
                hint="Set one with network.learn().",
            )
        if rule is not None and not learners:
            self._notes.append("the network has a learning rule and no plastic synapses")
        bounds, amounts = _real_rule(network)
        for name, population in network.populations.items():
            columns = self._columns(name)
            own = (bounds, amounts) if name in learners else ((), ())
            self._unit[name] = units.weight_unit(population, self._real[:, columns], *own, bits)
            self._bias[columns] += population.values("bias")
            self._scale[name] = units.potential_unit(
                population, self._real[:, columns], self._bias[columns], network.dt,
                self._limits.state_bits,
            )  # fmt: skip
        if rule is None or not learners:
            return None
        return self._rule(rule, sorted(set(learners)))

    def _rule(self, rule: Any, learners: list[str]) -> Learning:
        """Give all populations that learn one unit: the core has one rule for all synapses."""
        populations = self._network.populations
        own = {populations[name].weight_unit for name in learners}
        if len(own) > 1:
            raise ConfigError(
                f"the populations {', '.join(map(repr, learners))} learn and need one weight_unit, "
                f"not {', '.join(map(str, sorted(own, key=str)))}"
            )
        unit = max(self._unit[name] for name in learners)
        self._unit |= dict.fromkeys(learners, unit)
        if isinstance(rule, Learning):
            if own == {None}:
                raise ConfigError(
                    "the learning rule is in units of the core, and the populations "
                    f"{', '.join(map(repr, learners))} have no weight_unit"
                )
            low, high = rule.weight_min * unit, rule.weight_max * unit
            found = rule
        else:
            low, high = rule.bounds
            found = rule.learning(self._network.dt, unit)
        for projection in self._network.projections:
            learnt = projection.weights[projection.plastic]
            if learnt.size and not (low <= learnt.min() and learnt.max() <= high):
                raise ConfigError(
                    f"plastic weights from {projection.source!r} to {projection.target!r} span "
                    f"{learnt.min():g}..{learnt.max():g}, and the bounds of the learning rule are "
                    f"{low:g}..{high:g}"
                )
        return found

    def _quantise(self, name: str, method: str) -> None:
        population, columns = self._network.populations[name], self._columns(name)
        unit, scale = self._unit[name], self._scale[name]
        found = numpy.rint(self._real[:, columns] / unit).astype(numpy.int64)
        if self._learning is not None:
            bounded = numpy.clip(found, self._learning.weight_min, self._learning.weight_max)
            found = numpy.where(self._plastic[:, columns], bounded, found)
        self._weights[:, columns] = found
        sets = units.parameter_set_of_each(
            population, self._bias[columns], self._network.dt, unit, scale, method, self._limits
        )
        for neuron, values in enumerate(sets, start=columns.start):
            self._assign(neuron, values)
        self._start(name, sets)

    def _assign(self, neuron: int, values: parameters.ParameterSet) -> None:
        key = tuple((values | {"delay": int(self._places.delay[neuron])}).items())
        self._assignment[neuron] = self._sets.setdefault(key, len(self._sets))

    def _start(self, name: str, sets: list[parameters.ParameterSet]) -> None:
        """Initial state: at the population's first step it is that of the network."""
        population, columns = self._network.populations[name], self._columns(name)
        lag, scale = self._when.lags[name], self._scale[name]
        refractory = population.values("initial_refractory").astype(numpy.int64) + lag
        if refractory.max() > 255:
            raise ConfigError(
                f"population {name!r} lags by {lag} steps, and neurons start at most 255 steps late"
            )
        top = (1 << (self._limits.state_bits - 1)) - 1
        limited = False
        for neuron, values in enumerate(sets, start=columns.start):
            exponential = values["dynamics"] == Dynamics.EXPONENTIAL
            v = values.get("rest" if exponential else "reset_to", 0)
            if population.initial is not None:
                v = parameters.state(population.values("initial")[neuron - columns.start] / scale)
            # What a slow current still lacks of its bias: see `parameters.cuba_lif`.
            i = -values["bias"] << _FINER if values.get("decay_i") else 0
            v, i = units.rewound(values, v, i, lag)
            self._initial_v[neuron] = max(-top - 1, min(top, v))
            self._initial_i[neuron] = max(-_CURRENT_TOP - 1, min(_CURRENT_TOP, i))
            limited |= (v, i) != (self._initial_v[neuron], self._initial_i[neuron])
        self._initial_refractory[columns] = refractory
        if limited:
            self._notes.append(f"population {name!r} does not start exactly at its potential")

    def program(
        self, spec: CoreSpec | None, sparse: bool | None, sizes: dict[str, Any]
    ) -> SpikingProgram:
        """The network on a core, which is chosen if it is not given."""
        image = self._image(spec) if spec is not None else self._fitting(sparse, sizes)
        network, places, lags = self._network, self._places, self._when.lags
        outputs = {
            name: self._output(shown, population.size, population.fires)
            for name, shown in network.outputs.items()
            for population in (network.populations[shown],)
        }
        readout = None
        if network.classifier is not None:
            watched = network.classifier.population
            readout = self._output(watched, network.populations[watched].size, False)
        report = MappingReport(
            tuple(
                PlacedPopulation(
                    name, population.model, places.first[name], population.size, lags[name],
                    self._unit[name], self._scale[name],
                )
                for name, population in network.populations.items()
            ),
            tuple(self._placed(index) for index in range(len(network.projections))),
            len(places.feeds),
            len(self._sets),
            int(image.row_counts.sum()),
            tuple(self._notes),
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
                    self._moved(rows, image.spec),
                    places.first[projection.target],
                    self._unit[projection.target],
                )
                for projection, rows in zip(network.projections, places.rows, strict=True)
            ),
            report,
            readout,
        )

    def _output(self, name: str, size: int, spiking: bool) -> Output:
        first, lag = self._places.first[name], self._when.lags[name]
        return Output(first, size, lag, spiking, self._scale[name])

    def _moved(self, rows: Integers, spec: CoreSpec) -> Integers:
        """Rows of a core, which may have more input lines than the network."""
        return numpy.where(
            rows >= self._places.line_count, rows + spec.inputs - self._places.line_count, rows
        )

    def _placed(self, index: int) -> PlacedProjection:
        projection = self._network.projections[index]
        unit = self._unit[projection.target]
        used = synapses(projection)
        exact = projection.weights[used]
        error = numpy.rint(exact / unit) * unit - exact
        largest = float(numpy.abs(exact).max(initial=0.0)) or 1.0
        delays = self._when.delays[index][used].tolist() or [0]
        return PlacedProjection(
            projection.source,
            projection.target,
            int(used.sum()),
            int((used & projection.plastic).sum()),
            (min(delays), max(delays)),
            float(numpy.abs(error).max(initial=0.0)) / largest,
            float(numpy.sqrt(numpy.square(error).mean())) / largest if exact.size else 0.0,
        )

    def _fitting(self, sparse: bool | None, sizes: dict[str, Any]) -> CoreImage:
        """The image for the smallest core that the network fits."""
        classifier = self._network.classifier
        watched = "" if classifier is None else classifier.population
        needed = {
            "neurons": self._places.neurons,
            "inputs": self._places.line_count,
            "parameter_sets": len(self._sets),
            "learning": self._learning is not None,
            "max_delay": int(self._places.delay.max()) + 1,
            "classes": self._network.populations[watched].size if watched else 0,
        }
        spec = CoreSpec(**needed | sizes)
        if spec.neurons > self._places.neurons and "parameter_sets" not in sizes:
            spec = replace(spec, parameter_sets=min(_MAX, len(self._sets) + 1))
        if "synapse_words" in sizes or sparse is False:
            return self._image(spec)
        listed = self._image(replace(spec, synapse_words=1 << 20))
        words = max(1, int(listed.row_counts.sum()))
        smaller = replace(spec, synapse_words=words)
        if sparse is None and _synapse_bits(spec) <= _synapse_bits(smaller):
            return self._image(spec)
        return replace(listed, spec=smaller)

    def _image(self, spec: CoreSpec) -> CoreImage:
        """The image for a core, whose spare neurons and lines are left silent."""
        lines, used = self._places.line_count, self._places.neurons
        sets = [dict(values) for values in self._sets]
        spare = spec.neurons - used
        assignment = self._assignment
        if spare:
            quiet = next((i for i, values in enumerate(sets) if not values["fires"]), len(sets))
            if quiet == len(sets):
                sets.append({})
            assignment = numpy.concatenate((assignment, numpy.full(spare, quiet)))

        def padded(values: Any, height: int) -> Any:
            found = numpy.zeros((height, spec.neurons), values.dtype)
            found[: len(values), :used] = values
            return found

        return CoreImage(
            spec,
            parameter_sets(spec, sets),
            assignment,
            padded(self._weights[:lines], spec.inputs),
            padded(self._weights[lines:], spec.neurons),
            self._learning,
            padded(self._plastic[:lines], spec.inputs),
            padded(self._plastic[lines:], spec.neurons),
            self._termination(),
            *(
                numpy.concatenate((start, numpy.zeros(spare, numpy.int64)))
                for start in (self._initial_v, self._initial_i, self._initial_refractory)
            ),
        )

    def _termination(self) -> Termination | None:
        rule = self._network.classifier
        if rule is None:
            return None
        name = rule.population
        first, count = self._places.first[name], self._network.populations[name].size
        steps = rule.least_steps + self._when.lags[name]
        if rule.confidence is not None:
            alpha = rule.alpha / self._scale[name]
            return Termination.softmax(first, count, rule.confidence, alpha, steps)
        limit = int(quantise((rule.margin or 0.0) / self._scale[name], STATE_FRACTION_BITS))
        return Termination(Test.MARGIN, first, count, limit, least_steps=steps)


def _synapse_bits(spec: CoreSpec) -> int:
    spaces = (Space.WEIGHTS, Space.ROWS) if spec.sparse else (Space.WEIGHTS,)
    return sum(memory_bits(spec, space) * memory_depth(spec, space) for space in spaces)
