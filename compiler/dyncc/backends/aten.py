"""Regions as ATen operations: resolving, interpreting and wrapping them for export."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from dyncc.core.errors import InternalError
from dyncc.ir.hcfg import GENERATOR, Operand, Region, Symbolic, TensorOp, Value, draws
from dyncc.ir.types import DTYPES, TensorType


@functools.cache
def resolve(target: str) -> OpOverload:
    """Find the operation that a name such as ``aten.add.Tensor`` stands for.

    Parameters
    ----------
    target
        ``namespace.name.overload``, as ``str(OpOverload)`` prints it.

    Returns
    -------
    OpOverload
        The operation.

    Raises
    ------
    InternalError
        If this version of torch has no such operation.
    """
    found: Any = torch.ops
    for part in target.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, OpOverload):
        raise InternalError(f"torch {torch.__version__} has no operation {target!r}")
    return found


def torch_constant(symbol: Symbolic) -> Any:
    """Return the torch object that a symbolic constant stands for.

    Parameters
    ----------
    symbol
        A dtype (by its short name), device, layout or memory format.

    Returns
    -------
    torch.dtype, torch.device, torch.layout or torch.memory_format
        The constant.

    Raises
    ------
    InternalError
        If there is no such constant.
    """
    if symbol.kind == "device":
        return torch.device(symbol.name)
    name = DTYPES.get(symbol.name, symbol.name) if symbol.kind == "dtype" else symbol.name
    found = getattr(torch, name.removeprefix("torch."), None)
    kinds = {
        "dtype": torch.dtype,
        "layout": torch.layout,
        "memory_format": torch.memory_format,
    }
    if symbol.kind not in kinds or not isinstance(found, kinds[symbol.kind]):
        raise InternalError(f"torch has no {symbol.kind} {symbol.name!r}")
    return found


def check_sizes(region: str, value: Value, found: Any, extents: dict[str, int]) -> None:
    """Check that a tensor has the sizes that the program was compiled for.

    Parameters
    ----------
    region
        Name of the region that it is in.
    value
        What it is in the program.
    found
        The tensor; other things pass.
    extents
        By name, the sizes that are known so far; added to.

    Raises
    ------
    RuntimeError
        If it has others.
    """
    if not isinstance(value.type, TensorType):
        return
    expected = value.type.shape
    same = len(expected) == found.dim()
    for wanted, extent in zip(expected, found.shape, strict=False):
        known = extents.setdefault(wanted, extent) if isinstance(wanted, str) else wanted
        same = same and known == extent
    if not same:
        raise RuntimeError(
            f"region {region} has a tensor of shape {tuple(found.shape)}, and the program was "
            f"compiled for {value.type}"
            + "".join(f", {name} = {extent}" for name, extent in extents.items())
        )


def argument(operand: Operand, values: Mapping[Value, Any]) -> Any:
    """What an operation of torch's takes for an operand, given what stands for each value."""
    match operand:
        case Value():
            return values[operand]
        case Symbolic():
            return torch_constant(operand)
        case tuple():
            return [argument(item, values) for item in operand]
        case _:
            return operand


def results_of(op: TensorOp, outcome: Any) -> list[Any]:
    """What torch returned of an operation, result by result.

    Raises
    ------
    InternalError
        If it has another number of results.
    """
    # One result may be a tensor, or a list of one tensor (``aten.split`` into one piece).
    found = list(outcome) if isinstance(outcome, tuple | list) else [outcome][: len(op.results)]
    if len(found) != len(op.results):
        raise InternalError(f"{op.target} gave {len(found)} results, not {len(op.results)}")
    return found


def run_region(
    region: Region,
    params: Sequence[Tensor],
    weights: Sequence[Tensor],
    extents: dict[str, int] | None = None,
) -> tuple[Tensor, ...]:
    """Interpret a region with torch.

    Parameters
    ----------
    region
        The region.
    params
        One tensor for each parameter, of its shape and dtype.
    weights
        One tensor for each weight.
    extents
        If given, every tensor is checked by `check_sizes`.

    Returns
    -------
    tuple of Tensor
        The region's results.

    Raises
    ------
    InternalError
        If the number of arguments is wrong, or the region uses what torch does not have.
    """
    if len(params) != len(region.params) or len(weights) != len(region.weights):
        raise InternalError(
            f"region {region.name} takes {len(region.params)} parameters and "
            f"{len(region.weights)} weights, not {len(params)} and {len(weights)}"
        )
    values: dict[Value, Any] = dict(
        zip((*region.params, *region.weights), (*params, *weights), strict=True)
    )

    if extents is not None:
        for given, tensor in values.items():
            check_sizes(region.name, given, tensor, extents)

    for op in region.ops:
        args = [argument(arg, values) for arg in op.args]
        kwargs = {name: argument(value, values) for name, value in op.kwargs}
        function = resolve(op.target)
        outcome = _draw(function, args, kwargs) if draws(op) else function(*args, **kwargs)
        for value, tensor in zip(op.results, results_of(op, outcome), strict=True):
            if value is not None:
                values[value] = tensor
                if extents is not None:
                    check_sizes(region.name, value, tensor, extents)
    return tuple(values[value] for value in region.results)


def _draw(function: OpOverload, args: list[Any], kwargs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """What an operation draws from a generator in the given state, and the state after it."""
    state = kwargs.pop(GENERATOR)
    if any(item.name == GENERATOR for item in function._schema.arguments):
        generator = torch.Generator().set_state(state)
        return function(*args, generator=generator, **kwargs), generator.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(state)
        return function(*args, **kwargs), torch.get_rng_state()


def example(value: Value) -> Tensor:
    """A tensor of zeros to trace a region with, for one of its parameters or weights.

    Raises
    ------
    TypeError
        If it is no tensor, or one of its sizes is not known.
    """
    kind = value.type
    if not isinstance(kind, TensorType) or not kind.is_static:
        raise TypeError(f"a region takes tensors of known sizes only, not {kind}")
    return torch.zeros([int(e) for e in kind.shape], dtype=getattr(torch, DTYPES[kind.dtype]))


class RegionModule(nn.Module):
    """A region as a module without parameters of its own.

    ``forward(*params, *weights)`` takes activations and weights alike as arguments, so that
    nothing about the weights can enter what is compiled from it.

    Parameters
    ----------
    region
        The region.
    """

    def __init__(self, region: Region) -> None:
        super().__init__()
        self.region = region

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the region; see `run_region`."""
        split = len(self.region.params)
        return run_region(self.region, tensors[:split], tensors[split:])
