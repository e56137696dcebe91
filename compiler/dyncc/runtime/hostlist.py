"""Lists of run-time length: immutable values with an append that does not copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy

#: Calls that wait for each other at run time.
MAX_STACK = 10_000


class HostList:
    """An immutable list.

    Versions made by appending share one buffer; each knows how much of it is its own. Appending
    to the newest version therefore costs constant time, and to an older one a copy.
    """

    __slots__ = ("_buffer", "_length")

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._buffer = list(items)
        self._length = len(self._buffer)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return iter(self._buffer[: self._length])

    def __getitem__(self, index: int) -> Any:
        if not -self._length <= index < self._length:
            raise IndexError("list index out of range")
        return self._buffer[index % self._length]

    def append(self, item: Any) -> HostList:
        """A list with `item` at its end."""
        if len(self._buffer) != self._length:
            return HostList([*self, item])
        self._buffer.append(item)
        longer = HostList.__new__(HostList)
        longer._buffer, longer._length = self._buffer, self._length + 1
        return longer


def _set(items: HostList, index: int, value: Any) -> HostList:
    copy = list(items)
    copy[index] = value
    return HostList(copy)


def _insert(items: HostList, index: int, value: Any) -> HostList:
    copy = list(items)
    copy.insert(index, value)
    return HostList(copy)


def _push(items: HostList, item: Any) -> HostList:
    if len(items) >= MAX_STACK:
        raise RecursionError("maximum recursion depth exceeded")
    return items.append(item)


def _pop(items: HostList, index: int) -> tuple[HostList, Any]:
    copy = list(items)
    taken = copy.pop(index)
    return HostList(copy), taken


def _slice(items: HostList, start: Any, stop: Any, step: Any) -> HostList:
    return HostList(list(items)[start:stop:step])


#: Operations on lists that look at no tensor.
LIST_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "list.of": lambda *items: HostList(items),
    "list.append": HostList.append,
    "list.push": _push,
    "list.get": HostList.__getitem__,
    "list.set": _set,
    "list.len": len,
    "list.concat": lambda left, right: HostList([*left, *right]),
    "list.slice": _slice,
    "list.pop": _pop,
    "list.insert": _insert,
    "list.reverse": lambda items: HostList(list(items)[::-1]),
    "list.contains": lambda items, value: value in list(items),
    "list.sum": lambda items: sum(items),
    "list.min": lambda items: min(items),
    "list.max": lambda items: max(items),
}

#: Operations that make one array of a list of arrays.
JOINERS: dict[str, Callable[..., numpy.ndarray]] = {
    "list.stack": numpy.stack,
    "list.cat": numpy.concatenate,
}
