"""The twin against Brian2, which nobody here wrote: LIF spike times, and STDP.

Brian2 integrates in float64, exactly; its code is made by its numpy target, so no compiler is
needed. In its step a neuron's state moves first, then neurons fire and are reset, then spikes are
delivered (by default resets come last, and take with them what was delivered): a spike that it
delivers in a step is one that the core delivers in the next. Its refractory period counts the step
of the spike, the core's does not.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy
import pytest
from spiking.cores import image_of

from dyncc.arch.neurocorex import WEIGHT_FRACTION_BITS
from dyncc.spiking import parameters
from dyncc.spiking.learning_parameters import TraceStdp
from dyncc_models.spiking.learning import Synapses
from dyncc_models.spiking.twin import CoreTwin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import brian2
    except AttributeError:
        pytest.skip(
            "Brian2 2.9 cannot be imported with this NumPy: pip install 'numpy<2.4'",
            allow_module_level=True,
        )

# Brian2 calls old names of pyparsing and NumPy.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
brian2.prefs.codegen.target = "numpy"
second = brian2.second
TAU = 20e-3


def run(dt: float, steps: int, *objects: Any) -> None:
    network = brian2.Network(*objects)
    network.schedule = ["start", "groups", "thresholds", "resets", "synapses", "end"]
    network.run(steps * dt * second, namespace={})


def group(dt: float, count: int, equations: str, **options: Any) -> tuple[Any, Any]:
    """Neurons of threshold one that are reset to 0, and a monitor of their spikes."""
    found = brian2.NeuronGroup(
        count, equations, threshold="v > 1", reset="v = 0", method="exact", dt=dt * second,
        **options,
    )  # fmt: skip
    return found, brian2.SpikeMonitor(found)


def generator(dt: float, spikes: numpy.ndarray) -> Any:
    """Sources with these spikes, bool of shape (steps, sources)."""
    times, sources = numpy.nonzero(spikes)
    return brian2.SpikeGeneratorGroup(spikes.shape[1], sources, times * dt * second, dt=dt * second)


def train(monitor: Any, dt: float, steps: int, count: int) -> numpy.ndarray:
    found = numpy.zeros((steps, count), bool)
    found[numpy.rint(monitor.t / second / dt).astype(int), monitor.i] = True
    return found


def agreement(found: numpy.ndarray, expected: numpy.ndarray) -> tuple[float, float]:
    """Which part of the expected spikes is found in the same step, and at most one step away."""
    near = found.copy()
    near[1:] |= found[:-1]
    near[:-1] |= found[1:]
    return (
        float((expected & found).sum() / expected.sum()),
        float((expected & near).sum() / expected.sum()),
    )


@pytest.mark.parametrize(("dt", "identical"), [(1e-3, 1.0), (1e-4, 0.9)])
@pytest.mark.parametrize("refractory", [0, 3])
def test_constant_input(dt: float, identical: float, refractory: int) -> None:
    r"""80 neurons for 0.5 s, driven by 1.1 to 5 thresholds.

    With steps of 1 ms all trains are the same, with 0.1 ms those of 75 neurons. What an interval of
    length :math:`n` may be off by: with a time constant of :math:`N` steps, roundings by 2^-17 of
    decay and bias move a potential by :math:`N 2^{-16}`, and it rises by :math:`(I - 1) / N` a step
    when it reaches the threshold; and the rounded factor is that of a time constant which is off by
    :math:`N 2^{-17}`, relatively.
    """
    currents = numpy.linspace(1.1, 5.0, 80)
    count, steps = len(currents), round(0.5 / dt)
    neurons, monitor = group(
        dt, count, "dv/dt = (drive - v) / tau : 1\ndrive : 1\ntau : second",
        refractory=(refractory + 1) * dt * second,
    )  # fmt: skip
    neurons.drive, neurons.tau = currents, TAU * second
    run(dt, steps, neurons, monitor)
    expected = train(monitor, dt, steps, count)
    sets = [parameters.lif(TAU, dt, bias=float(i), refractory=refractory) for i in currents]
    image = image_of(sets, numpy.zeros((count, count)), assignment=numpy.arange(count))
    found = CoreTwin(image).run(numpy.zeros((steps, 0), bool)).spikes
    assert expected.sum() > 4000
    assert (found == expected).all(axis=0).mean() >= identical
    constant = TAU / dt
    for n, current in enumerate(currents):
        ours, theirs = (numpy.flatnonzero(t[:, n]) for t in (found, expected))
        interval = theirs[1] - theirs[0]
        bound = constant**2 * 2**-16 / (current - 1) + interval * constant * 2**-17
        assert abs(ours[0] - theirs[0]) <= numpy.ceil(bound)
        assert numpy.abs(numpy.diff(ours) - interval).max() <= numpy.ceil(bound)


@pytest.mark.parametrize("tau_syn", [None, 8e-3])
def test_random_spikes(tau_syn: float | None) -> None:
    r"""20 neurons for 10 s, under Poisson-like spikes.

    99.97 % of their spikes are in the same step, with currents 99.5 %; after one that is not, they
    stay apart until a reset brings them together.

    A spike moves the potential at once, or a current that decays. In continuous time a current of 1
    after a spike, which decays by :math:`\alpha` in a step, drives the membrane in it by
    :math:`K = (\alpha - \beta) \tau_s / (\tau_s - \tau)`, where the core's current, constant in a
    step, does by :math:`1 - \beta`: the two are the same but for the size of a weight, 6 % here.
    """
    dt, steps, unit = 1e-3, 10_000, 1 / 16
    factor = numpy.exp(-dt / TAU)
    if tau_syn is None:
        equations, sets, shown = "", parameters.lif(TAU, dt, weight_unit=unit), factor
    else:
        equations = "\ndg/dt = -g / tau_syn : 1\ntau_syn : second"
        sets = parameters.cuba_lif(tau_syn, TAU, dt, weight_unit=unit)
        shown = (numpy.exp(-dt / tau_syn) - factor) * tau_syn / (tau_syn - TAU)
    drive, target = ("0", "v_post") if tau_syn is None else ("g", "g_post")
    weights = numpy.random.default_rng(1).integers(-60, 128, (30, 20))
    spikes = numpy.random.default_rng(2).random((steps, 30)) < 0.03
    neurons, monitor = group(dt, 20, f"dv/dt = ({drive} - v) / tau : 1\ntau : second{equations}")
    neurons.tau = TAU * second
    if tau_syn is not None:
        neurons.tau_syn = tau_syn * second
    source = generator(dt, spikes)
    synapses = brian2.Synapses(source, neurons, "w : 1", on_pre=f"{target} += w", dt=dt * second)
    synapses.connect()
    synapses.w = (weights * (sets["gain"] / 2**24) / shown).ravel()
    run(dt, steps, neurons, monitor, source, synapses)
    expected = train(monitor, dt, steps, 20)[1:]
    found = CoreTwin(image_of([sets], inputs=weights)).run(spikes).spikes[:-1]
    assert expected.sum() > 5000
    same, near = agreement(found, expected)
    assert same > 0.99
    assert near > 0.995


# Song, Miller and Abbott (2000): 20 ms, 0.5 % of the largest weight, depression 5 % stronger.
LARGEST = 1.0
UNIT = LARGEST / 127
RULE = TraceStdp(
    tau_plus=TAU, tau_minus=TAU, a_plus=0.005, a_minus=1.05 * 0.005, w_min=0.0, w_max=LARGEST
)
STDP_DT = 1e-3


def brian2_weights(
    arrived: numpy.ndarray, fired: numpy.ndarray, weights: numpy.ndarray
) -> numpy.ndarray:
    """Weights after trains of pre and post spikes; all pairs, as in Brian2's documentation."""
    sources, targets = generator(STDP_DT, arrived), generator(STDP_DT, fired)
    synapses = brian2.Synapses(
        sources, targets,
        """w : 1
        dx/dt = -x / tau_plus : 1 (event-driven)
        dy/dt = -y / tau_minus : 1 (event-driven)""",
        on_pre="x += 1; w = clip(w - a_minus * y, w_min, w_max)",
        on_post="y += 1; w = clip(w + a_plus * x, w_min, w_max)",
        namespace={
            "tau_plus": RULE.tau_plus * second, "tau_minus": RULE.tau_minus * second,
            "a_plus": RULE.a_plus, "a_minus": RULE.a_minus,
            # A weight of the core learns up to the next integer, and is delivered without fraction.
            "w_min": RULE.w_min, "w_max": RULE.w_max + UNIT * 255 / 256,
        },
        dt=STDP_DT * second,
    )  # fmt: skip
    synapses.connect()
    synapses.w = weights.ravel()
    run(STDP_DT, len(arrived), sources, targets, synapses)
    found: numpy.ndarray = numpy.asarray(synapses.w).reshape(weights.shape)
    return found


