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
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from dyncc.backends.aten import argument, example, resolve, results_of
from dyncc.backends.batching_rules import RULES, Item, is_pointwise, pointwise
from dyncc.backends.graphs import region_of, without_unused
from dyncc.core.errors import InternalError
from dyncc.ir.hcfg import Region, TensorOp, Value
from dyncc.ir.types import DTYPES, TensorType
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
    region = without_unused(region)
    params = [_stacked(value, size) for value in region.params]
    examples = [example(value) for value in (*params, *region.weights)]
    with torch.no_grad(), warnings.catch_warnings():
        # vmap says so if it takes samples one after the other; that is no worse than without it.
        warnings.simplefilter("ignore", UserWarning)
        trace = make_fx(functools.partial(_run, region, size), tracing_mode="fake")
        graph = trace(*examples).graph
    return region_of(graph, name, params, region.weights)


def _stacked(value: Value, size: int) -> Value:
    kind = value.type
    assert isinstance(kind, TensorType)
    return replace(value, type=replace(kind, shape=_form(value, size)))


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
    args = tuple(argument(arg, items) for arg in op.args)
    kwargs = {name: argument(arg, items) for name, arg in op.kwargs}
    stacked = any(isinstance(leaf, Item) and leaf.stacked for leaf in _leaves((args, kwargs)))
    if not stacked:
        outcome = function(*_plain(args), **_plain(kwargs))
        return {
            value: Item(tensor, shape_of(value), False)
            for value, tensor in zip(op.results, results_of(op, outcome), strict=True)
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
        for value, tensor in zip(op.results, results_of(op, outcome), strict=True)
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


def _leaves(tree: Any) -> list[Any]:
    found: list[Any] = pytree.tree_leaves(tree)
    return found


def _plain(tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.tensor if isinstance(leaf, Item) else leaf, tree)
