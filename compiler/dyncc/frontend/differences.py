"""Where the canonical keys of two states differ, and whether widening would remove that."""

from __future__ import annotations

from typing import Any

from dyncc.frontend.canonical import Path


def differences(left: Any, right: Any) -> set[Path] | None:
    """Paths at which two keys differ in a way that widening removes, or None if some do not.

    A path to a list that must become one of run-time length ends in ``"*"``.
    """
    found = _Differences()
    (points, entries), (other_points, other_entries) = left, right
    if points != other_points or len(entries) != len(other_entries):
        return None
    for (path, key), (other_path, other_key) in zip(entries, other_entries, strict=True):
        if path != other_path or not found.compare(key, other_key, path):
            return None
    return found.paths


class _Differences:
    """Compares keys; the numbers of heap objects need only correspond, not be equal."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()
        self._numbers: dict[int, int] = {}

    def compare(self, a: Any, b: Any, path: Path) -> bool:
        if not (isinstance(a, tuple) and isinstance(b, tuple) and a and b):
            return bool(a == b)
        kinds = {a[0], b[0]}
        if kinds <= {"static", "dynamic"}:
            if a != b:
                self.paths.add(path)
            return bool(a[1] == b[1] and (a == b or kinds != {"dynamic"}))
        if kinds <= {"weight", "tensor"}:
            self._numbers[a[1]] = b[1]
            if a[0] == b[0] == "tensor" and a[2:] != b[2:]:
                # That a list holds one of them forbids writes to both, where they meet.
                self.paths.add(path)
                return bool(a[2] == b[2] and a[3] is b[3] is None)
            if a[0] == b[0] == "tensor":
                return True
            if a[0] != b[0] or a[2] != b[2]:
                self.paths.add(path)
            return True
        if kinds <= {"list", "dynamic list"} and (a[0] != b[0] or len(a) != len(b)):
            self._numbers[a[1]] = b[1]
            self.paths.add((*path, "*"))
            return True
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
            return bool(a[3] == b[3]) and self.compare(a[2], b[2], (*path, "storage"))
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
