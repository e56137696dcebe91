"""From a graph of torch's to a region."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from dyncc.ir.hcfg import Operand, Region, Symbolic, TensorOp, Value, used_by
from dyncc.ir.types import SHORT_DTYPES, TensorType


def type_of(tensor: Tensor) -> TensorType:
    """The type of a tensor of known sizes."""
    dtype = SHORT_DTYPES[str(tensor.dtype).removeprefix("torch.")]
    return TensorType(dtype, tuple(int(extent) for extent in tensor.shape))


def region_of(
    graph: fx.Graph, name: str, params: Sequence[Value], weights: Sequence[Value]
) -> Region:
    """The region that a traced graph is.

    Parameters
    ----------
    graph
        Of ATen operations, with what each makes under ``val``; what nothing uses goes.
    name
        Of the region.
    params, weights
        What the graph is given, in this order.

    Raises
    ------
    ValueError
        If it has what no region has.
    """
    graph.eliminate_dead_code()
    values: dict[fx.Node, Any] = {}
    inputs = iter((*params, *weights))
    taken = {value.name for value in (*params, *weights)}
    ops: list[TensorOp] = []
    results: tuple[Value, ...] = ()

    def made(node: fx.Node, tensor: Any, suffix: str = "") -> Value | None:
        if tensor is None:
            return None
        label = f"{node.name}{suffix}"
        while label in taken:
            label += "_"
        taken.add(label)
        return Value(label, type_of(tensor))

    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = next(inputs)
        elif node.op == "output":
            found = node.args[0]
            given = found if isinstance(found, tuple | list) else (found,)
            results = tuple(values[item] for item in given)
        elif node.target is operator.getitem:
            values[node] = values[node.args[0]][node.args[1]]
        elif isinstance(node.target, OpOverload):
            meta = node.meta["val"]
            several = isinstance(meta, tuple | list)
            parts = [
                made(node, tensor, f"_{number}" if several else "")
                for number, tensor in enumerate(meta if several else (meta,))
            ]
            values[node] = parts if several else parts[0]
            args = tuple(_operand(argument, values) for argument in node.args)
            kwargs = tuple((key, _operand(item, values)) for key, item in node.kwargs.items())
            ops.append(TensorOp(str(node.target), args, kwargs, tuple(parts)))
        else:
            raise ValueError(f"{node.op} {node.target} is no operation of a region")
    return without_unused(Region(name, tuple(params), tuple(weights), tuple(ops), results))


def without_unused(region: Region) -> Region:
    """A region without the names of single results that nothing uses."""
    used = set(region.results)
    for op in region.ops:
        used.update(used_by(op))
    ops = (
        replace(op, results=tuple(value if value in used else None for value in op.results))
        for op in region.ops
    )
    return replace(region, ops=tuple(ops))


def _operand(argument: Any, values: dict[fx.Node, Any]) -> Operand:
    match argument:
        case fx.Node():
            found: Operand = values[argument]
            return found
        case list() | tuple():
            return tuple(_operand(item, values) for item in argument)
        case torch.dtype():
            return Symbolic("dtype", SHORT_DTYPES[str(argument).removeprefix("torch.")])
        case torch.device():
            return Symbolic("device", "cpu")
        case torch.layout() | torch.memory_format():
            kind = type(argument).__name__
            return Symbolic(kind, str(argument).removeprefix("torch."))
        case None | bool() | int() | float() | complex() | str():
            return argument
        case _:
            raise ValueError(f"a {type(argument).__name__} is no argument of an operation")
