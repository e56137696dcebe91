"""A spiking network as populations and projections, before it is mapped onto a core.

Time goes in steps of `Network.dt`. A projection without a `delay` passes a spike within the step
in which it was fired, as in networks in discrete time, unless it is part of a loop of populations:
then it takes one step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy
from numpy.typing import NDArray

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import Learning
from dyncc.core.errors import ConfigError
from dyncc.spiking.connectors import Reals, synapses_of

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
                self._check(name, (values > 0), "positive")
            elif name == "leak":
                self._check(name, values >= 0, "0 or more")
            else:
                self._check(name, numpy.isfinite(values), "finite")
        self._check("bias", numpy.isfinite(self.values("bias")), "finite")
        for name in ("refractory", "initial_refractory"):
            values = self.values(name)
            whole = (values == numpy.rint(values)) & (values >= 0) & (values < 256)
            self._check(name, whole, "an integer in 0..255")
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


@dataclass(frozen=True)
class Projection:
    """Synapses from a population or an input to a population.

    Attributes
    ----------
    source, target
        Names.
    weights
        Shape (source size, target size).
    bias
        Constant input of the targets, shape (target size,), or None.
    present
        Which weights are synapses, bool, shape as `weights`; the others are 0.
    plastic
        Which synapses learn, bool, shape as `weights`.
    delay
        Steps from a spike to its effect, int, shape as `weights`; None for the rule of this module.
    """

    source: str
    target: str
    weights: Reals
    bias: Reals | None
    present: NDArray[numpy.bool_]
    plastic: NDArray[numpy.bool_]
    delay: Integers | None


class LearningRule(Protocol):
    """STDP in the units of the network."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest plastic weight."""

    @property
    def amounts(self) -> tuple[float, ...]:
        """Changes of weights that are delivered exactly if they are multiples of the unit."""

    def learning(self, dt: float, weight_unit: float) -> Learning:
        """What the core is told, if a weight of one on the core stands for `weight_unit`."""


@dataclass(frozen=True)
class Classifier:
    """When a run stops by itself: a test of the potentials of a population.

    Attributes
    ----------
    population
        Name; its neurons are the classes.
    margin
        Least distance between the best two potentials, or None.
    confidence, alpha
        Stop when ``max softmax(potentials / alpha)`` reaches `confidence` (Li, Jones and Furber,
        ICCV 2023); or None.
    least_steps
        Steps before which it does not stop.
    """

    population: str
    margin: float | None
    confidence: float | None
    alpha: float
    least_steps: int


