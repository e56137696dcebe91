"""The batched variant of a region: the same for several samples at once.

A value that every sample has for itself is *stacked*: along its first dimension if that is of size
1 in the program, as it is in networks written for batches of one, else along a new dimension in
front. So ``f32[1,3,32,32]`` becomes ``f32[8,3,32,32]``, ``f32[10]`` becomes ``f32[8,10]``. In both
forms samples lie one behind the other in memory. Weights, and what is made of nothing else, are
the same for all samples and stay as they are.

An operation that treats what stands in its first dimension separately is kept, so that back ends
know convolutions and matrix products again (`dyncc.backends.batching_rules`). Any other goes
through ``torch.func.vmap``.
"""

from __future__ import annotations

import functools
import math
import operator
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from dyncc.backends.aten import example, resolve, torch_constant
from dyncc.backends.batching_rules import RULES, Item, is_pointwise, pointwise
from dyncc.core.errors import InternalError
from dyncc.ir.hcfg import Operand, Region, Symbolic, TensorOp, Value, operand_values
from dyncc.ir.types import DTYPES, SHORT_DTYPES, TensorType
from dyncc.runtime.stacks import stacked_shape


def batched(region: Region, size: int, name: str) -> Region:
    """A region for a number of samples.

    Parameters
    ----------
    region
        The region; its sizes are known, and it draws no random numbers.
    size
        How many samples it takes.
    name
        Of the new region.

    Returns
    -------
    Region
        With stacked parameters and results, and the same weights.

    Raises
    ------
    RuntimeError, ValueError, TypeError, NotImplementedError
        If torch cannot carry an operation out for several samples at once.
    """
    region = _needed(region)
    params = [_stacked(value, size) for value in region.params]
    examples = [example(value) for value in (*params, *region.weights)]
    with torch.no_grad(), warnings.catch_warnings():
        # vmap says so if it takes samples one after the other; that is no worse than without it.
        warnings.simplefilter("ignore", UserWarning)
        trace = make_fx(functools.partial(_run, region, size), tracing_mode="fake")
        graph = trace(*examples).graph
    graph.eliminate_dead_code()
    return _region_of(graph, name, params, region)


def _needed(region: Region) -> Region:
    """A region without the names of results that nothing uses: rules need not keep those."""
    used = set(region.results)
    for op in region.ops:
        used.update(operand_values((*op.args, *(operand for _, operand in op.kwargs))))
    ops = (
        replace(op, results=tuple(value if value in used else None for value in op.results))
        for op in region.ops
    )
    return replace(region, ops=tuple(ops))


def _stacked(value: Value, size: int) -> Value:
    kind = value.type
    assert isinstance(kind, TensorType)
    return Value(value.name, TensorType(kind.dtype, stacked_shape(kind, size)))


