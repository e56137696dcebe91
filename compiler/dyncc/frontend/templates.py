"""Templates: what the elements of a list of run-time length look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dyncc.frontend.extents import has_symbols
from dyncc.frontend.values import ListObj, Ref, State, Sym, TensorObj, tensor_type
from dyncc.ir.types import SCALARS, Type


@dataclass(frozen=True)
class Template:
    """What the elements of a list of run-time length look like.

    ``kind`` is ``scalar``, ``tensor``, ``tuple`` or ``list``; `parts` are the templates of the
    items of the last two.
    """

    kind: str
    type: Type | None = None
    parts: tuple[Template, ...] = ()

    def leaves(self) -> Iterator[Type]:
        """Types of the leaves, left to right."""
        if self.type is not None:
            yield self.type
        for part in self.parts:
            yield from part.leaves()


class NoTemplate(Exception):
    """A list's elements have no common template."""


def template_of(state: State, item: Any) -> Template:
    """Template of one element; raises NoTemplate."""
    if isinstance(item, Sym):
        return Template("scalar", item.value.type)
    if isinstance(item, bool | int | float):
        return Template("scalar", SCALARS[type(item).__name__])
    if isinstance(item, tuple):
        return Template("tuple", None, tuple(template_of(state, part) for part in item))
    if isinstance(item, Ref):
        found = state.heap[item]
        if isinstance(found, TensorObj) and not has_symbols(found.fake):
            return Template("tensor", tensor_type(found.fake))
        if isinstance(found, ListObj):
            parts = tuple(template_of(state, part) for part in found.items)
            return Template("list", None, parts)
    raise NoTemplate


def is_like(state: State, item: Any, template: Template) -> bool:
    """Whether an element has a template."""
    try:
        return template_of(state, item) == template
    except NoTemplate:
        return False
