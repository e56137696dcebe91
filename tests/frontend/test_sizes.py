"""Tensors whose sizes depend on data: nonzero, where, boolean masks, and what is done with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from frontend.differential import check, linear, network, rows
from torch import Tensor, nn

import dyncc
from dyncc.core.errors import UnsupportedError
from dyncc.verification import compare


def grids(count: int = 12, size: int = 4) -> list[tuple[Tensor]]:
    """Inputs of shape (size, size), from all negative to all positive."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(count, size, size, generator=generator)
    return [(values[i] + shift,) for i, shift in enumerate(torch.linspace(-4, 4, count).tolist())]


def test_masks() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        positive = x[x > 0]
        if positive.numel() == 0:
            return x.mean(), x[0]
        return positive.mean() + positive.max(), positive

    check(network(forward))


def test_results_of_every_kind() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        rows, columns = torch.where(x > 0)
        pairs = (x > 0).nonzero()
        picked = torch.masked_select(x, x > 0)
        kinds = torch.unique(x.round()), torch.bincount((x[0] > 0).long())
        return rows, columns, pairs, x[rows, columns] - picked, kinds

    check(network(forward), grids())


def test_masked_writes() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x.clone()
        y[y > 0.5] = 0.5
        y[y < 0] *= 2
        large = y > 0.1
        y[large] = y[large] + x[large]
        row = y[0]
        row[row > 0.3] = 0.0
        y[x.sum(1) > 0] = torch.arange(4.0)
        return y

    check(network(forward), grids())


def test_one_mask_chooses_as_many_rows_of_several_tensors() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        chosen = x[:, 0] > 0
        if chosen.any():
            left, right = x[chosen], (2 * x)[chosen]
            joined = left.new_zeros(left.size(0), 6)
            joined[:, :4] = right
            joined[:, 4:] = left[:, 1:3]
            joined[:, 1] += 1
            joined.t()[0] = right[:, 3]
            joined[:1].mul_(3)
            return joined, left + right
        return (x,)

    check(network(forward), grids())


def test_a_mask_that_changed_chooses_another_number_of_rows() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        chosen = x[:, 0] > 0
        left = x[chosen]
        if x.sum() > 0:
            left = left * 2
        chosen[1] = False
        right = x[chosen]
        return left, right, left.shape[0], right.shape[0]

    check(network(forward), grids())


def test_sizes_are_numbers() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        found = torch.nonzero(x[0] > 0)
        n = len(found)
        picked = found.squeeze(1)
        zeros = x.new_zeros(n, 2) + picked[:, None]
        twice = torch.cat([picked, picked])
        assert found.dim() == 2
        return n, found.size(0) * 2, tuple(found.shape), zeros, twice.reshape(2 * n, 1), x * n

    check(network(forward), grids())


def test_loops_over_what_was_found() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        found = torch.nonzero(x[0] > 0).squeeze(1)
        total = x.sum()
        for i in range(found.shape[0]):
            total = total * 0.5 + x[1, found[i]]
        for j in found:
            total = total + x[j, 0]
        for i, j in enumerate(found.tolist()):
            total = total + i * j
        return total, [int(j) for j in found], x[found[:1]].sum()

    check(network(forward), grids())


def test_a_mixture_of_experts_computes_only_its_tokens() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        weights, chosen = self.gate(x).softmax(-1).topk(2, -1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            token, place = torch.where(chosen == number)
            if token.shape[0] == 0:
                continue
            out.index_add_(0, token, expert(x[token]) * weights[token, place, None])
        return out

    experts = nn.ModuleList([linear(seed=seed) for seed in range(4)])
    module = network(forward, gate=linear(seed=9), experts=experts)
    inputs = [
        (torch.randn(2, 4, generator=torch.Generator().manual_seed(i)) * 3,) for i in range(40)
    ]
    check(module, inputs)
    program = dyncc.compile(module, inputs[0], backend="tvm")
    assert program.manifest["report"]["torch"], "regions with such sizes run in PyTorch"
    assert program.manifest["report"]["regions"], "all others are compiled"
    compare(module, program, inputs[:8])


def test_a_mask_that_shrinks_in_a_loop() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        kept, turns = x.flatten(), 0
        while kept.numel() > 2:
            kept = kept[kept > kept.mean()]
            turns += 1
        return turns, kept.sum()

    program = check(network(forward), grids())
    assert len(program.hcfg.blocks) < 10


def test_greedy_suppression() -> None:
    def forward(self: Any, x: Tensor) -> list[int]:
        scores = x.flatten()
        order = scores.argsort(descending=True)
        kept = []
        while order.numel() > 0:
            best = order[0]
            kept.append(int(best))
            rest = order[1:]
            order = rest[(scores[rest] - scores[best]).abs() > 0.5]
        return kept

    check(network(forward), grids())


def test_sizes_through_branches_and_library_code() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x[x[:, 0] > 0]
        if x.sum() > 1:
            y = F.layer_norm(self.layer(y), (4,)) * 2
        return torch.sort(y, dim=0)[0].softmax(-1) + y[:, :1]

    check(network(forward, layer=linear()), grids())


def test_joined_lists_are_tensors_like_others() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        found = []
        while x.abs().sum() < 30:
            found.append(x)
            x = x + 1
        if not found:
            return x
        joined = torch.cat(found)
        return joined.mean(0) + joined[-1], joined.shape[0], joined @ torch.ones(4, 2)

    check(network(forward), rows())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: torch.nonzero(x).squeeze(), "the number of its dimensions would depend on data"),
        (lambda x: 1 if x[x > 0] > 0 else 0, "the truth or the number of a tensor whose size"),
        (lambda x: (x[x > 0] * 1)[None].add_(1), "a write to a part of a tensor whose size"),
        (lambda x: torch.nonzero(x).tolist(), "lists in lists of run-time length"),
        (lambda x: x[x > 0].chunk(2), "it decides by the size of a tensor"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    def forward(self: Any, x: Tensor) -> Any:
        return self.call(x)

    with pytest.raises(UnsupportedError, match=message):
        dyncc.compile(network(forward, call=call), grids()[0], backend="eager")
