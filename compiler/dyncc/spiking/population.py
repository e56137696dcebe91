"""Populations: neurons of one model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy

from dyncc.core.errors import ConfigError
from dyncc.spiking.connectors import Reals

#: The parameters of each neuron model; those without a time constant work in steps.
MODELS = {
    "lif": ("tau", "resistance", "v_leak", "threshold", "v_reset"),
    "cuba_lif": ("tau", "tau_syn", "resistance", "v_leak", "threshold", "v_reset", "w_in"),
    "if": ("resistance", "threshold", "v_reset"),
    "i": ("resistance",),
    "li": ("tau", "resistance", "v_leak"),
    "cuba_li": ("tau", "tau_syn", "resistance", "v_leak", "w_in"),
    "superneuromat": ("leak", "threshold", "v_reset"),
    "neurocorex": ("leak", "threshold"),
}
_SUBTRACTING = ("lif", "cuba_lif", "if")
#: Parameters that must be positive.
_POSITIVE = ("tau", "tau_syn")
_DEFAULTS = {
    "tau": numpy.inf, "tau_syn": numpy.inf, "resistance": 1.0, "v_leak": 0.0, "threshold": 1.0,
    "v_reset": 0.0, "w_in": 1.0, "leak": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Population:
    """Neurons of one model; the equations are those of `dyncc_models.spiking.neurons`.

    Parameters are arrays of shape (size,), or numbers for all neurons.

    Attributes
    ----------
    name
        Unique in its network.
    model
        One of `MODELS`: those of NIR; ``superneuromat`` (a constant leak towards `v_reset` and not
        past it); ``neurocorex`` as published (a constant leak without a bound, reset to 0).
    size
        Number of neurons.
    tau, tau_syn
        Time constants in seconds.
    resistance, v_leak, threshold, v_reset, w_in
        As in NIR.
    leak
        Change of the potential in a step, of the last two models.
    bias
        Constant input: a current for the models of NIR, a change in each step for the last two.
    initial
        Potential at the start; None for `v_leak`, or `v_reset` of the last two models.
    subtract
        Whether a spike subtracts the threshold instead of setting `v_reset`.
    refractory
        Steps in which a neuron cannot fire after a spike.
    initial_refractory
        Steps from the start in which a neuron cannot fire.
    weight_unit
        What a weight of one on the core stands for; by default the finest unit that holds all
        weights to this population.
    """

    name: str
    model: str
    size: int
    tau: Any = numpy.inf
    tau_syn: Any = numpy.inf
    resistance: Any = 1.0
    v_leak: Any = 0.0
    threshold: Any = 1.0
    v_reset: Any = 0.0
    w_in: Any = 1.0
    subtract: bool = False
    refractory: Any = 0
    leak: Any = 0.0
    bias: Any = 0.0
    initial: Any = None
    initial_refractory: Any = 0
    weight_unit: float | None = None

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ConfigError(f"model must be one of {', '.join(MODELS)}, not {self.model!r}")
        if self.size < 1:
            raise ConfigError(f"population {self.name!r} has {self.size} neurons")
        for name, default in _DEFAULTS.items():
            values = self.values(name)
            if name not in MODELS[self.model]:
                if (values != default).any():
                    raise ConfigError(
                        f"population {self.name!r} of model {self.model} has no {name}",
                        hint=f"It has {', '.join(MODELS[self.model])}.",
                    )
            elif name in _POSITIVE:
                self._check(name, (values > 0) & (values < numpy.inf), "positive and finite")
            elif name == "leak":
                # SuperNeuroMAT's neurons may forget at once.
                most = numpy.inf if self.model == "superneuromat" else sys.float_info.max
                self._check(name, (values >= 0) & (values <= most), "0 or more")
            else:
                self._check(name, numpy.isfinite(values), "finite")
        self._check("bias", numpy.isfinite(self.values("bias")), "finite")
        for name in ("refractory", "initial_refractory"):
            values = self.values(name)
            whole = (values == numpy.rint(values)) & (values >= 0) & (values < 256)
            self._check(name, whole, "an integer in 0..255")
        if self.subtract and self.model not in _SUBTRACTING:
            raise ConfigError(
                f"population {self.name!r} of model {self.model} cannot subtract its threshold",
                hint=f"Models that can: {', '.join(_SUBTRACTING)}.",
            )
        if self.weight_unit is not None and not 0 < self.weight_unit < numpy.inf:
            raise ConfigError(
                f"weight_unit of population {self.name!r} must be positive, not {self.weight_unit}"
            )

    def _check(self, name: str, good: Any, wanted: str) -> None:
        if not good.all():
            index = int(numpy.argmin(good))
            raise ConfigError(
                f"{name} of neuron {index} of population {self.name!r} must be {wanted}, "
                f"not {self.values(name)[index]:g}"
            )

    @property
    def fires(self) -> bool:
        """Whether it has spikes; otherwise it has potentials only."""
        return self.model not in ("i", "li", "cuba_li")

    def values(self, name: str) -> Reals:
        """A parameter for each neuron; raises ConfigError if its shape does not fit."""
        found = numpy.asarray(getattr(self, name), numpy.float64).ravel()
        if found.size not in (1, self.size):
            raise ConfigError(
                f"{name} of population {self.name!r} has {found.size} values "
                f"for {self.size} neurons"
            )
        return numpy.broadcast_to(found, (self.size,))
