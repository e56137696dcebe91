"""The twin against SuperNeuroMAT 3.5, with delays and STDP: equal tick for tick.

Equality is exact because all values are multiples of 1/256, the weight unit here, so that delivered
weights lose nothing. It is inherent that

- SuperNeuroMAT's sum over lags grows with its history: in its tick k it adds the first k
  ``Aneg`` only, where the core adds all from its first step on. So SuperNeuroMAT does as many
  silent ticks as there are lags before learning is switched on; else weights would differ by
  ``sum((k + 1) * Aneg[k])`` from then on (`test_drift_of_the_first_ticks`).
- The core's weights have bounds and SuperNeuroMAT's have none: amounts are chosen so that none is
  reached.
- A delivered weight of the core is an integer: amounts that are no multiples of the weight unit add
  up below it, and are delivered once they reach it (`test_amounts_below_the_weight_unit`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spiking.cores import image_of

from dyncc.arch.neurocorex import WEIGHT_FRACTION_BITS
from dyncc.spiking import parameters
from dyncc.spiking.learning_parameters import LagStdp
from dyncc_models.spiking.twin import CoreTwin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from superneuromat import SNN

UNIT = 1 / 256
STEPS = 60


@dataclass
class Model:
    """A network of SuperNeuroMAT that has seen as many silent ticks as it has lags."""

    snn: Any
    synapses: dict[tuple[int, int], Any]
    rule: LagStdp
    spikes: numpy.ndarray
    amounts: numpy.ndarray


def random_model(seed: int, shared_delays: bool) -> Model:
    draw = numpy.random.default_rng(seed)
    count = int(draw.integers(2, 8))
    snn = SNN()
    for _ in range(count):
        reset = -draw.integers(0, 512) * UNIT
        snn.create_neuron(
            threshold=float(draw.integers(0, 1024) * UNIT),
            leak=float(draw.choice([0.0, numpy.inf, draw.integers(1, 512) * UNIT])),
            reset_state=float(reset), initial_state=float(reset),
            refractory_period=int(draw.integers(0, 4)),
        )  # fmt: skip
    axonal = draw.integers(1, 5, count)
    synapses = {}
    for pre, post in numpy.ndindex(count, count):
        if draw.random() < 0.6 or not synapses:
            synapses[pre, post] = snn.create_synapse(
                pre, post,
                weight=float(draw.integers(-1024, 2048) * UNIT),
                delay=int(axonal[pre] if shared_delays else draw.integers(1, 5)),
                stdp_enabled=bool(draw.random() < 0.7 or not synapses),
            )  # fmt: skip
    lags = int(draw.integers(1, 9))
    kinds = [(True, True), (True, False), (False, True)][int(draw.integers(0, 3))]
    apos = tuple((draw.integers(0, 24, lags) * UNIT).tolist()) if kinds[0] else ()
    aneg = tuple((-draw.integers(0, 6, lags) * UNIT).tolist()) if kinds[1] else ()
    snn.stdp_setup(
        Apos=list(apos) if apos else None, Aneg=list(aneg) if aneg else None,
        positive_update=kinds[0], negative_update=kinds[1],
    )  # fmt: skip
    snn.stdp = False
    snn.simulate(lags, use="cpu")
    assert not numpy.any(snn.spike_train)
    snn.stdp = True
    spikes = draw.random((STEPS, count)) < 0.3
    amounts = draw.integers(1, 1280, count)
    for t, n in numpy.argwhere(spikes):
        snn.add_spike(int(t), int(n), float(amounts[n] * UNIT))
    # Bounds as wide as a core's weights are.
    rule = LagStdp(apos=apos, aneg=aneg, w_min=-127.0, w_max=127.0)
    return Model(snn, synapses, rule, spikes, amounts)


def twin_of(model: Model, weights: Any, plastic: Any, delays: Any) -> CoreTwin:
    """A core with the first neurons of a model, as many as there are `delays`."""
    snn, count = model.snn, len(delays)
    sets = [
        parameters.superneuromat(
            snn.neuron_leaks[n], snn.neuron_thresholds[n], snn.neuron_reset_states[n],
            int(snn.neuron_refractory_periods[n]), weight_unit=UNIT, state_bits=32,
        ) | {"delay": int(delays[n]) - 1}
        for n in range(count)
    ]  # fmt: skip
    lines = len(model.amounts)
    ingoing = numpy.zeros((lines, count), int)
    ingoing[range(lines), range(lines)] = model.amounts
    return CoreTwin(
        image_of(
            sets, numpy.rint(weights / UNIT), ingoing, numpy.arange(count),
            model.rule.learning(1.0, UNIT), plastic, weight_bits=16, state_bits=32,
            max_delay=int(max(delays)),
        )
    )  # fmt: skip


def recurrent_weights(twin: CoreTwin) -> numpy.ndarray:
    synapses = twin.synapses
    found = synapses.weights + numpy.where(synapses.plastic, synapses.drift, 0)
    return found[twin.spec.inputs :] * (UNIT / (1 << WEIGHT_FRACTION_BITS))


def compare(model: Model, twin: CoreTwin, weights: Callable[[], numpy.ndarray]) -> None:
    """Run both tick by tick; `weights` gives SuperNeuroMAT's as a matrix."""
    snn, count = model.snn, twin.spec.neurons
    for t, row in enumerate(model.spikes):
        snn.simulate(1, use="cpu")
        fired = twin.step(row)
        assert fired.tolist() == [bool(spike) for spike in snn.spike_train[-1][:count]], t
        assert (twin.v / (1 << 16)).tolist() == list(snn.neuron_states[:count]), t
        assert (recurrent_weights(twin) == weights()).all(), t
    assert twin.counters.steps == STEPS