def test_window_of_stdp() -> None:
    """One pair of spikes at each lag: off by half a step of the weight, and 0.1 % of A+."""
    lags = numpy.arange(-100, 101)
    count, middle = len(lags), 150
    arrived, fired = numpy.zeros((2, 300, count), bool)
    arrived[middle], fired[middle + lags, range(count)] = True, True
    start = numpy.full((count, count), 60)
    before = start * UNIT
    expected = numpy.diag(brian2_weights(arrived, fired, before) - before)
    image = image_of(
        [parameters.superneuromat()], numpy.zeros((count, count)), start,
        learning=RULE.learning(STDP_DT, UNIT), input_plastic=numpy.ones((count, count), bool),
    )  # fmt: skip
    synapses = Synapses(image)
    for pre, post in zip(arrived, fired, strict=True):
        synapses.learn(numpy.concatenate((pre, numpy.zeros(count, bool))), post)
    fraction = 1 << WEIGHT_FRACTION_BITS
    found = numpy.diag(synapses.weights[:count] / fraction - start) * UNIT
    assert expected[lags == 0] == pytest.approx(RULE.a_plus)
    assert expected[lags == -1] == pytest.approx(-RULE.a_minus * numpy.exp(-1 / 20))
    error = numpy.abs(found - expected)
    assert error.max() <= UNIT / fraction / 2 + 0.001 * RULE.a_plus


