"""NeuroCoreX: parameters of the spiking core, and what it is programmed with.

This is the one contract between the integer twin, the hardware, the link and the host. The order of
operations in a step is that of `dyncc_models.spiking.twin`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy

from dyncc.arch.fixed import Integers
from dyncc.core.errors import ConfigError

#: Fraction bits of membrane potentials. With 12 or fewer, or with decay by shifts,
#: published LIF spike times come out wrong.
STATE_FRACTION_BITS = 16
#: Currents, and the gain from weights to current, have more: a current enters the membrane scaled
#: down by the step, and the gain multiplies sums of many weights.
CURRENT_FRACTION_BITS = 24
CURRENT_BITS = 32
#: Fraction bits of the decay factors; a factor of one is ``1 << FACTOR_BITS``.
FACTOR_BITS = 16
#: Fraction bits that a plastic weight carries below the bits that are delivered.
WEIGHT_FRACTION_BITS = 8
#: Fraction bits of STDP traces, and of the learning rates.
TRACE_FRACTION_BITS = 12


class Dynamics(IntEnum):
    """How a neuron's membrane potential moves; see `dyncc_models.spiking.twin`."""

    EXPONENTIAL = 0
    LINEAR_CLAMPED = 1
    LINEAR = 2


class Reset(IntEnum):
    """What a spike does to the membrane potential."""

    TO_VALUE = 0
    BY_SUBTRACTION = 1


