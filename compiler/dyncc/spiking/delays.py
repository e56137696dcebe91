r"""When spikes arrive: lags of populations, axonal delays, and relay neurons.

On the core a spike of a neuron arrives 1 to ``max_delay`` steps after it was fired, at all its
synapses at once, and a spike of an input line in its own step. In a network a synapse has any delay
:math:`d \geq 0`. So the steps of a population :math:`p` on the core lag by :math:`L_p` behind
those of the network, and a spike from :math:`u` to :math:`v` travels

.. math:: d + L_v - L_u \geq 1,

or :math:`d + L_v \geq 0` from an input. Lags exist unless some loop is shorter in steps than in
projections. Where a source has synapses with several travel times, or longer ones than the core's,
a chain of relay neurons goes on from the first: a relay fires in the step in which a spike arrives.

Lags are those that need few relays: from the smallest possible ones on, each population in turn
takes its best, until nothing changes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import networkx
import numpy

from dyncc.arch.fixed import Integers
from dyncc.core.errors import ConfigError
from dyncc.spiking.network import Network, Projection

#: For each input or population, how many of its neurons have synapses to which targets with which
#: delays.
_Patterns = dict[str, Counter[frozenset[tuple[str, int]]]]
#: A node that no population is.
_START = ()


@dataclass(frozen=True)
class Timing:
    """Timing of a network on a core.

    Attributes
    ----------
    delays
        Of each projection, in the network: int, shape (source size, target size).
    lags
        Of each population.
    relays
        Number of relay neurons, if a spike travels up to `reach` steps.
    """

    delays: list[Integers]
    lags: dict[str, int]
    reach: int
    relays: int

    def travel(self, network: Network, index: int) -> Integers:
        """Steps that spikes of a projection travel on the core, shape (source, target size)."""
        projection = network.projections[index]
        ahead = self.lags.get(projection.source, 0)
        found: Integers = self.delays[index] + (self.lags[projection.target] - ahead)
        return found


def synapses(projection: Projection) -> numpy.ndarray:
    """Which synapses do something: bool, shape (source, target size)."""
    found: numpy.ndarray = projection.present & ((projection.weights != 0) | projection.plastic)
    return found


def arrivals(times: list[int], is_input: bool, reach: int) -> list[int]:
    """When spikes arrive of a source, and then of each relay of its chain.

    Parameters
    ----------
    times
        Travel times that its synapses need, ascending.
    reach
        Steps that a neuron's spike travels at most.
    """
    found = [0 if is_input else min(times[0], reach)]
    for time in times:
        while found[-1] < time:
            found.append(min(time, found[-1] + reach))
    return found


def timing(network: Network, max_delay: int | None) -> Timing:
    """Lags of a network's populations on a core.

    Parameters
    ----------
    max_delay
        Of the core; None for one that is chosen to fit, up to 16.

    Raises
    ------
    ConfigError
        If a loop of populations takes fewer steps than it has projections.
    """
    delays = _delays(network)
    patterns = _patterns(network, delays)
    lags = _least_lags(network, delays)
    reach = max_delay or 16
    lags = _improved(network, patterns, lags, reach)
    return Timing(delays, lags, reach, _relays(patterns, lags, reach))


def _delays(network: Network) -> list[Integers]:
    graph = networkx.DiGraph()
    graph.add_nodes_from(network.populations)
    graph.add_edges_from((p.source, p.target) for p in network.projections)
    loop = {
        name: number
        for number, names in enumerate(networkx.strongly_connected_components(graph))
        for name in names
    }
    found = []
    for projection in network.projections:
        delay = projection.delay
        if delay is None:
            inner = loop[projection.source] == loop[projection.target]
            delay = numpy.full(projection.weights.shape, int(inner))
        found.append(delay)
    return found


def _shortest(projection: Projection, delays: Integers) -> int | None:
    """Least delay of a projection's synapses; None if it has none."""
    used = delays[synapses(projection)]
    return int(used.min()) if used.size else None


def _least_lags(network: Network, delays: list[Integers]) -> dict[str, int]:
    graph = networkx.DiGraph()
    for name in network.populations:
        graph.add_edge(_START, name, weight=0)
    for projection, delay in zip(network.projections, delays, strict=True):
        shortest = _shortest(projection, delay)
        if shortest is None or projection.source in network.inputs:
            continue
        ends = projection.source, projection.target
        slack = min(shortest - 1, graph.get_edge_data(*ends, {"weight": shortest})["weight"])
        graph.add_edge(*ends, weight=slack)
    try:
        distance = networkx.single_source_bellman_ford_path_length(graph, _START)
    except networkx.NetworkXUnbounded:
        loop = networkx.find_negative_cycle(graph, _START)
        count = len(loop) - 1
        steps = count + sum(graph.edges[edge]["weight"] for edge in pairwise(loop))
        raise ConfigError(
            f"the loop {' -> '.join(map(repr, loop))} takes {steps} step(s), and the core needs "
            f"{count}: one for each projection",
            hint="Give its projections longer delays.",
        ) from None
    return {name: -distance[name] for name in network.populations}


def _patterns(network: Network, delays: list[Integers]) -> _Patterns:
    sets: dict[str, list[set[tuple[str, int]]]] = {
        name: [set() for _ in range(network.size(name))]
        for name in (*network.inputs, *network.populations)
    }
    for projection, delay in zip(network.projections, delays, strict=True):
        used = synapses(projection)
        for value in numpy.unique(delay[used]).tolist():
            for index in numpy.flatnonzero((used & (delay == value)).any(axis=1)).tolist():
                sets[projection.source][index].add((projection.target, value))
    return {name: Counter(map(frozenset, found)) for name, found in sets.items()}


def _relays(patterns: _Patterns, lags: dict[str, int], reach: int) -> int:
    count = 0
    for name, found in patterns.items():
        ahead = lags.get(name, 0)
        for pattern, neurons in found.items():
            if pattern:
                times = sorted({delay + lags[target] - ahead for target, delay in pattern})
                count += neurons * (len(arrivals(times, name not in lags, reach)) - 1)
    return count


def _improved(
    network: Network, patterns: _Patterns, lags: dict[str, int], reach: int
) -> dict[str, int]:
    into: dict[str, list[tuple[str, int]]] = {name: [] for name in lags}
    out: dict[str, list[tuple[str, int]]] = {name: [] for name in lags}
    for source, found in patterns.items():
        for target, delay in {pair for pattern in found for pair in pattern}:
            into[target].append((source, delay))
            if source in out:
                out[source].append((target, delay))
    best = _relays(patterns, lags, reach)
    changed = best > 0
    while changed:
        changed = False
        for name in lags:
            # A population that drives itself moves with itself: no bound comes of it.
            others = [(target, delay) for target, delay in out[name] if target != name]
            if not others:
                continue
            low = max(
                (lags[s] + 1 - d for s, d in into[name] if s in lags and s != name), default=0
            )
            high = min(lags[target] + delay - 1 for target, delay in others)
            for lag in range(max(low, 0), high + 1):
                cost = _relays(patterns, lags | {name: lag}, reach)
                if cost < best:
                    best, lags, changed = cost, lags | {name: lag}, True
    return lags
