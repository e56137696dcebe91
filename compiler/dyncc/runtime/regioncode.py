"""Writes functions that call regions.

A function with a fixed number of parameters and results takes up to 1 µs less than one for any
number of them, which has to build tuples, lists and iterators. A region is called often, and the
tensors of small networks are few: it is a good part of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dyncc.runtime.hosttext import tuple_of


def region_caller(
    params: int, results: int, called: str, result: str, names: dict[str, Any]
) -> Callable[..., tuple[Any, ...]]:
    """A function that calls a region.

    Parameters
    ----------
    params, results
        How many tensors it takes, and how many are in the tuple that it gives.
    called
        An expression for what the library gives; the parameters in it are ``p0``, ``p1`` and so on.
    result
        An expression for result ``{}`` of those, which are called ``found``.
    names
        What the expressions refer to.
    """
    given = tuple_of(result.format(place) for place in range(results))
    text = f"def region({', '.join(numbered('p', params))}):\n found = {called}\n return {given}\n"
    namespace = {"__builtins__": {}, **names}
    exec(compile(text, "<dyncc: a region>", "exec"), namespace)  # noqa: S102
    function: Callable[..., tuple[Any, ...]] = namespace.pop("region")
    return function


def numbered(stem: str, count: int) -> Sequence[str]:
    """``p0``, ``p1`` and so on."""
    return [f"{stem}{number}" for number in range(count)]
