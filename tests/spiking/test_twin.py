"""The integer twin against float models, and against simulators that nobody here wrote."""

from __future__ import annotations

import warnings

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spiking.cores import image_of

from dyncc.arch.neurocorex import CoreSpec, Learning
from dyncc.core.errors import ConfigError
from dyncc.spiking import parameters
from dyncc_models.spiking import neurons, stdp
from dyncc_models.spiking.twin import CoreTwin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import snntorch
    from superneuromat import SNN

STEPS = 400
ONE = 1 << 16


def currents(seed: int, steps: int = STEPS, count: int = 8) -> numpy.ndarray:
    """Spike counts as weights: (steps, count) integers."""
    generator = numpy.random.default_rng(seed)
    return generator.integers(0, 2, (steps, count)).astype(bool)


def diagonal(sets: dict[str, int], weights: list[int], **size: int) -> CoreTwin:
    """Neurons that each listen to an input line of their own."""
    return CoreTwin(image_of([sets], inputs=numpy.diag(weights), **size))


WEIGHTS = [90, 100, 110, 120, 60, 70, 127, 127]


@pytest.mark.parametrize("method", ["exact", "euler"])
@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("v_leak", [0.0, -0.25])
def test_lif_against_float64(method: str, subtract: bool, v_leak: float) -> None:
    tau, dt, unit = 20e-3, 1e-3, 1 / 32
    sets = parameters.lif(
        tau, dt, v_leak=v_leak, v_reset=-0.125, subtract=subtract, weight_unit=unit, method=method
    )
    # The float model takes the rounded constants, so that what remains is the rounding of state,
    # and spike times are comparable.
    beta, gain = sets["decay_v"] / ONE, sets["gain"] / 2**24
    assert abs(beta - neurons.decay(tau, dt, method)) <= 0.5 / ONE
    assert abs(gain - (1 - beta) * unit) <= 0.5 / 2**24
    model = neurons.Lif(
        torch.tensor(beta, dtype=torch.float64), gain / (1 - beta), v_leak, 1.0, -0.125, subtract
    )
    given_spikes = currents(0)
    found = diagonal(sets, WEIGHTS).run(given_spikes, record=True)
    v = torch.full((8,), v_leak, dtype=torch.float64)
    weight = torch.tensor(WEIGHTS, dtype=torch.float64)
    for t in range(STEPS):
        spikes, v = model.step(torch.from_numpy(given_spikes[t]) * weight, v)
        assert found.spikes[t].tolist() == spikes.bool().tolist(), t
        # A step rounds twice, by half a unit of 2^-16 each; errors decay with the membrane.
        error = numpy.abs(found.potentials[t] / ONE - v.numpy())  # type: ignore[index]
        assert error.max() <= 1 / (1 - beta) / ONE
    assert found.spikes.sum() > 100


def test_lif_against_snntorch() -> None:
    beta_tau, dt = 25.0, 1.0
    beta = float(neurons.decay(beta_tau, dt))
    unit = 1 / 256
    sets = parameters.lif(beta_tau, dt, subtract=True, weight_unit=unit / (1 - beta))
    twin = diagonal(sets, WEIGHTS)
    layer = snntorch.Leaky(beta=beta, threshold=1.0, reset_mechanism="subtract", reset_delay=False)
    memory = layer.init_leaky()
    given_spikes = currents(1)
    weight = torch.tensor(WEIGHTS) * unit
    spikes = []
    for row in given_spikes:
        found, memory = layer(torch.from_numpy(row) * weight, memory)
        spikes.append(found.detach().bool().tolist())
    check_against(twin.run(given_spikes).spikes, spikes)


def test_cuba_lif_against_snntorch() -> None:
    alpha, beta = (float(neurons.decay(tau, 1.0)) for tau in (8.0, 25.0))
    # Small enough that a potential never stays above the threshold after a spike: there snnTorch
    # (1.0) subtracts a step later than its `reset_delay=False` says.
    unit = 1 / 4096
    # Its Synaptic has no factors (1 - alpha) and (1 - beta).
    scale = unit / (1 - alpha) / (1 - beta)
    sets = parameters.cuba_lif(8.0, 25.0, 1.0, subtract=True, weight_unit=scale)
    layer = snntorch.Synaptic(
        alpha=alpha, beta=beta, threshold=1.0, reset_mechanism="subtract", reset_delay=False
    )
    current, memory = layer.init_synaptic()
    given_spikes = currents(2)
    weight = torch.tensor(WEIGHTS) * unit
    spikes = []
    for row in given_spikes:
        found, current, memory = layer(torch.from_numpy(row) * weight, current, memory)
        spikes.append(found.detach().bool().tolist())
    check_against(diagonal(sets, WEIGHTS).run(given_spikes).spikes, spikes)


