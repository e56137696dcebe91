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
from dyncc.spiking.population import Population


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
