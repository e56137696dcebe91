"""Builtins and library functions that the machine carries out itself on symbolic values.

A function here returns NotImplemented where the call is an ordinary one after all.
"""

from __future__ import annotations

import math
import operator
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dyncc.frontend.bridge import is_static, scalars_in
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.lists import join_tensors, number_tensor
from dyncc.frontend.objects import heap_attribute
from dyncc.frontend.values import (
    DictObj,
    DynIterObj,
    DynListObj,
    IterObj,
    ListObj,
    Ref,
    Sym,
    SymbolicTensor,
    TensorObj,
    short_dtype,
)
from dyncc.ir.types import ListType, ScalarType

KNOWN: dict[Any, Callable[..., Any]] = {}


def knows(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what stands for one or several functions."""

    def register(stand_in: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            KNOWN[function] = stand_in
        return stand_in

    return register


def _items(run: Interpreter, value: Any) -> tuple[Any, ...]:
    from dyncc.frontend.objects import iterate

    return iterate(run, value)


# --- numbers ----------------------------------------------------------------------------------


def _conversion(kind: type) -> Callable[..., Any]:
    def convert(run: Interpreter, *args: Any) -> Any:
        if len(args) != 1:
            return NotImplemented
        if kind is bool:
            return run.truth(args[0])
        value = run.scalar(args[0])
        if not isinstance(value, Sym):
            return NotImplemented
        return value if str(value.value.type) == kind.__name__ else run.host(kind.__name__, value)

    return convert


for _kind in (bool, int, float):
    KNOWN[_kind] = _conversion(_kind)


def _scalar_function(op: str) -> Callable[..., Any]:
    def function(run: Interpreter, *args: Any) -> Any:
        values = [run.scalar(arg) for arg in args]
        if not any(isinstance(value, Sym) for value in values):
            return NotImplemented
        return run.host(op, *values)

    return function


for _name in ("floor", "ceil", "trunc", "sqrt", "exp", "log", "log2", "log10", "sin", "cos",
              "tanh", "isnan", "isinf", "isfinite"):  # fmt: skip
    KNOWN[getattr(math, _name)] = _scalar_function(f"math.{_name}")
KNOWN[round] = _scalar_function("round")


@knows(divmod)
def _divmod(run: Interpreter, left: Any, right: Any) -> Any:
    if isinstance(left, Sym) or isinstance(right, Sym):
        return run.host("floordiv", left, right), run.host("mod", left, right)
    return NotImplemented


@knows(abs)
def _abs(run: Interpreter, value: Any) -> Any:
    if run.is_tensor(value):
        return run.native(torch.abs, (value,))
    return run.host("abs", value) if isinstance(value, Sym) else NotImplemented


def _extreme(op: str) -> Callable[..., Any]:
    def function(run: Interpreter, *args: Any) -> Any:
        found = run.state.heap[args[0]] if len(args) == 1 and isinstance(args[0], Ref) else None
        if isinstance(found, DynListObj):
            return run.host(f"list.{op}", Sym(found.values[0]))
        values = args if len(args) > 1 else _items(run, args[0])
        scalars = [run.scalar(value) for value in values]
        if not any(isinstance(value, Sym) for value in scalars):
            return NotImplemented
        return run.host(op, *scalars)

    return function


KNOWN[min], KNOWN[max] = _extreme("min"), _extreme("max")


@knows(sum)
def _sum(run: Interpreter, values: Any, start: Any = 0) -> Any:
    from dyncc.frontend.operations import binary

    found = run.state.heap[values] if isinstance(values, Ref) else None
    if isinstance(found, DynListObj) and isinstance(found.element.type, ScalarType):
        total = run.host("list.sum", Sym(found.values[0]))
        return total if start == 0 else binary(run, operator.add, "add", start, total)
    total = start
    for item in _items(run, values):
        total = binary(run, operator.add, "add", total, item)
    return total


def _quantifier(op: str, stop: bool) -> Callable[..., Any]:
    def function(run: Interpreter, values: Any) -> Any:
        answer: Any = not stop
        for item in _items(run, values):
            truth = run.truth(item)
            if isinstance(truth, Sym) or isinstance(answer, Sym):
                answer = run.host(op, answer, truth)
            else:
                answer = (answer or truth) if stop else (answer and truth)
        return answer

    return function


KNOWN[any], KNOWN[all] = _quantifier("or", True), _quantifier("and", False)


# --- sequences --------------------------------------------------------------------------------


@knows(len)
def _len(run: Interpreter, value: Any) -> Any:
    if not isinstance(value, Ref):
        return len(value) if isinstance(value, tuple) else NotImplemented
    found = run.state.heap[value]
    if isinstance(found, DynListObj):
        return run.host("list.len", Sym(found.values[0]))
    if isinstance(found, TensorObj):
        return int(found.fake.shape[0])
    if isinstance(found, ListObj | DictObj):
        return len(found.items)
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
    return run.state.new(DynIterObj(None, start, stop, step))


@knows(enumerate)
def _enumerate(run: Interpreter, values: Any, start: int = 0) -> Any:
    items = _items(run, values)
    return run.state.new(IterObj(tuple((start + i, item) for i, item in enumerate(items))))


@knows(zip)
def _zip(run: Interpreter, *sequences: Any, strict: bool = False) -> Any:
    columns = [_items(run, values) for values in sequences]
    if strict and len({len(column) for column in columns}) > 1:
        raise Unsupported("zip(strict=True)", "the lengths differ", "Correct the arguments.")
    return run.state.new(IterObj(tuple(zip(*columns, strict=False))))


@knows(reversed)
def _reversed(run: Interpreter, values: Any) -> Any:
    return run.state.new(IterObj(_items(run, values)[::-1]))


@knows(list)
def _list(run: Interpreter, values: Any = ()) -> Any:
    found = run.state.heap[values] if isinstance(values, Ref) else None
    if isinstance(found, DynListObj):
        return run.state.new(found)
    return run.state.new(ListObj(_items(run, values)))


@knows(tuple)
def _tuple(run: Interpreter, values: Any = ()) -> Any:
    return _items(run, values)


@knows(dict, OrderedDict)
def _dict(run: Interpreter, *args: Any, **kwargs: Any) -> Any:
    pairs: list[tuple[Any, Any]] = []
    if args:
        found = run.state.heap[args[0]] if isinstance(args[0], Ref) else args[0]
        if isinstance(found, DictObj):
            pairs = list(found.items)
        elif isinstance(found, dict):
            return NotImplemented
        else:
            for pair in _items(run, args[0]):
                key, value = _items(run, pair)
                pairs.append((key, value))
    result = DictObj(())
    for key, value in (*pairs, *kwargs.items()):
        result = result.set(run.static(key, "a dict key"), value)
    return run.state.new(result)


# --- types ------------------------------------------------------------------------------------


def type_of(run: Interpreter, value: Any) -> type:
    """The Python type that a value has in eager execution."""
    if isinstance(value, Sym):
        return {"bool": bool, "int": int, "float": float, "complex": complex}[str(value.value.type)]
    if isinstance(value, Ref):
        found = run.state.heap[value]
        if isinstance(found, TensorObj):
            owner = run.state.heap[found.storage].owner
            whole = owner in run.machine.parameter_names and not found.chain
            return nn.Parameter if whole else torch.Tensor
        if isinstance(found, SymbolicTensor):
            return torch.Tensor
        if isinstance(found, ListObj | DynListObj):
            return list
        if isinstance(found, DictObj):
            return dict
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
        return heap_attribute(run, owner, name)
    return NotImplemented


@knows(torch.is_tensor)
def _is_tensor(run: Interpreter, value: Any) -> bool:
    return issubclass(type_of(run, value), torch.Tensor)


# --- tensors from lists of run-time length ----------------------------------------------------


def _joiner(name: str) -> Callable[..., Any]:
    def join(run: Interpreter, tensors: Any, dim: int = 0, **kwargs: Any) -> Any:
        found = run.state.heap[tensors] if isinstance(tensors, Ref) else None
        if not isinstance(found, DynListObj):
            return NotImplemented
        return run.state.new(SymbolicTensor(join_tensors(run, name, found, dim)))

    return join


KNOWN[torch.stack] = _joiner("stack")
for _function in (torch.cat, torch.concat, torch.concatenate):
    KNOWN[_function] = _joiner("cat")


@knows(torch.tensor, torch.as_tensor)
def _tensor(run: Interpreter, data: Any, *, dtype: torch.dtype | None = None, **kwargs: Any) -> Any:
    if isinstance(data, Sym):
        sample = {"bool": True, "int": 1, "float": 1.0, "complex": 1j}[str(data.value.type)]
        return run.scalar_tensor(data, short_dtype(dtype or torch.tensor(sample).dtype))
    found = run.state.heap[data] if isinstance(data, Ref) else data
    if isinstance(found, DynListObj):
        (column,) = found.values
        assert isinstance(column.type, ListType)
        sample = {"bool": True, "int": 1, "float": 1.0}[str(column.type.element)]
        value = number_tensor(run, found, short_dtype(dtype or torch.tensor(sample).dtype))
        return run.state.new(SymbolicTensor(value))
    items = found.items if isinstance(found, ListObj) else found
    if isinstance(items, tuple) and scalars_in(run.state, items):
        if not all(isinstance(item, Sym | bool | int | float) for item in items):
            raise Unsupported(
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


@knows(print)
def _print(run: Interpreter, *args: Any, **kwargs: Any) -> Any:
    raise Unsupported(
        "`print`", "a compiled network prints nothing", "Remove it, or return what it would print."
    )
