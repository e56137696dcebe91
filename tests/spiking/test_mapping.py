"""Mapping onto a core: delays, loops and skips act as defined; refusals have numbers."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dyncc import spiking
from dyncc.arch.neurocorex import STATE_FRACTION_BITS, CoreSpec, Learning
from dyncc.core.errors import ConfigError
from dyncc.spiking import Network
from dyncc.spiking.learning_parameters import TraceStdp
from dyncc_models.spiking.twin import CoreTwin

STEPS = 40


def reaches(network: Network, start: str, end: str) -> bool:
    seen, found = set(), [start]
    while found:
        name = found.pop()
        for projection in network.projections:
            if projection.source == name and projection.target not in seen:
                seen.add(projection.target)
                found.append(projection.target)
    return end in seen


def delay_of(network: Network, index: int) -> Any:
    """Delays as the network's documentation defines them."""
    projection = network.projections[index]
    if projection.delay is not None:
        return projection.delay
    loop = projection.source in network.populations and reaches(
        network, projection.target, projection.source
    )
    return numpy.full(projection.weights.shape, int(loop))


def reference(network: Network, lines: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Spikes and potentials of each population, of model superneuromat, step by step in float64."""
    delays = [delay_of(network, index) for index in range(len(network.projections))]
    spikes = {name: numpy.zeros((STEPS, network.size(name))) for name in network.populations}
    spikes |= {name: values.astype(float) for name, values in lines.items()}
    v = {
        name: numpy.array(p.values("v_reset" if p.initial is None else "initial"))
        for name, p in network.populations.items()
    }
    wait = {n: p.values("initial_refractory").copy() for n, p in network.populations.items()}
    traces = {name: numpy.zeros((STEPS, network.size(name))) for name in network.populations}
    for t in range(STEPS):
        done: set[str] = set()
        while len(done) < len(network.populations):
            ready = [
                name
                for name in network.populations
                if name not in done
                and all(
                    p.target != name or p.source in done or p.source in lines
                    for p, d in zip(network.projections, delays, strict=True)
                    if ((p.weights != 0) & (d == 0)).any()
                )
            ]
            assert ready, "a loop without a delay"
            for name in ready:
                done.add(name)
                population = network.populations[name]
                drive = population.values("bias").copy()
                for projection, delay in zip(network.projections, delays, strict=True):
                    if projection.target != name:
                        continue
                    for i, j in numpy.argwhere(projection.weights):
                        if t >= delay[i, j]:
                            arrived = spikes[projection.source][t - delay[i, j], i]
                            drive[j] += arrived * projection.weights[i, j]
                    drive += 0 if projection.bias is None else projection.bias
                reset, leak = population.values("v_reset"), population.values("leak")
                old = v[name]
                moved = numpy.where(
                    old > reset, numpy.maximum(old - leak, reset), numpy.minimum(old + leak, reset)
                )
                moved += drive
                fired = (moved > population.values("threshold")) & (wait[name] == 0)
                wait[name] = numpy.where(
                    fired, population.values("refractory"), numpy.maximum(wait[name] - 1, 0)
                )
                v[name] = numpy.where(fired, reset, moved)
                spikes[name][t], traces[name][t] = fired, v[name]
    return {name: (spikes[name] > 0, traces[name]) for name in network.populations}


def random_network(seed: int) -> Network:
    """Populations that drive each other in all ways, with delays of every kind; integer values."""
    draw = numpy.random.default_rng(seed)
    network = Network(1.0)
    for index in range(int(draw.integers(1, 3))):
        network.input(f"in{index}", int(draw.integers(1, 4)))
    for index in range(int(draw.integers(1, 5))):
        size = int(draw.integers(1, 4))
        network.population(
            f"p{index}", "superneuromat", size, leak=draw.integers(0, 3, size),
            threshold=draw.integers(1, 5, size), v_reset=draw.integers(-2, 1, size),
            refractory=draw.integers(0, 3, size), bias=draw.integers(0, 2, size) * 1.0,
            initial=None if draw.random() < 0.5 else draw.integers(-2, 3, size),
            initial_refractory=draw.integers(0, 3, size),
        )  # fmt: skip
        network.output(f"p{index}", f"p{index}")
    for source in (*network.inputs, *network.populations):
        for target in network.populations:
            backward = source in network.populations and source >= target
            if draw.random() < (0.15 if backward else 0.7):
                shape = (network.size(source), network.size(target))
                kinds: list[Any] = [
                    None, None, int(draw.integers(0, 7)), draw.integers(0, 7, shape[0]),
                    draw.integers(0, 5, shape),
                ]  # fmt: skip
                network.connect(
                    source, target, draw.integers(-2, 6, shape),
                    draw.integers(0, 2, shape[1]) if draw.random() < 0.3 else None,
                    delay=kinds[int(draw.integers(len(kinds)))],
                )  # fmt: skip
    return network


def check(network: Network, seed: int, **sizes: Any) -> tuple[int, int, int]:
    """Compare a network on the core with the reference; returns spikes, relays and lag."""
    program = spiking.map_network(network, **sizes)
    draw = numpy.random.default_rng(seed)
    lines: dict[str, Any] = {
        name: draw.random((STEPS, size)) < 0.3 for name, size in network.inputs.items()
    }
    expected = reference(network, lines)
    count = 0
    for name, values in program.run(**lines).items():
        assert (values == expected[name][0]).all(), name
        count += int(values.sum())
    with spiking.open_core("twin", program.image) as core:
        found = core.run(program.lines(**lines), record=range(program.image.spec.neurons))
    assert program.report is not None
    for item in program.report.populations:
        rows, columns = slice(item.lag, item.lag + STEPS), slice(item.first, item.first + item.size)
        v = found.potentials[rows, columns] * item.potential_unit / (1 << STATE_FRACTION_BITS)
        assert (v == expected[item.name][1]).all(), item.name
    lag = max(item.lag for item in program.report.populations)
    return count, program.report.relays, lag


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([None, 1, 2, 5]), st.sampled_from([None, True, False])
)
def test_random_networks(seed: int, max_delay: int | None, sparse: bool | None) -> None:
    sizes = {} if max_delay is None else {"max_delay": max_delay}
    try:
        check(random_network(seed), seed, sparse=sparse, **sizes)
    except ConfigError as error:
        assert "and the core needs" in error.message
        assume(False)


def test_random_networks_have_all_there_is() -> None:
    spikes = relays = lags = refused = 0
    for seed in range(40):
        try:
            found = check(random_network(seed), seed, max_delay=2)
        except ConfigError:
            refused += 1
            continue
        spikes, relays, lags = spikes + found[0], relays + found[1], lags + found[2]
    assert spikes > 1000
    assert relays > 100
    assert lags > 20
    assert 0 < refused < 30


def chain(*sizes: int, model: str = "lif", **parameters: Any) -> Network:
    """Populations a, b, ..., each driven by the one before it, the first by the input x."""
    network = Network(1e-3)
    before = network.input("x", sizes[0])
    for size, name in zip(sizes[1:], "abcdefgh", strict=False):
        network.population(name, model, size, **parameters)
        network.connect(before, name, spiking.all_to_all(1.0))
        network.output(name, name)
        before = name
    return network


@pytest.mark.parametrize("model", ["lif", "cuba_lif", "if", "li", "cuba_li", "i", "neurocorex"])
@pytest.mark.parametrize("initial", [None, 0.375])
def test_a_population_that_lags_starts_as_one_that_does_not(model: str, initial: Any) -> None:
    """Bias and decay act before the first input arrives; the start makes up for it, to the bit."""
    own: dict[str, Any] = {
        "lif": {"tau": 0.02}, "cuba_lif": {"tau": 0.02, "tau_syn": 0.005}, "li": {"tau": 0.02},
        "cuba_li": {"tau": 0.02, "tau_syn": 0.005}, "neurocorex": {"leak": 0.01},
        "if": {"resistance": 30.0}, "i": {"resistance": 30.0},
    }[model]  # fmt: skip
    bias = 0.05 if model == "neurocorex" else 1.6
    network = Network(1e-3)
    network.input("x", 2)
    for lag in range(4):
        name = f"lag{lag}"
        network.population(name, model, 2, bias=bias, initial=initial, **own)
        network.output(name, name)
        # A relay chain, as it were: populations that pass spikes on.
        before = "x"
        for step in range(lag):
            network.population(f"{name}.{step}", "superneuromat", 2, leak=numpy.inf, threshold=0.5)
            network.connect(before, f"{name}.{step}", spiking.one_to_one(1.0))
            before = f"{name}.{step}"
        network.connect(before, name, spiking.one_to_one(0.7))
    spikes = numpy.random.default_rng(0).random((STEPS, 2)) < 0.2
    program = spiking.map_network(network, max_delay=1, state_bits=24)
    found = program.run(spikes)
    assert [output.level for output in program.outputs.values()] == [0, 1, 2, 3]
    assert len(numpy.unique(found["lag0"])) > (1 if found["lag0"].dtype == bool else 30)
    for lag in (1, 2, 3):
        assert (found[f"lag{lag}"] == found["lag0"]).all(), lag


def test_bias_of_slow_synapses() -> None:
    """The current that a bias feeds rises from zero, as in the differential equations."""
    network = Network(1e-3)
    network.input("x", 1)
    network.population("a", "cuba_li", 1, tau=0.02, tau_syn=0.005, bias=2.0)
    network.connect("x", "a", [[1.0]])
    network.output("a", "a")
    found = spiking.map_network(network).run(numpy.zeros((60, 1)))["a"][:, 0]
    current, v, expected = 0.0, 0.0, []
    for _ in range(60):
        current += (2.0 - current) * 0.2
        v += (current - v) * 0.05
        expected.append(v)
    numpy.testing.assert_allclose(found, expected, atol=60 / 2**16)
    assert expected[-1] > 1.8


def test_relays_are_shared_and_counted() -> None:
    network = Network(1.0)
    network.input("x", 2)
    network.population("a", "superneuromat", 3, leak=numpy.inf, threshold=0.5)
    network.population("b", "superneuromat", 3, leak=numpy.inf, threshold=0.5)
    network.connect("x", "a", spiking.all_to_all())
    network.connect("a", "b", spiking.one_to_one(), delay=4)
    network.connect("a", "b", spiking.one_to_one(), delay=9)
    network.connect("a", "a", spiking.one_to_one(), delay=4)
    report = spiking.map_network(network, max_delay=16).report
    assert report is not None
    # Delay 4 is that of the axon, 9 needs one relay for each neuron of a.
    assert report.relays == 3
    report = spiking.map_network(network, max_delay=2).report
    assert report is not None
    # If a lags by 2, its spikes travel 2, 4 and 7 steps: hops at 2, 4, 6, 7 are three relays for
    # each of its neurons, and each line of x needs one. Without the lag it would be four for each.
    assert report.relays == 11
    with pytest.raises(
        ConfigError, match=r"needs 17 neurons \(11 of them relays for delays\), the core has 16"
    ):
        spiking.map_network(network, CoreSpec(16, 2, max_delay=2))


def test_lags_are_chosen_for_few_relays() -> None:
    """A population that nothing drives waits for the others, instead of delaying its spikes."""
    network = chain(2, 3, 3, 3, tau=0.02)
    network.population("noise", "lif", 5, tau=0.02, bias=2.0)
    network.connect("noise", "c", spiking.all_to_all())
    report = spiking.map_network(network, max_delay=1).report
    assert report is not None
    assert report.relays == 0
    assert {item.name: item.lag for item in report.populations}["noise"] == 1


def test_dense_or_sparse_by_size() -> None:
    network = Network(1e-3)
    network.input("x", 16)
    network.population("a", "lif", 32, tau=0.02)
    network.connect("x", "a", spiking.fixed_probability(0.1, seed=1))
    few = spiking.map_network(network).image
    assert few.spec.sparse
    assert few.spec.synapse_words == int(few.row_counts.sum())
    network.connect("a", "a", spiking.all_to_all())
    network.connect("x", "a", spiking.all_to_all())
    assert not spiking.map_network(network).image.spec.sparse
    assert spiking.map_network(network, sparse=True).image.spec.sparse
    words = spiking.map_network(network, synapse_words=5000).image.spec.synapse_words
    assert words == 5000
    for spec in (CoreSpec(40, 20, lanes=4), CoreSpec(40, 20, lanes=4, synapse_words=500)):
        assert spiking.map_network(network, spec).image.spec == spec
    with pytest.raises(ConfigError, match="needs 384 words of synapses, the core has 300"):
        spiking.map_network(network, CoreSpec(32, 16, lanes=4, synapse_words=300))


def test_a_network_that_is_too_large_for_lists_is_dense() -> None:
    network = Network(1e-3)
    network.input("x", 1)
    network.population("a", "lif", 1100, tau=0.02)
    network.connect("x", "a", spiking.all_to_all())
    network.connect("a", "a", spiking.all_to_all())
    assert not spiking.map_network(network).image.spec.sparse
    with pytest.raises(ConfigError, match="needs 1211100 words of synapses, the core has 1048576"):
        spiking.map_network(network, sparse=True)


def test_spare_neurons_are_silent() -> None:
    """They take a parameter set of the network if there is one that does nothing by itself."""
    for bias, sets in ((0.0, 1), (2.0, 2)):
        network = chain(2, 3, tau=0.02, v_leak=0.5, bias=bias)
        program = spiking.map_network(network, neurons=8)
        assert program.image.spec.parameter_sets == sets
        with spiking.open_core("twin", program.image) as core:
            found = core.run(numpy.ones((200, 2)), record=range(8))
        assert found.spikes[:, :3].sum() > 30
        assert not found.spikes[:, 3:].any()
        assert (found.potentials[:, 3:] == found.potentials[0, 3]).all()
    with pytest.raises(ConfigError, match="needs 2 parameter sets, the core has 1"):
        spiking.map_network(network, CoreSpec(8, 2, parameter_sets=1))


def test_a_given_core_and_given_sizes() -> None:
    network = chain(4, 6, tau=0.02)
    image = spiking.map_network(network, lanes=2, weight_bits=5, neurons=9).image
    assert (image.spec.neurons, image.spec.inputs, image.spec.lanes) == (9, 4, 2)
    assert image.weights.max() == 8  # of 15: ones are exact in eighths
    with pytest.raises(ConfigError, match="give a core or some of its sizes, not both"):
        spiking.map_network(network, CoreSpec(8, 4), lanes=2)
    with pytest.raises(ConfigError, match="method must be euler or exact, not 'rk4'"):
        spiking.map_network(network, method="rk4")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"neurons": 9}, "needs 10 neurons, the core has 9"),
        ({"inputs": 3}, "needs 4 input lines, the core has 3"),
        ({"parameter_sets": 1}, "needs 2 parameter sets, the core has 1"),
        ({"learning": False}, "the network learns, and the core has no STDP engine"),
        ({"classes": 3}, "the core watches up to 3 classes, not 4"),
    ],
)
def test_what_does_not_fit_is_refused_with_numbers(size: dict[str, Any], message: str) -> None:
    network = chain(4, 6, tau=0.02)
    network.population("out", "li", 4, tau=0.02)
    network.connect("a", "out", spiking.all_to_all(0.5), plastic=True)
    network.learn(stdp(0.0, 1.0))
    network.classify("out", margin=0.1)
    good: dict[str, Any] = {
        "neurons": 10,
        "inputs": 4,
        "parameter_sets": 2,
        "learning": True,
        "classes": 4,
    }
    program = spiking.map_network(network, CoreSpec(**good))
    assert program.image.spec == CoreSpec(**good)
    with pytest.raises(ConfigError, match=message):
        spiking.map_network(network, CoreSpec(**good | size))


def test_values_out_of_range_name_the_neuron() -> None:
    network = Network(1e-3)
    network.input("x", 1)
    network.population("a", "neurocorex", 3, leak=[0, 3e4, 0])
    network.connect("x", "a", spiking.all_to_all())
    with pytest.raises(
        ConfigError, match=r"neuron 1 of population 'a': leak of 30000 is out of the core's range"
    ):
        spiking.map_network(network)
    network = Network(1e-3)
    network.input("x", 1)
    network.population("a", "lif", 1, tau=1e-4)
    network.connect("x", "a", [[1.0]])
    with pytest.raises(ConfigError, match=r"longer than a time constant of 0\.0001 s"):
        spiking.map_network(network)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_units_of_potentials_do_not_matter(scale: float) -> None:
    """Potentials in volts, in units of the threshold, or larger: the same spikes."""

    def build(scale: float) -> Network:
        network = Network(1e-3)
        network.input("x", 8)
        network.population(
            "a", "lif", 6, tau=0.02, threshold=scale, v_reset=-0.1 * scale, v_leak=-0.05 * scale
        )
        network.population("b", "li", 3, tau=0.02)
        draw = numpy.random.default_rng(3)
        network.connect("x", "a", draw.random((8, 6)) * 8 * scale)
        network.connect("a", "b", draw.random((6, 3)) * 8 * scale)
        network.output("a", "a")
        network.output("b", "b")
        return network

    spikes = numpy.random.default_rng(1).random((200, 8)) < 0.2
    expected, program = (spiking.map_network(build(s)) for s in (1.0, scale))
    wanted, found = expected.run(spikes), program.run(spikes)
    assert wanted["a"].sum() > 50
    assert (found["a"] != wanted["a"]).mean() < 0.003
    numpy.testing.assert_allclose(found["b"] / scale, wanted["b"], atol=0.02)


def test_integer_weights_are_exact_and_others_as_fine_as_they_can_be() -> None:
    def error(weights: Any, **parameters: Any) -> tuple[float, float]:
        network = Network(1e-3)
        network.input("x", 2)
        network.population("a", "if", 2, **parameters)
        network.connect("x", "a", weights)
        report = spiking.map_network(network).report
        assert report is not None
        return report.projections[0].largest_error, report.populations[0].weight_unit

    assert error([[3, -5], [7, 0]]) == (0.0, 1 / 16)
    assert error([[0.75, -1.25], [2, 0]])[0] == 0.0
    found, unit = error([[0.3, -0.7], [1.0, 0.123]])
    assert unit == pytest.approx(1 / 127)
    assert 0 < found <= 0.5 / 127
    assert error([[3, -5], [7, 0]], weight_unit=1.0) == (0.0, 1.0)
    with pytest.raises(ConfigError, match=r"reach 7, that is 700 units of 0\.01"):
        error([[3, -5], [7, 0]], weight_unit=0.01)


def stdp(low: float, high: float) -> TraceStdp:
    return TraceStdp(
        w_min=low, w_max=high, tau_plus=0.02, tau_minus=0.02, a_plus=0.05, a_minus=0.02
    )


def learner(**parameters: Any) -> Network:
    network = chain(3, 4, tau=0.02, **parameters)
    network.connect("x", "a", [[0.25] * 4] * 3, plastic=True, delay=2)
    return network


def test_plastic_weights_share_a_unit_that_holds_the_bounds() -> None:
    network = learner()
    network.population("b", "lif", 2, tau=0.02)
    network.connect("a", "b", spiking.all_to_all(4.0), plastic=numpy.eye(4, 2, dtype=bool))
    network.learn(stdp(-1.0, 8.0))
    program = spiking.map_network(network)
    image, report = program.image, program.report
    assert report is not None
    assert image.learning is not None
    unit = 1 / 8  # all weights are multiples of it, and 8 is 64 of them
    assert [item.weight_unit for item in report.populations] == [unit] * 2
    assert (image.learning.weight_min, image.learning.weight_max) == (-8, 64)
    assert image.plastic.sum() == 14
    assert [item.plastic for item in report.projections] == [0, 12, 2]
    numpy.testing.assert_allclose(program.weights_of("a", "b"), 4.0, atol=unit / 2)
    # Both projections from x to a, of which one has a delay, hence relays.
    numpy.testing.assert_allclose(program.weights_of("x", "a"), 1.25, atol=unit)


def test_learnt_weights_are_read_and_kept() -> None:
    network = learner()
    network.learn(stdp(0.0, 1.0))
    program = spiking.map_network(network)
    with spiking.open_core("twin", program.image) as core:
        program.run_on(core, numpy.random.default_rng(0).random((200, 3)) < 0.3)
        learnt = core.weights()
    change = program.weights_of("x", "a", learnt) - program.weights_of("x", "a")
    assert numpy.abs(change).max() > 0.1
    for learning in (True, False):
        again = program.with_weights(learnt, learning)
        assert (again.image.learning is None) == (not learning)
        assert (again.image.plastic == program.image.plastic).all()
        assert (CoreTwin(again.image).synapses.delivered == learnt >> 8).all()
        assert (again.places, again.report) == (program.places, program.report)
    with pytest.raises(ConfigError, match=r"integers of shape \(\d+, \d+\), not float64"):
        program.with_weights(learnt / 256)


def test_learning_is_checked() -> None:
    network = learner()
    with pytest.raises(ConfigError, match="to 'a' are plastic, and the network has no learning"):
        spiking.map_network(network)
    network.learn(stdp(0.5, 1.0))
    with pytest.raises(ConfigError, match=r"span 0\.25\.\.0\.25, and the bounds .* are 0\.5\.\.1"):
        spiking.map_network(network)
    network.learn(Learning(weight_min=0))
    with pytest.raises(ConfigError, match="units of the core, and the populations 'a' have no"):
        spiking.map_network(network)
    network = learner(weight_unit=1 / 64)
    network.learn(Learning(weight_min=0))
    assert spiking.map_network(network).image.learning == Learning(weight_min=0)
    network.connect("x", "a", spiking.all_to_all(0.5), plastic=True, delay=2)
    with pytest.raises(ConfigError, match="several projections from 'x' to 'a' with the same"):
        spiking.map_network(network)
    lazy = chain(2, 2, tau=0.02)
    lazy.learn(Learning())
    report = spiking.map_network(lazy).report
    assert report is not None
    assert "learning rule and no plastic synapses" in report.to_text(CoreSpec(2, 2))


def test_termination_ends_outputs_at_the_step_that_decided() -> None:
    network = chain(2, 4, tau=0.02)
    network.population("out", "li", 2, tau=0.02)
    network.connect("a", "out", [[8.0, 0.0]] * 4)
    network.output("out", "out")
    spikes = numpy.ones((50, 2))
    whole = spiking.map_network(network).run(spikes)
    margins = whole["out"][:, 0] - whole["out"][:, 1]
    wanted = int(numpy.argmax(margins >= 1.5)) + 1
    assert 1 < wanted < 50
    network.classify("out", margin=1.5)
    found = spiking.map_network(network).run(spikes)
    for name, values in found.items():
        assert values.shape == (wanted, whole[name].shape[1]), name
        assert (values == whole[name][:wanted]).all(), name
    network.outputs = {"a": "a"}
    assert len(spiking.map_network(network).run(spikes)["a"]) == wanted
    network.output("out", "out")
    network.classify("out", margin=1.5, least_steps=wanted + 3)
    later = wanted + 2 + int(numpy.argmax(margins[wanted + 2 :] >= 1.5)) + 1
    assert len(spiking.map_network(network).run(spikes)["out"]) == later
    network.classify("out", margin=1e3 / 8)
    assert len(spiking.map_network(network).run(spikes)["out"]) == 50
    network.classify("out", confidence=0.9, alpha=0.5)
    odds = numpy.exp(whole["out"] / 0.5)
    clear = odds[:, 0] / odds.sum(axis=1) >= 0.9
    # An entry of the table stands for an interval of distances.
    assert len(spiking.map_network(network).run(spikes)["out"]) == pytest.approx(
        int(numpy.argmax(clear)) + 1, abs=1
    )
