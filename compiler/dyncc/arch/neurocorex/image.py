"""What a core is programmed with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex.layout import Space, pack, parameter_fields, state_fields
from dyncc.arch.neurocorex.learning import Learning
from dyncc.arch.neurocorex.spec import CoreSpec, Dynamics
from dyncc.core.errors import ConfigError


@dataclass
class CoreImage:
    """What a core is programmed with.

    Attributes
    ----------
    spec
        The core.
    parameters
        For each field of `parameter_fields` an array of shape (parameter_sets,).
    assignment
        Parameter set of each neuron, shape (neurons,).
    input_weights, recurrent_weights
        Delivered weights, shapes (inputs, neurons) and (neurons, neurons); row is source.
    learning
        STDP parameters, or None.
    input_plastic, recurrent_plastic
        Which synapses learn, bool, shapes as the weights.

    Raises
    ------
    ConfigError
        If a shape or a value does not fit the core; says which and by how much.
    """

    spec: CoreSpec
    parameters: dict[str, Integers]
    assignment: Integers
    input_weights: Integers
    recurrent_weights: Integers
    learning: Learning | None = None
    input_plastic: Any = field(default=None)
    recurrent_plastic: Any = field(default=None)

    def __post_init__(self) -> None:
        spec = self.spec
        shapes = {
            "assignment": (spec.neurons,),
            "input_weights": (spec.inputs, spec.neurons),
            "recurrent_weights": (spec.neurons, spec.neurons),
        }
        if self.input_plastic is None:
            self.input_plastic = numpy.zeros(shapes["input_weights"], bool)
        if self.recurrent_plastic is None:
            self.recurrent_plastic = numpy.zeros(shapes["recurrent_weights"], bool)
        shapes["input_plastic"] = shapes["input_weights"]
        shapes["recurrent_plastic"] = shapes["recurrent_weights"]
        for name, shape in shapes.items():
            found = numpy.asarray(getattr(self, name))
            if found.shape != shape:
                raise ConfigError(f"{name} must have shape {shape}, not {found.shape}")
        low, high = spec.weight_range
        for name in ("input_weights", "recurrent_weights"):
            self._check(name, getattr(self, name), low, high)
        self._check("assignment", self.assignment, 0, spec.parameter_sets - 1)
        layout = parameter_fields(spec)
        if set(self.parameters) != {item.name for item in layout}:
            raise ConfigError("parameters must hold " + ", ".join(item.name for item in layout))
        for item in layout:
            values = self.parameters[item.name]
            if numpy.shape(values) != (spec.parameter_sets,):
                raise ConfigError(
                    f"parameter {item.name} must have shape ({spec.parameter_sets},), "
                    f"not {numpy.shape(values)}"
                )
            top = 1 << (item.bits - item.signed)
            self._check(item.name, values, -top if item.signed else 0, top - 1)
        if self.learning is not None:
            for name in ("weight_min", "weight_max"):
                self._check(name, getattr(self.learning, name), low, high)

    @staticmethod
    def _check(name: str, values: Any, low: int, high: int) -> None:
        values = numpy.asarray(values)
        if values.size and not (values.min() >= low and values.max() <= high):
            raise ConfigError(
                f"{name} must be in {low}..{high}, and spans {values.min()}..{values.max()}"
            )


def memory_words(image: CoreImage) -> dict[Space, list[int]]:
    """Contents of every memory after programming, at rest."""
    spec = image.spec
    mask = (1 << spec.weight_bits) - 1
    weights = []
    for row in numpy.concatenate((image.input_weights, image.recurrent_weights)).tolist():
        for first in range(0, spec.neurons, spec.lanes):
            lanes = row[first : first + spec.lanes]
            weights.append(
                sum((int(w) & mask) << (lane * spec.weight_bits) for lane, w in enumerate(lanes))
            )
    sets = [
        {name: int(values[index]) for name, values in image.parameters.items()}
        for index in range(spec.parameter_sets)
    ]
    assignment = [int(index) for index in image.assignment]
    states = []
    for index in assignment:
        exponential = sets[index]["dynamics"] == Dynamics.EXPONENTIAL
        v = sets[index]["rest" if exponential else "reset_to"]
        states.append(pack(state_fields(spec), {"v": v, "i": 0, "refractory": 0}))
    return {
        Space.WEIGHTS: weights,
        Space.STATE: states,
        Space.PARAMETERS: [pack(parameter_fields(spec), values) for values in sets],
        Space.ASSIGNMENT: assignment,
    }


def parameter_sets(spec: CoreSpec, sets: list[dict[str, int]]) -> dict[str, Integers]:
    """Arrays of parameters from one dict for each set; fields that are left out are zero.

    Raises
    ------
    ConfigError
        If there are more sets than the core has, or a field is unknown.
    """
    if len(sets) > spec.parameter_sets:
        raise ConfigError(
            f"the network needs {len(sets)} parameter sets, the core has {spec.parameter_sets}"
        )
    names = [item.name for item in parameter_fields(spec)]
    for values in sets:
        for name in values:
            if name not in names:
                raise ConfigError(f"there is no neuron parameter {name!r}")
    return {
        name: numpy.array(
            [values.get(name, 0) for values in sets] + [0] * (spec.parameter_sets - len(sets)),
            dtype=numpy.int64,
        )
        for name in names
    }
