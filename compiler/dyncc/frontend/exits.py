"""How a program returns: the tree of its result and the new values of module state."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

from dyncc.frontend.bridge import field_names
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.instances import is_output_class
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.outside import check_outside
from dyncc.frontend.templates import Template
from dyncc.frontend.values import (
    MADE,
    DictObj,
    DynListObj,
    InstanceObj,
    IterObj,
    ListObj,
    Ref,
    Sym,
    TensorObj,
)
from dyncc.ir.hcfg import Each, Leaf, Literal, Record, Return, Series, Struct, Tree, Value


def leave(run: Interpreter, result: Any) -> Return:
    """The terminator that returns `result`."""
    check_outside(run)
    tree = tree_of(run, result)
    updates: dict[str, Tree] = {}
    for (label, name), (value,) in run.state.attributes.items():
        if label.startswith(MADE):
            continue
        updates[f"{label}.{name}" if label else name] = tree_of(run, value)
    for ref in run.state.externals.values():
        owner = run.state.heap[run.state.heap[ref].storage].owner
        if owner is not None and owner in run.decisions.state and owner not in updates:
            updates[owner] = tree_of(run, ref)
    return Return(tree, tuple(sorted(updates.items())), run.loc)


def tree_of(run: Interpreter, value: Any) -> Tree:
    """The tree of a value that leaves the program."""
    if isinstance(value, Sym):
        return Leaf(value.value)
    if value is None or isinstance(value, bool | int | float | complex | str):
        return Literal(value)
    if isinstance(value, tuple):
        return Series("tuple", tuple(tree_of(run, item) for item in value))
    if isinstance(value, list):
        return Series("list", tuple(tree_of(run, item) for item in value))
    if isinstance(value, Ref):
        found = run.state.heap[value]
        if isinstance(found, TensorObj):
            return Leaf(run.builder.materialised(run.read(value)))
        if isinstance(found, ListObj | IterObj):
            return Series("list", tuple(tree_of(run, item) for item in found.items))
        if isinstance(found, DictObj):
            return Record(tuple((key, tree_of(run, item)) for key, item in found.items))
        if isinstance(found, InstanceObj):
            return _struct(run, found)
        if isinstance(found, DynListObj):
            return Each(_template_tree(found.element, list(found.values)))
    from dyncc.frontend.builtin_calls import type_of

    raise Unsupported(
        "DY508",
        f"a result of type {type_of(run, value).__name__}",
        "the result of a network is made of tensors, numbers, strings, tuples, lists and dicts",
        "Return such a structure.",
    )


def _struct(run: Interpreter, found: InstanceObj) -> Tree:
    """The tree of an object."""
    kind, pairs = found.kind, found.fields
    if kind is defaultdict:
        return tree_of(run, found.content)
    if isinstance(found.content, tuple):
        how, pairs = "namedtuple", tuple(zip(field_names(kind), found.content, strict=True))
    elif is_output_class(kind):
        how = "output"
    elif isinstance(found.content, Ref) and issubclass(kind, dict):
        how, pairs = "mapping", run.state.heap[found.content].items
    elif dataclasses.is_dataclass(kind):
        how = "dataclass"
        names = [field.name for field in dataclasses.fields(kind)]
        pairs = tuple((name, value) for name, value in pairs if name in names)
    else:
        raise Unsupported(
            "DY508",
            f"a result of type {kind.__name__}",
            "a caller gets tensors, numbers, strings, tuples, lists, dicts, named tuples and "
            "data classes",
            "Return such a structure, or make the class a dataclass.",
        )
    if not all(isinstance(name, str) for name, _ in pairs):
        raise Unsupported(
            "DY508",
            f"a result of type {kind.__name__}",
            "its keys are no strings",
            "Return a plain dict.",
        )
    return Struct(how, kind.__name__, tuple((name, tree_of(run, item)) for name, item in pairs))


def _template_tree(template: Template, values: list[Value]) -> Tree:
    if template.kind in ("scalar", "tensor"):
        return Leaf(values.pop(0))
    return Series(template.kind, tuple(_template_tree(part, values) for part in template.parts))
