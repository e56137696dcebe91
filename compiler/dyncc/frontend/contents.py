"""Tensors whose content is known when the network is compiled: made of constants by operations.

What is known serves decisions only: a test of such a tensor is decided while the network is
compiled. The operations are recorded like all others, and a pass drops what nobody uses. At the
start of a block nothing is known of its parameters.
"""

from __future__ import annotations

from typing import Any

import torch

from dyncc.frontend.extents import has_symbols
from dyncc.frontend.values import State, Storage, TensorObj
from dyncc.frontend.views import apply_step

#: Larger contents decide nothing, and would be computed for nothing.
MAX_ELEMENTS = 4096
aten = torch.ops.aten
#: Operations whose results hold what was in memory, and what is recorded for them: that holds the
#: same at each run, so that a proof can compare it where it was written in part.
DEFINED = {
    aten.empty.memory_format: aten.zeros.default,
    aten.empty_like.default: aten.zeros_like.default,
    aten.new_empty.default: aten.new_zeros.default,
}
#: Others of these.
_UNDEFINED = {"empty", "empty_strided", "new_empty_strided", "resize"}


def small(tensor: torch.Tensor) -> bool:
    """Whether the content of a tensor is worth knowing."""
    return not has_symbols(tensor) and tensor.numel() <= MAX_ELEMENTS


def content(state: State, tensor: TensorObj) -> torch.Tensor | None:
    """What a tensor holds, or None."""
    base: Storage = state.heap[tensor.storage]
    found = base.content
    if found is None:
        return None
    for step in tensor.chain:
        found = apply_step(step, found)
    return found


def computed(func: Any, args: Any, kwargs: Any, out: Any) -> list[torch.Tensor | None]:
    """What an operation makes of known contents: one for each result."""
    results = list(out) if isinstance(out, tuple | list) else [out]
    unknown: list[torch.Tensor | None] = [None] * len(results)
    if func._schema.name.removeprefix("aten::") in _UNDEFINED or has_symbols((args, kwargs)):
        return unknown
    if not all(isinstance(item, torch.Tensor) and small(item) for item in results):
        return unknown
    with torch.no_grad():
        made = func(*args, **kwargs)
    return list(made) if isinstance(made, tuple | list) else [made]
