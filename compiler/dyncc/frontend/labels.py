"""Sizes in canonical states: which are equal, and which are not nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dyncc.frontend.decisions import Extent
from dyncc.frontend.extents import extent_name, fresh_extent, has_symbols, sizes_of
from dyncc.frontend.values import Sym

#: Begins the last step of a path to a size, in which its dimension follows.
EXTENT = "extent"


class Labels:
    """The sizes of one state, numbered in the order met.

    Parameters
    ----------
    widen
        Places that are known at run time only although they are known in this state.
    origin
        What sizes that are widened name as their origin, with their path.
    mode
        Of fake tensors; without it nothing is widened.
    empty
        Labels of sizes that may be 0.

    Attributes
    ----------
    positive
        For each label, whether its size is at least 1 in the old state.
    widens
        Whether a size of a tensor is widened anywhere.
    """

    def __init__(
        self,
        widen: Mapping[Any, Any],
        origin: Any,
        mode: FakeTensorMode | None,
        empty: Collection[str],
    ) -> None:
        self._widen = widen
        self._origin = origin
        self._mode = mode
        self._empty = empty
        self._sizes: dict[Any, tuple[str, torch.SymInt]] = {}
        self._masks: list[tuple[torch.Tensor, int | str, int]] = []
        self.positive: list[bool] = []
        self.widens = any(isinstance(path[-1], tuple) for path in widen)

    def size(self, name: int | str, extent: Any, path: tuple[Any, ...]) -> tuple[Any, Any]:
        """A size in the key and in the new state; equal ones stay equal.

        Parameters
        ----------
        name
            The size as types call it, or a number.
        extent
            The size as native code knows it.
        path
            The place by which it would be widened.
        """
        widened = self._widen.get(path)
        group = widened.group if isinstance(widened, Extent) else None
        if isinstance(name, int) and group is None:
            return name, name
        origins: frozenset[Any] = frozenset()
        if isinstance(extent, torch.SymInt):
            origins = sizes_of(extent).origins_of(extent.node.expr)
        if group is not None:
            origins |= {(self._origin, path)}
        if (group, name) not in self._sizes:
            self._sizes[group, name] = self._fresh(name, extent)
        label, fresh = self._sizes[group, name]
        sizes_of(fresh).origins[str(fresh.node.expr)] |= origins
        return label, fresh

    def _fresh(self, name: int | str, extent: Any) -> tuple[str, torch.SymInt]:
        label = f"s{len(self._sizes)}"
        least = extent if isinstance(name, str) else name
        if isinstance(least, torch.SymInt):
            least = sizes_of(least).least(least.node.expr)
        self.positive.append(least >= 1)
        like = self._mode or extent
        return label, fresh_extent(like, least=int(least >= 1 and label not in self._empty))

    def tensor(
        self, fake: torch.Tensor, shape: tuple[int | str, ...], path: tuple[Any, ...]
    ) -> tuple[tuple[Any, ...], list[Any]]:
        """The labels and the sizes of a tensor whose type has a shape.

        By its type: what native code learned of its size since then holds in this block only.
        """
        pairs = [
            self.size(name, extent, (*path, (EXTENT, axis)))
            for axis, (name, extent) in enumerate(zip(shape, fake.shape, strict=True))
        ]
        return tuple(label for label, _ in pairs), [size for _, size in pairs]

    def number(self, item: Sym, path: tuple[Any, ...]) -> tuple[str, Any]:
        """The size that a number is, in the key and in the new state; nothing if it is none."""
        plain = path in self._widen and self._widen[path] is None
        if plain or item.extent is None or not has_symbols(item.extent):
            return "", None
        name = extent_name(item.extent)
        # A difference of sizes may be negative, and then it is none.
        is_size = sizes_of(item.extent).is_size(item.extent.node.expr)
        if not isinstance(name, str) or not is_size:
            return "", None
        return self.size(name, item.extent, path)

    def add_mask(self, old: torch.Tensor, new: torch.Tensor, leaf: int) -> None:
        """Note a tensor, and its place in the key, if it has been asked how much it chooses."""
        count = getattr(old, "nonzero_memo", None)
        if isinstance(count, torch.SymInt):
            self._masks.append((new, extent_name(count), leaf))

    def masks(self) -> tuple[tuple[int, str], ...]:
        """Let masks go on to choose as much as tensors have rows; return which, for the key."""
        found = []
        for mask, count, leaf in self._masks:
            if (known := self._sizes.get((None, count))) is not None:
                mask.nonzero_memo = known[1]  # type: ignore[attr-defined]
                found.append((leaf, known[0]))
        return tuple(found)
