"""Memory that nobody has written yet: a proof compares tensors that are written in part."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
_UNWRITTEN = {aten.empty.memory_format, aten.empty_like.default, aten.new_empty.default}


class Cleared(TorchDispatchMode):
    """A mode in which new memory holds zeros, as it does in artifacts."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        return found.zero_() if func in _UNWRITTEN else found