@dataclass(frozen=True)
class CoreSpec:
    """Size of a core.

    Parameters
    ----------
    neurons
        Number of neurons, 1..4096.
    inputs
        Number of input lines, 0..4096.
    weight_bits
        Width of a delivered weight (signed), 2..16.
    state_bits
        Width of membrane potentials (signed, 16 fraction bits), 18..32.
    lanes
        Weights fetched and added in a cycle, a power of two up to 64.
    parameter_sets
        Number of neuron parameter sets; each neuron names one of them.

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    """

    neurons: int
    inputs: int = 0
    weight_bits: int = 8
    state_bits: int = 24
    lanes: int = 1
    parameter_sets: int = 16

    def __post_init__(self) -> None:
        ranges = {
            "neurons": (1, 4096),
            "inputs": (0, 4096),
            "weight_bits": (2, 16),
            "state_bits": (18, 32),
            "lanes": (1, 64),
            "parameter_sets": (1, 4096),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
            if not low <= value <= high:
                raise ConfigError(f"{name} must be an integer in {low}..{high}, not {value}")
        if self.lanes & (self.lanes - 1):
            raise ConfigError(f"lanes must be a power of two, not {self.lanes}")

    @property
    def accumulator_bits(self) -> int:
        """Width that holds the sum of all weights of one neuron, whatever spikes."""
        return self.weight_bits + (self.neurons + self.inputs).bit_length()

    @property
    def row_words(self) -> int:
        """Words of weight memory for the synapses of one source."""
        return -(-self.neurons // self.lanes)

    @property
    def weight_range(self) -> tuple[int, int]:
        """Smallest and largest delivered weight."""
        high = (1 << (self.weight_bits - 1)) - 1
        return -high - 1, high


@dataclass(frozen=True)
class Field:
    """A field of a neuron parameter set: name, width, whether signed, meaning."""

    name: str
    bits: int
    signed: bool
    meaning: str


def parameter_fields(spec: CoreSpec) -> tuple[Field, ...]:
    """Layout of a parameter set, lowest bits first."""
    state = spec.state_bits
    return (
        Field("decay_v", FACTOR_BITS + 1, False, "factor of the membrane potential in a step"),
        Field("decay_i", FACTOR_BITS + 1, False, "factor of the current in a step"),
        Field("couple", FACTOR_BITS + 2, True, "part of the current that reaches the membrane"),
        Field("gain", CURRENT_BITS, True, "current that a weight of one adds"),
        Field("bias", state, True, "added to the membrane in each step"),
        Field("leak", state, False, "amount of a linear leak"),
        Field("rest", state, True, "potential that an exponential decay tends to"),
        Field("threshold", state, True, "the neuron fires strictly above it"),
        Field("reset_to", state, True, "potential after a spike, or target of a linear leak"),
        Field("refractory", 8, False, "steps after a spike in which the neuron cannot fire"),
        Field("dynamics", 2, False, "see Dynamics"),
        Field("reset", 1, False, "see Reset"),
        Field("fires", 1, False, "whether the neuron fires at all"),
    )


def state_fields(spec: CoreSpec) -> tuple[Field, ...]:
    """Layout of a neuron's state, lowest bits first."""
    return (
        Field("v", spec.state_bits, True, "membrane potential"),
        Field("i", CURRENT_BITS, True, "current"),
        Field("refractory", 8, False, "steps left in which the neuron cannot fire"),
    )


class Space(IntEnum):
    """Memories of a core as its bus addresses them."""

    WEIGHTS = 1
    STATE = 2
    PARAMETERS = 3
    ASSIGNMENT = 4


#: Words of the bus.
BUS_BITS = 32
#: An address holds, from the low bits: the bus word in a memory word, the memory word, the memory.
CHUNK_BITS, INDEX_BITS, SPACE_BITS = 5, 22, 5


def address(space: Space, index: int, chunk: int = 0) -> int:
    """Bus address of a part of a memory word."""
    return chunk | index << CHUNK_BITS | space << (CHUNK_BITS + INDEX_BITS)


def memory_bits(spec: CoreSpec, space: Space) -> int:
    """Width of a memory's words."""
    if space == Space.WEIGHTS:
        return spec.lanes * spec.weight_bits
    if space == Space.ASSIGNMENT:
        return max(1, (spec.parameter_sets - 1).bit_length())
    layout = state_fields(spec) if space == Space.STATE else parameter_fields(spec)
    return sum(item.bits for item in layout)


def bus_words(spec: CoreSpec, space: Space) -> int:
    """Bus words that make one word of a memory."""
    return -(-memory_bits(spec, space) // BUS_BITS)


def memory_depth(spec: CoreSpec, space: Space) -> int:
    """Number of a memory's words."""
    return {
        Space.WEIGHTS: (spec.inputs + spec.neurons) * spec.row_words,
        Space.STATE: spec.neurons,
        Space.PARAMETERS: spec.parameter_sets,
        Space.ASSIGNMENT: spec.neurons,
    }[space]


def pack(layout: tuple[Field, ...], values: dict[str, int]) -> int:
    """A memory word from the values of its fields."""
    word = shift = 0
    for item in layout:
        word |= (int(values[item.name]) & ((1 << item.bits) - 1)) << shift
        shift += item.bits
    return word


def unpack(layout: tuple[Field, ...], word: int) -> dict[str, int]:
    """The values of the fields of a memory word."""
    found = {}
    for item in layout:
        value = word & ((1 << item.bits) - 1)
        if item.signed and value >> (item.bits - 1):
            value -= 1 << item.bits
        found[item.name] = value
        word >>= item.bits
    return found


@dataclass(frozen=True)
class Learning:
    """Parameters of trace-based STDP; traces and rates in Q.12, weights carry 8 fraction bits.

    Attributes
    ----------
    decay_pre, decay_post
        Factors of the traces in a step, Q.16.
    bump_pre, bump_post
        What a spike adds to a trace.
    rate_plus, rate_minus
        Learning rates: weight change for a trace of one, in delivered weight units.
    weight_min, weight_max
        Bounds of delivered weights.
    """

    decay_pre: int
    decay_post: int
    bump_pre: int = 1 << TRACE_FRACTION_BITS
    bump_post: int = 1 << TRACE_FRACTION_BITS
    rate_plus: int = 0
    rate_minus: int = 0
    weight_min: int = -128
    weight_max: int = 127

    def __post_init__(self) -> None:
        for name in ("decay_pre", "decay_post"):
            if not 0 <= getattr(self, name) <= 1 << FACTOR_BITS:
                raise ConfigError(f"{name} must be in 0..{1 << FACTOR_BITS}")
        for name in ("bump_pre", "bump_post", "rate_plus", "rate_minus"):
            if not 0 <= getattr(self, name) < 1 << 16:
                raise ConfigError(f"{name} must be in 0..65535, not {getattr(self, name)}")
        if self.weight_min > self.weight_max:
            raise ConfigError("weight_min must not be above weight_max")


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
