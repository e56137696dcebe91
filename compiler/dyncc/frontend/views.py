"""ATen operations as the recorder sees them: which are views, how to undo them, arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.values import (
    ViewStep,
    short_dtype,
    tensor_type,
)
from dyncc.ir.hcfg import Operand, Symbolic, Value

aten = torch.ops.aten


class NeedsNumber(Unsupported):
    """A number that is known at run time only, where there is nothing that stands for it."""

    def __init__(self, kind: object) -> None:
        super().__init__(
            "DY201",
            f"{'an' if str(kind)[0] in 'aeiou' else 'a'} {kind} that comes out of tensor data",
            "this function needs it when the network is compiled",
            "Branch on it, so that each side has a constant, or compute with tensors.",
        )


def write_by_size() -> Unsupported:
    """What to raise for a write through a view of a size that depends on data."""
    return Unsupported(
        "DY224",
        "a write to a part of a tensor whose size depends on data",
        "the whole cannot be put together again from its parts here",
        "Compute a new tensor, or write to one of known size by an index.",
    )


#: Operations whose results are stored in the order of their dimensions, whatever they take.
ORDERED = {
    aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default,
    aten.embedding.default, aten.native_layer_norm.default,
}  # fmt: skip
#: Functional forms that have another name than their in-place one.
_FUNCTIONAL: dict[Any, Any] = {
    aten.bernoulli_.float: aten.bernoulli.p,
    aten.normal_.default: aten.normal_functional.default,
}
IDENTITY = {aten.lift_fresh.default, aten.lift.default}
PURE_VIEWS = {
    aten.transpose_.default: aten.transpose.int,
    aten.t_.default: aten.t.default,
    aten.squeeze_.default: aten.squeeze.default,
    aten.squeeze_.dim: aten.squeeze.dim,
    aten.squeeze_.dims: aten.squeeze.dims,
    aten.unsqueeze_.default: aten.unsqueeze.default,
}
SAME = {aten.alias.default, aten.detach.default}
RESHAPES = {
    aten.view.default, aten._unsafe_view.default, aten.squeeze.default, aten.squeeze.dim,
    aten.squeeze.dims, aten.unsqueeze.default, aten._reshape_alias.default,
}  # fmt: skip
SCATTERS = {
    aten.select.int: "aten.select_scatter.default",
    aten.slice.Tensor: "aten.slice_scatter.default",
    aten.diagonal.default: "aten.diagonal_scatter.default",
}


def functional_form(func: Any) -> Any:
    """The operation that returns what an in-place one writes; None if there is none."""
    if func in _FUNCTIONAL:
        return _FUNCTIONAL[func]
    name = func._schema.name.removeprefix("aten::")
    packet = getattr(aten, name.removesuffix("_"), None)
    if not name.endswith("_") or packet is None or func._overloadname not in packet.overloads():
        return None
    return getattr(packet, func._overloadname)


def is_view(func: Any) -> bool:
    """Whether the results of an operation alias its first argument, by its schema."""
    arguments = func._schema.arguments
    return bool(
        arguments
        and arguments[0].alias_info is not None
        and not arguments[0].alias_info.is_write
        and func._schema.returns
    )


def is_whole(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> bool:
    """Whether a view shows all that it is made of, and in the same shape and order.

    A part that is as long as the whole need be no step: in a loop, each turn would add one.
    """
    if func is not aten.slice.Tensor:
        return func in SAME
    step = args[4] if len(args) > 4 else 1
    return not kwargs and step == 1 and tensor_type(out) == tensor_type(args[0])


def step_key(chain: tuple[ViewStep, ...]) -> Any:
    """A hashable form of a chain of views."""
    return tuple((str(step.func), step.args, step.kwargs, step.index) for step in chain)


def apply_step(step: ViewStep, fake: torch.Tensor) -> torch.Tensor:
    """The view of a fake tensor that a step describes."""
    out = step.func(fake, *step.args, **dict(step.kwargs))
    result: torch.Tensor = out if step.index is None else out[step.index]
    return result


def as_single_view(step: ViewStep, value: Value) -> tuple[Any, tuple[Any, ...]]:
    """One result of ``unbind`` or ``split`` as a ``select`` or ``slice``."""
    shape = value.type.shape  # type: ignore[union-attr]
    assert step.index is not None
    keywords = dict(step.kwargs)
    if step.func is aten.unbind.int:
        dim = step.args[0] if step.args else keywords.get("dim", 0)
        return aten.select.int, (dim, step.index)
    dim = step.args[1] if len(step.args) > 1 else keywords.get("dim", 0)
    sizes = step.args[0]
    if isinstance(sizes, int):
        start = sizes * step.index
        return aten.slice.Tensor, (dim, start, min(start + sizes, int(shape[dim])))
    start = sum(sizes[: step.index])
    return aten.slice.Tensor, (dim, start, start + sizes[step.index])


def to_operand(item: Any) -> Operand:
    """A static ATen argument as an operand of the IR."""
    if item is None or isinstance(item, bool | int | float | complex | str | Value):
        return item
    if isinstance(item, torch.dtype):
        return Symbolic("dtype", short_dtype(item))
    if isinstance(item, torch.device):
        return Symbolic("device", "cpu")
    if isinstance(item, torch.memory_format):
        return Symbolic("memory_format", str(item).removeprefix("torch."))
    if isinstance(item, torch.layout):
        return Symbolic("layout", str(item).removeprefix("torch."))
    if isinstance(item, list | tuple):
        return tuple(to_operand(part) for part in item)
    raise Unsupported(
        "DY215",
        f"a {type(item).__name__} as an argument of an operation",
        "regions take tensors and numbers",
        "Use the module as it was before it was quantised or packed.",
    )
