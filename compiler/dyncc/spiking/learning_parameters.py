"""Learning rules in physical units, and the registers of a core that stand for them.

Rules are independent of a core: `learning` gives its registers, for a step `dt` in seconds and a
`weight_unit`, what a weight of one on the core stands for. Weight changes are rounded to 1/256 of
the weight unit. The equations are those of `dyncc_models.spiking.stdp`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dyncc.arch.neurocorex import (
    FACTOR_BITS,
    LAGS,
    TRACE_BITS,
    TRACE_FRACTION_BITS,
    WEIGHT_FRACTION_BITS,
    Learning,
    Rule,
)
from dyncc.core.errors import ConfigError

_TRACE_ONE = 1 << TRACE_FRACTION_BITS
_TRACE_MAX = (1 << TRACE_BITS) - 1
_FINEST = 1 << WEIGHT_FRACTION_BITS


@dataclass(frozen=True, kw_only=True)
class _Bounded:
    """A rule with bounds of plastic weights, in units of the network's weights."""

    w_min: float
    w_max: float

    def __post_init__(self) -> None:
        if not -math.inf < self.w_min <= self.w_max < math.inf:
            raise ConfigError(
                f"w_min must not be above w_max, and both be finite, "
                f"not {self.w_min:g} and {self.w_max:g}"
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest plastic weight."""
        return self.w_min, self.w_max

    @property
    def amounts(self) -> tuple[float, ...]:
        """Changes of weights that are delivered exactly if they are multiples of the unit."""
        return ()

    def _limits(self, weight_unit: float) -> tuple[int, int]:
        if not 0 < weight_unit < math.inf:
            raise ConfigError(f"the weight unit must be positive, not {weight_unit:g}")
        return round(self.w_min / weight_unit), round(self.w_max / weight_unit)


@dataclass(frozen=True, kw_only=True)
class TraceStdp(_Bounded):
    r"""STDP of all pairs of spikes, with exponential windows (Song, Miller and Abbott, 2000).

    A pair :math:`\Delta` apart, post minus pre, changes a weight by
    :math:`A_+ e^{-\Delta / \tau_+}`, or :math:`-A_- e^{\Delta / \tau_-}` if :math:`\Delta < 0`.

    Attributes
    ----------
    w_min, w_max
        Bounds of plastic weights, in units of the network's weights.
    tau_plus, tau_minus
        Time constants in seconds.
    a_plus, a_minus
        Amplitudes, 0 or more, in units of the network's weights.
    spikes_held
        Spikes at once that a trace holds before it saturates, 1..16. Fewer make the tails of the
        windows more precise.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    tau_plus: float
    tau_minus: float
    a_plus: float
    a_minus: float
    spikes_held: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_amplitudes(self.a_plus, self.a_minus)
        if not 1 <= self.spikes_held <= 16:
            raise ConfigError(f"spikes_held must be in 1..16, not {self.spikes_held}")

    def learning(self, dt: float, weight_unit: float) -> Learning:
        """Registers of a core.

        Raises
        ------
        ConfigError
            If a time constant is shorter than the step, or too long for the core to see it decay,
            or an amplitude is too large or too small for the weight unit.
        """
        low, high = self._limits(weight_unit)
        bump = _TRACE_MAX // self.spikes_held
        scale = bump / _TRACE_ONE
        return Learning(
            decay_pre=_decay("tau_plus", self.tau_plus, dt),
            decay_post=_decay("tau_minus", self.tau_minus, dt),
            bump_pre=bump,
            bump_post=bump,
            rate_plus=_rate("a_plus", self.a_plus, weight_unit, scale),
            rate_minus=_rate("a_minus", self.a_minus, weight_unit, scale),
            rule=Rule.TRACES,
            weight_min=low,
            weight_max=high,
        )


@dataclass(frozen=True, kw_only=True)
class WindowStdp(_Bounded):
    r"""STDP of nearest pairs of spikes, with rectangular windows (NeuroCoreX as published).

    A pair :math:`\Delta` apart, post minus pre, changes a weight by :math:`A_+` if
    :math:`0 \leq \Delta < T_+`, and by :math:`-A_-` if :math:`-T_- \leq \Delta < 0`.

    Attributes
    ----------
    w_min, w_max
        Bounds of plastic weights, in units of the network's weights.
    window_plus, window_minus
        :math:`T_+` and :math:`T_-` in seconds, rounded to whole steps.
    a_plus, a_minus
        Amplitudes, 0 or more, in units of the network's weights.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    window_plus: float
    window_minus: float
    a_plus: float
    a_minus: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_amplitudes(self.a_plus, self.a_minus)

    def learning(self, dt: float, weight_unit: float) -> Learning:
        """Registers of a core.

        Raises
        ------
        ConfigError
            If a window is shorter than a step, or longer than the core counts, or an amplitude is
            too large or too small for the weight unit.
        """
        low, high = self._limits(weight_unit)
        return Learning(
            bump_pre=_window("window_plus", self.window_plus, dt),
            bump_post=_window("window_minus", self.window_minus, dt),
            rate_plus=_rate("a_plus", self.a_plus, weight_unit, 1.0),
            rate_minus=_rate("a_minus", self.a_minus, weight_unit, 1.0),
            rule=Rule.WINDOWS,
            weight_min=low,
            weight_max=high,
        )


@dataclass(frozen=True, kw_only=True)
class LagStdp(_Bounded):
    """STDP with an amount for each lag: SuperNeuroMAT's rule (Date et al., ICONS 2023).

    In each step a weight changes by ``apos[k]`` if the neuron fires and the synapse's source did
    ``k + 1`` steps before, and by ``aneg[k]`` otherwise, summed over `k`.

    SuperNeuroMAT adds ``aneg[k]`` from its tick ``k + 1`` on only, the core from the first step on.

    Attributes
    ----------
    w_min, w_max
        Bounds of plastic weights, in units of the network's weights; SuperNeuroMAT has none.
    apos, aneg
        In units of the network's weights; of the same length, or one of them empty.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    apos: tuple[float, ...]
    aneg: tuple[float, ...]

    @property
    def amounts(self) -> tuple[float, ...]:
        """Changes of weights that are delivered exactly if they are multiples of the unit."""
        return (*self.apos, *self.aneg)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.apos and self.aneg and len(self.apos) != len(self.aneg):
            raise ConfigError(
                f"apos and aneg must have the same length, not {len(self.apos)} and "
                f"{len(self.aneg)}"
            )
        longest = max(len(self.apos), len(self.aneg))
        if longest > LAGS:
            raise ConfigError(f"the core looks back {LAGS} steps, not {longest}")
        if not all(map(math.isfinite, (*self.apos, *self.aneg))):
            raise ConfigError("apos and aneg must be finite")

    def learning(self, dt: float, weight_unit: float) -> Learning:
        """Registers of a core; `dt` has no part in it.

        Raises
        ------
        ConfigError
            If an amount is too small for the weight unit.
        """
        low, high = self._limits(weight_unit)
        longest = max(len(self.apos), len(self.aneg))
        apos = (*self.apos, *(0.0,) * longest)[:longest]
        aneg = (*self.aneg, *(0.0,) * longest)[:longest]
        return Learning(
            rule=Rule.LAGS,
            lags=tuple(
                _amount(f"apos[{lag}] - aneg[{lag}]", plus - minus, weight_unit)
                for lag, (plus, minus) in enumerate(zip(apos, aneg, strict=True))
            ),
            drift=_amount("the sum of aneg", math.fsum(aneg), weight_unit),
            weight_min=low,
            weight_max=high,
        )


def _check_amplitudes(a_plus: float, a_minus: float) -> None:
    for name, value in (("a_plus", a_plus), ("a_minus", a_minus)):
        if not 0 <= value < math.inf:
            raise ConfigError(f"{name} must be 0 or more, not {value:g}")


def _decay(name: str, tau: float, dt: float) -> int:
    """Factor of a trace in a step, Q.16."""
    if not (0 < dt < math.inf and tau >= dt):
        raise ConfigError(
            f"{name} of {tau:g} s is shorter than the step of {dt:g} s",
            hint="Choose a shorter step.",
        )
    one = 1 << FACTOR_BITS
    found = round(one * math.exp(-dt / tau))
    if found == one:
        raise ConfigError(
            f"{name} of {tau:g} s is {tau / dt:g} steps, and the core's traces decay over "
            f"{2 * one} at most",
            hint="Choose a longer step.",
        )
    return found


def _window(name: str, window: float, dt: float) -> int:
    """Steps of a window."""
    if not (0 < dt < math.inf and window >= dt):
        raise ConfigError(
            f"{name} of {window:g} s is shorter than the step of {dt:g} s",
            hint="Choose a shorter step.",
        )
    if window / dt >= _TRACE_MAX + 0.5:
        raise ConfigError(
            f"{name} of {window:g} s is {window / dt:g} steps, and the core counts {_TRACE_MAX}",
            hint="Choose a longer step.",
        )
    return round(window / dt)


def _rate(name: str, amplitude: float, weight_unit: float, scale: float) -> int:
    """Learning rate, Q.12, of an amplitude that a trace of `scale` is to give."""
    units = amplitude / weight_unit
    found = round(units / scale * _TRACE_ONE)
    largest = _TRACE_MAX * scale / _TRACE_ONE
    if found > _TRACE_MAX:
        raise ConfigError(
            f"{name} of {amplitude:g} is {units:g} units of weight, and the core changes a weight "
            f"by {largest:g} at most",
            hint="Choose a smaller amplitude, or a larger weight unit.",
        )
    _check_finest(name, amplitude, units)
    return found


def _amount(name: str, value: float, weight_unit: float) -> int:
    """A weight change in 1/256 of a weight unit."""
    _check_finest(name, value, value / weight_unit)
    return round(value / weight_unit * _FINEST)


def _check_finest(name: str, value: float, units: float) -> None:
    if value and abs(units) * _FINEST < 0.5:
        raise ConfigError(
            f"{name} of {value:g} is {units:g} units of weight, and the core changes weights in "
            f"steps of 1/{_FINEST}",
            hint="Choose a larger amplitude, or a smaller weight unit on a core with more "
            "weight bits.",
        )
