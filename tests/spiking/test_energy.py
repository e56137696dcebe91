"""Measures of effort: formulas on small cases, counters of a core, a perceptron beside it."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from dyncc import spiking
from dyncc.core.errors import ConfigError
from dyncc.spiking import energy


def network(probability: float = 0.4) -> spiking.Network:
    found = spiking.Network(1e-3)
    found.input("x", 12)
    found.population("a", "lif", 10, tau=0.02)
    found.population("b", "lif", 4, tau=0.02)
    found.connect("x", "a", spiking.fixed_probability(probability, 3.0, seed=1))
    found.connect("a", "b", spiking.fixed_probability(probability, 4.0, seed=2), delay=2)
    found.connect("b", "b", spiking.one_to_one(-1.0))
    found.output("b", "b")
    return found


def test_by_hand() -> None:
    """Two lines to three neurons, dense, 8 bits, one lane: five spikes in four steps."""
    found = spiking.Network(1.0)
    found.input("x", 2)
    found.population("a", "superneuromat", 3, leak=numpy.inf, threshold=5.0)
    found.connect("x", "a", spiking.all_to_all(1.0))
    image = spiking.map_network(found, sparse=False).image
    spikes = [[1, 1], [0, 1], [0, 0], [1, 1]]
    with spiking.open_core("twin", image) as core:
        core.run(spikes)
        effort = energy.of_core(core.counters(), image)
    assert effort.bit_budget == 4 * 8
    assert effort.synapses == 5 * 3  # a dense core holds the pairs of neurons, too
    assert effort.s_ace == 15 * 32
    assert effort.ns_ace == 5 * 3 * 8
    assert effort.activity == pytest.approx(5 / (4 * 5))
    assert effort.memory_bits == 5 * 3 * 8
    own = energy.of_network(image, spikes, numpy.zeros((4, 3)))
    assert (own.synapses, own.s_ace, own.ns_ace) == (6, 6 * 32, 120)


@pytest.mark.parametrize("sparse", [True, False])
def test_counters_and_spikes_give_the_same(sparse: bool) -> None:
    program = spiking.map_network(network(), sparse=sparse)
    image = program.image
    lines = program.lines(numpy.random.default_rng(0).random((200, 12)) < 0.2)
    with spiking.open_core("twin", image) as core:
        recording = core.run(lines)
        counted = energy.of_core(core.counters(), image, samples=4)
    own = energy.of_network(image, lines, recording.spikes, samples=4)
    assert recording.spikes.sum() > 100
    assert counted.bit_budget == own.bit_budget == len(lines) / 4 * 8
    if sparse:
        assert (counted.synapses, counted.s_ace, counted.ns_ace) == (
            own.synapses, own.s_ace, own.ns_ace,
        )  # fmt: skip
        assert 0 < own.activity < 1
    else:
        assert counted.synapses == image.spec.sources * image.spec.neurons
        assert counted.ns_ace > 2 * own.ns_ace > 0


def test_a_perceptron() -> None:
    effort = energy.of_mlp((64, 32, 10), 8, (4, 8), densities=(0.5, 0.25))
    assert effort.synapses == 64 * 32 + 32 * 10
    assert effort.s_ace == 64 * 32 * 32 + 320 * 64
    assert effort.ns_ace == 0.5 * 64 * 32 * 32 + 0.25 * 320 * 64
    assert effort.bit_budget == pytest.approx(effort.s_ace / effort.synapses)
    assert effort.memory_bits == 8 * effort.synapses
    same = energy.of_mlp((64, 32, 10), (8, 8), 8)
    assert same.bit_budget == 64
    assert same.activity == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda image: energy.of_core({"steps": 3}, image), "lack synaptic_operations, weight_re"),
        (lambda image: energy.of_core(dict.fromkeys(("steps", "synaptic_operations",
            "weight_reads", "weight_writes"), 1), image, 0), "a sample or more, not 0"),
        (lambda image: energy.of_network(image, numpy.zeros((3, 12)), numpy.zeros((3, 9))),
         r"spikes must have shape \(steps, \d+\), not \(3, 9\)"),
        (lambda image: energy.of_network(image, numpy.zeros((3, 2)),
                                         numpy.zeros((3, image.spec.neurons))),
         r"lines must have shape \(3, 12\), not \(3, 2\)"),
        (lambda image: energy.of_mlp((3,), 8, 8), r"sizes must be those .* not \(3,\)"),
        (lambda image: energy.of_mlp((3, 2), (8, 8), 8), "weight_bits must be a positive"),
        (lambda image: energy.of_mlp((3, 2), 8, 0), "activation_bits must be a positive"),
        (lambda image: energy.of_mlp((3, 2), 8, 8, [1.5]), r"1 numbers in 0\.\.1, not \[1\.5\]"),
    ],
)  # fmt: skip
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(spiking.map_network(network()).image)
