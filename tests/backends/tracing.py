"""Makes regions from torch functions, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import make_fx

from dyncc.ir.hcfg import Hcfg, Operand, Region, Symbolic, TensorOp, Value
from dyncc.ir.types import SHORT_DTYPES, TensorType


def tensor_type(tensor: Tensor) -> TensorType:
    """The HCFG type of a tensor."""
    return TensorType(SHORT_DTYPES[str(tensor.dtype).removeprefix("torch.")], tuple(tensor.shape))


def _operand(argument: Any, values: dict[Any, Any]) -> Operand:
    match argument:
        case torch.fx.Node():
            found: Operand = values[argument]
            return found
        case list() | tuple():
            return tuple(_operand(item, values) for item in argument)
        case torch.dtype():
            return Symbolic("dtype", SHORT_DTYPES[str(argument).removeprefix("torch.")])
        case torch.device():
            return Symbolic("device", str(argument))
        case torch.layout():
            return Symbolic("layout", str(argument).removeprefix("torch."))
        case torch.memory_format():
            return Symbolic("memory_format", str(argument).removeprefix("torch."))
        case _:
            literal: Operand = argument
            return literal


def trace(
    name: str,
    function: Callable[..., Any],
    params: Sequence[Tensor],
    weights: Sequence[Tensor] = (),
) -> Region:
    """Trace ``function(*params, *weights)`` into a region."""
    with torch.no_grad():
        graph = make_fx(function)(*params, *weights).graph
    # As in programs: neither operations nor single results that nothing uses.
    graph.eliminate_dead_code()
    values: dict[Any, Any] = {}
    inputs: list[Value] = []
    ops: list[TensorOp] = []
    results: tuple[Value, ...] = ()
    for node in graph.nodes:
        meta = node.meta.get("val", node.meta.get("tensor_meta"))
        if node.op == "placeholder":
            tensor = (*params, *weights)[len(inputs)]
            values[node] = Value(node.name, tensor_type(tensor))
            inputs.append(values[node])
        elif node.op == "output":
            found = node.args[0]
            found = found if isinstance(found, (tuple, list)) else (found,)
            results = tuple(values[item] for item in found)
        elif isinstance(node.target, OpOverload):
            several = isinstance(meta, (tuple, list))
            taken = {item.args[1] for item in node.users} if several else {0}
            parts = [
                Value(f"{node.name}_{i}", _of_meta(part)) if i in taken else None
                for i, part in enumerate(meta if several else (meta,))
            ]
            values[node] = parts if several else parts[0]
            ops.append(
                TensorOp(
                    str(node.target),
                    tuple(_operand(argument, values) for argument in node.args),
                    tuple((key, _operand(value, values)) for key, value in node.kwargs.items()),
                    tuple(parts),
                )
            )
        else:
            # operator.getitem on an operation with several results
            source, index = node.args
            values[node] = values[source][index]
    split = len(params)
    return Region(name, tuple(inputs[:split]), tuple(inputs[split:]), tuple(ops), results)


def _of_meta(meta: Any) -> TensorType:
    return TensorType(SHORT_DTYPES[str(meta.dtype).removeprefix("torch.")], tuple(meta.shape))


def program_of(*regions: Region) -> Hcfg:
    """A program that only carries regions."""
    return Hcfg("test", (), (), (), {}, {}, {region.name: region for region in regions})
