"""What builtins do with functions of the user's and with data, in Python that the machine enters.

Paths that branch in here branch as they would inside of the builtin. A diagnostic stands where the
user's code calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import GeneratorType
from typing import Any


def as_list(items: Iterable[Any]) -> list[Any]:
    """``list(items)``."""
    return [item for item in items]  # noqa: C416


def ordered(
    items: list[Any], key: Any, reverse: bool, exchanges: tuple[tuple[int, int], ...]
) -> list[Any]:
    """``sorted(items, key=key, reverse=reverse)``, by `exchanges` of neighbours: it is stable."""
    result = list(items)
    keys = list(items) if key is None else [key(item) for item in items]
    for i, j in exchanges:
        if keys[i] < keys[j] if reverse else keys[j] < keys[i]:
            keys[i], keys[j] = keys[j], keys[i]
            result[i], result[j] = result[j], result[i]
    return result


def largest(items: list[Any], key: Any) -> Any:
    """``max(items, key=key)`` of at least one item."""
    best = items[0]
    best_key = best if key is None else key(best)
    for item in items[1:]:
        item_key = item if key is None else key(item)
        if item_key > best_key:
            best, best_key = item, item_key
    return best


def smallest(items: list[Any], key: Any) -> Any:
    """``min(items, key=key)`` of at least one item."""
    best = items[0]
    best_key = best if key is None else key(best)
    for item in items[1:]:
        item_key = item if key is None else key(item)
        if item_key < best_key:
            best, best_key = item, item_key
    return best


def total(items: Iterable[Any], start: Any) -> Any:
    """``sum(items, start)``."""
    for item in items:
        start = start + item
    return start


def any_true(items: Iterable[Any]) -> bool:
    """``any(items)``."""
    for item in items:  # noqa: SIM110 (this is what it is entered for)
        if item:
            return True
    return False


def all_true(items: Iterable[Any]) -> bool:
    """``all(items)``."""
    for item in items:  # noqa: SIM110
        if not item:
            return False
    return True


# --- context managers -------------------------------------------------------------------------


class GeneratorManager:
    """What a function decorated with ``contextlib.contextmanager`` gives."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def __enter__(self) -> Any:
        return next(self.generator)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if error is None:
            try:
                next(self.generator)
            except StopIteration:
                return False
            raise RuntimeError("generator didn't stop")
        try:
            self.generator.throw(error)
        except StopIteration as stop:
            return stop is not error
        except BaseException as other:
            if other is not error:
                raise
            return False
        raise RuntimeError("generator didn't stop after throw()")


def managed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> GeneratorManager:
    """A call of a function decorated with ``contextlib.contextmanager``."""
    return GeneratorManager(function(*args, **kwargs))


# --- iterators --------------------------------------------------------------------------------


def next_or(iterator: Iterator[Any], default: Any) -> Any:
    """``next(iterator, default)``."""
    try:
        return next(iterator)
    except StopIteration:
        return default


def iterated(value: Any, make: Callable[[Any], Any]) -> Any:
    """``iter(value)`` of an object whose class defines ``__iter__``."""
    found = make(value)
    return found if isinstance(found, GeneratorType) else stepped(found)


def stepped(iterator: Any) -> Iterator[Any]:
    """The items of an object whose class defines ``__next__``."""
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item


def with_lists(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)`` for a function that goes through its iterables at once."""
    return function(
        *[as_list(item) if isinstance(item, GeneratorType) else item for item in args], **kwargs
    )


def enumerated_lazily(items: Iterable[Any], start: int = 0) -> Iterator[Any]:
    """``enumerate``."""
    for item in items:
        yield start, item
        start = start + 1


def zipped_lazily(*iterables: Iterable[Any]) -> Iterator[Any]:
    """``zip``."""
    iterators = [iter(item) for item in iterables]
    while True:
        row = []
        for iterator in iterators:
            try:
                item = next(iterator)
            except StopIteration:
                return
            row.append(item)
        yield tuple(row)


def zipped_strictly(*iterables: Iterable[Any]) -> Iterator[Any]:
    """``zip(..., strict=True)``."""
    iterators = [iter(item) for item in iterables]
    while True:
        row = []
        for place, iterator in enumerate(iterators):
            try:
                item = next(iterator)
            except StopIteration:
                if place > 0:
                    raise ValueError(_other_length(place, "shorter")) from None
                for later, other in enumerate(iterators[1:], start=1):
                    try:
                        next(other)
                    except StopIteration:
                        continue
                    raise ValueError(_other_length(later, "longer")) from None
                return
            row.append(item)
        yield tuple(row)


def _other_length(place: int, what: str) -> str:
    earlier = "argument 1" if place == 1 else f"arguments 1-{place}"
    return f"zip() argument {place + 1} is {what} than {earlier}"


def mapped_lazily(function: Callable[..., Any], *iterables: Iterable[Any]) -> Iterator[Any]:
    """``map``."""
    for row in zipped_lazily(*iterables):
        yield function(*row)


def filtered_lazily(function: Callable[..., Any] | None, items: Iterable[Any]) -> Iterator[Any]:
    """``filter``."""
    for item in items:
        if item if function is None else function(item):
            yield item


class FunctionContext:
    """What the forward of a ``torch.autograd.Function`` keeps for a backward that never comes."""

    def save_for_backward(self, *tensors: Any) -> None:
        """As torch's."""
        self.saved_tensors = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *tensors: Any) -> None:
        """As torch's; compiled code has no gradients that it would tell."""

    mark_non_differentiable = mark_dirty

    def set_materialize_grads(self, value: bool) -> None:
        """As torch's."""
