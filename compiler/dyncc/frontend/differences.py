"""Where the canonical keys of two states differ, and whether widening would remove that."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dyncc.frontend.canonical import Path
from dyncc.frontend.decisions import Extent
from dyncc.frontend.labels import EXTENT
from dyncc.frontend.widening import without_mark

#: Views that work alike for every size.
_SIZELESS = frozenset(
    f"aten.{name}"
    for name in ("transpose.int", "t.default", "permute.default", "unsqueeze.default", "select.int")
)


def differences(
    left: Any, right: Any, kept: Collection[Path] = ()
) -> dict[Path, Extent | None] | None:
    """Paths at which two keys differ in a way that widening removes, or None if some do not.

    A path to a list that must become one of run-time length ends in ``"*"``; one to a size comes
    with what it is to be widened to. Places in `kept` are not to be widened.
    """
    found = _Differences(kept)
    (points, entries), (other_points, other_entries) = left, right
    if points != other_points or len(entries) != len(other_entries):
        return None
    for (path, key), (other_path, other_key) in zip(entries, other_entries, strict=True):
        if path != other_path or not found.compare(key, other_key, path):
            return None
    return found.paths


def shape_of(key: Any) -> Any:
    """What two keys must agree in if widening is to remove all their differences."""
    points, entries = key
    return points, tuple((path, _kept(found)) for path, found in entries)


def _kept(key: Any) -> Any:
    """What widening does not change in the key of one register."""
    if key[0] in ("object", "constant"):
        return key
    return (key[0], len(key)) if key[0] == "iterator" else None


def _size_label(key: tuple[Any, ...]) -> int | str | None:
    """A number as a size: the name that its key gives it, or its value; None if it is none."""
    if key[1] != "int":
        return None
    if key[0] == "dynamic":
        return key[3] or None
    return int(key[2]) if int(key[2]) >= 0 else None


class _Differences:
    """Compares keys; the numbers of heap objects need only correspond, not be equal."""

    def __init__(self, kept: Collection[Path]) -> None:
        self.paths: dict[Path, Extent | None] = {}
        self._kept = kept
        self._numbers: dict[int, int] = {}

    def _widen(self, path: Path, how: Extent | None = None) -> bool:
        """Note a place to be widened; return whether it may be."""
        self.paths[path] = how
        return without_mark(path) not in self._kept

    def _scalar(self, a: tuple[Any, ...], b: tuple[Any, ...], path: Path) -> bool:
        if a != b:
            pair = _size_label(a), _size_label(b)
            are_sizes = None not in pair and any(isinstance(label, str) for label in pair)
            if not self._widen(path, Extent(pair) if are_sizes else None):
                return False
        return bool(a[1] == b[1] and (a[0] != b[0] or a[0] == "static" or a[2] == b[2]))

    def _storage(self, a: tuple[Any, ...], b: tuple[Any, ...], path: Path) -> bool:
        self._numbers[a[1]] = b[1]
        if a[2:] == b[2:] and a[0] == b[0]:
            return True
        if not a[0] == b[0] == "tensor":
            return self._widen(path)
        if a[3:] != b[3:]:
            # That a list holds one of them forbids writes to both, where they meet.
            return self._widen(path) and bool(a[2] == b[2] and a[3] is b[3] is None)
        (dtype, sizes), (other_dtype, other_sizes) = a[2], b[2]
        if dtype != other_dtype or len(sizes) != len(other_sizes):
            return False
        return all(
            pair[0] == pair[1] or self._widen((*path, (EXTENT, axis)), Extent(pair))
            for axis, pair in enumerate(zip(sizes, other_sizes, strict=True))
        )

    def compare(self, a: Any, b: Any, path: Path) -> bool:
        """Note where two keys differ; return whether widening removes it."""
        if not (isinstance(a, tuple) and isinstance(b, tuple) and a and b):
            return bool(a == b)
        kinds = {a[0], b[0]}
        if kinds <= {"static", "dynamic"}:
            return self._scalar(a, b, path)
        if kinds <= {"weight", "tensor"}:
            return self._storage(a, b, path)
        if kinds <= {"list", "dynamic list"} and (a[0] != b[0] or len(a) != len(b)):
            self._numbers[a[1]] = b[1]
            return self._widen((*path, "*"))
        if a[0] != b[0] or len(a) != len(b):
            return False
        return self._inside(a, b, path)

    def _inside(self, a: tuple[Any, ...], b: tuple[Any, ...], path: Path) -> bool:
        kind = a[0]
        if kind == "again":
            return bool(self._numbers.get(a[1]) == b[1])
        if kind == "tuple":
            return self._each(a[1:], b[1:], path)
        if kind in ("constant", "object", "slice", "bound", "super"):
            return bool(a == b)
        self._numbers[a[1]] = b[1]
        if kind == "of":
            before = len(self.paths)
            same = a[3] == b[3] and self.compare(a[2], b[2], (*path, "storage"))
            sized = any(found is not None for found in list(self.paths.values())[before:])
            return bool(same and not (sized and any(step[0] not in _SIZELESS for step in a[3])))
        if kind in ("list", "iterator", "live iterator"):
            return self._each(a[2:], b[2:], path)
        if kind in ("dict", "instance", "partial", "composite"):
            return bool(a[2] == b[2]) and self._each(a[3:], b[3:], path)
        if kind == "dynamic iterator":
            return self._each(a[2][1:], b[2][1:], path)
        return bool(a[2:] == b[2:])

    def _each(self, left: Any, right: Any, path: Path) -> bool:
        return len(left) == len(right) and all(
            self.compare(x, y, (*path, i)) for i, (x, y) in enumerate(zip(left, right, strict=True))
        )
