"""Small cores for tests."""

from __future__ import annotations

from typing import Any

import numpy

from dyncc.arch.neurocorex import CoreImage, CoreSpec, Learning, parameter_sets


def image_of(
    sets: list[dict[str, int]],
    recurrent: Any = None,
    inputs: Any = None,
    assignment: Any = None,
    learning: Learning | None = None,
    plastic: Any = None,
    input_plastic: Any = None,
    **size: Any,
) -> CoreImage:
    """An image for a core that is as large as its weights."""
    first = recurrent if recurrent is not None else numpy.zeros((numpy.shape(inputs)[1],) * 2)
    neurons = len(first)
    ingoing = numpy.zeros((0, neurons)) if inputs is None else numpy.asarray(inputs)
    spec = CoreSpec(
        neurons,
        len(ingoing),
        parameter_sets=max(1, len(sets)),
        learning=learning is not None,
        **size,
    )
    return CoreImage(
        spec,
        parameter_sets(spec, sets),
        numpy.asarray(numpy.zeros(neurons) if assignment is None else assignment, numpy.int64),
        ingoing.astype(numpy.int64),
        numpy.asarray(first).astype(numpy.int64),
        learning,
        input_plastic,
        plastic,
    )
