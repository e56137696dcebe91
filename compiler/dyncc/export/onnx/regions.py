"""Regions in a model: the nodes of a region's own model, again for each call.

As functions of the model they would stand there once. But ONNX Runtime 1.32 took longer then, by 7
to 46 %, in 15 of 16 calls of four small networks (the least of 200 runs each, in turns), and did
not read the model faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from dyncc.export.onnx.graphs import Graph, Val, inner_graphs, kind_of
from dyncc.ir.hcfg import RegionCall


class RegionNodes:
    """The nodes of a region.

    Parameters
    ----------
    model
        What `dyncc.backends.onnxruntime.region_model` gives.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._constants: dict[str, str] = {}

    def call(
        self, graph: Graph, op: RegionCall, args: Sequence[Val], weights: Sequence[Val]
    ) -> list[Val]:
        """Add the nodes to a graph, and give the results of a call."""
        if not self._constants:
            self._constants = {
                item.name: graph.root.initializer(item) for item in self._graph.initializer
            }
        results = [graph.value(kind_of(value.type)) for value in op.results]
        names = dict(self._constants)
        names |= zip(
            (item.name for item in self._graph.input),
            (value.name for value in (*args, *weights)),
            strict=True,
        )
        for item, result in zip(self._graph.output, results, strict=True):
            if item.name in names:  # a constant
                graph.node("Identity", [names[item.name]], [result])
            else:
                names[item.name] = result.name
        graph.nodes += (_renamed(node, names, graph) for node in self._graph.node)
        return results


def _renamed(node: onnx.NodeProto, names: dict[str, str], graph: Graph) -> onnx.NodeProto:
    """A node with other names; names that are new are added to `names`."""
    found = onnx.NodeProto()
    found.CopyFrom(node)
    found.ClearField("name")
    found.input[:] = [names.get(name, name) for name in node.input]
    for inner in inner_graphs(found):
        _rename(inner, names, graph)
    found.output[:] = [_new(name, names, graph) for name in node.output]
    return found


def _rename(inner: onnx.GraphProto, outer: Mapping[str, str], graph: Graph) -> None:
    """Rename all in a graph within a node."""
    names = dict(outer)
    for item in (*inner.input, *inner.initializer):
        names[item.name] = item.name = graph.names.new("v")
    nodes = [_renamed(node, names, graph) for node in inner.node]
    del inner.node[:], inner.value_info[:]
    inner.node.extend(nodes)
    for item in inner.output:
        item.name = names[item.name]


def _new(name: str, names: dict[str, str], graph: Graph) -> str:
    if name and name not in names:
        names[name] = graph.names.new("v")
    return names[name] if name else ""