@dataclass
class Network:
    """A network.

    Attributes
    ----------
    dt
        Step in seconds.
    inputs
        Size of each input by its name.
    populations, projections
        The parts.
    outputs
        Population that each output shows, by the output's name.
    learning
        How plastic synapses learn, or None.
    classifier
        When a run stops by itself, or None.
    """

    dt: float
    inputs: dict[str, int] = field(default_factory=dict)
    populations: dict[str, Population] = field(default_factory=dict)
    projections: list[Projection] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    learning: LearningRule | Learning | None = None
    classifier: Classifier | None = None

    def __post_init__(self) -> None:
        if not 0 < self.dt < numpy.inf:
            raise ConfigError(f"dt must be positive, not {self.dt}")

    def input(self, name: str, size: int) -> str:
        """Add an input and return its name."""
        self._new(name)
        if size < 1:
            raise ConfigError(f"input {name!r} has {size} lines")
        self.inputs[name] = size
        return name

    def add(self, population: Population) -> Population:
        """Add a population and return it."""
        self._new(population.name)
        self.populations[population.name] = population
        return population

    def population(self, name: str, model: str, size: int, **parameters: Any) -> Population:
        """Add a population, see `Population` for its parameters, and return it."""
        return self.add(Population(name, model, size, **parameters))

    def connect(
        self,
        source: str | Population,
        target: str | Population,
        weights: Any,
        bias: Any = None,
        *,
        plastic: Any = False,
        delay: Any = None,
    ) -> Projection:
        """Add a projection.

        Parameters
        ----------
        weights
            A connector of `dyncc.spiking.connectors`, a matrix of shape (source size, target
            size), or a sparse matrix as SciPy's.
        bias
            Constant input of the targets.
        plastic
            Whether its synapses learn, or a mask, bool of shape (source size, target size).
        delay
            Steps from a spike to its effect, 0 or more (from an input as well): a number, one for
            each source (source size,), or one for each synapse (source size, target size). None:
            0, or 1 within a loop of populations.

        Raises
        ------
        ConfigError
            If an end is unknown, or a shape or value does not fit.
        """
        ends = [end.name if isinstance(end, Population) else end for end in (source, target)]
        if ends[0] not in self.inputs and ends[0] not in self.populations:
            raise ConfigError(f"there is no input or population {ends[0]!r}")
        if ends[1] not in self.populations:
            raise ConfigError(f"there is no population {ends[1]!r}")
        if ends[0] in self.populations and not self.populations[ends[0]].fires:
            raise ConfigError(
                f"the population {ends[0]!r} of model {self.populations[ends[0]].model} has no "
                f"spikes, so it cannot drive {ends[1]!r}"
            )
        sizes = (self.size(ends[0]), self.size(ends[1]))
        what = f"from {ends[0]!r} to {ends[1]!r}"
        try:
            synapses = synapses_of(weights, *sizes)
        except ConfigError as error:
            raise ConfigError(error.message, hint=error.hint, where=what) from error
        found = Projection(
            ends[0],
            ends[1],
            synapses.weights,
            None if bias is None else _bias(bias, sizes[1], what),
            synapses.present,
            _mask(plastic, sizes, what) & synapses.present,
            None if delay is None else _delays(delay, sizes, what),
        )
        self.projections.append(found)
        return found

    def output(self, name: str, population: str | Population) -> None:
        """Show a population under a name."""
        self.outputs[name] = self._known(population)

    def learn(self, rule: LearningRule | Learning) -> None:
        """Set how plastic synapses learn.

        Parameters
        ----------
        rule
            In the network's units, or `Learning` in those of the core: then the populations that
            plastic synapses lead to need a `weight_unit`.
        """
        self.learning = rule

    def classify(
        self,
        population: str | Population,
        *,
        margin: float | None = None,
        confidence: float | None = None,
        alpha: float = 1.0,
        least_steps: int = 1,
    ) -> None:
        """Stop a run when the potentials of a population are clear; see `Classifier`.

        Raises
        ------
        ConfigError
            Unless exactly one of `margin` and `confidence` is given, in its range.
        """
        name = self._known(population)
        if (margin is None) == (confidence is None):
            raise ConfigError("give either a margin or a confidence")
        if margin is not None and not 0 <= margin < numpy.inf:
            raise ConfigError(f"the margin must be 0 or more, not {margin:g}")
        if confidence is not None and not (0 < confidence < 1 and 0 < alpha < numpy.inf):
            raise ConfigError(
                f"confidence must be in (0, 1) and alpha positive, not {confidence:g}, {alpha:g}"
            )
        if least_steps < 1:
            raise ConfigError(f"least_steps must be 1 or more, not {least_steps}")
        self.classifier = Classifier(name, margin, confidence, alpha, least_steps)

    def size(self, name: str) -> int:
        """Size of an input or population."""
        return self.inputs[name] if name in self.inputs else self.populations[name].size

    def _known(self, population: str | Population) -> str:
        name = population.name if isinstance(population, Population) else population
        if name not in self.populations:
            raise ConfigError(f"there is no population {name!r}")
        return name

    def _new(self, name: str) -> None:
        if name in self.inputs or name in self.populations:
            raise ConfigError(f"the name {name!r} is taken")


def _bias(bias: Any, size: int, what: str) -> Reals:
    found = numpy.asarray(bias, numpy.float64)
    if found.shape not in ((), (size,)):
        raise ConfigError(f"the bias must have shape ({size},), not {found.shape}", where=what)
    if not numpy.isfinite(found).all():
        raise ConfigError("the bias must be finite", where=what)
    return numpy.broadcast_to(found, (size,))


def _mask(plastic: Any, sizes: tuple[int, int], what: str) -> NDArray[numpy.bool_]:
    found = numpy.asarray(plastic)
    if found.dtype != bool:
        raise ConfigError(f"plastic must be bool, not {found.dtype}", where=what)
    if found.shape not in ((), sizes):
        raise ConfigError(f"plastic must have shape {sizes}, not {found.shape}", where=what)
    return numpy.broadcast_to(found, sizes)


def _delays(delay: Any, sizes: tuple[int, int], what: str) -> Integers:
    found = numpy.asarray(delay)
    if found.dtype.kind not in "iu":
        raise ConfigError(f"delays are whole steps, not {found.dtype}", where=what)
    if found.shape not in ((), sizes[:1], sizes):
        raise ConfigError(
            f"delays must have shape {sizes[:1]} or {sizes}, not {found.shape}", where=what
        )
    if found.min(initial=0) < 0:
        raise ConfigError(f"delays must be 0 or more, not {found.min()}", where=what)
    full = found[:, None] if found.ndim == 1 else found
    return numpy.broadcast_to(full, sizes).astype(numpy.int64)
