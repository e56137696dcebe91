"""Fake tensors as a block is given them: contiguous, at the start of their storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._prims_common import make_contiguous_strides_for

from dyncc.frontend.extents import has_symbols
from dyncc.frontend.values import short_dtype
from dyncc.ir.types import TensorType

#: The attribute of a fake tensor that keeps its `plain_key`.
_KEY = "dynccplain_key"


def plain_key(fake: torch.Tensor, kind: TensorType) -> tuple[str, Any] | None:
    """The type in the key of a tensor of known sizes that can go on as it is; None for others.

    States hold the same tensors again and again, so it is kept with the tensor.
    """
    known: tuple[str, Any] | None = getattr(fake, _KEY, None)
    if known is None and kind.is_static and is_fresh(fake, kind.shape):
        known = (short_dtype(fake.dtype), kind.shape)
        setattr(fake, _KEY, known)
    return known if known is not None and known[1] == kind.shape else None


def is_fresh(fake: torch.Tensor, sizes: Sequence[Any]) -> bool:
    """Whether a fake tensor is what a new one would be; to make one takes time."""
    return (
        all(isinstance(size, int) for size in sizes)
        and not has_symbols(fake)
        and list(fake.shape) == list(sizes)
        and fake.storage_offset() == 0
        and fake.stride() == make_contiguous_strides_for(fake.shape)
    )


def contiguous(fake: torch.Tensor) -> torch.Tensor:
    """A new tensor of the same sizes and dtype."""
    mode = fake.fake_mode  # type: ignore[attr-defined]
    with mode:
        return torch.empty(tuple(fake.shape), dtype=fake.dtype)
