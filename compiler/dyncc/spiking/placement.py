"""Places the neurons of a network on the cores of a cluster, so that few input lines are needed.

They fill the cores evenly, in blocks of their order, or of one in which connected neurons are close
(reverse Cuthill-McKee). Then neurons are moved, or swapped in pairs, while this saves lines: the
improvement of Kernighan and Lin (Bell System Technical Journal 49:291, 1970), which they made for
edges that are cut, for lines: what a source needs on a core, however many synapses it has there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx
import numpy

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import CoreSpec
from dyncc.core.errors import ConfigError

#: Beyond so many connected pairs, an order of close neurons is not looked for.
_MOST_PAIRS = 500_000
_PASSES = 8
#: Neurons that are tried to be swapped with one.
_PARTNERS = 4


def place_neurons(used: Any, cores: Sequence[CoreSpec], together: Any) -> Integers:
    """Core of each neuron, int of shape (neurons,).

    Parameters
    ----------
    used
        Synapses that do something, bool of shape (inputs + neurons, neurons), row is source.
    cores
        Have room for all neurons.
    together
        Neurons that must be on one core, bool of shape (neurons,).

    Raises
    ------
    ConfigError
        If no core has room for those that must be together.
    """
    neurons = used.shape[1]
    quotas = _quotas(neurons, cores)
    natural = numpy.arange(neurons)
    found = []
    for order in (natural, _close_order(used[len(used) - neurons :])):
        cut = _Cut(used, _blocks(order, quotas, cores, together), cores, quotas, together)
        cut.improve()
        found.append((cut.cost(), cut.core))
    return min(found, key=lambda item: item[0])[1]


def _quotas(neurons: int, cores: Sequence[CoreSpec]) -> Integers:
    """How many neurons each core gets: in proportion to its size."""
    sizes = numpy.array([core.neurons for core in cores])
    ends = numpy.cumsum(sizes) * neurons // sizes.sum()
    quotas: Integers = numpy.diff(ends, prepend=0)
    return quotas


def _close_order(used: Any) -> Integers:
    """The neurons, those that are connected close to each other; `used` is (neurons, neurons)."""
    pairs = numpy.argwhere(numpy.triu(used | used.T, 1))
    if len(pairs) > _MOST_PAIRS:
        return numpy.arange(len(used))
    graph = networkx.empty_graph(len(used))
    graph.add_edges_from(pairs.tolist())
    return numpy.array(list(networkx.utils.reverse_cuthill_mckee_ordering(graph)))


def _blocks(
    order: Integers, quotas: Integers, cores: Sequence[CoreSpec], together: Any
) -> Integers:
    """Core of each neuron, by consecutive blocks of an order."""
    core = numpy.zeros(len(order), numpy.int64)
    core[order] = numpy.repeat(numpy.arange(len(cores)), quotas)
    count = int(together.sum())
    if not count:
        return core
    sizes = numpy.array([spec.neurons for spec in cores])
    if count > sizes.max():
        raise ConfigError(
            f"{count} neurons must be on one core, and the largest has {sizes.max()}",
            hint="Use larger cores.",
        )
    # They go where most of them are and there is room, and as many others go elsewhere.
    most = numpy.bincount(core[together], minlength=len(cores))
    chosen = int(numpy.argmax(numpy.where(sizes >= count, most, -1)))
    core[together] = chosen
    room = sizes - numpy.bincount(core, minlength=len(cores))
    others = [neuron for neuron in order if core[neuron] == chosen and not together[neuron]]
    for neuron in others[: max(0, -int(room[chosen]))]:
        core[neuron] = int(numpy.argmax(room))
        room[core[neuron]] -= 1
    return core


class _Cut:
    """A placement that is improved.

    Attributes
    ----------
    core
        Core of each neuron.
    """

    def __init__(
        self,
        used: Any,
        core: Integers,
        cores: Sequence[CoreSpec],
        quotas: Integers,
        together: Any,
    ) -> None:
        neurons = len(core)
        self.core = core
        self._used = used.astype(numpy.int64)
        self._inputs = len(used) - neurons
        self._lines = numpy.array([spec.inputs for spec in cores])
        sizes = numpy.array([spec.neurons for spec in cores])
        # A little more than an even share, for room to move.
        self._limits = numpy.minimum(sizes, quotas + quotas // 8 + 1)
        self._limits = numpy.maximum(self._limits, numpy.bincount(core, minlength=len(cores)))
        self._free = ~together
        members = core[:, None] == numpy.arange(len(cores))
        recurrent = self._used[self._inputs :]
        #: Synapses between each pair of neurons, both ways.
        self._linked = recurrent + recurrent.T
        #: Synapses of each source on each core, and of each neuron to and from each core's.
        self._into = self._used @ members
        self._affinity = self._linked @ members
        self._count = members.sum(axis=0)

    def _needs(self, cores: list[int]) -> Integers:
        """Input lines of some cores."""
        needed = self._into[:, cores] > 0
        needed[self._inputs :] &= self.core[:, None] != numpy.array(cores)
        counts: Integers = numpy.count_nonzero(needed, axis=0)
        return counts

    def cost(self, cores: list[int] | None = None) -> int:
        """Input lines of some cores or all, those that a core lacks many times."""
        chosen = list(range(len(self._lines))) if cores is None else cores
        needs = self._needs(chosen)
        lacking = numpy.maximum(needs - self._lines[chosen], 0)
        return int(needs.sum() + len(self._used) * lacking.sum())

    def _move(self, neuron: int, to: int) -> None:
        before = self.core[neuron]
        for core, sign in ((before, -1), (to, 1)):
            self._into[:, core] += sign * self._used[:, neuron]
            self._affinity[:, core] += sign * self._linked[neuron]
            self._count[core] += sign
        self.core[neuron] = to

    def improve(self) -> None:
        """Move and swap neurons while this saves lines."""
        for _ in range(_PASSES):
            changes = [self._improve(int(neuron)) for neuron in numpy.flatnonzero(self._free)]
            if not any(changes):
                return

    def _improve(self, neuron: int) -> bool:
        """Find a better place for a neuron: one of the two cores it has most to do with."""
        here = int(self.core[neuron])
        elsewhere = [core for core in numpy.argsort(-self._affinity[neuron])[:3] if core != here]
        for there in map(int, elsewhere[:2]):
            both = [here, there]
            before = self.cost(both)
            self._move(neuron, there)
            if self._count[there] <= self._limits[there] and self.cost(both) < before:
                return True
            for other in self._partners(neuron, here, there):
                self._move(other, here)
                if self._fits(both) and self.cost(both) < before:
                    return True
                self._move(other, there)
            self._move(neuron, here)
        return False

    def _fits(self, cores: list[int]) -> bool:
        return bool((self._count[cores] <= self._limits[cores]).all())

    def _partners(self, neuron: int, here: int, there: int) -> list[int]:
        """Neurons of a core to swap with one that came: those most linked with the other core."""
        candidates = numpy.flatnonzero((self.core == there) & self._free)
        candidates = candidates[candidates != neuron]
        gain = self._affinity[candidates, here] - self._affinity[candidates, there]
        gain += self._affinity[neuron, there] - self._affinity[neuron, here]
        best = numpy.argsort(-gain, kind="stable")[:_PARTNERS]
        found: list[int] = candidates[best[gain[best] > 0]].tolist()
        return found
