"""Building networks: connectors, masks, delays, and errors that name what is wrong."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import scipy.sparse

from dyncc import spiking
from dyncc.core.errors import ConfigError
from dyncc.spiking import Network, Population


def small() -> Network:
    network = Network(1e-3)
    network.input("x", 3)
    network.population("a", "lif", 4, tau=0.02)
    network.population("b", "li", 3, tau=0.02)
    return network


def test_all_to_all_and_one_to_one() -> None:
    network = small()
    assert (network.connect("x", "a", spiking.all_to_all(0.5)).weights == 0.5).all()
    drawn = network.connect(
        "x", "a", spiking.all_to_all(lambda draw, shape: draw.normal(1, 0.1, shape), seed=4)
    )
    again = network.connect(
        "x", "a", spiking.all_to_all(lambda draw, shape: draw.normal(1, 0.1, shape), seed=4)
    )
    assert drawn.weights.std() > 0.01
    assert (drawn.weights == again.weights).all()
    rows = network.connect("x", "a", spiking.all_to_all([[1.0], [2.0], [3.0]]))
    assert rows.weights.tolist() == [[1.0] * 4, [2.0] * 4, [3.0] * 4]
    one = network.connect("x", "b", spiking.one_to_one(2.0), plastic=True)
    assert one.weights.tolist() == (2 * numpy.eye(3)).tolist()
    assert (one.present == numpy.eye(3)).all()
    assert (one.plastic == numpy.eye(3)).all()
    with pytest.raises(ConfigError, match=r"'x' to 'a': one-to-one .* not 3 and 4"):
        network.connect("x", "a", spiking.one_to_one())


def test_fixed_probability() -> None:
    network = Network(1e-3)
    network.population("a", "lif", 100, tau=0.02)
    made = [
        network.connect("a", "a", spiking.fixed_probability(0.2, 0.5, seed, self_connections=False))
        for seed in (1, 1, 2)
    ]
    assert (made[0].weights == made[1].weights).all()
    assert (made[0].weights != made[2].weights).any()
    assert not made[0].weights.diagonal().any()
    assert made[0].present.mean() == pytest.approx(0.2, abs=0.02)
    assert set(numpy.unique(made[0].weights)) == {0.0, 0.5}
    assert network.connect("a", "a", spiking.fixed_probability(1.0)).present.all()
    assert not network.connect("a", "a", spiking.fixed_probability(0.0)).present.any()
    with pytest.raises(ConfigError, match=r"must be in 0\.\.1, not 1\.5"):
        spiking.fixed_probability(1.5)


def test_lists_and_sparse_matrices() -> None:
    network = small()
    listed = network.connect("x", "a", spiking.from_list([(0, 1, 2.0), (2, 3, 0.0), (0, 1, 1.0)]))
    assert numpy.argwhere(listed.present).tolist() == [[0, 1], [2, 3]]
    assert listed.weights[0, 1] == 3.0
    entries = ([1.5, 0.0], ([0, 2], [1, 3]))
    for kind in (scipy.sparse.coo_array, scipy.sparse.csr_array):
        made = network.connect("x", "a", kind(entries, shape=(3, 4)), plastic=True)
        assert made.weights[0, 1] == 1.5
        # A stored zero is a synapse, which may learn.
        assert numpy.argwhere(made.plastic).tolist() == [[0, 1], [2, 3]]
    with pytest.raises(ConfigError, match="from 0 to 4 is outside of 3 sources and 4 targets"):
        network.connect("x", "a", spiking.from_list([(0, 4, 1.0)]))
    with pytest.raises(ConfigError, match=r"'x' to 'a': .* shape \(3, 4\), not \(4, 3\)"):
        network.connect("x", "a", scipy.sparse.coo_array((4, 3)))


def test_masks_delays_and_biases() -> None:
    network = small()
    mask = numpy.arange(12).reshape(3, 4) % 2 == 0
    made = network.connect("x", "a", numpy.ones((3, 4)), 0.5, plastic=mask, delay=[0, 1, 2])
    assert (made.plastic == mask).all()
    assert made.bias is not None
    assert made.delay is not None
    assert made.bias.tolist() == [0.5] * 4
    assert made.delay.tolist() == [[0] * 4, [1] * 4, [2] * 4]
    each = network.connect("a", "b", numpy.ones((4, 3)), delay=numpy.arange(12).reshape(4, 3))
    assert each.delay is not None
    assert each.delay.max() == 11


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": numpy.ones((2, 4))}, r"weights must have shape \(3, 4\), not \(2, 4\)"),
        ({"weights": [[numpy.nan] * 4] * 3}, "synapse from 0 to 0 is not finite"),
        ({"weights": spiking.all_to_all([1.0, 2.0])}, r"shape \(2,\) do not fit 3 sources and 4"),
        ({"bias": [1.0, 2.0]}, r"the bias must have shape \(4,\), not \(2,\)"),
        ({"bias": numpy.inf}, "the bias must be finite"),
        ({"plastic": 1}, "plastic must be bool, not int64"),
        ({"plastic": numpy.ones((4, 3), bool)}, r"plastic must have shape \(3, 4\), not \(4, 3\)"),
        ({"delay": 1.5}, "delays are whole steps, not float64"),
        ({"delay": -1}, "delays must be 0 or more, not -1"),
        ({"delay": [1, 2]}, r"delays must have shape \(3,\) or \(3, 4\), not \(2,\)"),
    ],
)
def test_projections_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"from 'x' to 'a': .*{message}"):
        small().connect("x", "a", **{"weights": numpy.ones((3, 4))} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "hh"}, "model must be one of lif, .*, neurocorex, not 'hh'"),
        ({"size": 0}, "population 'p' has 0 neurons"),
        ({"model": "if", "tau": 0.1}, "'p' of model if has no tau\n  It has resistance, thresh"),
        (
            {"tau": [0.1, -0.1, 0.1]},
            "tau of neuron 1 of population 'p' must be positive and finite, not -0.1",
        ),
        ({}, "tau of neuron 0 of population 'p' must be positive and finite, not inf"),
        ({"tau": [0.1, 0.1]}, "tau of population 'p' has 2 values for 3 neurons"),
        (
            {"tau": 0.1, "threshold": [1, 1, numpy.inf]},
            "threshold of neuron 2 of .* must be finite, not inf",
        ),
        (
            {"tau": 0.1, "refractory": 1.5},
            r"refractory of neuron 0 of .* must be an integer in 0\.\.255",
        ),
        (
            {"tau": 0.1, "refractory": [0, 0, 256]},
            r"refractory of neuron 2 .* in 0\.\.255, not 256",
        ),
        (
            {"tau": 0.1, "bias": numpy.nan},
            "bias of neuron 0 of population 'p' must be finite, not nan",
        ),
        ({"model": "neurocorex", "leak": -1}, "leak of neuron 0 of .* must be 0 or more, not -1"),
        ({"model": "i", "subtract": True}, "'p' of model i cannot subtract its threshold"),
        ({"model": "neurocorex", "leak": numpy.inf}, "leak of neuron 0 .* 0 or more, not inf"),
        ({"tau": 0.1, "weight_unit": 0}, "weight_unit of population 'p' must be positive, not 0"),
    ],
)
def test_populations_that_are_refused(options: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"name": "p", "model": "lif", "size": 3}
    with pytest.raises(ConfigError, match=message):
        Population(**values | options)


def test_networks_that_are_refused() -> None:
    network = small()
    for call, message in [
        (lambda: Network(0.0), r"dt must be positive, not 0\.0"),
        (lambda: network.input("y", 0), "input 'y' has 0 lines"),
        (lambda: network.input("a", 2), "the name 'a' is taken"),
        (lambda: network.population("x", "if", 2), "the name 'x' is taken"),
        (lambda: network.connect("z", "a", [[1]]), "there is no input or population 'z'"),
        (lambda: network.connect("x", "z", [[1]]), "there is no population 'z'"),
        (lambda: network.connect("a", "x", [[1]]), "there is no population 'x'"),
        (lambda: network.connect("b", "a", [[1]]), "'b' of model li has no spikes, so it cannot"),
        (lambda: network.output("y", "x"), "there is no population 'x'"),
        (lambda: network.classify("z", margin=1.0), "there is no population 'z'"),
        (lambda: network.classify("b"), "give either a margin or a confidence"),
        (lambda: network.classify("b", margin=1.0, confidence=0.5), "give either a margin or a co"),
        (lambda: network.classify("b", margin=-1.0), "the margin must be 0 or more, not -1"),
        (lambda: network.classify("b", confidence=1.0), r"must be in \(0, 1\) and .* not 1, 1"),
        (lambda: network.classify("b", confidence=0.5, alpha=0), "alpha positive, not 0.5, 0"),
        (lambda: network.classify("b", margin=1.0, least_steps=0), "least_steps must be 1 or more"),
        (lambda: spiking.map_network(Network(1.0)), "the network has no neurons"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            call()


def test_names_and_populations_are_the_same() -> None:
    network = small()
    a, b = network.populations["a"], network.populations["b"]
    assert network.connect(a, b, numpy.ones((4, 3))).source == "a"
    network.output("shown", b)
    network.classify(b, confidence=0.9)
    assert network.outputs == {"shown": "b"}
    assert network.classifier is not None
    assert network.classifier.population == "b"
    assert network.size("x") == 3
