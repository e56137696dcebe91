"""A spiking network as populations and projections, before it is mapped onto a core."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.core.errors import ConfigError

Reals = NDArray[numpy.float64]

#: The neuron models, with their parameters; all but the first three have defaults in `Population`.
MODELS = ("lif", "cuba_lif", "if", "li", "cuba_li")


@dataclass(frozen=True)
class Population:
    """Neurons of one model; the equations are those of `dyncc_models.spiking.neurons`.

    Attributes
    ----------
    name
        Unique in its network.
    model
        One of `MODELS`.
    size
        Number of neurons.
    tau, tau_syn
        Time constants in seconds, arrays of shape (size,) or numbers; those that the model lacks
        are ignored.
    resistance, v_leak, threshold, v_reset, w_in
        As in NIR.
    subtract
        Whether a spike subtracts the threshold instead of setting ``v_reset``.
    refractory
        Steps in which a neuron cannot fire after a spike.
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
    refractory: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ConfigError(f"model must be one of {', '.join(MODELS)}, not {self.model!r}")
        if self.size < 1:
            raise ConfigError(f"population {self.name!r} has {self.size} neurons")

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
    """

    source: str
    target: str
    weights: Reals
    bias: Reals | None = None


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
    """

    dt: float
    inputs: dict[str, int] = field(default_factory=dict)
    populations: dict[str, Population] = field(default_factory=dict)
    projections: list[Projection] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    def input(self, name: str, size: int) -> str:
        """Add an input and return its name."""
        self._new(name)
        self.inputs[name] = size
        return name

    def add(self, population: Population) -> Population:
        """Add a population and return it."""
        self._new(population.name)
        self.populations[population.name] = population
        return population

    def connect(
        self, source: str | Population, target: str | Population, weights: Any, bias: Any = None
    ) -> Projection:
        """Add a projection.

        Raises
        ------
        ConfigError
            If an end is unknown or the shape does not fit.
        """
        ends = [end.name if isinstance(end, Population) else end for end in (source, target)]
        if ends[0] not in self.inputs and ends[0] not in self.populations:
            raise ConfigError(f"there is no input or population {ends[0]!r}")
        if ends[1] not in self.populations:
            raise ConfigError(f"there is no population {ends[1]!r}")
        matrix = numpy.asarray(weights, numpy.float64)
        shape = (self.size(ends[0]), self.populations[ends[1]].size)
        if matrix.shape != shape:
            raise ConfigError(
                f"the weights from {ends[0]!r} to {ends[1]!r} must have shape {shape}, "
                f"not {matrix.shape}"
            )
        offset = None if bias is None else numpy.asarray(bias, numpy.float64)
        found = Projection(ends[0], ends[1], matrix, offset)
        self.projections.append(found)
        return found

    def output(self, name: str, population: str | Population) -> None:
        """Show a population under a name."""
        shown = population.name if isinstance(population, Population) else population
        if shown not in self.populations:
            raise ConfigError(f"there is no population {shown!r}")
        self.outputs[name] = shown

    def size(self, name: str) -> int:
        """Size of an input or population."""
        return self.inputs[name] if name in self.inputs else self.populations[name].size

    def _new(self, name: str) -> None:
        if name in self.inputs or name in self.populations:
            raise ConfigError(f"the name {name!r} is taken")
