"""Comparisons: of numbers, strings, tensors, arrays and sequences; ``in`` and ``is``."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from dyncc.frontend.arrays import array, array_operator
from dyncc.frontend.bridge import is_static, scalars_in
from dyncc.frontend.code import Instr
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.instances import instance, is_compared, is_output_class, output_entries
from dyncc.frontend.interpreter import Interpreter, handles
from dyncc.frontend.operations import evaluate, sequence, tensor_operator
from dyncc.frontend.values import (
    DictObj,
    DynListObj,
    InstanceObj,
    ListObj,
    Ref,
    SetObj,
    Sym,
)

_COMPARE: dict[str, tuple[Callable[..., Any], str]] = {
    "Eq": (operator.eq, "eq"),
    "NotEq": (operator.ne, "ne"),
    "Lt": (operator.lt, "lt"),
    "LtE": (operator.le, "le"),
    "Gt": (operator.gt, "gt"),
    "GtE": (operator.ge, "ge"),
}


@handles("compare")
def _compare(run: Interpreter, instr: Instr) -> None:
    left, right = run.uses()
    if instr.const in ("Is", "IsNot"):
        same = (
            left == right
            if isinstance(left, Ref) and isinstance(right, Ref)
            else left is right and not isinstance(left, Sym)
        )
        run.done(same == (instr.const == "Is"))
        return
    if instr.const in ("In", "NotIn"):
        found = contains(run, right, left)
        if instr.const == "NotIn":
            found = run.host("not", found) if isinstance(found, Sym) else not found
        run.done(found)
        return
    function, op = _COMPARE[instr.const]
    left, right = _as_tuples(run, op, left, right)
    if array(run, left) is not None or array(run, right) is not None:
        run.done(array_operator(run, function, op, left, right))
    elif run.is_tensor(left) or run.is_tensor(right):
        run.done(tensor_operator(run, function, left, right))
    elif isinstance(left, Sym) or isinstance(right, Sym):
        run.done(_compare_scalars(run, function, op, left, right))
    elif _holds_scalars(run, left) or _holds_scalars(run, right):
        run.done(_compare_sequences(run, op, left, right))
    elif isinstance(left, Ref) or isinstance(right, Ref):
        plain = tuple(_plain(run, value) for value in (left, right))
        run.done(evaluate(run, function, *plain))
    else:
        run.done(evaluate(run, function, left, right))


def _as_tuples(run: Interpreter, op: str, left: Any, right: Any) -> tuple[Any, Any]:
    """Named tuples, and data classes with the comparison that they are given, as plain tuples."""
    pair = (instance(run, left), instance(run, right))
    kinds = [found.kind for found in pair if found is not None]
    if len(kinds) == 2 and kinds[0] is kinds[1] and op in ("eq", "ne") and is_compared(kinds[0]):
        return tuple(tuple(value for _, value in found.fields) for found in pair if found)  # type: ignore[return-value]
    contents = [found.content if found is not None else None for found in pair]
    if isinstance(contents[0], tuple):
        left = contents[0]
    if isinstance(contents[1], tuple):
        right = contents[1]
    return left, right


def _compare_scalars(run: Interpreter, function: Any, op: str, left: Any, right: Any) -> Any:
    kinds = (str, bool, int, float, complex)
    known = [isinstance(value, Sym) or type(value) in kinds for value in (left, right)]
    if all(known):
        return run.compare(op, left, right)
    if op in ("eq", "ne"):
        return op == "ne"
    samples = [0 if isinstance(value, Sym) else value for value in (left, right)]
    return evaluate(run, function, *samples)


def _holds_scalars(run: Interpreter, value: Any) -> bool:
    is_list = run.holds(value, ListObj)
    return (is_list or type(value) is tuple) and bool(scalars_in(run.state, value))


def _compare_sequences(run: Interpreter, op: str, left: Any, right: Any) -> Any:
    """Compare tuples or lists of numbers, item by item."""
    pairs = list(zip(sequence(run, left), sequence(run, right), strict=False))
    for pair in pairs:
        if not all(isinstance(item, Sym | bool | int | float | str) for item in pair):
            raise Unsupported(
                "DY406",
                "a comparison of tuples or lists",
                "they hold more than numbers",
                "Compare their items.",
            )
    lengths = len(sequence(run, left)), len(sequence(run, right))
    if op in ("eq", "ne"):
        if lengths[0] != lengths[1] or isinstance(left, tuple) != isinstance(right, tuple):
            return op == "ne"
        answer = _reduce(run, "and", [run.host("eq", a, b) for a, b in pairs])
        return answer if op == "eq" else run.host("not", answer)
    answer = evaluate(run, getattr(operator, op), *lengths)
    for a, b in reversed(pairs):
        strict = run.host("lt" if op in ("lt", "le") else "gt", a, b)
        answer = run.host("or", strict, run.host("and", run.host("eq", a, b), answer))
    return answer


def _reduce(run: Interpreter, op: str, values: list[Any]) -> Any:
    answer: Any = values[0] if values else True
    for value in values[1:]:
        answer = run.host(op, answer, value)
    return answer


def _plain(run: Interpreter, value: Any) -> Any:
    if isinstance(value, Ref):
        found = run.state.heap[value]
        if isinstance(found, ListObj) and is_static(run.state, found.items):
            return list(found.items)
        if isinstance(found, DictObj) and is_static(run.state, tuple(v for _, v in found.items)):
            return dict(found.items)
        raise Unsupported(
            "DY406",
            "a comparison of containers",
            "they hold tensors or numbers that are known at run time only",
            "Compare their elements.",
        )
    return value


def contains(run: Interpreter, container: Any, value: Any) -> Any:
    """Truth of ``value in container``."""
    if isinstance(container, Ref):
        found = run.state.heap[container]
        if isinstance(found, DynListObj) and len(found.values) == 1:
            return run.host("list.contains", Sym(found.values[0]), run.scalar(value))
        if isinstance(found, InstanceObj) and found.content is None:
            if is_output_class(found.kind):
                return contains(run, run.state.new(output_entries(found)), value)
        elif isinstance(found, InstanceObj):
            return contains(run, found.content, value)
        if isinstance(found, DictObj):
            return contains(run, tuple(key for key, _ in found.items), value)
        if isinstance(found, SetObj):
            return contains(run, tuple(found.items), value)
        if not isinstance(found, ListObj):
            raise Unsupported(
                "DY408", "`in`", "it is not compiled for this container", "Use a list."
            )
        container = found.items
    if run.is_tensor(value) and isinstance(container, tuple) and container[:1] == (value,):
        return True
    value = run.scalar(value) if run.is_tensor(value) else value
    if isinstance(value, Sym) and isinstance(container, range | set | frozenset | dict):
        container = tuple(container)
    if isinstance(container, tuple):
        container = tuple(run.scalar(item) for item in container)
    if isinstance(value, Sym) or (
        isinstance(container, tuple) and scalars_in(run.state, container)
    ):
        answer: Any = False
        for item in container:
            if not isinstance(item, Sym | bool | int | float | str):
                continue
            equal = run.host("eq", value, item)
            answer = equal if answer is False else run.host("or", answer, equal)
        return answer
    return evaluate(run, operator.contains, container, value)
