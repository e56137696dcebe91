"""Numbers that schedules and layouts choose by a rule, and that a search may choose otherwise.

A rule names each number that it chooses, the one it takes by itself, and those that would also be
correct::

    rows = pick("rows", largest_divisor(height, 4), divisors(height, 8))

Outside of `choosing` that is the second argument. Inside, `dyncc.backends.tvm.tuning` gives other
numbers, and learns which there are. What was given and is not offered, because a rule changed or an
earlier choice rules it out, is passed over: every outcome is correct code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Choices:
    """What a rule chose between.

    Attributes
    ----------
    given
        Numbers to choose, by name.
    made
        Numbers that were chosen.
    offered
        Those that were possible, in ascending order.
    """

    given: Mapping[str, int]
    made: dict[str, int] = field(default_factory=dict)
    offered: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def neighbours(self) -> list[dict[str, int]]:
        """What else could be given: one number changed."""
        return [
            {**self.made, name: value}
            for name, options in self.offered.items()
            for value in options
            if value != self.made[name]
        ]


_current: ContextVar[Choices | None] = ContextVar("choices", default=None)


@contextmanager
def choosing(given: Mapping[str, int]) -> Iterator[Choices]:
    """Let rules choose the numbers of `given` where they offer them."""
    choices = Choices(given)
    token = _current.set(choices)
    try:
        yield choices
    finally:
        _current.reset(token)


def pick(name: str, usual: int, options: Iterable[int]) -> int:
    """Choose a number.

    Parameters
    ----------
    name
        Of the number, the same in every run of the rule.
    usual
        What is chosen unless something else is asked for.
    options
        What else is correct.
    """
    choices = _current.get()
    if choices is None:
        return usual
    offered = tuple(sorted({usual, *options}))
    wanted = choices.given.get(name, usual)
    choices.made[name] = wanted if wanted in offered else usual
    choices.offered[name] = offered
    return choices.made[name]


def divisors(number: int, limit: int) -> list[int]:
    """Return the divisors of a number that are at most `limit`, in ascending order."""
    return [d for d in range(1, min(number, limit) + 1) if number % d == 0]