def check_against(found: numpy.ndarray, expected: list[list[bool]]) -> None:
    """Equal but for a spike that comes a step earlier or later.

    Reset by subtraction adds up what the rounded decay factor loses, at most 2^-17 of the
    potential in a step: so in 400 steps the phase moves by at most 0.3 % of a threshold.
    """
    wanted = numpy.array(expected)
    assert found.sum() > 100
    assert (found != wanted).mean() < 0.003
    assert numpy.abs(found.cumsum(0) - wanted.cumsum(0)).max() <= 1


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_superneuromat_tick_for_tick(seed: int) -> None:
    """Random networks with leak, refractory periods, delays and self-loops; integer values."""
    draw = numpy.random.default_rng(seed)
    count, steps = int(draw.integers(2, 9)), 60
    snn = SNN()
    leaks = draw.choice([0, 1, 2, numpy.inf], count)
    thresholds, periods = draw.integers(-1, 6, count), draw.integers(0, 4, count)
    resets = draw.integers(-2, 1, count)
    for n in range(count):
        snn.create_neuron(
            threshold=float(thresholds[n]), leak=float(leaks[n]), reset_state=float(resets[n]),
            initial_state=float(resets[n]), refractory_period=int(periods[n]),
        )  # fmt: skip
    for pre in range(count):
        for post in range(count):
            if draw.random() < 0.5:
                snn.create_synapse(
                    pre, post, weight=float(draw.integers(-4, 8)), delay=int(draw.integers(1, 4))
                )
    spikes = draw.random((steps, count)) < 0.2
    amounts = draw.integers(1, 8, count)
    for t, n in numpy.argwhere(spikes):
        snn.add_spike(int(t), int(n), float(amounts[n]))
    snn.simulate(steps, use="cpu")

    total = snn.num_neurons  # delays are chains of relay neurons
    weights = numpy.asarray(snn.weight_mat()).astype(int)
    sets = [
        parameters.superneuromat(leak, threshold, reset, int(period), state_bits=32)
        for leak, threshold, reset, period in zip(
            snn.neuron_leaks,
            snn.neuron_thresholds,
            snn.neuron_reset_states,
            snn.neuron_refractory_periods,
            strict=True,
        )
    ]
    ingoing = numpy.zeros((count, total), int)
    ingoing[range(count), range(count)] = amounts
    twin = CoreTwin(image_of(sets, weights, ingoing, numpy.arange(total), state_bits=32))
    found = twin.run(spikes)
    assert found.spikes.astype(int).tolist() == numpy.asarray(snn.spike_train).tolist()
    assert (twin.v / ONE).tolist() == list(snn.neuron_states)


def test_neurocorex_as_published() -> None:
    """Leak without a bound, refractory that blocks firing only, reset to zero."""
    sets = parameters.neurocorex(bias=0.5, leak=0.75, threshold=3.0, refractory=2)
    twin = diagonal(sets, [4])
    seen = []
    for spike in [1, 1, 1, 0, 0, 0]:
        fired = twin.step([spike])
        seen.append((bool(fired[0]), twin.v[0] / ONE))
    assert seen == [
        (True, 0.0),  # 3.75 > 3
        (False, 3.75),  # above the threshold, and refractory
        (False, 7.5),
        (True, 0.0),
        (False, -0.25),
        (False, -0.5),
    ]


