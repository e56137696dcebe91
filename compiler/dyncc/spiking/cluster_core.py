"""The integer twin of a cluster as a core."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import CoreImage, CoreSpec
from dyncc.arch.neurocorex.readback import effective_weights
from dyncc.spiking.core import Progress, check_size, quiet
from dyncc.spiking.partition import partition
from dyncc.spiking.twin_core import TwinCore


class ClusterCore(TwinCore):
    """Several cores that do what one does, by `dyncc_models.spiking.cluster`.

    An image is split by `dyncc.spiking.partition`; spikes between cores count as input spikes.

    Parameters
    ----------
    spec
        The core that they stand for.
    cores
        What there is.
    progress
        Called in long runs.
    """

    def __init__(
        self, spec: CoreSpec, cores: Sequence[CoreSpec], progress: Progress = quiet
    ) -> None:
        super().__init__(spec, progress)
        self.cores = tuple(cores)

    def program(self, image: CoreImage) -> None:
        """Load an image; raises ConfigError if its parts do not fit the cores."""
        check_size(image.spec, self.spec)
        split = partition(image, self.cores)
        self._found = import_module("dyncc_models.spiking.cluster").ClusterTwin(split)

    def rest(self) -> None:
        """Return to rest with the weights that were learnt."""
        learnt = self._learnt()
        self._twin.reset()
        for core, weights in zip(self._twin.cores, learnt, strict=True):
            core.synapses.weights = weights

    def _effective(self) -> Integers:
        found: Integers = self._twin.matrix(self._learnt())
        return found

    def _learnt(self) -> list[Integers]:
        """Weights of each core as its neurons feel them, with fraction bits."""
        found = []
        for core in self._twin.cores:
            learning, synapses = core.image.learning, core.synapses
            registers: dict[str, Any] = {} if learning is None else learning.registers(core.spec)
            found.append(
                effective_weights(registers, synapses.weights, synapses.plastic, synapses.drift)
            )
        return found
