"""Finds the variables of the running source that an artifact's block parameters stand for."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy
import torch
from torch import nn

from dyncc.ir.hcfg import ARGUMENT, DEFAULT_GENERATOR, Value
from dyncc.ir.places import Path as Steps
from dyncc.ir.types import ListType, TensorType


class Missing(Exception):
    """The source has no such variable here."""


def locate(
    frame: FrameType, functions: Sequence[tuple[str, str]], inner: bool = False
) -> list[FrameType]:
    """The frames of the given functions (file and qualified name, outermost first).

    Frames between them, such as those of ``nn.Module.__call__``, are left out. The list ends early
    where a function is not there. With `inner`, the functions are looked for from inside.
    """
    stack: list[FrameType] = []
    at: FrameType | None = frame
    while at is not None:
        stack.append(at)
        at = at.f_back
    if inner:
        return locate_in(stack, functions[::-1])[::-1]
    return locate_in(stack[::-1], functions)


def locate_in(stack: Sequence[FrameType], functions: Sequence[tuple[str, str]]) -> list[FrameType]:
    """The first frames of the given functions, in this order."""
    found: list[FrameType] = []
    rest = iter(stack)
    for file, name in functions:
        frame = next((item for item in rest if _is(item, file, name)), None)
        if frame is None:
            break
        found.append(frame)
    return found


def _is(frame: FrameType, file: str, name: str) -> bool:
    code = frame.f_code
    return code.co_qualname == name and _resolved(code.co_filename) == _resolved(file)


@functools.cache
def _resolved(file: str) -> Path:
    return Path(file).resolve()


def pick(
    path: Steps, frames: Sequence[FrameType], module: nn.Module, arguments: Mapping[str, Any]
) -> Any:
    """The value at a path.

    Raises
    ------
    Missing
        If there is none that the source gives a name.
    """
    if path[0] == "attribute":
        owner, name = module.get_submodule(path[1]), path[2]
        if not hasattr(owner, name):
            raise Missing
        return _steps(getattr(owner, name), path[4:])  # 3 is the box it is kept in
    if path[0] == "external":
        if str(path[1]).startswith(ARGUMENT):
            name = str(path[1]).removeprefix(ARGUMENT)
            if name not in arguments:
                raise Missing
            given = arguments[name]
            return given.get_state() if isinstance(given, torch.Generator) else given
        return module_state(module, str(path[1]))
    depth, name = path[0], path[1]
    if depth >= len(frames) or name.startswith("."):
        raise Missing
    variables = frames[depth].f_locals
    if name not in variables:
        raise Missing
    return _steps(variables[name], path[2:])


def module_state(module: nn.Module, name: str) -> Any:
    """Module state by its name in the program; of a generator of random numbers, its state."""
    if name == DEFAULT_GENERATOR:
        return torch.get_rng_state()
    value: Any = module
    for part in name.split("."):
        if isinstance(value, torch.Generator):
            return value.get_state()
        value = getattr(value, part)
    return value


def _steps(value: Any, steps: Sequence[Any]) -> Any:
    for position, step in enumerate(steps):
        if step in ("storage", "base"):
            continue
        if step == "column":
            return [_leaves(item)[steps[position + 1]] for item in _sequence(value)]
        if step == "self" and hasattr(value, "__self__"):
            value = value.__self__
        elif isinstance(step, int):
            items = list(value.values()) if isinstance(value, dict) else _sequence(value)
            if step >= len(items):
                raise Missing
            value = items[step]
        else:
            raise Missing
    return value


def _sequence(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise Missing
    return list(value)


def _leaves(item: Any) -> list[Any]:
    if isinstance(item, list | tuple):
        return [leaf for part in item for leaf in _leaves(part)]
    return [item]


def tensors(value: Any) -> Any:
    """A value whose NumPy arrays are torch tensors."""
    if isinstance(value, list):
        return [tensors(part) for part in value]
    if value is None or isinstance(value, bool | int | float | complex | str):
        return value
    return torch.from_numpy(numpy.array(value))


def shaped(value: Any, param: Value, path: Steps) -> Any:
    """The source's value in the form in which a block has it; raises Missing."""
    kind = param.type
    if isinstance(kind, TensorType):
        if not isinstance(value, torch.Tensor):
            raise Missing
        if "base" in path:
            base = value if value._base is None else value._base
            if tuple(base.shape) != tuple(kind.shape):
                raise Missing
            return base
        return value
    if isinstance(kind, ListType):
        if not isinstance(value, list | tuple):
            raise Missing
        return list(value)
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def variable(path: Steps) -> str:
    """A path as the user knows it."""
    if path[0] in ("attribute", "external"):
        return ".".join(str(part) for part in path[1:] if part not in ("", "storage", "base", 0))
    text = str(path[1])
    column: Any = None
    for position, part in enumerate(path[2:], 2):
        if part == "column":
            column = path[position + 1]
            break
        if isinstance(part, int):
            text += f"[{part}]"
    return text if not column else f"{text}[...][{column}]"
