"""Results that are objects with named parts: named tuples, data classes, dicts with attributes.

A loaded artifact does not import the user's code, so it makes classes of the same names and fields.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any


class Mapping(OrderedDict[str, Any]):
    """A dict whose entries are attributes too, and which counts them as a tuple does."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """The values."""
        return tuple(self.values())


class Output(Mapping):
    """A `Mapping` in which declared fields that are None are attributes only."""

    _fields: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        if name in type(self)._fields:
            return self.get(name)
        return super().__getattr__(name)


@cache
def struct_maker(kind: str, name: str, fields: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    """A function that makes an object of its parts.

    Parameters
    ----------
    kind, name
        See `dyncc.ir.hcfg.Struct`.
    fields
        Names of the parts.
    """
    if kind == "namedtuple":
        made = namedtuple(name, fields)  # type: ignore[misc]
        return lambda parts: made(*parts)
    if kind == "dataclass":
        built = dataclasses.make_dataclass(name, fields)
        return lambda parts: built(*parts)
    if kind == "mapping":
        table = type(name, (Mapping,), {})
        return lambda parts: table(zip(fields, parts, strict=True))
    output = type(name, (Output,), {"_fields": fields})
    return lambda parts: output(
        (key, part) for key, part in zip(fields, parts, strict=True) if part is not None
    )


def parts_of(value: Any) -> Iterator[Any]:
    """What a container, or an object made here, holds; nothing for anything else."""
    if isinstance(value, tuple | list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()
    elif dataclasses.is_dataclass(value):
        yield from vars(value).values()


def is_container(value: Any) -> bool:
    """Whether a value has parts."""
    return isinstance(value, tuple | list | dict) or dataclasses.is_dataclass(value)


def map_parts(value: Any, change: Callable[[Any], Any]) -> Any:
    """A container of the same kind with `change` applied to each of its parts."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(change, value))
    if isinstance(value, tuple | list):
        return type(value)(map(change, value))
    if isinstance(value, dict):
        return type(value)((key, change(part)) for key, part in value.items())
    return dataclasses.replace(value, **{key: change(part) for key, part in vars(value).items()})
