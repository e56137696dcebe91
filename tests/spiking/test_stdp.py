"""The integer learning engine against float models of STDP, and rules in physical units."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spiking.cores import image_of

from dyncc.arch.neurocorex import CoreImage, CoreSpec, Learning, Rule
from dyncc.core.errors import ConfigError
from dyncc.spiking import parameters
from dyncc.spiking.learning_parameters import LagStdp, TraceStdp, WindowStdp
from dyncc_models.spiking import stdp
from dyncc_models.spiking.learning import Synapses
from dyncc_models.spiking.plasticity import move_post, move_pre
from dyncc_models.spiking.twin import CoreTwin

ONE, TRACE_ONE, FINEST = 1 << 16, 1 << 12, 1 << 8
SOURCES, NEURONS, STEPS = 7, 5, 120
seeds = st.integers(0, 10**6)


def learner(
    draw: numpy.random.Generator, rule: Learning, low: int, high: int, **size: int
) -> CoreImage:
    """Random weights in low..high, two thirds of them plastic."""
    shape = (SOURCES, NEURONS)
    plastic = draw.random(shape) < 0.7
    return image_of(
        [parameters.superneuromat()], numpy.zeros((NEURONS, NEURONS)),
        draw.integers(low, high + 1, shape), learning=rule, input_plastic=plastic, **size,
    )  # fmt: skip


def trains(draw: numpy.random.Generator) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Spikes that arrive and that neurons fire, of rates from rare to nearly always."""
    rates = draw.uniform(0.02, 0.9, 2)
    return (
        draw.random((STEPS, SOURCES)) < rates[0] * draw.random(SOURCES),
        draw.random((STEPS, NEURONS)) < rates[1] * draw.random(NEURONS),
    )


def real(spikes: numpy.ndarray) -> torch.Tensor:
    return torch.from_numpy(spikes.astype(numpy.float64))


def learn(synapses: Synapses, arrived: numpy.ndarray, fired: numpy.ndarray) -> numpy.ndarray:
    """One step of the twin's engine; weights of the input lines, in weight units."""
    synapses.learn(numpy.concatenate((arrived, numpy.zeros(NEURONS, bool))), fired)
    return synapses.weights[:SOURCES] / FINEST


@given(factor=st.integers(0, ONE), trace=st.integers(0, (1 << 16) - 1))
def test_traces_decay_to_the_nearest_integer_and_end_at_zero(factor: int, trace: int) -> None:
    rule, none = Learning(decay_pre=factor, decay_post=factor), numpy.zeros(1, bool)
    for move in (move_pre, move_post):
        (found,) = move(rule, numpy.array([trace]), none).tolist()
        exact = factor * trace / ONE
        if factor == ONE or trace == 0:
            assert found == trace
        else:
            assert found < trace
            assert abs(found - exact) <= 0.5 or found == trace - 1


def limits(rule: Learning, image: CoreImage) -> dict[str, Any]:
    """Bounds of the float model: a weight has fraction bits up to the next integer."""
    return {
        "w_min": float(rule.weight_min),
        "w_max": rule.weight_max + 1 - 1 / FINEST,
        "plastic": torch.from_numpy(image.plastic[:SOURCES]),
    }


@settings(max_examples=40)
@given(seeds)
def test_traces_against_float64(seed: int) -> None:
    r"""Equal within the rounding of traces and of changes.

    A trace is rounded once a step, by 2^-13 at most, and errors decay with it: so it is off by
    :math:`e = 2^{-13} / (1 - d)`. A change is the trace times the rate, rounded by 2^-9 at most, so
    it is off by :math:`rate\, e + 2^{-9}`. Limiting to bounds never adds to an error. So a weight
    is off by the sum of that over the spikes that arrived and those that the neuron fired.
    """
    draw = numpy.random.default_rng(seed)
    # Up to 14 steps, so that no trace saturates, even of a neuron that fires in every step.
    decays = numpy.rint(numpy.exp(-1 / draw.uniform(1.0, 14.0, 2)) * ONE).astype(int)
    rates = draw.integers(0, 6 * TRACE_ONE, 2)
    rule = Learning(
        int(decays[0]), int(decays[1]), rate_plus=int(rates[0]), rate_minus=int(rates[1]),
        weight_min=int(draw.integers(-128, 0)), weight_max=int(draw.integers(0, 128)),
    )  # fmt: skip
    image = learner(draw, rule, rule.weight_min, rule.weight_max)
    arrived, fired = trains(draw)
    synapses = Synapses(image)
    params = stdp.TraceParameters(
        **limits(rule, image),
        a_plus=rule.rate_plus / TRACE_ONE,
        a_minus=rule.rate_minus / TRACE_ONE,
        decay_pre=rule.decay_pre / ONE,
        decay_post=rule.decay_post / ONE,
    )
    weights = torch.from_numpy(image.input_weights.astype(numpy.float64))
    state = stdp.TraceState.at_rest(weights)
    errors = 2**-13 / (1 - decays / ONE)
    plus, minus = rates / TRACE_ONE * errors + 2**-9
    for t in range(STEPS):
        weights, state = stdp.trace_step(real(arrived[t]), real(fired[t]), weights, state, params)
        found = learn(synapses, arrived[t], fired[t])
        for trace, expected, error in zip(
            (synapses.pre[:SOURCES], synapses.post), state, errors, strict=True
        ):
            assert numpy.abs(trace / TRACE_ONE - expected.numpy()).max() <= error + 1e-9
        counts = arrived[: t + 1].sum(0), fired[: t + 1].sum(0)
        bound = minus * counts[0][:, None] + plus * counts[1]
        assert (numpy.abs(found - weights.numpy()) <= bound + 1e-9).all(), t


