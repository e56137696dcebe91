"""Builtins and library functions that the machine carries out itself on symbolic values.

A function here returns NotImplemented where the call is an ordinary one after all.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy
import torch
from torch import nn

from dyncc.frontend.arrays import ARRAY_FUNCTIONS, array
from dyncc.frontend.bridge import is_static, scalars_in
from dyncc.frontend.containers import make_dict, make_set
from dyncc.frontend.copying import COPIES
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.instances import (
    ENTERED,
    construct,
    has_attribute,
    read_attribute,
    special_method,
)
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.library_containers import make_defaultdict, make_deque
from dyncc.frontend.lists import join_tensors, number_tensor
from dyncc.frontend.numbers import NUMBERS
from dyncc.frontend.objects import heap_attribute, set_attribute
from dyncc.frontend.sequences import (
    backwards,
    dynamic,
    enumerated,
    extreme,
    filtered,
    items_of,
    listed,
    mapped,
    ordered,
    product,
    quantifier,
    summed,
    zipped,
)
from dyncc.frontend.strings import LOGGING, format_value, print_values, representation, to_text
from dyncc.frontend.values import (
    RANGE,
    ArrayObj,
    Bound,
    ClosureObj,
    DictObj,
    DynIterObj,
    DynListObj,
    GeneratorObj,
    InstanceObj,
    ListObj,
    PartialObj,
    Ref,
    SetObj,
    Sym,
    TensorObj,
    short_dtype,
)
from dyncc.ir.types import ListType

KNOWN: dict[Any, Callable[..., Any]] = NUMBERS | ARRAY_FUNCTIONS | COPIES | LOGGING


def knows(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what stands for one or several functions."""

    def register(stand_in: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            KNOWN[function] = stand_in
        return stand_in

    return register


# --- sequences --------------------------------------------------------------------------------


@knows(len)
def _len(run: Interpreter, value: Any) -> Any:
    if not isinstance(value, Ref):
        return len(value) if isinstance(value, tuple) else NotImplemented
    found = run.state.heap[value]
    if isinstance(found, DynListObj):
        return run.host("list.len", Sym(found.values[0]))
    if isinstance(found, ArrayObj):
        found = run.state.heap[found.tensor]
    if isinstance(found, TensorObj):
        return run.size(found.fake.shape[0])
    if isinstance(found, ListObj | DictObj | SetObj):
        return len(found.items)
    if isinstance(found, InstanceObj):
        special = special_method(run, value, "__len__")
        if special is not None:
            from dyncc.frontend.calls import inline

            inline(run, special, (value,), {})
            return ENTERED
        return len(items_of(run, value))
    return NotImplemented


@knows(range)
def _range(run: Interpreter, *args: Any) -> Any:
    values = [run.scalar(arg) for arg in args]
    if not any(isinstance(value, Sym) for value in values):
        return range(*values)
    start, stop, step = (
        (0, values[0], 1) if len(values) == 1 else (*values[:2], *(values[2:] or [1]))
    )
    run.static(step, "the step of a range")
    return run.state.new(DynIterObj(RANGE, start, stop, step))


KNOWN |= {
    enumerate: enumerated, zip: zipped, reversed: backwards, list: listed, map: mapped,
    filter: filtered, sorted: ordered, min: extreme("min"), max: extreme("max"), sum: summed,
    any: quantifier("or", True), all: quantifier("and", False),
    math.prod: product, deque: make_deque, defaultdict: make_defaultdict,
}  # fmt: skip


@knows(tuple)
def _tuple(run: Interpreter, values: Any = ()) -> Any:
    if dynamic(run, values):
        raise Unsupported(
            "DY402",
            "`tuple` of a list whose length depends on data",
            "tuples have a known length here",
            "Keep it a list.",
        )
    return items_of(run, values)


@knows(dict, OrderedDict)
def _dict(run: Interpreter, *args: Any, **kwargs: Any) -> Any:
    return run.state.new(make_dict(run, args, kwargs))


@knows(dict.fromkeys)
def _fromkeys(run: Interpreter, keys: Any, value: Any = None) -> Any:
    pairs = tuple((key, value) for key in items_of(run, keys))
    return run.state.new(make_dict(run, (pairs,), {}))


@knows(set, frozenset)
def _set(run: Interpreter, values: Any = ()) -> Any:
    return run.state.new(make_set(run, items_of(run, values)))


# --- types ------------------------------------------------------------------------------------


def type_of(run: Interpreter, value: Any) -> type:
    """The Python type that a value has in eager execution."""
    if isinstance(value, Sym):
        kinds: tuple[type, ...] = (bool, int, float, complex, str)
        return next(kind for kind in kinds if kind.__name__ == str(value.value.type))
    if isinstance(value, Ref):
        found = run.state.heap[value]
        if isinstance(found, TensorObj):
            owner = run.state.heap[found.storage].owner
            whole = owner in run.machine.parameter_names and not found.chain
            return nn.Parameter if whole else torch.Tensor
        if isinstance(found, ListObj | DynListObj):
            return list
        if isinstance(found, DictObj):
            return dict
        if isinstance(found, SetObj):
            return set
        if isinstance(found, ArrayObj):
            return numpy.ndarray
        if isinstance(found, InstanceObj):
            return found.kind
        if isinstance(found, ClosureObj):
            return types.FunctionType
        if isinstance(found, GeneratorObj):
            return types.GeneratorType
        if isinstance(found, PartialObj):
            return functools.partial
        if isinstance(found, DynIterObj) and found.source == RANGE:
            return range
        return type(iter(()))
    return type(value)


@knows(isinstance)
def _isinstance(run: Interpreter, value: Any, kinds: Any) -> Any:
    return issubclass(type_of(run, value), kinds)


@knows(type)
def _type(run: Interpreter, *args: Any) -> Any:
    return type_of(run, args[0]) if len(args) == 1 else NotImplemented


@knows(getattr)
def _getattr(run: Interpreter, owner: Any, name: str, *default: Any) -> Any:
    if isinstance(owner, nn.Module) and is_static(run.state, name):
        label = run.machine.module_names.get(id(owner))
        if label is not None and (label, name) in run.state.attributes:
            return run.state.attributes[label, name][0]
    if isinstance(owner, Ref) and is_static(run.state, name):
        if isinstance(run.state.heap[owner], InstanceObj):
            return read_attribute(run, owner, name, *default)
        if default and not hasattr(type_of(run, owner), name):
            return default[0]
        return heap_attribute(run, owner, name)
    return NotImplemented


@knows(hasattr)
def _hasattr(run: Interpreter, owner: Any, name: str) -> Any:
    if isinstance(owner, nn.Module):
        label = run.machine.module_names.get(id(owner))
        return (label, name) in run.state.attributes or hasattr(owner, name)
    if isinstance(owner, Ref):
        if isinstance(run.state.heap[owner], InstanceObj):
            return has_attribute(run, owner, name)
        return hasattr(type_of(run, owner), name)
    return NotImplemented


@knows(setattr)
def _setattr(run: Interpreter, owner: Any, name: str, value: Any) -> Any:
    return set_attribute(run, owner, name, value)


@knows(callable)
def _callable(run: Interpreter, value: Any) -> Any:
    if isinstance(value, Bound):
        return True
    if isinstance(value, Ref):
        made = isinstance(run.state.heap[value], PartialObj | ClosureObj)
        return made or special_method(run, value, "__call__") is not None
    return NotImplemented


@knows(object.__setattr__)
def _object_setattr(run: Interpreter, owner: Any, name: str, value: Any) -> Any:
    if not isinstance(owner, Ref) or not isinstance(run.state.heap[owner], InstanceObj):
        return NotImplemented
    run.state.heap[owner] = run.state.heap[owner].set(name, value)
    return None


@knows(dataclasses.replace)
def _replace(run: Interpreter, owner: Any, /, **changes: Any) -> Any:
    if not isinstance(owner, Ref) or not isinstance(run.state.heap[owner], InstanceObj):
        return NotImplemented
    found = run.state.heap[owner]
    names = {field.name for field in dataclasses.fields(found.kind) if field.init}
    values = {name: value for name, value in found.fields if name in names}
    return construct(run, found.kind, (), values | changes)


@knows(dataclasses.fields)
def _fields(run: Interpreter, owner: Any) -> Any:
    return dataclasses.fields(type_of(run, owner)) if isinstance(owner, Ref) else NotImplemented


@knows(dataclasses.is_dataclass)
def _is_dataclass(run: Interpreter, owner: Any) -> Any:
    if isinstance(owner, Ref):
        return dataclasses.is_dataclass(type_of(run, owner))
    return NotImplemented


@knows(dataclasses.asdict)
def _asdict(run: Interpreter, owner: Any) -> Any:
    if not isinstance(owner, Ref) or not isinstance(run.state.heap[owner], InstanceObj):
        return NotImplemented
    return run.state.new(DictObj(run.state.heap[owner].fields))


@knows(functools.partial)
def _partial(run: Interpreter, function: Any, *args: Any, **kwargs: Any) -> Any:
    return run.state.new(PartialObj(function, args, tuple(kwargs.items())))


@knows(torch.is_tensor)
def _is_tensor(run: Interpreter, value: Any) -> bool:
    return issubclass(type_of(run, value), torch.Tensor)


# --- tensors from lists of run-time length ----------------------------------------------------


def _joiner(name: str) -> Callable[..., Any]:
    def join(run: Interpreter, tensors: Any, dim: int = 0, **kwargs: Any) -> Any:
        found = run.state.heap[tensors] if isinstance(tensors, Ref) else None
        if not isinstance(found, DynListObj):
            return NotImplemented
        return join_tensors(run, name, found, dim)

    return join


KNOWN[torch.stack] = _joiner("stack")
for _function in (torch.cat, torch.concat, torch.concatenate):
    KNOWN[_function] = _joiner("cat")


@knows(torch.as_tensor)
def _as_tensor(run: Interpreter, data: Any, dtype: Any = None, **kwargs: Any) -> Any:
    numbers = array(run, data)
    if numbers is not None and dtype is None:
        return numbers.tensor
    return _tensor(run, data, dtype=dtype, **kwargs)


@knows(torch.tensor)
def _tensor(run: Interpreter, data: Any, *, dtype: torch.dtype | None = None, **kwargs: Any) -> Any:
    numbers = array(run, data)
    if numbers is not None:
        named = {} if dtype is None else {"dtype": dtype}
        return run.native(lambda x: x.clone().to(**named), (numbers.tensor,))
    if isinstance(data, Sym):
        sample = {"bool": True, "int": 1, "float": 1.0, "complex": 1j}[str(data.value.type)]
        return run.scalar_tensor(data, short_dtype(dtype or torch.tensor(sample).dtype))
    found = run.state.heap[data] if isinstance(data, Ref) else data
    if isinstance(found, DynListObj):
        (column,) = found.values
        assert isinstance(column.type, ListType)
        sample = {"bool": True, "int": 1, "float": 1.0}[str(column.type.element)]
        return number_tensor(run, found, short_dtype(dtype or torch.tensor(sample).dtype))
    items = found.items if isinstance(found, ListObj) else found
    if isinstance(items, tuple) and scalars_in(run.state, items):
        if not all(isinstance(item, Sym | bool | int | float) for item in items):
            raise Unsupported(
                "DY212",
                "torch.tensor of nested lists with numbers from tensor data",
                "only flat lists of numbers are compiled",
                "Use torch.stack on tensors.",
            )
        samples = [
            {"bool": True, "int": 1, "float": 1.0}[str(item.value.type)]
            if isinstance(item, Sym)
            else item
            for item in items
        ]
        wanted = short_dtype(dtype or torch.tensor(samples).dtype)
        parts = [
            run.scalar_tensor(item if isinstance(item, Sym) else run.host("const", item), wanted)
            for item in items
        ]
        return run.native(torch.stack, (run.state.new(ListObj(tuple(parts))),))
    return NotImplemented


@knows(torch.full)
def _full(run: Interpreter, size: Any, fill_value: Any, **kwargs: Any) -> Any:
    if not isinstance(fill_value, Sym) or str(fill_value.value.type) != "bool":
        return NotImplemented
    # The library asks for the number itself; a tensor of it has the same content.
    dtype = kwargs.get("dtype") or torch.bool
    content = run.scalar_tensor(fill_value, short_dtype(dtype))
    return run.native(lambda value, shape: value.expand(shape).clone(), (content, size))


# --- strings ----------------------------------------------------------------------------------

KNOWN[str] = to_text
KNOWN[repr] = KNOWN[ascii] = representation
KNOWN[format] = format_value
KNOWN[print] = print_values
