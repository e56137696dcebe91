"""A network in integers: weights, parameter sets, initial state; what `map_network` places."""

from __future__ import annotations

from typing import Any

import numpy

from dyncc.arch.neurocorex import (
    CURRENT_BITS,
    CURRENT_FRACTION_BITS,
    STATE_FRACTION_BITS,
    CoreSpec,
    Learning,
)
from dyncc.core.errors import ConfigError
from dyncc.spiking import parameters, units
from dyncc.spiking.delays import Timing
from dyncc.spiking.network import Network
from dyncc.spiking.places import place

#: A relay fires when a spike arrives, and forgets it at once.
_RELAY = parameters.superneuromat(leak=numpy.inf, threshold=0.5, state_bits=18)
#: Largest current, and the bits by which it is finer than a potential.
_CURRENT_TOP = (1 << (CURRENT_BITS - 1)) - 1
_FINER = CURRENT_FRACTION_BITS - STATE_FRACTION_BITS


def real_rule(network: Network) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Bounds and amounts of the learning rule, in the network's units."""
    rule = network.learning
    if rule is None or isinstance(rule, Learning):
        return (), ()
    return rule.bounds, rule.amounts


class Assembly:
    """A network in integers: no spare neurons and lines yet. Rows count lines, then neurons.

    Parameters
    ----------
    limits
        A core with the widths of numbers that are wanted; its sizes do not matter.
    when
        Timing of the network.
    method
        How neurons are discretised, ``euler`` or ``exact``.

    Attributes
    ----------
    network, when, places
        The network, when its spikes arrive, and where its parts are.
    weights, plastic
        Weights, and which of them learn: shape (lines + neurons, neurons).
    sets, assignment
        Parameter sets that differ, and which one each neuron has.
    initial
        Potentials, currents and refractory periods at the start, as `CoreImage` takes them.
    unit, scale
        What a weight and a potential of one stand for, by population.
    learning
        What the core is told, or None.
    notes
        What users should know.

    Raises
    ------
    ConfigError
        If a value is out of the range of such a core.
    """

    def __init__(self, network: Network, limits: CoreSpec, when: Timing, method: str) -> None:
        self.network, self.when = network, when
        self._limits = limits
        self.places = place(network, when)
        self.notes: list[str] = []
        shape = (self.places.line_count + self.places.neurons, self.places.neurons)
        self._real = numpy.zeros(shape)
        self._fixed, self.plastic = numpy.zeros(shape, bool), numpy.zeros(shape, bool)
        self._bias = numpy.zeros(self.places.neurons)
        for index in range(len(network.projections)):
            self._add(index)
        self.weights = numpy.zeros(shape, numpy.int64)
        self._places_of_sets: dict[tuple[tuple[str, int], ...], int] = {}
        self.assignment = numpy.zeros(self.places.neurons, numpy.int64)
        self.initial = {
            f"initial_{name}": numpy.zeros(self.places.neurons, numpy.int64)
            for name in ("v", "i", "refractory")
        }
        self.unit: dict[str, float] = {}
        self.scale: dict[str, float] = {}
        self.learning = self._units()
        for name in network.populations:
            self._quantise(name, method)
        for relay, row in enumerate(self.places.feeds):
            neuron = self.places.neuron_count + relay
            self.weights[row, neuron] = 1
            self._assign(neuron, _RELAY)

    @property
    def sets(self) -> list[parameters.ParameterSet]:
        """Parameter sets that differ."""
        return [dict(values) for values in self._places_of_sets]

    def _columns(self, name: str) -> slice:
        first = self.places.first[name]
        return slice(first, first + self.network.populations[name].size)

    def _add(self, index: int) -> None:
        """Add the synapses of a projection to the weights."""
        projection = self.network.projections[index]
        rows, columns = self.places.rows[index], self._columns(projection.target)
        sources, targets = numpy.nonzero(rows >= 0)
        place = rows[sources, targets], targets + columns.start
        plastic = projection.plastic[sources, targets]
        if (plastic & (self._fixed[place] | self.plastic[place])).any() or (
            ~plastic & self.plastic[place]
        ).any():
            raise ConfigError(
                f"there are several projections from {projection.source!r} to "
                f"{projection.target!r} with the same delay, and a synapse of them learns",
                hint="Join them into one.",
            )
        self._real[place] += projection.weights[sources, targets]
        self.plastic[place] |= plastic
        self._fixed[place] |= ~plastic
        if projection.bias is not None:
            self._bias[columns] += projection.bias

    def _units(self) -> Learning | None:
        """Choose units of weights and potentials, and tell the learning rule of them."""
        network, bits = self.network, self._limits.weight_bits
        rule = network.learning
        learners = [p.target for p in network.projections if p.plastic.any()]
        if learners and rule is None:
            raise ConfigError(
                f"synapses to {learners[0]!r} are plastic, and the network has no learning rule",
                hint="Set one with network.learn().",
            )
        if rule is not None and not learners:
            self.notes.append("the network has a learning rule and no plastic synapses")
        bounds, amounts = real_rule(network)
        for name, population in network.populations.items():
            columns = self._columns(name)
            own = (bounds, amounts) if name in learners else ((), ())
            self.unit[name] = units.weight_unit(population, self._real[:, columns], *own, bits)
            self._bias[columns] += population.values("bias")
            # Weights that learn may become as large as the bounds let them.
            largest = numpy.where(self.plastic[:, columns], max(map(abs, own[0]), default=0.0), 0.0)
            largest = numpy.maximum(largest, numpy.abs(self._real[:, columns]))
            self.scale[name] = units.potential_unit(
                population, largest, self._bias[columns], network.dt, self._limits.state_bits
            )
        if rule is None or not learners:
            return None
        return self._rule(rule, sorted(set(learners)))

    def _rule(self, rule: Any, learners: list[str]) -> Learning:
        """Give all populations that learn one unit: the core has one rule for all synapses."""
        populations = self.network.populations
        own = {populations[name].weight_unit for name in learners}
        if len(own) > 1:
            raise ConfigError(
                f"the populations {', '.join(map(repr, learners))} learn and need one weight_unit, "
                f"not {', '.join(map(str, sorted(own, key=str)))}"
            )
        unit = max(self.unit[name] for name in learners)
        self.unit |= dict.fromkeys(learners, unit)
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
            found = rule.learning(self.network.dt, unit)
        for projection in self.network.projections:
            learnt = projection.weights[projection.plastic]
            if learnt.size and not (low <= learnt.min() and learnt.max() <= high):
                raise ConfigError(
                    f"plastic weights from {projection.source!r} to {projection.target!r} span "
                    f"{learnt.min():g}..{learnt.max():g}, and the bounds of the learning rule are "
                    f"{low:g}..{high:g}"
                )
        return found

    def _quantise(self, name: str, method: str) -> None:
        population, columns = self.network.populations[name], self._columns(name)
        unit, scale = self.unit[name], self.scale[name]
        found = numpy.rint(self._real[:, columns] / unit).astype(numpy.int64)
        if self.learning is not None:
            bounded = numpy.clip(found, self.learning.weight_min, self.learning.weight_max)
            found = numpy.where(self.plastic[:, columns], bounded, found)
        self.weights[:, columns] = found
        sets = units.parameter_set_of_each(
            population, self._bias[columns], self.network.dt, unit, scale, method, self._limits
        )
        for neuron, values in enumerate(sets, start=columns.start):
            self._assign(neuron, values)
        self._start(name, sets)

    def _assign(self, neuron: int, values: parameters.ParameterSet) -> None:
        key = tuple((values | {"delay": int(self.places.delay[neuron])}).items())
        self.assignment[neuron] = self._places_of_sets.setdefault(key, len(self._places_of_sets))

    def _start(self, name: str, sets: list[parameters.ParameterSet]) -> None:
        """Initial state: at the population's first step it is that of the network."""
        population, columns = self.network.populations[name], self._columns(name)
        lag, scale = self.when.lags[name], self.scale[name]
        refractory = population.values("initial_refractory").astype(numpy.int64) + lag
        if refractory.max() > 255:
            raise ConfigError(
                f"population {name!r} lags by {lag} steps, and neurons start at most 255 steps late"
            )
        top = (1 << (self._limits.state_bits - 1)) - 1
        limited = False
        for neuron, values in enumerate(sets, start=columns.start):
            v = units.resting(values)
            if population.initial is not None:
                v = parameters.state(population.values("initial")[neuron - columns.start] / scale)
            # What a slow current still lacks of its bias: see `parameters.cuba_lif`.
            i = -values["bias"] << _FINER if values.get("decay_i") else 0
            v, i = units.rewound(values, v, i, lag)
            found = max(-top - 1, min(top, v)), max(-_CURRENT_TOP - 1, min(_CURRENT_TOP, i))
            self.initial["initial_v"][neuron], self.initial["initial_i"][neuron] = found
            limited |= found != (v, i)
        self.initial["initial_refractory"][columns] = refractory
        if limited:
            self.notes.append(f"population {name!r} does not start exactly at its potential")
