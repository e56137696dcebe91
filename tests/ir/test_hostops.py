"""Declared result types are those that Python gives."""

from __future__ import annotations

import operator
from typing import Any

import numpy
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dyncc.ir.hcfg import Value
from dyncc.ir.hostops import SCALAR_FUNCTIONS, position, result_types
from dyncc.ir.types import BOOL, FLOAT, INT, SCALARS, ListType
from dyncc.runtime.hostlist import LIST_FUNCTIONS, HostList

NUMBERS = st.booleans() | st.integers(-50, 50) | st.floats(-50, 50)


@pytest.mark.parametrize("op", sorted(SCALAR_FUNCTIONS))
@given(st.lists(NUMBERS, min_size=1, max_size=3))
def test_scalar_operations(op: str, numbers: list[Any]) -> None:
    try:
        found = SCALAR_FUNCTIONS[op](*numbers)
    except (ArithmeticError, ValueError, TypeError, IndexError):
        return
    values = tuple(Value(f"v{i}", SCALARS[type(n).__name__]) for i, n in enumerate(numbers))
    try:
        (declared,) = result_types(op, values) or ()
    except ValueError:
        # What the declaration refuses must be what has no one type.
        assert op in ("pow", "round", "min", "max") or len(numbers) > 1
        return
    assume(not isinstance(found, complex))  # a negative number to a fraction
    assert declared == SCALARS[type(found).__name__]


@given(st.integers(-9, 9), st.integers(1, 6))
def test_position(index: int, length: int) -> None:
    items = list(range(length))
    try:
        expected = items[index]
    except IndexError:
        with pytest.raises(IndexError):
            position(index, length)
    else:
        assert position(index, length) == expected


LISTS: dict[str, Any] = {
    "list.append": lambda items, value: [*items, value],
    "list.push": lambda items, value: [*items, value],
    "list.get": operator.getitem,
    "list.len": len,
    "list.concat": operator.add,
    "list.slice": lambda items, a, b, c: items[a:b:c],
    "list.reverse": lambda items: items[::-1],
    "list.contains": operator.contains,
    "list.sum": sum,
    "list.min": min,
    "list.max": max,
}


@given(st.data())
def test_lists_are_values(data: st.DataObject) -> None:
    """Random operations on several versions at once: no version changes when another grows."""
    versions: list[tuple[HostList, list[int]]] = [(HostList(), [])]
    for _ in range(data.draw(st.integers(1, 25))):
        mine, theirs = data.draw(st.sampled_from(versions))
        op = data.draw(
            st.sampled_from([*LISTS, "list.set", "list.insert", "list.pop", "list.append"])
        )
        index, value = data.draw(st.integers(-5, 5)), data.draw(st.integers(0, 9))
        bound = st.none() | st.integers(-6, 6)
        arguments: tuple[Any, ...] = {
            "list.append": (value,),
            "list.push": (value,),
            "list.get": (index,),
            "list.contains": (value,),
            "list.set": (index, value),
            "list.insert": (index, value),
            "list.pop": (index,),
        }.get(op, ())
        if op == "list.slice":
            step = data.draw(st.none() | st.sampled_from([-2, -1, 1, 2]))
            arguments = (data.draw(bound), data.draw(bound), step)
        if op == "list.concat":
            other = data.draw(st.sampled_from(versions))
            outcome = _both(op, (mine, other[0]), (theirs, other[1]))
        else:
            outcome = _both(op, (mine, *arguments), (list(theirs), *arguments))
        if outcome is not None and isinstance(outcome[0], HostList):
            versions.append(outcome)
        for version, expected in versions:
            assert list(version) == expected
            assert len(version) == len(expected)


def _both(op: str, mine: tuple[Any, ...], theirs: tuple[Any, ...]) -> Any:
    """Carry out an operation on both kinds of list and compare; a pair of new lists, or None."""
    try:
        if op in LISTS:
            expected = LISTS[op](*theirs)
        else:
            copy, *rest = theirs
            popped = {
                "list.set": lambda: copy.__setitem__(*rest),
                "list.insert": lambda: copy.insert(*rest),
                "list.pop": lambda: copy.pop(*rest),
            }[op]()
            expected = copy
    except (IndexError, ValueError) as error:
        with pytest.raises(type(error)):
            LIST_FUNCTIONS[op](*mine)
        return None
    found = LIST_FUNCTIONS[op](*mine)
    if op == "list.pop":
        found, taken = found
        assert taken == popped
    if isinstance(found, HostList):
        assert list(found) == expected
        return found, expected
    assert found == expected
    return None


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("list.append", (Value("l", ListType(INT)), 0.5)),
        ("list.concat", (Value("l", ListType(INT)), Value("m", ListType(FLOAT)))),
        ("list.get", (3, 1)),
        ("list.of", (1, 2.0)),
        ("item", (Value("b", BOOL),)),
        ("no.such", (1,)),
        ("add", ("text", 1)),
        ("pow", (Value("i", INT), Value("j", INT))),
    ],
)
def test_wrong_operands_are_refused(op: str, args: Any) -> None:
    with pytest.raises(ValueError, match=op.split(".", maxsplit=1)[0]):
        result_types(op, args)


def test_every_list_operation_is_declared() -> None:
    numbers = Value("l", ListType(INT))
    for op in LIST_FUNCTIONS:
        if op != "list.of":
            arguments = (numbers,) if op == "list.concat" else (0, 0)
            assert result_types(op, (numbers, *arguments)) is not None
    assert numpy.asarray(HostList([1, 2])).shape == (2,)
