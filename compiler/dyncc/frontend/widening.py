"""What a widened place of a state becomes: finding it, and packing a list of known length."""

from __future__ import annotations

from collections.abc import Callable

from dyncc.frontend.builder import BlockBuilder
from dyncc.frontend.canonical import Path
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.templates import NoTemplate, Template, template_of
from dyncc.frontend.values import (
    Composite,
    DictObj,
    DynListObj,
    InstanceObj,
    IterObj,
    ListObj,
    Ref,
    State,
    Storage,
    Sym,
    TensorObj,
)
from dyncc.ir.hcfg import Value
from dyncc.ir.types import ListType


def without_mark(path: Path) -> Path:
    """A path without the mark that it leads to a list to be widened."""
    return path[:-1] if path and path[-1] == "*" else path


def template_at(path: Path, *states: State) -> tuple[Template | None] | None:
    """What to widen `path` to: (None,) for a scalar or weight, a template for a list."""
    if path[-1] != "*":
        return (None,)
    for state in states:
        found = lookup(state, path[:-1])
        if isinstance(found, DynListObj):
            return (found.element,)
        if isinstance(found, ListObj) and found.items:
            try:
                templates = {template_of(state, item) for item in found.items}
            except NoTemplate:
                return None
            return (templates.pop(),) if len(templates) == 1 else None
    return None


def lookup(state: State, path: Path) -> object:
    """The object at a path, or None."""
    if path[0] == "attribute":
        item, rest = state.attributes.get((path[1], path[2])), path[3:]
    elif isinstance(path[0], int) and path[0] < len(state.frames):
        item, rest = state.frames[path[0]].registers.get(path[1]), path[2:]
    else:
        return None
    for step in rest:
        if isinstance(item, Ref):
            item = state.heap[item]
        if isinstance(item, TensorObj) and step == "storage":
            item = item.storage
        elif isinstance(step, int) and isinstance(item, tuple) and step < len(item):
            item = item[step]
        elif isinstance(item, ListObj) and isinstance(step, int) and step < len(item.items):
            item = item.items[step]
        elif isinstance(item, DictObj) and isinstance(step, int) and step < len(item.items):
            item = item.items[step][1]
        elif isinstance(item, Composite) and isinstance(step, int) and step < len(item.parts):
            item = item.parts[step]
        elif isinstance(item, InstanceObj) and isinstance(step, int):
            item = (*(value for _, value in item.fields), item.content)[step]
        elif isinstance(item, IterObj) and item.owner is not None and step in (0, 1):
            item = (item.position, item.owner)[step]
        elif isinstance(item, IterObj) and isinstance(step, int):
            # Items that were passed already are in no key.
            item = item.items[item.position :][step]
        else:
            return None
    return state.heap[item] if isinstance(item, Ref) else item


def mark_listed(state: State, item: object) -> None:
    """Forbid later writes to the tensors that `item` holds."""
    if isinstance(item, Ref):
        mark_listed(state, state.heap[item])
    elif isinstance(item, TensorObj):
        base: Storage = state.heap[item.storage]
        state.heap[item.storage] = Storage(base.source, base.fake, base.owner, listed=True)
    elif isinstance(item, ListObj):
        mark_listed(state, item.items)
    elif isinstance(item, tuple):
        for part in item:
            mark_listed(state, part)


def pack(
    item: ListObj,
    template: Template,
    state: State,
    builder: BlockBuilder,
    read: Callable[[State, Ref], Value],
) -> tuple[Value, ...]:
    """SSA lists, one for each leaf of the template, that hold the items of a list."""
    columns: list[list[object]] = [[] for _ in template.leaves()]
    for element in item.items:
        for column, leaf in zip(
            columns, element_leaves(element, template, state, builder, read), strict=True
        ):
            column.append(leaf)
    lists = []
    for column, kind in zip(columns, template.leaves(), strict=True):
        (value,) = builder.host("list.of", tuple(column), (ListType(kind),))  # type: ignore[arg-type]
        lists.append(value)
    return tuple(lists)


def element_leaves(
    element: object,
    template: Template,
    state: State,
    builder: BlockBuilder,
    read: Callable[[State, Ref], Value],
) -> list[object]:
    """The leaves of one list element, as values or literals; raises Unsupported."""
    if isinstance(element, Ref) and isinstance(state.heap[element], ListObj):
        inner: object = state.heap[element].items
    else:
        inner = element
    try:
        found = template_of(state, element)
    except NoTemplate:
        found = None
    if found != template:
        raise Unsupported(
            "DY401",
            "a list built in a loop whose length depends on data",
            "its elements differ in shape, dtype or structure",
            "Append elements of one kind only, or give the loop a constant number of turns.",
        )
    if template.kind == "scalar":
        return [element.value if isinstance(element, Sym) else element]
    if template.kind == "tensor":
        assert isinstance(element, Ref)
        return [builder.materialised(read(state, element))]
    assert isinstance(inner, tuple)
    leaves: list[object] = []
    for part, sub in zip(inner, template.parts, strict=True):
        leaves += element_leaves(part, sub, state, builder, read)
    return leaves
