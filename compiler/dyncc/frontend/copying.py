"""``copy.copy`` and ``copy.deepcopy``, also of objects that existed before the call."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.instances import is_instance_class
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.operations import external
from dyncc.frontend.values import (
    DictObj,
    DynListObj,
    InstanceObj,
    ListObj,
    Ref,
    SetObj,
    TensorObj,
)


def _copy(run: Interpreter, value: Any) -> Any:
    if run.is_tensor(value):
        return run.native(torch.Tensor.detach, (value,))  # shares the memory, as the copy does
    if isinstance(value, Ref):
        return run.state.new(run.state.heap[value]) if _is_container(run, value) else NotImplemented
    found = _on_heap(run, value, lambda part: external(run, part))
    return NotImplemented if found is None else run.state.new(found)


def _deepcopy(run: Interpreter, value: Any, memo: Any = None) -> Any:
    return _deep(run, value, {})


def _is_container(run: Interpreter, value: Any) -> bool:
    found = run.state.heap[value] if isinstance(value, Ref) else None
    plain = isinstance(found, InstanceObj) and not isinstance(found.content, Ref)
    return plain or isinstance(found, ListObj | DictObj | SetObj | DynListObj)


def _on_heap(run: Interpreter, value: Any, part: Callable[[Any], Any]) -> Any:
    """A container or object that existed before the call as one of the heap's, or None.

    ``part`` gives what it holds.
    """
    kind = type(value)
    if kind is list:
        return ListObj(tuple(part(item) for item in value))
    if kind is dict:
        return DictObj(tuple((key, part(item)) for key, item in value.items()))
    if kind is set:
        return SetObj(frozenset(value))
    plain = is_instance_class(kind) and not isinstance(value, tuple | dict | list)
    if plain and not any(hasattr(kind, name) for name in _OWN_WAY):
        return InstanceObj(kind, tuple((name, part(item)) for name, item in vars(value).items()))
    return None


#: What a class defines that is copied in a way of its own.
_OWN_WAY = ("__copy__", "__deepcopy__", "__slots__", "__setstate__", "__getnewargs__")


def _deep(run: Interpreter, value: Any, known: dict[Any, Any]) -> Any:
    if type(value) is tuple:
        return tuple(_deep(run, part, known) for part in value)
    if not isinstance(value, Ref):
        return _deep_outside(run, value, known)
    if value in known:
        return known[value]
    found = run.state.heap[value]
    if isinstance(found, TensorObj):
        known[value] = run.native(torch.clone, (value,))
        return known[value]
    if not _is_container(run, value) or isinstance(found, DynListObj):
        raise Unsupported(
            "DY505", "`copy.deepcopy`", "it is not compiled for this", "Copy the parts."
        )
    known[value] = run.state.new(found)
    if isinstance(found, ListObj):
        made: Any = ListObj(_deep(run, found.items, known))
    elif isinstance(found, DictObj):
        made = DictObj(tuple((key, _deep(run, item, known)) for key, item in found.items))
    elif isinstance(found, InstanceObj):
        fields = tuple((name, _deep(run, item, known)) for name, item in found.fields)
        made = InstanceObj(found.kind, fields, _deep(run, found.content, known))
    else:
        made = found
    run.state.heap[known[value]] = made
    return known[value]


def _deep_outside(run: Interpreter, value: Any, known: dict[Any, Any]) -> Any:
    """A deep copy of what existed before the call."""
    if isinstance(value, torch.Tensor):
        value = external(run, value)
        return _deep(run, value, known)
    if isinstance(value, nn.Module):
        raise Unsupported(
            "DY507",
            "`copy.deepcopy` of a module",
            "its weights would exist twice",
            "Copy it in __init__.",
        )
    if id(value) in known:
        return known[id(value)]
    made = run.state.new(None)
    known[id(value)] = made
    found = _on_heap(run, value, lambda part: _deep(run, part, known))
    if found is not None:
        run.state.heap[made] = found
        return made
    del run.state.heap[made]
    known[id(value)] = copy.deepcopy(value)
    return known[id(value)]


#: What stands for the functions of the library.
COPIES: dict[Any, Callable[..., Any]] = {copy.copy: _copy, copy.deepcopy: _deepcopy}
