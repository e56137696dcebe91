"""Arguments and results as they cross from one process to another: without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy

from dyncc.runtime.alignment import aligned
from dyncc.runtime.structs import is_container, map_parts, parts_of


@dataclass(frozen=True)
class Arguments:
    """Arguments of one call, their tensors as NumPy arrays.

    Attributes
    ----------
    positional, named
        As a function gets them.
    path
        Number of the path that they take.
    """

    positional: tuple[Any, ...]
    named: Mapping[str, Any]
    path: int


def mapped(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """A structure with `leaf` of each of its leaves."""
    if is_container(value):
        return map_parts(value, lambda part: mapped(part, leaf))
    return leaf(value)


def leaves(value: Any) -> list[Any]:
    """The leaves of a structure, its tensors as NumPy arrays."""
    if is_container(value):
        return [leaf for part in parts_of(value) for leaf in leaves(part)]
    return [to_array(value)]


def to_array(value: Any) -> Any:
    """A tensor as an aligned NumPy array; other things as they are."""
    if isinstance(value, numpy.ndarray):
        return aligned(value)
    if hasattr(value, "detach"):
        return aligned(value.detach().cpu().numpy())
    return value


def to_tensor(value: Any) -> Any:
    """A NumPy array as a torch tensor of its own memory; other things as they are."""
    import torch

    return torch.from_numpy(value).clone() if isinstance(value, numpy.ndarray) else value