def test_integrators() -> None:
    sets = parameters.leaky_integrator(10.0, 1.0)
    twin = diagonal(sets, [100])
    found = twin.run(numpy.ones((200, 1), bool), record=True)
    assert not found.spikes.any()
    assert found.potentials is not None
    assert abs(found.potentials[-1, 0] / ONE - 100) < 0.01
    plain = diagonal(parameters.integrate_and_fire(1.0, threshold=9.5), [2])
    assert numpy.flatnonzero(plain.run(numpy.ones((12, 1), bool)).spikes[:, 0]).tolist() == [4, 9]


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_state_saturates_and_weights_stay_in_bounds(seed: int) -> None:
    """The most violent parameters: no state leaves its range, whatever comes in."""
    draw = numpy.random.default_rng(seed)
    big = (1 << 23) - 1
    sets: list[dict[str, int]] = [
        {
            "dynamics": int(draw.integers(0, 3)),
            "decay_v": int(draw.integers(0, ONE + 1)),
            "decay_i": int(draw.integers(0, ONE + 1)),
            "couple": int(draw.integers(-2 * ONE, 2 * ONE)),
            "gain": int(draw.choice([-(2**31), 2**31 - 1, 1 << 24])),
            "bias": int(draw.integers(-big, big)),
            "leak": int(draw.integers(0, big)),
            "rest": int(draw.integers(-big, big)),
            "threshold": int(draw.integers(-big, big)),
            "reset_to": int(draw.integers(-big, big)),
            "reset": int(draw.integers(0, 2)),
            "refractory": int(draw.integers(0, 4)),
            "fires": 1,
        }
        for _ in range(4)
    ]
    rule = Learning(60000, 61000, 65535, 65535, 65535, 60000, -100, 90)
    image = image_of(
        sets, draw.integers(-100, 91, (6, 6)), draw.integers(-100, 91, (3, 6)),
        draw.integers(0, 4, 6), rule, draw.random((6, 6)) < 0.7, draw.random((3, 6)) < 0.7,
    )  # fmt: skip
    twin = CoreTwin(image)
    fixed = ~twin.synapses.plastic
    before = twin.synapses.delivered.copy()
    for row in draw.random((50, 3)) < 0.5:
        twin.step(row)
        for state, high in ((twin.v, big), (twin.i, 2**31 - 1)):
            assert -high - 1 <= state.min()
            assert state.max() <= high
        assert twin.synapses.delivered.min() >= -100
        assert twin.synapses.delivered.max() <= 90
        assert max(twin.synapses.pre.max(), twin.synapses.post.max()) < 1 << 16
    assert (twin.synapses.delivered[fixed] == before[fixed]).all()


@pytest.mark.parametrize("lag", range(-40, 41, 4))
def test_stdp_window(lag: int) -> None:
    """One pair of spikes, `lag` steps apart, against the exponential window."""
    tau_plus, tau_minus, rate = 20.0, 15.0, 8.0
    rule = Learning(
        round(numpy.exp(-1 / tau_plus) * ONE), round(numpy.exp(-1 / tau_minus) * ONE),
        rate_plus=round(rate * 4096), rate_minus=round(rate * 0.9 * 4096),
    )  # fmt: skip
    # Line 0 is the plastic synapse, line 1 makes the neuron fire.
    sets = parameters.superneuromat(leak=numpy.inf, threshold=50.0)
    image = image_of(
        [sets], inputs=[[0], [100]], learning=rule, input_plastic=numpy.array([[True], [False]])
    )
    twin = CoreTwin(image)
    inputs = numpy.zeros((100, 2), bool)
    inputs[50, 0] = inputs[50 + lag, 1] = True
    assert twin.run(inputs).spikes.sum() == 1
    change = twin.synapses.weights[0, 0] / 256
    expected = stdp.pair_window(
        torch.tensor(float(lag)), rate, rate * 0.9, tau_plus, tau_minus
    ).item()
    # Rounding of a trace in each of 40 steps, and of the change itself.
    assert change == pytest.approx(expected, abs=rate * 20 / 4096 + 1 / 256)


def test_what_does_not_fit_is_refused_with_numbers() -> None:
    sets = parameters.lif(10.0, 1.0)
    with pytest.raises(ConfigError, match=r"neurons must be an integer in 1\.\.4096, not 5000"):
        CoreSpec(5000)
    with pytest.raises(ConfigError, match="lanes must be a power of two, not 3"):
        CoreSpec(4, lanes=3)
    with pytest.raises(TypeError, match="neurons must be an integer, not str"):
        CoreSpec("4")  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"input_weights must be in -128\.\.127, and spans 0\.\.128"
    ):
        image_of([sets], inputs=[[128, 0]])
    with pytest.raises(ConfigError, match="there is no neuron parameter 'tau'"):
        image_of([{"tau": 3}], inputs=[[1]])
    with pytest.raises(ConfigError, match=r"threshold must be in -8388608\.\.8388607"):
        image_of([parameters.lif(10.0, 1.0, threshold=1000.0)], inputs=[[1]])
    with pytest.raises(ValueError, match=r"inputs must have shape \(1,\), not \(2,\)"):
        CoreTwin(image_of([sets], inputs=[[1]])).step([1, 0])


def test_counters() -> None:
    twin = diagonal(parameters.superneuromat(numpy.inf, 0.5), [1, 1])
    twin.run([[1, 0], [1, 1], [0, 0]])
    assert twin.report() == {
        "steps": 3, "input_spikes": 3, "spikes": 3, "synaptic_operations": 12,
        "weight_reads": 12, "weight_writes": 0,
    }  # fmt: skip