@settings(max_examples=40)
@given(seeds)
def test_windows_equal_float64(seed: int) -> None:
    """Exactly, since amplitudes are multiples of the finest step of weights."""
    draw = numpy.random.default_rng(seed)
    rates, spans = draw.integers(0, 1000, 2) * TRACE_ONE // FINEST, draw.integers(0, 9, 2)
    rule = Learning(
        bump_pre=int(spans[0]), bump_post=int(spans[1]),
        rate_plus=int(rates[0]), rate_minus=int(rates[1]),
        weight_min=int(draw.integers(-128, 0)), weight_max=int(draw.integers(0, 128)),
        rule=Rule.WINDOWS,
    )  # fmt: skip
    image = learner(draw, rule, rule.weight_min, rule.weight_max)
    params = stdp.WindowParameters(
        **limits(rule, image),
        a_plus=rule.rate_plus / TRACE_ONE,
        a_minus=rule.rate_minus / TRACE_ONE,
        steps_plus=rule.bump_pre,
        steps_minus=rule.bump_post,
    )
    arrived, fired = trains(draw)
    synapses = Synapses(image)
    weights = torch.from_numpy(image.input_weights.astype(numpy.float64))
    state = stdp.WindowState.at_rest(weights)
    for t in range(STEPS):
        weights, state = stdp.window_step(real(arrived[t]), real(fired[t]), weights, state, params)
        assert (learn(synapses, arrived[t], fired[t]) == weights.numpy()).all(), t


