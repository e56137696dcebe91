"""Regions as functions of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence

import onnx
from onnx import helper, numpy_helper

from dyncc.export.onnx.graphs import Graph, Val, kind_of
from dyncc.ir.hcfg import RegionCall

#: Where the functions of a model belong.
DOMAIN = "dyncc"


def function_name(region: str) -> str:
    """The name of a region's function."""
    return "region_" + re.sub(r"\W", "_", region)


def function(name: str, model: onnx.ModelProto) -> onnx.FunctionProto:
    """A function of the model of a region."""
    graph = model.graph
    # Functions hold no initialisers.
    constants = [
        helper.make_node("Constant", [], [item.name], value=numpy_helper.from_array(
            numpy_helper.to_array(item)))
        for item in graph.initializer
    ]  # fmt: skip
    return helper.make_function(
        DOMAIN, function_name(name), [item.name for item in graph.input],
        [item.name for item in graph.output], [*constants, *graph.node], model.opset_import,
    )  # fmt: skip


def call(graph: Graph, op: RegionCall, args: Sequence[Val], weights: Sequence[Val]) -> list[Val]:
    """Add a call of a region."""
    results = [graph.value(kind_of(value.type)) for value in op.results]
    graph.node(function_name(op.region), [*args, *weights], results, domain=DOMAIN)
    return results
