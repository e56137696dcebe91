"""NIR graphs (Pedersen et al., Nature Communications 15:8122, 2024) as networks.

Linear nodes between two neuron nodes become one matrix, convolutions and pooling included. A spike
passes through the graph within a step, but in a loop of neuron nodes it takes a step for each of
them (see `dyncc.spiking.network`); NIRTorch executes a loop of one node in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy

from dyncc.core.errors import ConfigError, ModelError
from dyncc.spiking.connectors import Reals
from dyncc.spiking.linear_maps import KINDS, Shape, matrix, output_shape
from dyncc.spiking.network import Network
from dyncc.spiking.population import Population

_NEURONS: dict[type, tuple[str, dict[str, str]]] = {
    nir.LIF: ("lif", {"tau": "tau", "r": "resistance", "v_leak": "v_leak",
                      "v_threshold": "threshold", "v_reset": "v_reset"}),
    nir.CubaLIF: ("cuba_lif", {"tau_syn": "tau_syn", "tau_mem": "tau", "r": "resistance",
                               "v_leak": "v_leak", "v_threshold": "threshold", "w_in": "w_in",
                               "v_reset": "v_reset"}),
    nir.IF: ("if", {"r": "resistance", "v_threshold": "threshold", "v_reset": "v_reset"}),
    nir.I: ("i", {"r": "resistance"}),
    nir.LI: ("li", {"tau": "tau", "r": "resistance", "v_leak": "v_leak"}),
    nir.CubaLI: ("cuba_li", {"tau_syn": "tau_syn", "tau_mem": "tau", "r": "resistance",
                             "v_leak": "v_leak", "w_in": "w_in"}),
    # A neuron that forgets at once.
    nir.Threshold: ("superneuromat", {"threshold": "threshold"}),
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
        # Shapes are inferred here: nir takes one parameter for all neurons as one neuron.
        graph = nir.read(path, type_check=False)
    except (OSError, KeyError, ValueError, TypeError, AssertionError) as error:
        raise ModelError(
            f"{path} cannot be read as NIR: {error}", hint="Write it with nir.write()."
        ) from error
    return from_nir(graph, dt, subtract)


def from_nir(graph: nir.NIRGraph, dt: float, subtract: bool = False) -> Network:
    """A network from a NIR graph.

    Parameters
    ----------
    dt
        Step in seconds; delays must be multiples of it.
    subtract
        Whether a spike subtracts the threshold. NIR itself sets the potential to ``v_reset``.

    Raises
    ------
    ModelError
        With every node that the core does not have, or a broken graph.
    """
    network = Network(dt)
    reader = _Reader(graph, dt)
    paths: list[tuple[str, _Path]] = []
    for name, node in reader.nodes.items():
        if isinstance(node, nir.Input):
            network.input(name, reader.size(name))
        elif type(node) in _NEURONS:
            found, bias = reader.drives(name)
            paths += [(name, path) for path in found]
            network.add(_population(name, node, reader.size(name), bias, subtract))
    for name, path in paths:
        # A path that is not delayed leaves it to the network whether it closes a loop.
        network.connect(path.source, name, path.weights, delay=path.delay or None)
    for name, node in reader.nodes.items():
        if isinstance(node, nir.Output):
            shown = reader.before(name)
            if len(shown) != 1 or shown[0] not in network.populations:
                raise ModelError(
                    f"the output {name!r} must follow exactly one neuron node, "
                    f"not {', '.join(map(repr, shown)) or 'none'}"
                )
            network.output(name, shown[0])
    return network


def _population(name: str, node: Any, size: int, bias: Reals, subtract: bool) -> Population:
    model, fields = _NEURONS[type(node)]
    values: dict[str, Any] = {
        ours: numpy.asarray(getattr(node, theirs), numpy.float64).ravel()
        for theirs, ours in fields.items()
        if getattr(node, theirs, None) is not None
    }
    if isinstance(node, nir.Threshold):
        values["leak"] = numpy.inf
    else:
        values["subtract"] = subtract and "threshold" in values
    return Population(name, model, size, bias=bias, **values)


@dataclass(frozen=True)
class _Path:
    """Synapses from a source over linear nodes: weights (source, target size) and steps."""

    source: str
    weights: Reals
    delay: int


class _Reader:
    """A graph without subgraphs, whose edges are followed backwards through linear nodes."""

    def __init__(self, graph: nir.NIRGraph, dt: float) -> None:
        self._dt = dt
        self.nodes: dict[str, nir.NIRNode] = {}
        edges: list[tuple[str, str]] = []
        self._unfold(graph, "", edges)
        known = (nir.Input, nir.Output, nir.Delay, *KINDS, *_NEURONS)
        strange = [
            f"{name} ({type(node).__name__})"
            for name, node in self.nodes.items()
            if not isinstance(node, known)
        ]
        if strange:
            raise ModelError(
                f"the core has no {', '.join(strange)}",
                hint="It has " + ", ".join(kind.__name__ for kind in known) + ".",
            )
        self._into: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in edges:
            if source not in self.nodes or target not in self.nodes:
                raise ModelError(f"the edge {source!r} to {target!r} has an end that is no node")
            self._into[target].append(source)
        self._shapes: dict[str, Shape] = {}
        self._infer()

    def _unfold(self, graph: nir.NIRGraph, prefix: str, edges: list[tuple[str, str]]) -> None:
        """Add the nodes of a graph; ends of subgraphs become nodes that change nothing."""
        inputs: dict[str, str] = {}
        outputs: dict[str, str] = {}
        for name, node in graph.nodes.items():
            full = prefix + name
            if isinstance(node, nir.NIRGraph):
                self._unfold(node, f"{full}.", edges)
                for kind, places in ((nir.Input, inputs), (nir.Output, outputs)):
                    ends = [n for n, inner in node.nodes.items() if isinstance(inner, kind)]
                    if len(ends) != 1:
                        raise ModelError(
                            f"the subgraph {full!r} has {len(ends)} nodes of type "
                            f"{kind.__name__} instead of 1"
                        )
                    places[name] = f"{full}.{ends[0]}"
            elif prefix and isinstance(node, nir.Input | nir.Output):
                self.nodes[full] = nir.Scale(numpy.ones(1))
            else:
                self.nodes[full] = node
        for source, target in graph.edges:
            edges.append(
                (outputs.get(source, prefix + source), inputs.get(target, prefix + target))
            )

    def _infer(self) -> None:
        """Find the shape of what each node gives."""
        waiting = dict(self.nodes)
        while waiting:
            found = {name: self._shape(name, node) for name, node in waiting.items()}
            known = {name: shape for name, shape in found.items() if shape is not None}
            if not known:
                raise ModelError(
                    f"the shapes of {', '.join(map(repr, waiting))} are unknown",
                    hint="Connect them to an input, or give it a shape.",
                )
            self._shapes |= known
            waiting = {name: node for name, node in waiting.items() if name not in known}

    def _shape(self, name: str, node: nir.NIRNode) -> Shape | None:
        if isinstance(node, nir.Input):
            return tuple(int(n) for n in node.input_type["input"])
        if type(node) in _NEURONS or isinstance(node, nir.Delay):
            fields = ("delay",) if isinstance(node, nir.Delay) else _NEURONS[type(node)][1]
            shapes = [numpy.shape(getattr(node, field)) for field in fields]
            own: Shape = max(shapes, key=lambda shape: int(numpy.prod(shape)))
            if numpy.prod(own) > 1:
                return own
            # One value for all neurons, whose number is that of what comes in.
        before = [self._shapes[n] for n in self._into[name] if n in self._shapes]
        if not before:
            return None
        if isinstance(node, KINDS):
            return output_shape(name, node, before[0])
        return before[0]

    def size(self, name: str) -> int:
        """Values that a node gives."""
        return int(numpy.prod(self._shapes[name]))

    def before(self, name: str) -> list[str]:
        """Nodes that lead to a node, through such that change nothing."""
        found = []
        for source in self._into[name]:
            node = self.nodes[source]
            plain = isinstance(node, nir.Scale) and "." in source and (node.scale == 1).all()
            found += self.before(source) if plain else [source]
        return found

    def drives(self, name: str) -> tuple[list[_Path], Reals]:
        """What drives a neuron node: a path from each source, and a constant input."""
        bias = numpy.zeros(self.size(name))
        paths = [
            path
            for before in self._into[name]
            for path in self._paths(before, numpy.eye(len(bias)), 0, bias, (name,))
        ]
        return paths, bias

    def _paths(
        self, name: str, onward: Reals, delay: int, bias: Reals, seen: tuple[str, ...]
    ) -> list[_Path]:
        """Paths to `name`, from which `onward` leads to the neurons; adds to their `bias`."""
        node = self.nodes[name]
        if self.size(name) != len(onward):
            raise ModelError(
                f"{name!r} gives {self.size(name)} values, and {seen[-1]!r} takes {len(onward)}"
            )
        if isinstance(node, nir.Input) or type(node) in _NEURONS:
            return [_Path(name, onward, delay)]
        if name in seen:
            raise ModelError(f"the linear nodes {', '.join((*seen, name))} form a loop")
        if isinstance(node, nir.Output):
            raise ModelError(f"the output {name!r} cannot drive neurons")
        if isinstance(node, nir.Delay):
            steps = self._steps(name, node)
            parts = [
                (numpy.where((steps == step)[:, None], onward, 0.0), delay + step)
                for step in numpy.unique(steps).tolist()
            ]
        else:
            weights, offset = matrix(name, node, self._shapes[self._into[name][0]])
            parts = [(weights @ onward, delay)]
            if offset is not None:
                bias += offset @ onward
        return [
            path
            for before in self._into[name]
            for weights, steps_so_far in parts
            for path in self._paths(before, weights, steps_so_far, bias, (*seen, name))
        ]

    def _steps(self, name: str, node: nir.Delay) -> Any:
        """Delays in steps, shape (size,)."""
        exact = numpy.broadcast_to(numpy.ravel(node.delay) / self._dt, (self.size(name),))
        steps = numpy.rint(exact).astype(numpy.int64)
        bad = numpy.flatnonzero((numpy.abs(exact - steps) > 1e-3) | (steps < 0))
        if bad.size:
            raise ConfigError(
                f"the delay {name!r} of {exact[bad[0]] * self._dt:g} s is {exact[bad[0]]:g} steps "
                f"of {self._dt:g} s",
                hint="Choose a step that divides all delays.",
            )
        return steps
