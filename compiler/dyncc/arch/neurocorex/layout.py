"""Layouts of a core's memories, and how its bus addresses them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from dyncc.arch.neurocorex.spec import CURRENT_BITS, FACTOR_BITS, CoreSpec


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
