"""The integer twin as a core."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import WEIGHT_FRACTION_BITS, CoreImage, CoreSpec
from dyncc.arch.neurocorex.readback import effective_weights
from dyncc.spiking.core import (
    Core,
    Progress,
    Recording,
    check_recorded,
    check_size,
    not_programmed,
    quiet,
    run_is_over,
)
from dyncc.spiking.stimulus import check_lines

#: Steps between two reports of progress.
_STEPS = 1000


class TwinCore(Core):
    """A core in this process, by `dyncc_models.spiking.twin`.

    Parameters
    ----------
    spec
        Its size.
    progress
        Called in long runs.
    """

    def __init__(self, spec: CoreSpec, progress: Progress = quiet) -> None:
        self.spec = spec
        self._progress = progress
        self._found: Any = None

    @property
    def _twin(self) -> Any:
        if self._found is None:
            raise not_programmed()
        return self._found

    def program(self, image: CoreImage) -> None:
        """Load an image."""
        check_size(image.spec, self.spec)
        # By name, since the compiler does not depend on models.
        self._found = import_module("dyncc_models.spiking.twin").CoreTwin(image)

    def rest(self) -> None:
        """Return to rest with the weights that were learnt."""
        learnt = self._effective()
        self._twin.reset()
        self._twin.synapses.weights = learnt

    def run(self, lines: Any, record: Sequence[int] = ()) -> Recording:
        """Carry out a step for each row of `lines`."""
        twin, rows = self._twin, check_lines(self.spec, lines)
        if twin.decided:
            raise run_is_over()
        recorded = check_recorded(self.spec, record)
        spikes = numpy.zeros((len(rows), self.spec.neurons), bool)
        potentials = numpy.zeros((len(rows), len(recorded)), numpy.int64)
        done = 0
        while done < len(rows) and not twin.decided:
            spikes[done] = twin.step(rows[done])
            potentials[done] = twin.v[recorded]
            done += 1
            if done % _STEPS == 0:
                self._progress("running", done, len(rows))
        return Recording(spikes[:done], potentials[:done], bool(twin.decided), int(twin.winner))

    def weights(self) -> Integers:
        """Weights of all synapses."""
        found = self._effective()
        return found if self.spec.learning else found >> WEIGHT_FRACTION_BITS

    def counters(self) -> dict[str, int]:
        """What the core counted; it does not count cycles."""
        found: dict[str, int] = self._twin.report()
        return found

    def close(self) -> None:
        """Nothing is held."""

    def _effective(self) -> Integers:
        """Weights as neurons feel them, with fraction bits."""
        twin = self._twin
        learning, synapses = twin.image.learning, twin.synapses
        registers = {} if learning is None else learning.registers(self.spec)
        return effective_weights(registers, synapses.weights, synapses.plastic, synapses.drift)
