"""Integer twin of a cluster: several cores, which get each other's spikes on input lines.

In step :math:`t` a core gets the host's spikes of :math:`t`, and those of the other cores' neurons
that a neuron of its own would get: fired in step :math:`t - 1 - d`, with the neuron's ``delay``
:math:`d`. So a network does the same on a cluster as on one core, bit for bit, learning included:
the trace of an input line moves with the spikes that arrive, as that of a neuron does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex.cluster import TRAFFIC, ClusterImage
from dyncc_models.spiking.neuron import Spikes
from dyncc_models.spiking.twin import CoreTwin


class ClusterTwin:
    """A cluster that was programmed with an image; its neurons and inputs are the network's.

    Attributes
    ----------
    cores
        The twin of each core.
    traffic
        For each core, the words of `TRAFFIC` by name.
    """

    def __init__(self, image: ClusterImage) -> None:
        self.image = image
        self.reset()

    def reset(self) -> None:
        """Return to the state after programming: initial potentials and weights, no spikes."""
        self.cores = [CoreTwin(image) for image in self.image.images]
        self.traffic = [dict.fromkeys((item.name for item in TRAFFIC), 0) for _ in self.cores]

    def clear(self) -> None:
        """What the register ``clear`` of all cores does, see `CoreTwin.clear`."""
        self.traffic = [dict.fromkeys((item.name for item in TRAFFIC), 0) for _ in self.cores]
        for core in self.cores:
            core.clear()

    def step(self, inputs: Any = None) -> Spikes:
        """Carry out one step.

        Parameters
        ----------
        inputs
            Spikes of the network's inputs, bool of shape (inputs,); None for none.

        Returns
        -------
        ndarray of bool, shape (neurons,)
            The spikes of this step.

        Raises
        ------
        ValueError
            If the shape does not fit the network.
        """
        image = self.image
        given = numpy.zeros(image.inputs, bool) if inputs is None else numpy.asarray(inputs, bool)
        if given.shape != (image.inputs,):
            raise ValueError(f"inputs must have shape ({image.inputs},), not {given.shape}")
        arriving = self.arriving
        lines = numpy.concatenate((image.input_lines[given], image.neuron_lines[arriving]))
        fired = []
        for number, core in enumerate(self.cores):
            on_core = numpy.zeros(core.spec.inputs, bool)
            on_core[lines[:, number][lines[:, number] >= 0]] = True
            fired.append(core.step(on_core))
            self.traffic[number]["received"] += int((image.input_lines[given, number] >= 0).sum())
        self._count(self.arriving)
        spikes: Spikes = self._gather(fired).astype(bool)
        return spikes

    def _count(self, arriving: Spikes) -> None:
        """Events that are sent in a step for the next one."""
        sent = self.image.neuron_lines[arriving] >= 0
        cores = self.image.core[arriving]
        for number, traffic in enumerate(self.traffic):
            traffic["sent"] += int(sent[cores == number].sum())
            traffic["received"] += int(sent[:, number].sum())

    def _gather(self, values: list[Any]) -> Any:
        """Values of the network's neurons from those of each core's."""
        found = numpy.zeros(self.image.neurons, numpy.int64)
        for number, on_core in enumerate(values):
            own = self.image.core == number
            found[own] = on_core[self.image.index[own]]
        return found

    @property
    def v(self) -> Integers:
        """Membrane potentials (Q.16), int64 of shape (neurons,)."""
        return self._gather([core.v for core in self.cores])  # type: ignore[no-any-return]

    @property
    def i(self) -> Integers:
        """Currents (Q.24), int64 of shape (neurons,)."""
        return self._gather([core.i for core in self.cores])  # type: ignore[no-any-return]

    @property
    def refractory(self) -> Integers:
        """Steps left in which a neuron cannot fire, shape (neurons,)."""
        return self._gather([core.refractory for core in self.cores])  # type: ignore[no-any-return]

    @property
    def arriving(self) -> Spikes:
        """Neurons whose spikes are delivered in the next step, bool of shape (neurons,)."""
        found: Spikes = self._gather([core.arriving for core in self.cores]).astype(bool)
        return found

    @property
    def weights(self) -> Integers:
        """Weights with fraction bits, see `matrix`."""
        return self.matrix([core.synapses.weights for core in self.cores])

    def matrix(self, values: Sequence[Integers]) -> Integers:
        """Values of the network's synapses, int64 of shape (inputs + neurons, neurons).

        0 where a source has no line on the core of a neuron.

        Parameters
        ----------
        values
            Of each core, shape (inputs + neurons, neurons) of the core; row is source.
        """
        image = self.image
        found = numpy.zeros((image.inputs + image.neurons, image.neurons), numpy.int64)
        lines = numpy.concatenate((image.input_lines, image.neuron_lines))
        for number, on_core in enumerate(values):
            own = image.neurons_of(number)
            rows = lines[:, number].copy()
            rows[image.inputs + own] = image.spec.cores[number].inputs + image.index[own]
            sources = numpy.flatnonzero(rows >= 0)
            found[numpy.ix_(sources, own)] = on_core[numpy.ix_(rows[sources], image.index[own])]
        return found

    @property
    def decided(self) -> bool:
        """Whether the test of dynamic termination holds after the last step."""
        return any(core.decided for core in self.cores)

    @property
    def winner(self) -> int:
        """For which class it holds; 0 if it does not."""
        return next((core.winner for core in self.cores if core.decided), 0)

    def report(self) -> dict[str, int]:
        """The counters of all cores together, by name; ``steps`` are those of one.

        Spikes between cores count as input spikes of those that they come to.
        """
        total: Counter[str] = Counter()
        for core in self.cores:
            total.update(core.report())
        return {**total, "steps": self.cores[0].counters.steps}
