"""Where populations, relays and synapses are among the neurons and weights of a core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from dyncc.arch.fixed import Integers
from dyncc.spiking.delays import Timing, arrivals, synapses
from dyncc.spiking.network import Network


@dataclass(frozen=True)
class Places:
    """Places of a network's parts. Rows count input lines, then neurons.

    Attributes
    ----------
    lines
        First line and size of each input.
    first
        First neuron of each population.
    line_count, neuron_count
        Lines of all inputs, neurons of all populations.
    feeds
        The row that each relay listens to; relays come after the neurons of populations.
    delay
        Steps that a spike of each neuron travels beyond the first, int of shape (neurons,).
    rows
        For each projection the row of each synapse, int of shape (source size, target size); -1
        where there is none.
    """

    lines: dict[str, tuple[int, int]]
    first: dict[str, int]
    line_count: int
    neuron_count: int
    feeds: tuple[int, ...]
    delay: Integers
    rows: tuple[Integers, ...]

    @property
    def neurons(self) -> int:
        """Neurons of populations and relays."""
        return self.neuron_count + len(self.feeds)


def place(network: Network, timing: Timing) -> Places:
    """Places of a network whose timing is known; populations come in the order of their lag."""
    lines, count = {}, 0
    for name, size in network.inputs.items():
        lines[name] = (count, size)
        count += size
    first, neurons = {}, 0
    for name in sorted(network.populations, key=lambda name: timing.lags[name]):
        first[name] = neurons
        neurons += network.populations[name].size

    travel = [
        numpy.where(synapses(projection), timing.travel(network, index), -1)
        for index, projection in enumerate(network.projections)
    ]
    rows = [numpy.full(found.shape, -1) for found in travel]
    delay = [0] * neurons
    feeds: list[int] = []
    for name in (*network.inputs, *network.populations):
        own = [i for i, p in enumerate(network.projections) if p.source == name]
        is_input = name in network.inputs
        start = lines[name][0] if is_input else count + first[name]
        for neuron in range(network.size(name)):
            times = sorted({int(t) for i in own for t in numpy.unique(travel[i][neuron]) if t >= 0})
            if not times:
                continue
            before, row = 0, start + neuron
            for hop, arrival in enumerate(arrivals(times, is_input, timing.reach)):
                if hop:
                    feeds.append(row)
                    delay.append(0)
                    row = count + len(delay) - 1
                if row >= count:
                    delay[row - count] = arrival - before - 1
                for i in own:
                    rows[i][neuron, travel[i][neuron] == arrival] = row
                before = arrival
    return Places(lines, first, count, neurons, tuple(feeds), numpy.array(delay), tuple(rows))
