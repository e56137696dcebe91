"""Which neurons a projection connects: rules as in PyNN, lists and matrices.

A connector is called with the numbers of sources and targets, and gives `Synapses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.core.errors import ConfigError

Reals = NDArray[numpy.float64]
#: A number, an array that broadcasts to (sources, targets), or a function that draws one.
Weight = Any


@dataclass(frozen=True)
class Synapses:
    """Weights, and which of them are synapses at all: shapes (sources, targets)."""

    weights: Reals
    present: NDArray[numpy.bool_]


Connector = Callable[[int, int], Synapses]


def all_to_all(weight: Weight = 1.0, seed: int = 0) -> Connector:
    """Every source to every target.

    Parameters
    ----------
    weight
        A number, an array of shape (sources, targets) or one that broadcasts to it, or
        ``function(generator, shape)`` with a `numpy.random.Generator`, which gives such an array.
    seed
        Of the generator.
    """
    return fixed_probability(1.0, weight, seed)


def one_to_one(weight: Weight = 1.0, seed: int = 0) -> Connector:
    """Each source to the target of the same number; see `all_to_all` for the parameters."""

    def connect(sources: int, targets: int) -> Synapses:
        if sources != targets:
            raise ConfigError(
                f"one-to-one needs as many sources as targets, not {sources} and {targets}"
            )
        return _synapses(weight, numpy.eye(sources, dtype=bool), numpy.random.default_rng(seed))

    return connect


def fixed_probability(
    probability: float, weight: Weight = 1.0, seed: int = 0, self_connections: bool = True
) -> Connector:
    """Each source to each target with a probability, drawn once.

    Parameters
    ----------
    probability
        In 0..1.
    weight, seed
        See `all_to_all`; the same seed gives the same synapses and weights.
    self_connections
        Whether a neuron may lead to the neuron of the same number.
    """
    if not 0 <= probability <= 1:
        raise ConfigError(f"the probability of a synapse must be in 0..1, not {probability:g}")

    def connect(sources: int, targets: int) -> Synapses:
        draw = numpy.random.default_rng(seed)
        present = draw.random((sources, targets)) < probability
        if not self_connections:
            numpy.fill_diagonal(present, False)
        return _synapses(weight, present, draw)

    return connect


def from_list(synapses: Iterable[tuple[int, int, float]]) -> Connector:
    """Synapses ``(source, target, weight)``; weights of the same pair add up."""
    found = list(synapses)

    def connect(sources: int, targets: int) -> Synapses:
        weights = numpy.zeros((sources, targets))
        present = numpy.zeros((sources, targets), bool)
        for source, target, weight in found:
            if not (0 <= source < sources and 0 <= target < targets):
                raise ConfigError(
                    f"the synapse from {source} to {target} is outside of {sources} sources "
                    f"and {targets} targets"
                )
            weights[source, target] += weight
            present[source, target] = True
        return Synapses(weights, present)

    return connect


def synapses_of(weights: Any, sources: int, targets: int) -> Synapses:
    """Synapses from whatever a projection may be given.

    Parameters
    ----------
    weights
        A connector; a matrix of shape (sources, targets), all of whose entries are synapses; or a
        sparse matrix with ``tocoo()``, as SciPy's, whose stored entries are the synapses.

    Raises
    ------
    ConfigError
        If the shape does not fit, or a weight is not finite.
    """
    shape = (sources, targets)
    if callable(weights):
        found: Synapses = weights(sources, targets)
    elif hasattr(weights, "tocoo"):
        entries = weights.tocoo()
        _check_shape(entries.shape, shape)
        found = from_list(
            zip(entries.row.tolist(), entries.col.tolist(), entries.data.tolist(), strict=True)
        )(sources, targets)
    else:
        matrix = numpy.array(weights, numpy.float64)
        _check_shape(matrix.shape, shape)
        found = Synapses(matrix, numpy.ones(shape, bool))
    if not numpy.isfinite(found.weights).all():
        bad = tuple(int(index) for index in numpy.argwhere(~numpy.isfinite(found.weights))[0])
        raise ConfigError(f"the weight of the synapse from {bad[0]} to {bad[1]} is not finite")
    return found


def _check_shape(found: tuple[int, ...], shape: tuple[int, int]) -> None:
    if tuple(found) != shape:
        raise ConfigError(f"the weights must have shape {shape}, not {tuple(found)}")


def _synapses(
    weight: Weight, present: NDArray[numpy.bool_], draw: numpy.random.Generator
) -> Synapses:
    values = weight(draw, present.shape) if callable(weight) else weight
    array = numpy.asarray(values, numpy.float64)
    try:
        full = numpy.broadcast_to(array, present.shape)
    except ValueError:
        raise ConfigError(
            f"weights of shape {array.shape} do not fit {present.shape[0]} sources and "
            f"{present.shape[1]} targets"
        ) from None
    return Synapses(numpy.where(present, full, 0.0), present)
