"""Expressions of the host program: names, literals, and objects built of trees."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dyncc.ir.hcfg import Each, Leaf, Literal, Operand, Record, Series, Struct, Tree, Value
from dyncc.ir.types import ListType, ScalarType
from dyncc.runtime.structs import struct_maker

#: Names that host programs use themselves.
_RESERVED = frozenset({"at", "out", "watch"})

#: Larger integers are no literals: Python limits the digits that it reads.
_MAX_INTEGER = 10**18


class Names:
    """Identifiers that differ from each other, and what they refer to.

    Parameters
    ----------
    alias
        Values that are others.

    Attributes
    ----------
    namespace
        What the text refers to; not even builtins are in it unasked.
    """

    def __init__(self, alias: Mapping[Value, Value]) -> None:
        self.namespace: dict[str, Any] = {"__builtins__": {}}
        self._alias = alias
        self._taken: set[str] = set(_RESERVED)
        self._things: dict[int, str] = {}
        self._values: dict[Value, str] = {}

    def new(self, hint: str) -> str:
        """An identifier like `hint` that is not in use."""
        stem = re.sub(r"\W", "_", hint, flags=re.ASCII)
        if not stem or stem[0].isdigit() or keyword.iskeyword(stem):
            stem = f"_{stem}"
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

    def of(self, thing: Any, hint: str) -> str:
        """The identifier of an object in the namespace."""
        if id(thing) not in self._things:  # the namespace keeps it, so that its id stays its own
            self._things[id(thing)] = name = self.new(hint)
            self.namespace[name] = thing
        return self._things[id(thing)]

    def read(self, operand: Operand) -> str:
        """An expression for a value or a constant."""
        if isinstance(operand, Value):
            return self.value(self._alias.get(operand, operand))
        plain = (
            operand is None
            or isinstance(operand, bool | str)
            or (isinstance(operand, int) and abs(operand) < _MAX_INTEGER)
            or (isinstance(operand, float) and math.isfinite(operand))
        )
        return ascii(operand) if plain else self.of(operand, "constant")

    def value(self, value: Value) -> str:
        """The local of a value."""
        if value not in self._values:
            self._values[value] = self.new(value.name)
        return self._values[value]

    def tree(self, tree: Tree, convert: str | None) -> str:
        """An expression for the object of a tree, with `convert` called on its tensors."""
        match tree:
            case Leaf(value):
                text = self.read(value)
                return text if convert is None or is_scalar(value) else f"{convert}({text})"
            case Literal(literal):
                return self.read(literal)
            case Series(kind, items):
                parts = [self.tree(item, convert) for item in items]
                return tuple_of(parts) if kind == "tuple" else f"[{', '.join(parts)}]"
            case Record(pairs):
                entries = (f"{self.read(key)}: {self.tree(item, convert)}" for key, item in pairs)
                return f"{{{', '.join(entries)}}}"
            case Struct(kind, name, fields):
                make = struct_maker(kind, name, tuple(key for key, _ in fields))
                parts = [self.tree(item, convert) for _, item in fields]
                return f"{self.of(make, name)}({tuple_of(parts)})"
            case Each(element):
                return self._rows(element, convert)

    def _rows(self, element: Tree, convert: str | None) -> str:
        """The items of a list of run-time length, whose leaves are kept as one list each."""
        match element:
            case Leaf(value):
                text = self.read(value)
                if convert is not None and not is_scalar(value):
                    text = f"{self.of(map, 'map')}({convert}, {text})"
                return f"{self.of(list, 'list')}({text})"
            case Series(kind, items):
                columns = [self._rows(item, convert) for item in items]
                make = tuple if kind == "tuple" else list
                arguments = ", ".join([self.of(make, kind), *columns])
                return f"{self.of(_rows, 'rows')}({arguments})"
            case _:
                raise TypeError("the elements of a list of run-time length are made of leaves")


def _rows(make: Callable[[Iterable[Any]], Any], *columns: list[Any]) -> list[Any]:
    return [make(row) for row in zip(*columns, strict=True)]


def tuple_of(parts: Iterable[str]) -> str:
    """A tuple of expressions."""
    found = list(parts)
    return f"({', '.join(found)}{',' if len(found) == 1 else ''})"


def is_scalar(value: Value) -> bool:
    """Whether a value is a scalar, or a list of scalars."""
    kind = value.type.element if isinstance(value.type, ListType) else value.type
    return isinstance(kind, ScalarType)
