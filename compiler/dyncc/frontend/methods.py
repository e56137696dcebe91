"""Methods of heap objects: tensors, lists, dicts, sets, tuples, arrays, numbers."""

from __future__ import annotations

from typing import Any

import torch

from dyncc.frontend.arrays import array_method, as_array
from dyncc.frontend.bridge import scalars_in
from dyncc.frontend.builtin_calls import KNOWN
from dyncc.frontend.containers import dict_method, set_method, tuple_method
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.extents import has_symbols
from dyncc.frontend.instances import known_method
from dyncc.frontend.interpreter import DataDependent, Interpreter
from dyncc.frontend.lists import dynamic_method, static_method
from dyncc.frontend.numbers import number_method
from dyncc.frontend.operations import library_call
from dyncc.frontend.templates import Template
from dyncc.frontend.values import (
    ArrayObj,
    Bound,
    DictObj,
    DynListObj,
    GeneratorObj,
    InstanceObj,
    ListObj,
    Ref,
    SetObj,
    Sym,
    short_dtype,
)
from dyncc.ir.types import ListType, scalar_type_of


def method(run: Interpreter, bound: Bound, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A method of a heap object that the machine knows."""
    owner, name = bound.owner, bound.name
    if isinstance(owner, Sym):
        return number_method(run, owner, name, args)
    if run.is_tensor(owner):
        return tensor_method(run, owner, name, args, kwargs)
    found = run.state.heap[owner] if isinstance(owner, Ref) else owner
    if isinstance(found, DynListObj):
        return dynamic_method(run, owner, name, args)
    if isinstance(found, ListObj):
        return static_method(run, owner, name, args)
    if isinstance(found, DictObj):
        return dict_method(run, owner, found, name, args, kwargs)
    if isinstance(found, SetObj):
        return set_method(run, owner, found, name, args, kwargs)
    if isinstance(found, ArrayObj):
        return array_method(run, owner, name, args, kwargs)
    if isinstance(found, InstanceObj):
        return known_method(run, owner, name, args, kwargs)
    if isinstance(found, GeneratorObj) and name == "throw" and len(args) == 1:
        from dyncc.frontend.iteration import throw_into

        return throw_into(run, owner, args[0])
    if isinstance(found, tuple):
        return tuple_method(run, found, name, args)
    raise Unsupported(
        "DY505", f"`.{name}()`", "it is not compiled for this object", "Write it otherwise."
    )


_IN_PLACE_VIEWS = {
    "transpose_", "swapaxes_", "swapdims_", "t_", "squeeze_", "unsqueeze_",
}  # fmt: skip


def tensor_method(
    run: Interpreter, owner: Ref, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A method of a tensor."""
    fake = run.state.heap[owner].fake
    if name == "item" or (name == "tolist" and fake.dim() == 0):
        return run.item(owner)
    if name in ("__bool__", "__int__", "__float__"):
        return KNOWN[{"__bool__": bool, "__int__": int, "__float__": float}[name]](run, owner)
    if name in ("size", "dim", "numel", "stride", "is_floating_point", "ndimension", "nelement"):
        return run.native(getattr(type(fake), name), (owner, *args), kwargs)
    if name == "tolist":
        return _to_list(run, owner)
    if name == "numpy":
        return as_array(run, owner)
    if name in ("backward", "register_hook", "requires_grad_"):
        raise Unsupported(
            "DY213",
            f"`.{name}()` of a tensor",
            "a compiled network computes no gradients",
            "Write the derivative as tensor operations, or train the network before compiling it.",
        )
    if name == "data_ptr":
        raise Unsupported(
            "DY213",
            f"`.{name}()` of a tensor",
            "tensors have no address before the network runs",
            "Use tensor operations.",
        )
    if name in _IN_PLACE_VIEWS:
        view = run.native(getattr(torch.Tensor, name.removesuffix("_")), (owner, *args), kwargs)
        run.state.heap[owner] = run.state.heap[view]
        return owner
    try:
        return library_call(
            run, getattr(torch.Tensor, name), (owner, *args), kwargs, f"`.{name}()`"
        )
    except DataDependent:
        for sym in scalars_in(run.state, (*args, *kwargs.values())):
            run.static(sym, f"`.{name}()`")
        raise Unsupported(
            "DY202",
            f"`.{name}()` of a tensor",
            "it asks for the content of a tensor",
            "Use .item() where a number is wanted.",
        ) from None


def _to_list(run: Interpreter, owner: Ref) -> Any:
    fake = run.state.heap[owner].fake
    if fake.dim() == 0:
        return run.item(owner)
    if has_symbols(fake) and fake.dim() == 1:
        kind = scalar_type_of(short_dtype(fake.dtype))
        tensor = run.builder.materialised(run.read(owner))
        values = run.builder.host("tensor.list", (tensor,), (ListType(kind),), run.loc)
        return run.state.new(DynListObj(Template("scalar", kind), values))
    if has_symbols(fake):
        raise Unsupported(
            "DY210",
            "`.tolist()` of a tensor whose size depends on data",
            "lists in lists of run-time length are not compiled",
            "Make it a tensor of one dimension first, or loop over its rows.",
        )
    parts: tuple[Ref, ...] = run.native(lambda tensor: tensor.unbind(0), (owner,))
    return run.state.new(ListObj(tuple(_to_list(run, part) for part in parts)))
