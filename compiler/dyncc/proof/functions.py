"""Finds the functions of given files that a network may call."""

from __future__ import annotations

import functools
import gc
import sys
import types
from collections.abc import Collection, Iterator
from typing import Any

from torch import nn


def functions_of(files: Collection[str], root: nn.Module) -> list[types.FunctionType]:
    """The functions whose code stands in `files`, as far as a network leads to them.

    Looked for are methods of its modules and of the objects they hold, what their functions refer
    to, and all functions of modules of these files. If a file has none of them, every function
    there is is looked through.
    """
    found: list[types.FunctionType] = []
    seen: set[int] = set()
    pending: list[Any] = [
        root,
        *(
            module
            for module in list(sys.modules.values())
            if getattr(module, "__file__", None) in files
        ),
    ]
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, types.FunctionType) and item.__code__.co_filename in files:
            found.append(item)
        pending += _behind(item, files)
    if {item.__code__.co_filename for item in found} != set(files):
        found = [
            item
            for item in gc.get_objects()
            if type(item) is types.FunctionType and item.__code__.co_filename in files
        ]
    return found


def _behind(item: Any, files: Collection[str]) -> Iterator[Any]:
    """What an object leads to."""
    if isinstance(item, types.FunctionType):
        yield from (cell.cell_contents for cell in item.__closure__ or () if _is_full(cell))
        yield getattr(item, "__wrapped__", None)
        if item.__code__.co_filename in files:
            yield from list(item.__globals__.values())
    elif isinstance(item, types.ModuleType):
        if getattr(item, "__file__", None) in files:
            yield from list(vars(item).values())
    elif isinstance(item, type):
        if item.__module__ != "builtins":
            yield from list(vars(item).values())
            yield from item.__mro__
    elif isinstance(item, classmethod | staticmethod | types.MethodType):
        yield item.__func__
    elif isinstance(item, property):
        yield from (item.fget, item.fset)
    elif isinstance(item, functools.partial):
        yield item.func
    elif isinstance(item, list | tuple):
        yield from item
    elif isinstance(item, dict):
        yield from list(item.values())
    elif hasattr(item, "__dict__") and type(item).__module__ != "builtins":
        yield type(item)
        yield from list(vars(item).values())


def _is_full(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 the value is asked for
    except ValueError:
        return False
    return True
