"""Branches that yield different shapes, dtypes and numbers of dimensions, and what follows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from frontend.differential import network
from frontend.test_sizes import grids
from torch import Tensor

import dyncc
from dyncc.proof import prove
from dyncc.verification import compare


def shapes(self: Any, x: Tensor) -> Any:
    y = x[:, :2] if x.mean() > 0 else torch.cat([x, x], 1)
    z = y * 2
    if x[0, 0] > 0:
        z = z.sum(1, keepdim=True)
    return z, z.shape, z + 1


def dtypes(self: Any, x: Tensor) -> Any:
    if x.mean() > 0:
        y = x.long()
    elif x.mean() > -1:
        y = x > 0
    else:
        y = x.double()
    z = y + 1
    return z, y.dtype == torch.int64, z.sum().item()


def ranks(self: Any, x: Tensor) -> Any:
    y = x if x.mean() > 0 else x[0]
    if y.dim() == 2:
        y = y[0]
    return y, torch.stack([y, y])


def dtypes_in_loops(self: Any, x: Tensor) -> Any:
    y, n = x.round().long(), 0
    while n < 3:
        if x[0, n] > 0:
            y = y * 1.5
        n += 1
    return y


def sizes_in_loops(self: Any, x: Tensor) -> Any:
    y = x
    for _ in range(int((x[0] > 0).sum())):
        y = y[:, 1:] if y.shape[1] > 2 else torch.cat([y, y], 1)
        if y.mean() > 1:
            y = y * 0.5
    return y, y.shape


def known_and_open_sizes(self: Any, x: Tensor) -> Any:
    y = x[0] if x.mean() > 0 else x[0][x[0] > 0]
    if x[1, 0] > 0:
        y = torch.cat([y, x[1]])
    return y * 2, y.shape


def open_sizes_and_dtypes(self: Any, x: Tensor) -> Any:
    y = x[x > 0]
    if y.numel() > 5:
        y = y.long()
    z = y * 2
    if z.sum() > 3:
        z = z[:3]
    return z, z.numel()


@pytest.mark.parametrize(
    "forward",
    [
        shapes, dtypes, ranks, dtypes_in_loops, sizes_in_loops, known_and_open_sizes,
        open_sizes_and_dtypes,
    ],
)  # fmt: skip
def test_branches_that_differ(forward: Callable[..., Any]) -> None:
    module = network(forward).eval()
    program = dyncc.compile(module, grids()[0], backend="eager")
    inputs = grids(20)
    compare(module, program, inputs)
    assert prove(module, program, inputs).complete
