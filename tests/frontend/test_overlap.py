"""Writes through views that overlap with what is read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from frontend.differential import check, network, rows
from torch import Tensor

import dyncc
from dyncc.core.errors import UnsupportedError


def test_a_write_to_what_another_view_reads_is_refused() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x + 1
        view = y[0, 0:2]
        view.add_(y[0, 1])
        return y

    with pytest.raises(RuntimeError, match="memory location"):
        network(forward)(torch.ones(1, 4))
    with pytest.raises(UnsupportedError, match=r"another view, which raises RuntimeError"):
        dyncc.compile(network(forward), (torch.ones(1, 4),), backend="eager")


def test_writes_to_other_parts_or_to_the_same_elements_are_compiled() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x + 1
        if y.sum() > 3:
            y[0, 0:2] += y[0, 2:4]
            y.mul_(y)
        y[0, 3] = y[0, 0]
        return y

    check(network(forward), rows())
