"""Values across the border between the machine and native Python code, in both directions."""

from __future__ import annotations

from typing import Any

import torch

from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.extents import extent_name, has_symbols, host_size
from dyncc.frontend.recorder import Recorder
from dyncc.frontend.templates import Template
from dyncc.frontend.values import (
    Bound,
    Composite,
    DictObj,
    DynIterObj,
    DynListObj,
    InstanceObj,
    IterObj,
    ListObj,
    Ref,
    SetObj,
    State,
    Sym,
    TensorObj,
)
from dyncc.frontend.views import NeedsNumber


def field_names(kind: Any) -> tuple[str, ...]:
    """Names of the fields of a named tuple, one of torch's results included."""
    found: tuple[str, ...] = getattr(kind, "_fields", None) or kind.__match_args__
    return found


def is_static(state: State, value: Any) -> bool:
    """Whether a value is a plain Python object, with nothing symbolic in it."""
    if isinstance(value, Ref | Sym | Bound):
        return False
    if type(value) is tuple:
        return all(is_static(state, part) for part in value)
    if isinstance(value, slice):
        return is_static(state, (value.start, value.stop, value.step))
    return True


def scalars_in(state: State, value: Any) -> list[Sym]:
    """All dynamic scalars in a value."""
    if isinstance(value, Sym):
        return [value]
    if type(value) is tuple:
        return [sym for part in value for sym in scalars_in(state, part)]
    if isinstance(value, slice):
        return scalars_in(state, (value.start, value.stop, value.step))
    if isinstance(value, Ref):
        found = state.heap[value]
        if isinstance(found, ListObj):
            return scalars_in(state, found.items)
        if isinstance(found, DictObj):
            return scalars_in(state, tuple(item for _, item in found.items))
        if isinstance(found, InstanceObj) and isinstance(found.content, tuple):
            return scalars_in(state, found.content)
    return []


def lower(state: State, value: Any, recorder: Recorder) -> Any:
    """What native code gets for a value: fake tensors and real containers.

    Raises
    ------
    Unsupported
        For what has no counterpart at compile time.
    """
    if isinstance(value, Ref):
        found = state.heap[value]
        if isinstance(found, TensorObj):
            return recorder.fake_of(value)
        if isinstance(found, ListObj):
            return [lower(state, item, recorder) for item in found.items]
        if isinstance(found, DictObj):
            return {key: lower(state, item, recorder) for key, item in found.items}
        if isinstance(found, IterObj):
            return [lower(state, item, recorder) for item in found.items[found.position :]]
        if isinstance(found, SetObj):
            return set(found.items)
        if isinstance(found, Composite):
            raise Unsupported(
                "DY504",
                "a function or generator of the network's, passed to library code",
                "the library may do anything with it",
                "Call it in your own code instead.",
            )
        if isinstance(found, InstanceObj):
            return _lower_instance(state, found, recorder)
        if isinstance(found, DynListObj | DynIterObj):
            raise Unsupported(
                "DY402",
                "a list whose length depends on data",
                "this function needs to know its length",
                "Use torch.stack or torch.cat on it, loop over it, or index it.",
            )
        raise Unsupported(
            "DY504",
            "an object made in the network",
            "library code may do anything with it",
            "Pass tensors, numbers, lists or dicts, or call it in your own code.",
        )
    if type(value) is tuple:
        return tuple(lower(state, part, recorder) for part in value)
    if isinstance(value, slice):
        return slice(*lower(state, (value.start, value.stop, value.step), recorder))
    if isinstance(value, Sym) and value.extent is not None:
        return value.extent
    if isinstance(value, Sym):
        if recorder.number is None:
            raise NeedsNumber("number")
        return recorder.number(value)
    if isinstance(value, Bound):
        raise Unsupported(
            "DY504",
            "a method passed to library code",
            "the library may do anything with it",
            "Call it in your own code instead.",
        )
    return value


def _lower_instance(state: State, found: InstanceObj, recorder: Recorder) -> Any:
    parts = found.content
    if isinstance(parts, tuple) and hasattr(found.kind, "_fields"):
        return found.kind(*(lower(state, part, recorder) for part in parts))
    if isinstance(parts, tuple):
        return lower(state, parts, recorder)
    raise Unsupported(
        "DY504",
        f"a {found.kind.__name__} passed to library code",
        "the library may do anything with it",
        "Pass what is in it.",
    )


def wrap(state: State, value: Any, recorder: Recorder) -> Any:
    """What the machine keeps for a value that native code returned."""
    if isinstance(value, torch.Tensor):
        return recorder.ref_of(value)
    if isinstance(value, torch.Size) and not has_symbols(value):
        return value
    if isinstance(value, torch.SymInt):
        known = extent_name(value)
        if isinstance(known, int):
            return known
        return Sym(host_size(recorder.builder, value), extent=value)
    if isinstance(value, tuple):
        parts = tuple(wrap(state, part, recorder) for part in value)
        is_plain = type(value) in (tuple, torch.Size)
        return parts if is_plain else state.new(InstanceObj(type(value), (), parts))
    if isinstance(value, list):
        return state.new(ListObj(tuple(wrap(state, part, recorder) for part in value)))
    if type(value) is dict:
        items = tuple((key, wrap(state, part, recorder)) for key, part in value.items())
        return state.new(DictObj(items))
    if isinstance(value, torch.SymFloat | torch.SymBool):
        raise Unsupported(
            "DY205",
            "a size that depends on data",
            "shapes must be known when the network is compiled",
            "Use a mask with torch.where instead.",
        )
    return value


def element(state: State, template: Template, leaves: list[Any]) -> Any:
    """One element of a list of run-time length from its leaves (consumed left to right)."""
    if template.kind in ("scalar", "tensor"):
        return leaves.pop(0)
    parts = tuple(element(state, part, leaves) for part in template.parts)
    return parts if template.kind == "tuple" else state.new(ListObj(parts))
