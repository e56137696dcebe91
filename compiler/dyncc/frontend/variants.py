"""The states in which an attempt reaches each program point, and how many are too many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dyncc.frontend.canonical import Canonical, Path
from dyncc.frontend.decisions import Context
from dyncc.frontend.differences import differences, shape_of

#: More copies of one place than any unrolled network needs; a loop that never closes makes more.
MAX_COPIES = 2000
#: The same, of copies with the same modules: those of nested loops over modules are many.
MAX_VARIANTS = 400
#: More values, over all copies with the same modules, than networks keep of their turns beside what
#: the first copy has: one more in each of a hundred layers is 5,000.
MAX_GROWN = 8_000
#: More turns than a loop has that needs a number of each turn, and so is unrolled.
MAX_UNROLLED = 200
#: The same of a loop that only data end, and so ends by itself only where it runs out of modules.
MAX_OPEN = 40
#: The same of a loop of which nothing but the lengths of lists tells one turn from the next, as
#: these cannot have a run-time length: their elements differ.
MAX_LISTED = 12


class Variants:
    """The states in which each program point was reached, in the order met."""

    def __init__(self) -> None:
        self._found: dict[Context, dict[Any, list[Canonical]]] = {}

    def alike(self, context: Context, canonical: Canonical) -> list[Canonical]:
        """Those from which one differs only in what widening may remove."""
        return self._found.get(context, {}).get(shape_of(canonical.key), [])

    def add(self, context: Context, canonical: Canonical) -> list[Canonical]:
        """Note one more; return all that are alike, this one last."""
        found = self._found.setdefault(context, {}).setdefault(shape_of(canonical.key), [])
        found.append(canonical)
        return found

    def forget(self, context: Context) -> None:
        """Compare with none of them any more."""
        self._found[context] = {}

    def count(self, context: Context) -> int:
        """How many there are."""
        return sum(map(len, self._found.get(context, {}).values()))

    def are_too_many(self, context: Context, alike: list[Canonical]) -> bool:
        """Whether no network needs as many as there are, and are alike."""
        return (
            len(alike) > MAX_VARIANTS
            or self.count(context) > MAX_COPIES
            or sum(len(other.leaves) - len(alike[0].leaves) for other in alike) > MAX_GROWN
        )

    def need_rolling(self, context: Context, is_open: bool) -> bool:
        """Whether a loop is not unrolled any further if it can be rolled."""
        return self.count(context) > (MAX_OPEN if is_open else MAX_UNROLLED)


def grow_without_end(alike: list[Canonical]) -> bool:
    """Whether lengths of lists alone tell the last from so many that more will come."""
    if len(alike) <= MAX_LISTED:
        return False
    found = (differences(other.key, alike[-1].key) for other in alike)
    return sum(1 for paths in found if paths and _are_lists(paths)) > MAX_LISTED


def _are_lists(paths: Iterable[Path]) -> bool:
    return all(path[-1] == "*" for path in paths)