def axonal(seed: int) -> tuple[Model, CoreTwin, Callable[[], numpy.ndarray]]:
    """A model in which all synapses of a neuron share its delay, its twin, and its weights."""
    model = random_model(seed, shared_delays=True)
    count = len(model.amounts)
    plastic = numpy.zeros((count, count), bool)
    delays = numpy.ones(count, int)
    for (pre, post), synapse in model.synapses.items():
        plastic[pre, post] = synapse.stdp_enabled
        delays[pre] = abs(synapse.delay)

    def weights() -> numpy.ndarray:
        found = numpy.zeros((count, count))
        for place, synapse in model.synapses.items():
            found[place] = synapse.weight
        return found

    return model, twin_of(model, weights(), plastic, delays), weights


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_synapses_of_a_neuron_share_its_delay(seed: int) -> None:
    """Delays of axons on the core, chains of relay neurons in SuperNeuroMAT."""
    compare(*axonal(seed))


def test_random_networks_are_active() -> None:
    """What the comparisons see: spikes of inputs and of synapses, weights that grow and shrink."""
    spikes, driven, grown, shrunk = 0, 0, 0, 0
    for seed in range(30):
        model, twin, _ = axonal(seed)
        before = recurrent_weights(twin)
        fired = twin.run(model.spikes).spikes
        change = recurrent_weights(twin) - before
        spikes, driven = spikes + fired.sum(), driven + (fired & ~model.spikes).sum()
        grown, shrunk = grown + (change > 0.25).sum(), shrunk + (change < -0.25).sum()
    assert spikes > 1000
    assert driven > 200
    assert min(grown, shrunk) > 50


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_synapses_with_delays_of_their_own(seed: int) -> None:
    """Chains of relay neurons on both."""
    model = random_model(seed, shared_delays=False)
    snn = model.snn
    twin = twin_of(
        model, numpy.asarray(snn.weight_mat()), numpy.asarray(snn.stdp_enabled_mat(), bool),
        numpy.ones(snn.num_neurons, int),
    )  # fmt: skip
    compare(model, twin, lambda: numpy.asarray(snn.weight_mat()))


def pair(apos: list[float], aneg: list[float], weight: float) -> tuple[Any, CoreTwin]:
    """Two neurons that fire whenever told so, with one plastic synapse."""
    snn = SNN()
    for _ in range(2):
        snn.create_neuron(threshold=100.0)
    synapse = snn.create_synapse(0, 1, weight=weight, stdp_enabled=True)
    snn.stdp_setup(Apos=apos, Aneg=aneg)
    rule = LagStdp(apos=tuple(apos), aneg=tuple(aneg), w_min=-127.0, w_max=127.0)
    model = Model(snn, {(0, 1): synapse}, rule, numpy.zeros((0, 2), bool), numpy.full(2, 30000))
    plastic = numpy.array([[False, True], [False, False]])
    return model, twin_of(model, plastic * weight, plastic, [1, 1])


def test_drift_of_the_first_ticks() -> None:
    aneg = [-3 * UNIT, -5 * UNIT, -7 * UNIT]
    model, twin = pair([0.0, 0.0, 0.0], aneg, 1.0)
    for t in range(10):
        model.snn.simulate(1, use="cpu")
        twin.step([False, False])
        missing = sum(min(t + 1, k + 1) * amount for k, amount in enumerate(aneg))
        assert recurrent_weights(twin)[0, 1] - model.snn.synapses[0].weight == missing


@pytest.mark.parametrize("pairs", [1, 3, 4, 9])
def test_amounts_below_the_weight_unit(pairs: int) -> None:
    """A quarter of a unit for each pair: the core knows it exactly, and delivers whole units."""
    model, twin = pair([UNIT / 4], [0.0], 10 * UNIT)
    for spikes in ([True, False], [False, True]) * pairs:
        for n in numpy.flatnonzero(spikes):
            model.snn.add_spike(0, int(n), 128.0)
        model.snn.simulate(1, use="cpu")
        twin.step(numpy.array(spikes))
    weight = model.snn.synapses[0].weight
    assert weight == (10 + pairs / 4) * UNIT == recurrent_weights(twin)[0, 1]
    assert twin.synapses.delivered[2, 1] == 10 + pairs // 4
