"""What the memories of a core say: the inverse of `dyncc.arch.neurocorex.image`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from dyncc.arch.fields import unpack, width
from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex.image import CoreImage
from dyncc.arch.neurocorex.layout import (
    Space,
    control_registers,
    parameter_fields,
    row_fields,
    state_fields,
    synapse_fields,
)
from dyncc.arch.neurocorex.learning import Learning, Rule, Termination, Test
from dyncc.arch.neurocorex.spec import LAGS, TABLE_ENTRIES, WEIGHT_FRACTION_BITS, CoreSpec
from dyncc.core.errors import ConfigError


@dataclass(frozen=True)
class SynapseTable:
    """The synapses of a core, in the order of their places; all arrays have shape (synapses,).

    Attributes
    ----------
    word, lane
        Where the synapse is in the memory WEIGHTS.
    source, neuron
        What it connects.
    weight
        With fraction bits if the core learns.
    plastic
        Whether it learns, bool.
    """

    spec: CoreSpec
    word: Integers
    lane: Integers
    source: Integers
    neuron: Integers
    weight: Integers
    plastic: Any

    def matrix(self, values: Any) -> Any:
        """One of the arrays as (inputs + neurons, neurons); 0 where there is no synapse."""
        found = numpy.zeros((self.spec.sources, self.spec.neurons), values.dtype)
        found[self.source, self.neuron] = values
        return found


def read_synapses(
    spec: CoreSpec, words: Sequence[int], rows: Sequence[int] | None = None
) -> SynapseTable:
    """The synapses in the memory WEIGHTS of a core, and, if it is sparse, the memory ROWS.

    Raises
    ------
    ConfigError
        If rows reach beyond the memory or share a word, or two synapses connect the same.
    """
    fields = _synapse_arrays(spec, words)
    word, lane = numpy.indices((len(words), spec.lanes))
    if rows is None:
        source = word // spec.row_words
        neuron = word % spec.row_words * spec.lanes + lane
        exists = neuron < spec.neurons
    else:
        owner = _owners(spec, len(words), rows)
        source = numpy.broadcast_to(owner[:, None], word.shape)
        neuron = fields["target"] * spec.lanes + lane
        exists = (fields["present"] == 1) & (source >= 0)
        if (neuron[exists] >= spec.neurons).any():
            raise ConfigError(
                f"a synapse leads to neuron {neuron[exists].max()}, the core has {spec.neurons}"
            )
    plastic = fields.get("plastic", numpy.zeros(word.shape, numpy.int64)).astype(bool)
    table = SynapseTable(
        spec, word[exists], lane[exists], source[exists], neuron[exists],
        fields["weight"][exists], plastic[exists],
    )  # fmt: skip
    pairs = table.source * spec.neurons + table.neuron
    if len(numpy.unique(pairs)) < len(pairs):
        raise ConfigError("two synapses connect the same source with the same neuron")
    return table


def _synapse_arrays(spec: CoreSpec, words: Sequence[int]) -> dict[str, Integers]:
    """Each field of all places, shape (words, lanes)."""
    layout = synapse_fields(spec)
    bits = width(layout)
    size = -(-spec.lanes * bits // 8)
    content = b"".join(word.to_bytes(size, "little") for word in words)
    raw = numpy.frombuffer(content, numpy.uint8).reshape(len(words), size)
    split = numpy.unpackbits(raw, axis=1, count=spec.lanes * bits, bitorder="little")
    split = split.reshape(len(words), spec.lanes, bits)
    found, low = {}, 0
    for item in layout:
        places = 1 << numpy.arange(item.bits)
        if item.signed:
            places[-1] = -places[-1]
        found[item.name] = split[:, :, low : low + item.bits] @ places
        low += item.bits
    return found


def _owners(spec: CoreSpec, words: int, rows: Sequence[int]) -> Integers:
    """Source of each word of a sparse core; -1 where there is none."""
    owner = numpy.full(words, -1, numpy.int64)
    for source, row in enumerate(rows):
        place = unpack(row_fields(spec), row)
        first, end = place["first"], place["first"] + place["count"]
        if end > words:
            raise ConfigError(f"the row of source {source} ends at {end}, the core has {words}")
        if (owner[first:end] >= 0).any():
            raise ConfigError(f"the row of source {source} shares words with another")
        owner[first:end] = source
    return owner


def read_registers(spec: CoreSpec, words: Sequence[int]) -> dict[str, int]:
    """Values of the memory CONTROL, by name."""
    layout = control_registers(spec)
    return {
        item.name: unpack((item,), word)[item.name]
        for item, word in zip(layout, words, strict=True)
    }


def effective_weights(
    registers: Mapping[str, int], weight: Integers, plastic: Any, drift: int
) -> Integers:
    """Weights as neurons feel them: with the common drift, within their bounds.

    Parameters
    ----------
    registers
        See `read_registers`.
    weight, plastic
        As they are stored; any shape.
    drift
        The counter of that name.
    """
    if registers.get("rule", Rule.OFF) == Rule.OFF:
        return weight
    limited = numpy.clip(weight + drift, registers["weight_min"], registers["weight_max"])
    return numpy.where(plastic, limited, weight)


def read_image(spec: CoreSpec, words: Mapping[Space, Sequence[int]]) -> CoreImage:
    """An image with which a core does the same as with these memories.

    Plastic weights lose their fraction bits and are brought within their bounds. Spikes on their
    way are left out, as are parameters of a rule or a test that is off.

    Raises
    ------
    ConfigError
        If no image says what is in the memories.
    """
    registers = read_registers(spec, words[Space.CONTROL])
    table = read_synapses(spec, words[Space.WEIGHTS], words.get(Space.ROWS))
    learning = _learning(registers)
    weights = table.weight >> (WEIGHT_FRACTION_BITS if spec.learning else 0)
    if learning is not None:
        limited = numpy.clip(weights, learning.weight_min, learning.weight_max)
        weights = numpy.where(table.plastic, limited, weights)
    matrix, plastic = table.matrix(weights), table.matrix(table.plastic)
    layout = parameter_fields(spec)
    sets = [unpack(layout, word) for word in words[Space.PARAMETERS]]
    states = [unpack(state_fields(spec), word) for word in words[Space.STATE]]
    image = CoreImage(
        spec,
        {item.name: numpy.array([values[item.name] for values in sets]) for item in layout},
        numpy.array(words[Space.ASSIGNMENT]),
        matrix[: spec.inputs],
        matrix[spec.inputs :],
        learning,
        plastic[: spec.inputs],
        plastic[spec.inputs :],
        _termination(registers, words.get(Space.TABLE, ())),
        **{
            f"initial_{name}": numpy.array([state[name] for state in states])
            for name in ("v", "i", "refractory")
        },
    )
    if spec.sparse:
        counts = [unpack(row_fields(spec), row)["count"] for row in words[Space.ROWS]]
        if image.row_counts.tolist() != counts or len(table.weight) != image.present.sum():
            raise ConfigError("rows are longer than their synapses need")
    return image


def _learning(registers: Mapping[str, int]) -> Learning | None:
    rule = Rule(registers.get("rule", Rule.OFF))
    if rule == Rule.OFF:
        return None
    one = 1 << WEIGHT_FRACTION_BITS
    low, high = registers["weight_min"], registers["weight_max"] + 1
    if low % one or high % one:
        raise ConfigError(f"bounds of weights have a fraction: {low} and {high - 1} in 1/256")
    names = ("decay_pre", "decay_post", "bump_pre", "bump_post", "rate_plus", "rate_minus")
    return Learning(
        **{name: registers[name] for name in names},
        weight_min=low // one,
        weight_max=high // one - 1,
        rule=rule,
        lags=tuple(registers[f"lag_{lag}"] for lag in range(LAGS)),
        drift=registers["drift"],
    )


def _termination(registers: Mapping[str, int], table: Sequence[int]) -> Termination | None:
    test = Test(registers.get("test", Test.NEVER))
    if test == Test.NEVER and not registers.get("class_count"):
        return None
    names = ("first_class", "class_count", "limit", "shift", "least_steps")
    entries = tuple(table) or (0,) * TABLE_ENTRIES
    return Termination(test, **{name: registers[name] for name in names}, table=entries)
