"""What on the heap of a state values lead to."""

from __future__ import annotations

from typing import Any

from dyncc.frontend.values import (
    Bound,
    Composite,
    DictObj,
    DynIterObj,
    InstanceObj,
    IterObj,
    ListObj,
    PartialObj,
    Ref,
    State,
    TensorObj,
)


class Reached:
    """Objects that some values lead to.

    Attributes
    ----------
    refs
        The objects.
    views
        By storage, the tensors among them that look at it.
    """

    def __init__(self, state: State, *values: Any) -> None:
        self._heap = state.heap
        self.refs: set[Ref] = set()
        self.views: dict[Ref, set[Ref]] = {}
        self.add(values)

    def add(self, item: Any) -> None:
        """Follow a value."""
        if isinstance(item, Ref):
            if item in self.refs:
                return
            self.refs.add(item)
            found = self._heap[item]
            if isinstance(found, TensorObj):
                self.views.setdefault(found.storage, set()).add(item)
            elif isinstance(found, ListObj | IterObj):
                self.add(found.items)
            elif isinstance(found, DictObj):
                self.add(tuple(value for _, value in found.items))
            elif isinstance(found, InstanceObj):
                self.add((*(value for _, value in found.fields), found.content))
            elif isinstance(found, PartialObj):
                parts = tuple(value for _, value in found.keywords)
                self.add((found.function, *found.args, *parts))
            elif isinstance(found, DynIterObj):
                self.add(found.source)
            elif isinstance(found, Composite):
                self.add(found.parts)
        elif type(item) is tuple:
            for part in item:
                self.add(part)
        elif isinstance(item, Bound):
            self.add(item.owner)
