"""What a core is programmed with."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy

from dyncc.arch.fields import pack, width
from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex.layout import (
    Space,
    control_registers,
    parameter_fields,
    row_fields,
    state_fields,
    synapse_fields,
)
from dyncc.arch.neurocorex.learning import Learning, Termination
from dyncc.arch.neurocorex.spec import (
    TABLE_ENTRIES,
    WEIGHT_FRACTION_BITS,
    CoreSpec,
    Dynamics,
)
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
    termination
        When a run stops by itself, or None.
    initial_v, initial_i, initial_refractory
        Potentials (Q.16), currents (Q.24), and steps in which neurons cannot fire, at the start,
        shape (neurons,); by default at rest, and 0.

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
    termination: Termination | None = None
    initial_v: Any = field(default=None)
    initial_i: Any = field(default=None)
    initial_refractory: Any = field(default=None)

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
        self._check("delay", self.parameters["delay"], 0, spec.max_delay - 1)
        self._check_start()
        self._check_features()

    def _check_start(self) -> None:
        sets = {name: values[self.assignment] for name, values in self.parameters.items()}
        if self.initial_v is None:
            exponential = sets["dynamics"] == Dynamics.EXPONENTIAL
            self.initial_v = numpy.where(exponential, sets["rest"], sets["reset_to"])
        for name in ("v", "i", "refractory"):
            if getattr(self, f"initial_{name}") is None:
                setattr(self, f"initial_{name}", numpy.zeros(self.spec.neurons, numpy.int64))
            values = numpy.asarray(getattr(self, f"initial_{name}"))
            if values.shape != (self.spec.neurons,):
                raise ConfigError(
                    f"initial_{name} must have shape ({self.spec.neurons},), not {values.shape}"
                )
            item = next(item for item in state_fields(self.spec) if item.name == name)
            top = 1 << (item.bits - item.signed)
            self._check(f"initial_{name}", values, -top if item.signed else 0, top - 1)

    def _check_features(self) -> None:
        spec = self.spec
        plastic = self.plastic
        if (self.learning is not None or plastic.any()) and not spec.learning:
            raise ConfigError(
                "the network learns, and the core has no STDP engine",
                hint="Choose a core with learning.",
            )
        if self.termination is not None:
            self.termination.registers(spec)
        if self.learning is not None:
            self.learning.registers(spec)
            low, high = self.learning.weight_min, self.learning.weight_max
            self._check("plastic weights", self.weights[plastic], low, high)
        if spec.sparse:
            needed = int(self.row_counts.sum())
            if needed > spec.synapse_words:
                raise ConfigError(
                    f"the network needs {needed} words of synapses, the core has "
                    f"{spec.synapse_words}"
                )

    @property
    def weights(self) -> Integers:
        """Delivered weights from all sources, shape (inputs + neurons, neurons)."""
        return numpy.concatenate((self.input_weights, self.recurrent_weights))

    @property
    def plastic(self) -> Any:
        """Which synapses learn, bool, shape as `weights`."""
        return numpy.concatenate((self.input_plastic, self.recurrent_plastic)).astype(bool)

    @property
    def present(self) -> Any:
        """Which synapses a core stores, bool, shape as `weights`: a dense one stores all."""
        if not self.spec.sparse:
            return numpy.ones((self.spec.sources, self.spec.neurons), bool)
        return (self.weights != 0) | self.plastic

    @property
    def row_counts(self) -> Integers:
        """Words of weights of each source, shape (inputs + neurons,)."""
        spec = self.spec
        if not spec.sparse:
            return numpy.full(spec.sources, spec.row_words)
        padded = numpy.zeros((spec.sources, spec.row_words * spec.lanes), bool)
        padded[:, : spec.neurons] = self.present
        by_lane = padded.reshape(spec.sources, spec.row_words, spec.lanes).sum(axis=1)
        counts: Integers = by_lane.max(axis=1)
        return counts

    @staticmethod
    def _check(name: str, values: Any, low: int, high: int) -> None:
        values = numpy.asarray(values)
        if values.size and not (values.min() >= low and values.max() <= high):
            raise ConfigError(
                f"{name} must be in {low}..{high}, and spans {values.min()}..{values.max()}"
            )


def weight_words(image: CoreImage, weights: Integers) -> tuple[list[int], list[int]]:
    """The memories WEIGHTS and ROWS of a core.

    Parameters
    ----------
    weights
        Shape (inputs + neurons, neurons), with fraction bits if the core learns.
    """
    spec = image.spec
    layout = synapse_fields(spec)
    lane_bits = width(layout)
    present, plastic = image.present, image.plastic
    words: list[int] = []
    rows = []
    for source in range(spec.sources):
        first = len(words)
        places: list[list[int]] = [[] for _ in range(spec.lanes)]
        for neuron in numpy.flatnonzero(present[source]).tolist():
            values = {
                "weight": weights[source, neuron],
                "plastic": plastic[source, neuron],
                "target": neuron // spec.lanes,
                "present": 1,
            }
            places[neuron % spec.lanes].append(pack(layout, values))
        words.extend(
            sum(synapse << (lane * lane_bits) for lane, synapse in enumerate(word))
            for word in zip_longest(*places, fillvalue=0)
        )
        rows.append(pack(row_fields(spec), {"first": first, "count": len(words) - first}))
    return words, rows


def memory_words(image: CoreImage) -> dict[Space, list[int]]:
    """Contents of every memory that is programmed, in the order of programming.

    The first word of `Space.CONTROL` makes the core forget what it was doing.
    """
    spec = image.spec
    sets = [
        {name: int(values[index]) for name, values in image.parameters.items()}
        for index in range(spec.parameter_sets)
    ]
    assignment = [int(index) for index in image.assignment]
    starts = zip(image.initial_v, image.initial_i, image.initial_refractory, strict=True)
    states = [
        pack(state_fields(spec), {"v": v, "i": i, "refractory": refractory, "travelling": 0})
        for v, i, refractory in starts
    ]
    control = {item.name: 0 for item in control_registers(spec)} | {"clear": 1}
    if image.learning is not None:
        control |= image.learning.registers(spec)
    if image.termination is not None:
        control |= image.termination.registers(spec)
    fraction = WEIGHT_FRACTION_BITS if spec.learning else 0
    weights, rows = weight_words(image, image.weights << fraction)
    words = {
        Space.CONTROL: [pack((item,), control) for item in control_registers(spec)],
        Space.WEIGHTS: weights,
        Space.STATE: states,
        Space.PARAMETERS: [pack(parameter_fields(spec), values) for values in sets],
        Space.ASSIGNMENT: assignment,
    }
    if spec.sparse:
        words[Space.ROWS] = rows
    if spec.classes:
        table = (0,) * TABLE_ENTRIES if image.termination is None else image.termination.table
        words[Space.TABLE] = list(table)
    return words


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