@pytest.mark.parametrize("seconds", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_weights_that_learn_together(seconds: int) -> None:
    """A recurrent network on the core in which all synapses learn; Brian2 sees the same spikes.

    Each of the 20 input lines has spikes at 15 Hz, the neurons fire at 25 Hz. The error of a weight
    is a random walk of roundings by 1/512 of a weight unit: after 10 s it is 0.05 % of the largest
    weight at most and 0.01 % on average, where weights changed by 9 %. The tail of a trace, below
    half its time constant in steps, is a straight line to 0: after 100 s the error is 0.21 % at
    most.
    """
    steps, inputs, count = round(seconds / STDP_DT), 20, 8
    draw = numpy.random.default_rng(3)
    start = draw.integers(30, 100, (inputs + count, count))
    start[inputs:] //= 8
    sets = parameters.lif(TAU, STDP_DT, weight_unit=UNIT * 6, refractory=5)
    image = image_of(
        [sets], start[inputs:], start[:inputs], learning=RULE.learning(STDP_DT, UNIT),
        plastic=numpy.ones((count, count), bool), input_plastic=numpy.ones((inputs, count), bool),
    )  # fmt: skip
    spikes = draw.random((steps, inputs)) < 0.015
    twin = CoreTwin(image)
    fired = twin.run(spikes).spikes
    # A spike arrives in the step after the one in which it was fired.
    late = numpy.concatenate((numpy.zeros((1, count), bool), fired[:-1]))
    expected = brian2_weights(numpy.concatenate((spikes, late), axis=1), fired, start * UNIT)
    found = twin.synapses.weights / (1 << WEIGHT_FRACTION_BITS) * UNIT
    error, change = numpy.abs(found - expected), numpy.abs(expected - start * UNIT)
    assert change.mean() > 0.05
    assert error.max() <= (0.0015 if seconds == 10 else 0.0025) * LARGEST
    assert error.mean() <= (0.0003 if seconds == 10 else 0.0005) * LARGEST
