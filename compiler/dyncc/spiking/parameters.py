r"""Parameter sets of the core for the neurons of NIR, SuperNeuroMAT and NeuroCoreX.

Potentials are scaled so that the core's weights can be integers: `weight_unit` is the input that a
delivered weight of one stands for.
"""

from __future__ import annotations

import math

from dyncc.arch.fixed import quantise
from dyncc.arch.neurocorex import (
    CURRENT_FRACTION_BITS,
    FACTOR_BITS,
    STATE_FRACTION_BITS,
    Dynamics,
    Reset,
)
from dyncc.core.errors import ConfigError

ParameterSet = dict[str, int]


def state(value: float) -> int:
    """A potential of the core, Q.16."""
    return int(quantise(value, STATE_FRACTION_BITS))


def _gain(value: float) -> int:
    return int(quantise(value, CURRENT_FRACTION_BITS))


def _factor(tau: float, dt: float, method: str) -> tuple[int, float]:
    """Decay factor of the core, and what it leaves for the input.

    The second is one minus the *rounded* factor: so a constant input leads to the same state as
    with the exact one, and firing rates do not drift.
    """
    if not (tau > 0 and dt > 0):
        raise ConfigError(f"time constants and the step must be positive, not {tau:g} and {dt:g}")
    if method == "euler" and tau < dt:
        raise ConfigError(f"an Euler step of {dt:g} s is longer than a time constant of {tau:g} s")
    real = math.exp(-dt / tau) if method == "exact" else 1.0 - dt / tau
    found = int(quantise(real, FACTOR_BITS))
    return found, 1.0 - found / (1 << FACTOR_BITS)


def lif(
    tau: float,
    dt: float,
    *,
    resistance: float = 1.0,
    v_leak: float = 0.0,
    threshold: float = 1.0,
    v_reset: float = 0.0,
    subtract: bool = False,
    refractory: int = 0,
    bias: float = 0.0,
    weight_unit: float = 1.0,
    method: str = "exact",
) -> ParameterSet:
    """A LIF neuron of NIR, whose input current are the weights, plus `bias`."""
    beta, share = _factor(tau, dt, method)
    return {
        "dynamics": Dynamics.EXPONENTIAL,
        "decay_v": beta,
        "couple": 1 << FACTOR_BITS,
        "gain": _gain(share * resistance * weight_unit),
        "bias": state(share * resistance * bias),
        "rest": state(v_leak),
        "threshold": state(threshold),
        "reset_to": state(v_reset),
        "reset": Reset.BY_SUBTRACTION if subtract else Reset.TO_VALUE,
        "refractory": refractory,
        "fires": 1,
    }


def cuba_lif(
    tau_syn: float,
    tau: float,
    dt: float,
    *,
    w_in: float = 1.0,
    resistance: float = 1.0,
    v_leak: float = 0.0,
    threshold: float = 1.0,
    v_reset: float = 0.0,
    subtract: bool = False,
    refractory: int = 0,
    bias: float = 0.0,
    weight_unit: float = 1.0,
    method: str = "exact",
) -> ParameterSet:
    """A CubaLIF neuron of NIR.

    Its membrane gets the current to which `bias` leads in the end; the part of it that is not yet
    there is a current of ``-bias`` at the start, in the units of the parameter set.
    """
    alpha, share = _factor(tau_syn, dt, method)
    if bias and not share:
        raise ConfigError(f"a bias of {bias:g} never ends to grow with a tau_syn of {tau_syn:g} s")
    found = lif(
        tau,
        dt,
        resistance=share * w_in * resistance,
        v_leak=v_leak,
        threshold=threshold,
        v_reset=v_reset,
        subtract=subtract,
        refractory=refractory,
        bias=bias / share if bias else 0.0,
        weight_unit=weight_unit,
        method=method,
    )
    return found | {"decay_i": alpha}


def integrate_and_fire(
    dt: float,
    *,
    resistance: float = 1.0,
    threshold: float = 1.0,
    v_reset: float = 0.0,
    subtract: bool = False,
    bias: float = 0.0,
    weight_unit: float = 1.0,
) -> ParameterSet:
    """An IF neuron of NIR."""
    found = lif(math.inf, dt, threshold=threshold, v_reset=v_reset, subtract=subtract)
    return found | {
        "gain": _gain(dt * resistance * weight_unit),
        "bias": state(dt * resistance * bias),
    }


def integrator(
    dt: float, *, resistance: float = 1.0, bias: float = 0.0, weight_unit: float = 1.0
) -> ParameterSet:
    """An integrator of NIR."""
    found = integrate_and_fire(dt, resistance=resistance, bias=bias, weight_unit=weight_unit)
    return found | {"fires": 0}


def leaky_integrator(
    tau: float,
    dt: float,
    *,
    resistance: float = 1.0,
    v_leak: float = 0.0,
    bias: float = 0.0,
    weight_unit: float = 1.0,
    method: str = "exact",
) -> ParameterSet:
    """A leaky integrator of NIR."""
    found = lif(
        tau,
        dt,
        resistance=resistance,
        v_leak=v_leak,
        bias=bias,
        weight_unit=weight_unit,
        method=method,
    )
    return found | {"fires": 0}


def superneuromat(
    leak: float = 0.0,
    threshold: float = 0.0,
    reset_state: float = 0.0,
    refractory: int = 0,
    weight_unit: float = 1.0,
    state_bits: int = 24,
) -> ParameterSet:
    """A neuron of SuperNeuroMAT (Date et al., ICONS 2023); a leak of infinity forgets at once."""
    largest = (1 << state_bits) - 1
    return {
        "dynamics": Dynamics.LINEAR_CLAMPED,
        "couple": 1 << FACTOR_BITS,
        "gain": _gain(weight_unit),
        "leak": min(state(leak), largest) if math.isfinite(leak) else largest,
        "threshold": state(threshold),
        "reset_to": state(reset_state),
        "refractory": refractory,
        "fires": 1,
    }


def neurocorex(
    bias: float = 0.0,
    leak: float = 0.0,
    threshold: float = 1.0,
    refractory: int = 0,
    weight_unit: float = 1.0,
) -> ParameterSet:
    """A neuron of NeuroCoreX as published: linear leak without a bound, reset to zero."""
    return {
        "dynamics": Dynamics.LINEAR,
        "couple": 1 << FACTOR_BITS,
        "gain": _gain(weight_unit),
        "bias": state(bias),
        "leak": state(leak),
        "threshold": state(threshold),
        "refractory": refractory,
        "fires": 1,
    }
