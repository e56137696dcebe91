"""What the memories of a core say is what they were programmed with."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dyncc.arch.fields import pack, unpack
from dyncc.arch.neurocorex import (
    CoreSpec,
    Rule,
    Space,
    control_registers,
    memory_depth,
    memory_words,
    row_fields,
    state_fields,
    synapse_fields,
    weight_words,
)
from dyncc.arch.neurocorex.readback import (
    effective_weights,
    read_image,
    read_registers,
    read_synapses,
)
from dyncc.core.errors import ConfigError
from dyncc_models.spiking.random_images import random_image

Memories = dict[Space, list[int]]
SPARSE = CoreSpec(6, 3, lanes=2, synapse_words=60)
LEARNS = CoreSpec(6, 3, lanes=2, learning=True)
DECIDES = CoreSpec(6, 3, classes=3)


def filled(spec: CoreSpec, seed: int = 0, rule: Rule = Rule.TRACES) -> Memories:
    """Whole memories of a random image."""
    words = memory_words(random_image(spec, seed, rule))
    rest = memory_depth(spec, Space.WEIGHTS) - len(words[Space.WEIGHTS])
    words[Space.WEIGHTS] += [0] * rest
    return words


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 20), st.integers(0, 9), st.sampled_from([1, 2, 4, 8]), st.booleans(),
    st.booleans(), st.integers(1, 16), st.integers(0, 1), st.sampled_from([*Rule]),
    st.integers(2, 16), st.integers(0, 10**6),
)  # fmt: skip
def test_round_trip(
    neurons: int, inputs: int, lanes: int, sparse: bool, learning: bool, delay: int,
    classes: int, rule: Rule, bits: int, seed: int,
) -> None:  # fmt: skip
    words = (inputs + neurons) * -(-neurons // lanes) if sparse else 0
    spec = CoreSpec(
        neurons, inputs, bits, 24, lanes, 5, words, learning, delay, min(classes, neurons)
    )
    found = filled(spec, seed, rule)
    again = memory_words(read_image(spec, found))
    again[Space.WEIGHTS] += [0] * (len(found[Space.WEIGHTS]) - len(again[Space.WEIGHTS]))
    if rule == Rule.OFF:
        # Parameters of learning are left out then.
        registers = [item.name for item in control_registers(spec)]
        learnt = {*read_registers(LEARNS, [0] * 19)} - {"clear"}
        for place, name in enumerate(registers):
            if name in learnt:
                found[Space.CONTROL][place] = 0
    assert again == found


def test_learnt_weights_are_read_with_their_fractions() -> None:
    image = random_image(LEARNS, 4)
    weights = (image.weights << 8) + numpy.random.default_rng(0).integers(
        0, 256, image.weights.shape
    )
    table = read_synapses(LEARNS, weight_words(image, weights)[0])
    assert (table.matrix(table.weight) == weights).all()
    assert (table.matrix(table.plastic) == image.plastic).all()


def test_weights_as_neurons_feel_them() -> None:
    registers = {"rule": int(Rule.LAGS), "weight_min": -100, "weight_max": 200}
    weight, plastic = numpy.array([150, 150, -90, 5]), numpy.array([True, False, True, True])
    assert effective_weights(registers, weight, plastic, 70).tolist() == [200, 150, -20, 75]
    assert effective_weights(registers, weight, plastic, -30).tolist() == [120, 150, -100, -25]
    assert effective_weights({"rule": 0}, weight, plastic, 70) is weight
    assert effective_weights({}, weight, plastic, 70) is weight


def changed(spec: CoreSpec, space: Space, index: int, fields: Any, **values: int) -> Memories:
    """Memories of an image with some fields of one word changed."""
    words = filled(spec)
    word = unpack(fields(spec), words[space][index]) | values
    words[space][index] = pack(fields(spec), word)
    return words


def with_register(spec: CoreSpec, name: str, value: int) -> Memories:
    words = filled(spec)
    names = [item.name for item in control_registers(spec)]
    words[Space.CONTROL][names.index(name)] = value
    return words


def lane_fields(spec: CoreSpec) -> Any:
    """Of the lowest lane, with what is above it."""
    fields = synapse_fields(spec)
    return (*fields, *(type(item)(f"{item.name}_1", *list(vars(item).values())[1:])
                       for item in fields))  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "words", "message"),
    [
        (SPARSE, changed(SPARSE, Space.ROWS, 2, row_fields, count=60), "row of source 2 ends at"),
        (SPARSE, changed(SPARSE, Space.ROWS, 3, row_fields, first=0), "shares words with another"),
        (SPARSE, changed(SPARSE, Space.WEIGHTS, 0, lane_fields, present=1, target=3),
         "a synapse leads to neuron 6, the core has 6"),
        (SPARSE, changed(SPARSE, Space.WEIGHTS, 0, lane_fields, present=1, weight=0),
         "rows are longer than their synapses need"),
        (LEARNS, with_register(LEARNS, "weight_min", 3), "bounds of weights have a fraction"),
        (DECIDES, with_register(DECIDES, "class_count", 0), "watches up to 3 classes, not 0"),
        (DECIDES, with_register(DECIDES, "first_class", 6), "are not neurons of the core"),
    ],
)  # fmt: skip
def test_memories_that_no_image_says(spec: CoreSpec, words: Memories, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_image(spec, words)


def test_a_synapse_twice() -> None:
    words = filled(SPARSE)
    rows = [unpack(row_fields(SPARSE), row) for row in words[Space.ROWS]]
    first = next(row["first"] for row in rows if row["count"] > 1)
    words[Space.WEIGHTS][first + 1] = words[Space.WEIGHTS][first]
    with pytest.raises(ConfigError, match="two synapses connect the same source"):
        read_image(SPARSE, words)


def test_initial_state_is_part_of_an_image() -> None:
    words = changed(LEARNS, Space.STATE, 2, state_fields, v=-5, i=99, refractory=7)
    image = read_image(LEARNS, words)
    found = (image.initial_v[2], image.initial_i[2], image.initial_refractory[2])
    assert found == (-5, 99, 7)
