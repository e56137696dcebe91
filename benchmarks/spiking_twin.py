"""Steps per second of the twin, beside SuperNeuroMAT with the same network on the same machine.

    python benchmarks/spiking_twin.py

Each network is dense: every input line and every neuron reaches every neuron. Inputs have spikes in
a tenth of the steps. Both run the same neurons with the same weights, without and with
SuperNeuroMAT's STDP over 3 lags, and must fire the same spikes. Inputs of SuperNeuroMAT are neurons
that a spike makes fire, whose spikes arrive a step later.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy

from dyncc.arch.neurocorex import CoreImage, CoreSpec, parameter_sets
from dyncc.spiking import parameters
from dyncc.spiking.learning_parameters import LagStdp
from dyncc_models.spiking.twin import CoreTwin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from superneuromat import SNN

SIZES = ((96, 96, 2000), (512, 64, 400))
UNIT = 1 / 256
RULE = LagStdp(apos=(24 * UNIT, 12 * UNIT, 6 * UNIT), aneg=(), w_min=-127, w_max=127)
THRESHOLD, LEAK, REFRACTORY = 15.0, 1.0, 3


def main() -> None:
    """Print a line for each size, without and with learning."""
    lines = ["neurons inputs learning  spikes/step  twin, steps/s  SuperNeuroMAT, steps/s  ratio"]
    for neurons, inputs, steps in SIZES:
        draw = numpy.random.default_rng(0)
        weights = draw.integers(-4, 5, (inputs + neurons, neurons)).astype(float)
        spikes = draw.random((steps, inputs)) < 0.1
        for learning in (False, True):
            ours, found = run_twin(weights, spikes, learning)
            theirs, expected = run_superneuromat(weights, spikes, learning)
            if not (found == expected).all():
                raise SystemExit("the twin and SuperNeuroMAT fire different spikes")
            lines.append(
                f"{neurons:7} {inputs:6} {'on' if learning else 'off':>8} "
                f"{found.sum() / steps:12.1f} {steps / ours:14,.0f} {steps / theirs:23,.0f} "
                f"{theirs / ours:6.1f}"
            )
    print("\n".join(lines))  # noqa: T201


def run_twin(weights: Any, spikes: Any, learning: bool) -> tuple[float, Any]:
    """Seconds that the twin takes, and spikes of its neurons (steps, neurons)."""
    inputs, neurons = spikes.shape[1], weights.shape[1]
    spec = CoreSpec(
        neurons, inputs, weight_bits=16, state_bits=32, parameter_sets=1, learning=learning
    )
    sets = parameters.superneuromat(
        LEAK, THRESHOLD, refractory=REFRACTORY, weight_unit=UNIT, state_bits=32
    )
    masks = [numpy.full((size, neurons), learning) for size in (inputs, neurons)]
    whole = (weights / UNIT).astype(numpy.int64)
    twin = CoreTwin(
        CoreImage(
            spec, parameter_sets(spec, [sets]), numpy.zeros(neurons, numpy.int64),
            whole[:inputs], whole[inputs:], RULE.learning(1.0, UNIT) if learning else None, *masks,
        )
    )  # fmt: skip
    start = time.perf_counter()
    fired = twin.run(spikes).spikes
    return time.perf_counter() - start, fired


def run_superneuromat(weights: Any, spikes: Any, learning: bool) -> tuple[float, Any]:
    """Seconds that SuperNeuroMAT takes, and spikes of the neurons that are no inputs."""
    steps, inputs = spikes.shape
    snn = SNN()
    for source in range(len(weights)):
        known = {} if source < inputs else {"leak": LEAK, "refractory_period": REFRACTORY}
        snn.create_neuron(threshold=0.5 if source < inputs else THRESHOLD, **known)
    for source, target in numpy.ndindex(weights.shape):
        snn.create_synapse(
            source, inputs + target, weight=weights[source, target], stdp_enabled=learning
        )
    for tick, source in numpy.argwhere(spikes):
        snn.add_spike(int(tick), int(source), 1.0)
    if learning:
        snn.stdp_setup(Apos=list(RULE.apos), positive_update=True, negative_update=False)
    # Inputs reach neurons a tick late.
    snn.simulate(1, use="cpu")
    start = time.perf_counter()
    snn.simulate(steps, use="cpu")
    return time.perf_counter() - start, numpy.asarray(snn.spike_train)[-steps:, inputs:] > 0


if __name__ == "__main__":
    main()
