"""Conversions from ATen to Relax that TVM's front end lacks or has with another meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload
from tvm import relax

#: What TVM's front end calls for an operation: takes the node and the importer.
Converter = Callable[[fx.Node, Any], relax.Var]


def decompositions() -> dict[OpOverload, Callable[..., Any]]:
    """Return the decompositions to run before the import."""
    table: dict[OpOverload, Callable[..., Any]] = dict(torch.export.default_decompositions())
    return table


CONVERTERS: dict[str, Converter] = {}
