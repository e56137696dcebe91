r"""Float reference models of spiking neurons, as pure functions of input, state and parameters.

The equations are those of NIR (Pedersen et al., "Neuromorphic intermediate representation",
Nature Communications 15:8122, 2024), discretised in one of two ways with step :math:`\Delta t`:

- *Euler*: :math:`k = \Delta t / \tau`
- *exact*: :math:`k = 1 - e^{-\Delta t / \tau}`, exact for input that is constant in a step.

Tensors have shape (..., neurons). Spikes are tensors of zeros and ones of the state's dtype.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def decay(tau: Tensor | float, dt: float, method: str = "exact") -> Tensor:
    r"""Factor :math:`1 - k` by which a state decays in a step.

    Parameters
    ----------
    tau
        Time constant in seconds.
    dt
        Step in seconds.
    method
        ``exact`` or ``euler``.

    Raises
    ------
    ValueError
        If a time constant is not positive, or an Euler step is longer than one.
    """
    constants = torch.as_tensor(tau, dtype=torch.float64)
    if not bool((constants > 0).all()) or dt <= 0:
        raise ValueError("time constants and the step must be positive")
    if method == "exact":
        return torch.exp(-dt / constants)
    if method != "euler":
        raise ValueError(f"method must be exact or euler, not {method!r}")
    if bool((constants < dt).any()):
        raise ValueError(
            f"a time constant of {float(constants.min()):g} s is below the step {dt:g} s"
        )
    return 1.0 - dt / constants


@dataclass(frozen=True)
class Lif:
    r"""Leaky integrate-and-fire: :math:`\tau \dot v = (v_{leak} - v) + R I`.

    A spike, :math:`z = v > \theta`, sets :math:`v` to :math:`v_{reset}`, or subtracts
    :math:`\theta` from it if `subtract`.

    Attributes
    ----------
    beta
        Factor :math:`1 - k`, from `decay`.
    resistance, v_leak, threshold, v_reset
        As in NIR.
    """

    beta: Tensor
    resistance: Tensor | float = 1.0
    v_leak: Tensor | float = 0.0
    threshold: Tensor | float = 1.0
    v_reset: Tensor | float = 0.0
    subtract: bool = False

    def step(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One step from `v` under `current`; returns spikes and the potential after reset."""
        v = (
            self.v_leak
            + self.beta * (v - self.v_leak)
            + (1 - self.beta) * self.resistance * current
        )
        return fire(v, self.threshold, self.v_reset, self.subtract)


@dataclass(frozen=True)
class CubaLif:
    r"""Current-based LIF: :math:`\tau_{syn} \dot I = -I + w_{in} S`, and :math:`I` drives a `Lif`.

    Attributes
    ----------
    alpha
        Factor :math:`1 - k_{syn}` of the current.
    w_in
        Weight of the input; the current gains :math:`k_{syn} w_{in} S` in a step.
    membrane
        The `Lif` that the current drives.
    """

    alpha: Tensor
    membrane: Lif
    w_in: Tensor | float = 1.0

    def step(self, current: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """One step from (I, v); returns spikes, I and v."""
        i, v = state
        i = self.alpha * i + (1 - self.alpha) * self.w_in * current
        spikes, v = self.membrane.step(i, v)
        return spikes, i, v


@dataclass(frozen=True)
class If:
    r"""Integrate-and-fire: :math:`\dot v = R I`.

    Attributes
    ----------
    dt
        Step in seconds.
    """

    dt: float
    resistance: Tensor | float = 1.0
    threshold: Tensor | float = 1.0
    v_reset: Tensor | float = 0.0
    subtract: bool = False

    def step(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One step from `v` under `current`; returns spikes and the potential after reset."""
        v = v + self.dt * self.resistance * current
        return fire(v, self.threshold, self.v_reset, self.subtract)


@dataclass(frozen=True)
class Li:
    r"""Leaky integrator: a `Lif` that never fires."""

    beta: Tensor
    resistance: Tensor | float = 1.0
    v_leak: Tensor | float = 0.0

    def step(self, current: Tensor, v: Tensor) -> Tensor:
        """One step from `v` under `current`; returns the potential."""
        gain = (1 - self.beta) * self.resistance
        return self.v_leak + self.beta * (v - self.v_leak) + gain * current


def fire(
    v: Tensor, threshold: Tensor | float, v_reset: Tensor | float, subtract: bool
) -> tuple[Tensor, Tensor]:
    """Spikes of `v` strictly above the threshold, and `v` after reset."""
    above = v > threshold
    after = v - threshold if subtract else torch.as_tensor(v_reset, dtype=v.dtype).expand_as(v)
    return above.to(v.dtype), torch.where(above, after, v)


def euler_error(tau: float, dt: float) -> float:
    """Relative difference of the Euler and the exact factor ``k``, about ``dt / (2 tau)``."""
    return (dt / tau) / -math.expm1(-dt / tau) - 1.0