def _run(region: Region, size: int, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Carry a region out on stacked parameters and on weights."""
    given = zip((*region.params, *region.weights), tensors, strict=True)
    items = {
        value: Item(tensor, shape_of(value), number < len(region.params))
        for number, (value, tensor) in enumerate(given)
    }
    for op in region.ops:
        items.update(_results(op, items, size))
    found = []
    for value in region.results:
        item = items[value]
        tensor = item.tensor
        if not item.stacked:
            # The same for all samples, but each gets its own.
            tensor = tensor.expand(size, *item.shape).reshape(_form(value, size))
        found.append(tensor.contiguous())
    return tuple(found)


def _results(op: TensorOp, items: dict[Value, Item], size: int) -> dict[Value, Item]:
    """The results of an operation that something uses."""
    function = resolve(op.target)
    args = tuple(_argument(arg, items) for arg in op.args)
    kwargs = {name: _argument(arg, items) for name, arg in op.kwargs}
    stacked = any(isinstance(leaf, Item) and leaf.stacked for leaf in _leaves((args, kwargs)))
    if not stacked:
        outcome = function(*_plain(args), **_plain(kwargs))
        return {
            value: Item(tensor, shape_of(value), False)
            for value, tensor in zip(op.results, _sequence(outcome, op), strict=True)
            if value is not None
        }
    outcome = None
    rule = RULES.get(op.target.split(".")[1], pointwise if is_pointwise(function) else None)
    if rule is not None:
        shapes = [None if value is None else shape_of(value) for value in op.results]
        changed = rule(args, kwargs, shapes, size)
        if changed is not None:
            outcome = (changed.function or function)(
                *_plain(changed.args), **_plain(changed.kwargs)
            )
    if outcome is None:
        outcome = _mapped(function, args, kwargs, size)
    return {
        value: Item(_checked(tensor, value, size), shape_of(value), True)
        for value, tensor in zip(op.results, _sequence(outcome, op), strict=True)
        if value is not None
    }


def _mapped(function: OpOverload, args: Any, kwargs: Any, size: int) -> Any:
    """An operation through vmap, with the samples along a new dimension in front."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Item) and leaf.stacked]
    tensors = [leaves[i].tensor.reshape(size, *leaves[i].shape) for i in places]
    plain = [leaf.tensor if isinstance(leaf, Item) else leaf for leaf in leaves]

    def one(*sample: Tensor) -> Any:
        taken = list(plain)
        for place, tensor in zip(places, sample, strict=True):
            taken[place] = tensor
        ours, named = pytree.tree_unflatten(taken, spec)
        return function(*ours, **named)

    return torch.func.vmap(one)(*tensors)


def _checked(tensor: Tensor, value: Value, size: int) -> Tensor:
    """A result as it is stacked; raises InternalError if it is another than the program says."""
    kind = value.type
    assert isinstance(kind, TensorType)
    wanted = _form(value, size)
    if tensor.dtype != getattr(torch, DTYPES[kind.dtype]) or tensor.numel() != math.prod(wanted):
        raise InternalError(f"{value} became {tensor.dtype}{list(tensor.shape)}, not {wanted}")
    return tensor if tuple(tensor.shape) == wanted else tensor.reshape(wanted)


def shape_of(value: Value) -> tuple[int, ...]:
    """The shape of a value of known sizes."""
    kind = value.type
    assert isinstance(kind, TensorType)
    return tuple(int(extent) for extent in kind.shape)


def _form(value: Value, size: int) -> tuple[int, ...]:
    kind = value.type
    assert isinstance(kind, TensorType)
    return stacked_shape(kind, size)


def _argument(operand: Operand, items: dict[Value, Item]) -> Any:
    match operand:
        case Value():
            return items[operand]
        case Symbolic():
            return torch_constant(operand)
        case tuple():
            return [_argument(part, items) for part in operand]
        case _:
            return operand


def _leaves(tree: Any) -> list[Any]:
    found: list[Any] = pytree.tree_leaves(tree)
    return found


def _plain(tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.tensor if isinstance(leaf, Item) else leaf, tree)


def _sequence(outcome: Any, op: TensorOp) -> list[Any]:
    """The results of an operation; one may be a tensor, or a list of one tensor."""
    found = list(outcome) if isinstance(outcome, tuple | list) else [outcome][: len(op.results)]
    if len(found) != len(op.results):
        raise InternalError(f"{op.target} gave {len(found)} results, not {len(op.results)}")
    return found


# -- from a graph of torch's to a region -----------------------------------------------------------


def _region_of(graph: fx.Graph, name: str, params: list[Value], region: Region) -> Region:
    values: dict[fx.Node, Any] = {}
    inputs = iter((*params, *region.weights))
    taken = {value.name for value in (*params, *region.weights)}
    ops: list[TensorOp] = []
    results: tuple[Value, ...] = ()

    def made(node: fx.Node, tensor: Any, suffix: str = "") -> Value | None:
        if tensor is None:
            return None
        label = f"{node.name}{suffix}"
        while label in taken:
            label += "_"
        taken.add(label)
        dtype = SHORT_DTYPES[str(tensor.dtype).removeprefix("torch.")]
        return Value(label, TensorType(dtype, tuple(int(extent) for extent in tensor.shape)))

    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = next(inputs)
        elif node.op == "output":
            results = tuple(values[item] for item in node.args[0])
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
    return _needed(Region(name, tuple(params), region.weights, tuple(ops), results))


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
