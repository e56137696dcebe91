r"""The learning curve of STDP: how a pair of spikes changes a weight, by the time between them.

One input line sends a spike, and each neuron is made to fire at another time before or after it,
by a line of its own whose weight is strong and fixed. The synapses from the first line learn, with
the parameters of Song, Miller and Abbott (Nature Neuroscience 3:919, 2000): time constants of
20 ms, :math:`A_+` of 0.5 % of the largest weight, :math:`A_- = 1.05\, A_+`. So one run gives the
whole window

.. math:: \Delta w = A_+ e^{-\Delta / \tau_+} \; (\Delta \ge 0), \quad
          -A_- e^{\Delta / \tau_-} \; (\Delta < 0).

Weights are int8 and learn in 1/256 of their unit, so that changes are multiples of
:math:`1 / (127 \cdot 256) = 3.1 \cdot 10^{-5}` of the largest weight.
"""

from __future__ import annotations

import numpy

from dyncc.spiking import Network, TraceStdp, one_to_one, plots
from dyncc_models.spiking.examples.result import Result
from dyncc_models.spiking.examples.running import running

DT = 1e-3
LONGEST = 60
RULE = TraceStdp(
    w_min=0.0, w_max=1.0, tau_plus=20e-3, tau_minus=20e-3, a_plus=0.005, a_minus=1.05 * 0.005,
    spikes_held=1,
)  # fmt: skip


def run(engine: str = "twin", quick: bool = False) -> Result:
    """Measure the window.

    Parameters
    ----------
    engine
        See `dyncc.spiking.open_core`.
    quick
        Every tenth lag only.
    """
    lags = numpy.arange(-LONGEST, LONGEST + 1, 10 if quick else 1)
    network = Network(DT)
    network.input("pre", 1)
    network.input("teachers", len(lags))
    # Neurons forget at once, so that only teachers make them fire.
    network.population(
        "post", "superneuromat", len(lags), threshold=0.75, leak=numpy.inf, weight_unit=1 / 127
    )
    network.connect("pre", "post", numpy.full((1, len(lags)), 0.5), plastic=True)
    network.connect("teachers", "post", one_to_one(1.0))
    network.output("post", "post")
    network.learn(RULE)

    steps = 2 * LONGEST + 1
    pre = numpy.zeros((steps, 1), bool)
    pre[LONGEST] = True
    teachers = numpy.arange(steps)[:, None] == LONGEST + lags
    with running(network, engine, weight_bits=8) as (program, core):
        before = program.weights_of("pre", "post")
        program.run_on(core, pre=pre, teachers=teachers)
        changes = (program.weights_of("pre", "post", core.weights()) - before)[0]

    times = lags * DT
    expected = numpy.where(
        lags >= 0,
        RULE.a_plus * numpy.exp(-times / RULE.tau_plus),
        -RULE.a_minus * numpy.exp(times / RULE.tau_minus),
    )
    deviation = float(numpy.abs(changes - expected).max())
    figures: dict[str, float | str] = {
        "pairs": len(lags),
        "largest_change": float(numpy.abs(changes).max()),
        "largest_deviation": deviation,
        "deviation_of_a_plus": deviation / RULE.a_plus,
    }
    text = (
        f"{len(lags)} pairs of spikes, {lags[0]} to {lags[-1]} ms apart. The change of a weight "
        f"deviates from the exponential window by at most {deviation:.1e} of the largest weight, "
        f"that is **{deviation / RULE.a_plus:.2%} of A+**."
    )
    return Result(figures, text, lambda: plots.stdp_window(lags, changes, expected))
