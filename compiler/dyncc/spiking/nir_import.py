"""NIR graphs (Pedersen et al., Nature Communications 15:8122, 2024) as networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy

from dyncc.core.errors import ConfigError, ModelError
from dyncc.spiking.connectors import Reals
from dyncc.spiking.network import Network, Population

_LINEAR = (nir.Linear, nir.Affine, nir.Scale, nir.Flatten)
_NEURONS = {
    nir.LIF: ("lif", {"tau": "tau", "r": "resistance", "v_leak": "v_leak",
                      "v_threshold": "threshold", "v_reset": "v_reset"}),
    nir.CubaLIF: ("cuba_lif", {"tau_syn": "tau_syn", "tau_mem": "tau", "r": "resistance",
                               "v_leak": "v_leak", "v_threshold": "threshold", "w_in": "w_in",
                               "v_reset": "v_reset"}),
    nir.IF: ("if", {"r": "resistance", "v_threshold": "threshold", "v_reset": "v_reset"}),
    nir.LI: ("li", {"tau": "tau", "r": "resistance", "v_leak": "v_leak"}),
    nir.CubaLI: ("cuba_li", {"tau_syn": "tau_syn", "tau_mem": "tau", "r": "resistance",
                             "v_leak": "v_leak", "w_in": "w_in"}),
}  # fmt: skip


def load_nir(path: str | Path, dt: float, subtract: bool = False) -> Network:
    """Read a NIR file.

    Raises
    ------
    ModelError
        If it is missing or no NIR file, or holds nodes that the core does not have.
    """
    if not Path(path).is_file():
        raise ModelError(f"there is no file {path}", hint="Give the path of a NIR file.")
    try:
        graph = nir.read(path)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path} cannot be read as NIR: {error}", hint="Write it with nir.write()."
        ) from error
    return from_nir(graph, dt, subtract)


def from_nir(graph: nir.NIRGraph, dt: float, subtract: bool = False) -> Network:
    """A network from a NIR graph.

    Parameters
    ----------
    dt
        Step in seconds.
    subtract
        Whether a spike subtracts the threshold. NIR itself sets the potential to ``v_reset``.

    Raises
    ------
    ModelError
        With every node that the core does not have, or a broken graph.
    """
    if not dt > 0:
        raise ConfigError(f"dt must be positive, not {dt}")
    known = (nir.Input, nir.Output, *_LINEAR, *_NEURONS)
    strange = [
        f"{name} ({type(node).__name__})"
        for name, node in graph.nodes.items()
        if not isinstance(node, known)
    ]
    if strange:
        raise ModelError(
            f"the core has no {', '.join(strange)}",
            hint="It has " + ", ".join(kind.__name__ for kind in known) + ".",
        )
    network = Network(dt)
    for name, node in graph.nodes.items():
        if isinstance(node, nir.Input):
            network.input(name, int(numpy.prod(node.input_type["input"])))
        elif type(node) in _NEURONS:
            network.add(_population(name, node, subtract))
    reader = _Reader(graph, network)
    for name in network.populations:
        for source, matrix, bias in reader.drives(name):
            network.connect(source, name, matrix, bias)
    for name, node in graph.nodes.items():
        if isinstance(node, nir.Output):
            shown = reader.before(name)
            if len(shown) != 1 or shown[0] not in network.populations:
                raise ModelError(f"the output {name!r} must follow exactly one neuron node")
            network.output(name, shown[0])
    return network


def _population(name: str, node: Any, subtract: bool) -> Population:
    model, fields = _NEURONS[type(node)]
    values: dict[str, Any] = {
        ours: numpy.asarray(getattr(node, theirs), numpy.float64).ravel()
        for theirs, ours in fields.items()
        if getattr(node, theirs, None) is not None
    }
    size = max(item.size for item in values.values())
    return Population(name, model, size, subtract=subtract, **values)


class _Reader:
    """Follows edges backwards through linear nodes."""

    def __init__(self, graph: nir.NIRGraph, network: Network) -> None:
        self._graph = graph
        self._network = network
        self._into: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for source, target in graph.edges:
            if source not in graph.nodes or target not in graph.nodes:
                raise ModelError(f"the edge {source!r} to {target!r} has an end that is no node")
            self._into[target].append(source)

    def before(self, name: str) -> list[str]:
        return self._into[name]

    def drives(self, name: str) -> list[tuple[str, Reals, Reals | None]]:
        """What drives a neuron node: (source, weights, bias) for each path from a source."""
        size = self._network.populations[name].size
        return [
            (source, matrix, bias)
            for before in self._into[name]
            for source, matrix, bias in self._path(before, numpy.eye(size), None, (name,))
        ]

    def _path(
        self, name: str, onward: Reals, bias: Reals | None, seen: tuple[str, ...]
    ) -> list[tuple[str, Reals, Reals | None]]:
        """Paths to `name`; `onward` leads from it to the neurons, `bias` was met on the way."""
        if name in self._network.inputs or name in self._network.populations:
            return [(name, onward, bias)]
        if name in seen:
            raise ModelError(f"the linear nodes {', '.join((*seen, name))} form a loop")
        node = self._graph.nodes[name]
        if isinstance(node, nir.Flatten):
            matrix, offset = onward, None
        elif isinstance(node, nir.Scale):
            matrix, offset = numpy.diag(numpy.ravel(node.scale)) @ onward, None
        elif isinstance(node, nir.Linear | nir.Affine):
            matrix = _transposed(name, node) @ onward
            offset = getattr(node, "bias", None)
        else:
            raise ModelError(f"the node {name!r} cannot drive neurons")
        if offset is not None and numpy.any(offset):
            added = numpy.ravel(offset) @ onward
            bias = added if bias is None else bias + added
        found = []
        for before in self._into[name]:
            found += self._path(before, matrix, bias, (*seen, name))
            bias = None  # it belongs to the node, not to each of its inputs
        return found


def _transposed(name: str, node: Any) -> Reals:
    weight = numpy.asarray(node.weight, numpy.float64)
    if weight.ndim != 2:
        raise ModelError(f"the weight of {name!r} has {weight.ndim} axes instead of 2")
    found: Reals = weight.T
    return found
