"""Functions that call themselves as deep as data decides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from frontend.differential import check, linear, network, rows
from torch import Tensor, nn

import dyncc
from dyncc.core.errors import UnsupportedError
from dyncc.proof import prove


class Descend(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = linear()

    def forward(self, x: Tensor) -> Tensor:
        return self.descend(x) + 1

    def descend(self, x: Tensor) -> Tensor:
        if x.norm() < 1:
            return x
        deeper = self.descend(torch.tanh(self.layer(x)) * x * 0.3)
        return deeper * 0.5 + x


class Counted(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return self.descend(x, 0)

    def descend(self, x: Tensor, depth: int) -> tuple[Tensor, int]:
        if x.norm() < 1:
            return x, depth
        return self.descend(x * 0.7, depth + 1)


class Tree(nn.Module):
    """A binary tree in tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.leaf, self.join = linear(), linear(8, 4, seed=2)

    def forward(self, left: Tensor, right: Tensor, values: Tensor) -> Tensor:
        return self.walk(0, left, right, values)

    def walk(self, node: Any, left: Tensor, right: Tensor, values: Tensor) -> Tensor:
        if left[node].item() < 0:
            return torch.tanh(self.leaf(values[node]))
        a = self.walk(left[node].item(), left, right, values)
        b = self.walk(right[node].item(), left, right, values)
        return torch.tanh(self.join(torch.cat([a, b])))


class Mutual(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.even(x)

    def even(self, x: Tensor) -> Tensor:
        if x.sum() < 1:
            return x
        return self.odd(x - 1) + x

    def odd(self, x: Tensor) -> Tensor:
        if x.sum() < 0.5:
            return -x
        y = self.even(x * 0.5)
        return y * 2 + x


def nested(self: Any, x: Tensor) -> tuple[Tensor, int]:
    calls = 0

    def go(y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if y.norm() < 1:
            return y
        return go(y * 0.5) + y

    return go(x), calls


def trees() -> list[tuple[Tensor, ...]]:
    values = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    shapes = [
        ([-1] * 7, [-1] * 7),
        ([1, -1, -1, -1, -1, -1, -1], [2, -1, -1, -1, -1, -1, -1]),
        ([1, 3, -1, 5, -1, -1, -1], [2, 4, -1, 6, -1, -1, -1]),
        ([1, -1, 3, -1, 5, -1, -1], [2, -1, 4, -1, 6, -1, -1]),
    ]
    return [(torch.tensor(left), torch.tensor(right), values) for left, right in shapes]


@pytest.mark.parametrize("module", [Descend(), Counted(), Mutual(), network(nested)])
def test_depth_by_data(module: nn.Module) -> None:
    check(module, rows())


def test_trees_in_tensors() -> None:
    check(Tree(), trees())


def test_recursion_without_end() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        def go(y: Tensor) -> Tensor:
            if y.sum() > 0:
                return go(y) + 1
            return y

        return go(x)

    program = dyncc.compile(network(forward), (torch.ones(2),), backend="eager")
    assert torch.equal(torch.from_dlpack(program(-torch.ones(2))), -torch.ones(2))
    with pytest.raises(RecursionError):
        program(torch.ones(2))


@pytest.mark.parametrize("module", [Descend(), Mutual()])
def test_proof(module: nn.Module) -> None:
    program = dyncc.compile(module.eval(), rows()[0], backend="eager")
    assert prove(module, program, rows(8)).complete


def gathered(self: Any, x: Tensor) -> Tensor:
    def go(y: Tensor) -> Tensor:
        parts = [y, y * 2]
        if y.norm() < 1:
            return parts[0]
        below = go(y * 0.5)
        parts.append(below)
        return parts[0] + parts[1] + parts[2]

    return go(x)


def visited(self: Any, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    seen: list[Tensor] = []

    def go(y: Tensor) -> Tensor:
        seen.append(y)
        if y.norm() < 1:
            return y
        low, high = (go(y * 0.4), go(y * 0.3)) if y[0, 0] > 0 else (y, go(y * 0.2))
        return low - high

    return go(x), seen


@pytest.mark.parametrize("forward", [gathered, visited])
def test_lists_across_calls(forward: Any) -> None:
    check(network(forward), rows())


def kept(self: Any, x: Tensor) -> Tensor:
    def go(y: Tensor, before: dict[str, Tensor]) -> Tensor:
        if y.norm() < 1:
            return y
        mine = {"y": y}
        below = go(y * 0.5, mine)
        return below + mine["y"]

    return go(x, {"y": x})


def caught(self: Any, x: Tensor) -> Tensor:
    def go(y: Tensor) -> Tensor:
        if y.norm() < 1:
            raise ValueError
        try:
            return go(y * 0.5)
        except ValueError:
            return y

    return go(x)


@pytest.mark.parametrize("forward", [kept, caught])
def test_refused(forward: Any) -> None:
    with pytest.raises(UnsupportedError, match="data decides how deep it goes"):
        dyncc.compile(network(forward), (torch.ones(1, 4),), backend="eager")