@settings(max_examples=40)
@given(seeds)
def test_lags_equal_float64(seed: int) -> None:
    """Exactly, also where what is delivered is limited to the bounds."""
    draw = numpy.random.default_rng(seed)
    count = int(draw.integers(1, 9))
    apos = tuple((draw.integers(0, FINEST // 2, count) / FINEST).tolist())
    aneg = tuple((-draw.integers(0, FINEST // 32, count) / FINEST).tolist())
    rule = LagStdp(apos=apos, aneg=aneg, w_min=-60, w_max=50).learning(1.0, 1.0)
    # Wide weights, since the float model has no limit beyond the bounds of what is delivered.
    image = learner(draw, rule, -60, 50, weight_bits=16)
    params = stdp.LagParameters(**limits(rule, image), apos=apos, aneg=aneg)
    arrived, fired = trains(draw)
    synapses = Synapses(image)
    weights = torch.from_numpy(image.input_weights.astype(numpy.float64))
    state = stdp.LagState.at_rest(weights, params)
    for t in range(STEPS):
        weights, state = stdp.lag_step(real(arrived[t]), real(fired[t]), weights, state, params)
        own = learn(synapses, arrived[t], fired[t])
        drifted = own + numpy.where(image.plastic[:SOURCES], synapses.drift / FINEST, 0)
        assert (drifted == weights.numpy()).all(), t
        felt = params.learnt(weights, 0.0).floor().numpy()
        assert (synapses.delivered[:SOURCES] == felt).all(), t


RULES: dict[str, Any] = {
    "traces": TraceStdp(
        tau_plus=20e-3, tau_minus=15e-3, a_plus=0.02, a_minus=0.0105, w_min=0, w_max=1
    ),
    "windows": WindowStdp(
        window_plus=20e-3, window_minus=12e-3, a_plus=0.02, a_minus=0.0105, w_min=0, w_max=1
    ),
    "lags": LagStdp(apos=(0.02, 0.01), aneg=(), w_min=0, w_max=1),
}


def change_by_pair(rule: Any, lag: int, unit: float) -> float:
    """Weight change, in the network's units, of one pair on the twin; steps of 1 ms."""
    # Line 0 is the plastic synapse, line 1 makes the neuron fire.
    image = image_of(
        [parameters.superneuromat(leak=numpy.inf, threshold=100.0)], inputs=[[60], [120]],
        learning=rule.learning(1e-3, unit), input_plastic=numpy.array([[True], [False]]),
    )  # fmt: skip
    inputs = numpy.zeros((200, 2), bool)
    inputs[100, 0] = inputs[100 + lag, 1] = True
    twin = CoreTwin(image)
    assert twin.run(inputs).spikes.sum() == 1
    drifted = twin.synapses.weights[0, 0] + twin.synapses.drift
    return float((drifted / FINEST - 60) * unit)


@pytest.mark.parametrize("lag", [-60, -30, -13, -12, -5, -1, 0, 1, 2, 5, 19, 20, 30, 60])
def test_rules_in_physical_units(lag: int) -> None:
    unit = 1 / 127
    expected = {
        "traces": float(
            stdp.pair_window(torch.tensor(lag * 1e-3), 0.02, 0.0105, 20e-3, 15e-3).item()
        ),
        "windows": 0.02 if 0 <= lag < 20 else -0.0105 if -12 <= lag < 0 else 0.0,
        "lags": {0: 0.02, 1: 0.01}.get(lag, 0.0),
    }
    for name, value in expected.items():
        # Half a step of the weight, and for traces half a percent of the amplitude.
        tolerance = unit / 512 + (0.02 / 200 if name == "traces" else 1e-6)
        assert change_by_pair(RULES[name], lag, unit) == pytest.approx(value, abs=tolerance)


def test_registers_of_a_rule() -> None:
    found = RULES["traces"].learning(1e-3, 1 / 127)
    assert found == Learning(
        decay_pre=62340, decay_post=61309, bump_pre=8191, bump_post=8191,
        rate_plus=5203, rate_minus=2731, weight_min=0, weight_max=127,
    )  # fmt: skip
    assert RULES["traces"].bounds == (0, 1)
    assert RULES["lags"].learning(1e-3, 1 / 127).lags == (650, 325)
    snn = LagStdp(apos=(1.0, 0.5), aneg=(-0.25, -0.125), w_min=-8, w_max=8).learning(1.0, 0.25)
    assert (snn.lags, snn.drift) == ((1280, 640), -384)
    assert LagStdp(apos=(), aneg=(-0.25,), w_min=-8, w_max=8).learning(1.0, 0.25).lags == (256,)


def changed(name: str, **values: Any) -> Any:
    return lambda: type(RULES[name])(**(vars(RULES[name]) | values)).learning(1e-3, 1 / 127)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (changed("traces", tau_plus=5e-4), r"tau_plus of 0\.0005 s is shorter than the step of"),
        (changed("traces", tau_minus=200.0), "200 s is 200000 steps, and the core's traces decay"),
        (changed("traces", a_plus=0.5), r"a_plus of 0\.5 is 63\.5 units of weight, and the core"),
        (changed("traces", a_minus=1e-5), r"is 0\.00127 units of weight, and the core changes"),
        (changed("traces", a_minus=-0.1), "a_minus must be 0 or more, not -0.1"),
        (changed("traces", spikes_held=17), r"spikes_held must be in 1\.\.16, not 17"),
        (changed("traces", w_min=2.0), "w_min must not be above w_max, .*, not 2 and 1"),
        (changed("windows", window_plus=1e-4), "window_plus of 0.0001 s is shorter than the step"),
        (changed("windows", window_minus=70.0), "is 70000 steps, and the core counts 65535"),
        (changed("lags", apos=(0.0,) * 9), "the core looks back 8 steps, not 9"),
        (changed("lags", aneg=(-1.0,)), "must have the same length, not 2 and 1"),
        (changed("lags", aneg=(-1e-6, 0.0)), "the sum of aneg of -1e-06 is -0.000127 units"),
        (lambda: RULES["lags"].learning(1e-3, 0.0), "the weight unit must be positive, not 0"),
        (
            lambda: changed("lags", apos=(2.0, 0.0))().registers(CoreSpec(1, learning=True)),
            r"a lag and the drift must be in -32768\.\.32767, not 65024",
        ),
    ],
)
def test_rules_that_do_not_fit_are_refused_with_numbers(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
