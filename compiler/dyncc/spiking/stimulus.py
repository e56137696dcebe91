"""Input spikes as stimulus words, and what a core did out of log words."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.arch.neurocorex import CoreSpec
from dyncc.arch.neurocorex.packets import MAX_STEPS, STEP_END_BIT, STEPS_BIT
from dyncc.core.errors import InputError, LinkError

Words = NDArray[numpy.uint16]


def check_lines(spec: CoreSpec, lines: Any) -> NDArray[numpy.bool_]:
    """Input spikes as bool of shape (steps, inputs).

    Raises
    ------
    InputError
        If they have another shape.
    """
    found = numpy.asarray(lines, bool)
    if found.ndim != 2 or found.shape[1] != spec.inputs:
        raise InputError(f"lines must have shape (steps, {spec.inputs}), not {found.shape}")
    return found


def stimulus_words(lines: NDArray[numpy.bool_]) -> Words:
    """The words of a run: the spikes of a step, then a number of steps, to the next with a spike.

    Parameters
    ----------
    lines
        Shape (steps, inputs).
    """
    found: list[int] = []
    busy = numpy.flatnonzero(lines.any(axis=1)).tolist()
    for start, end in pairwise([0, *busy, len(lines)]):
        found += numpy.flatnonzero(lines[start]).tolist() if start < end else []
        _add_steps(found, end - start)
    return numpy.array(found, numpy.uint16)


def _add_steps(words: list[int], count: int) -> None:
    while count:
        part = min(count, MAX_STEPS)
        words.append(1 << STEPS_BIT | part)
        count -= part


class Log:
    """Log words of a run as they come.

    Attributes
    ----------
    steps
        Steps that ended.
    decided
        Whether dynamic termination decided in the last of them.
    """

    def __init__(self, spec: CoreSpec) -> None:
        self.steps, self.decided = 0, False
        self._spec = spec
        self._words: list[Words] = []

    def add(self, content: bytes) -> int:
        """Take the payload of an answer; returns its number of words."""
        words = numpy.frombuffer(content, "<u2")
        ends = words[words >> STEP_END_BIT == 1]
        self.steps += len(ends)
        self.decided = bool((ends & 1).any())
        self._words.append(words)
        return len(words)

    def spikes(self) -> NDArray[numpy.bool_]:
        """Spikes of all steps, shape (steps, neurons).

        Raises
        ------
        LinkError
            If the log names a neuron that the core does not have.
        """
        words = numpy.concatenate([numpy.zeros(0, numpy.uint16), *self._words])
        ends = words >> STEP_END_BIT == 1
        neurons = words[~ends]
        if len(neurons) and neurons.max() >= self._spec.neurons:
            raise LinkError(
                f"the log says that neuron {neurons.max()} fired, the core has {self._spec.neurons}"
            )
        found = numpy.zeros((self.steps, self._spec.neurons), bool)
        found[numpy.cumsum(ends)[~ends], neurons] = True
        return found
