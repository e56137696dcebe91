"""Tensors that code makes of numbers: each is a constant of its own."""

from __future__ import annotations

import torch
from frontend.differential import check, network
from torch import Tensor


def test_constants_made_one_after_the_other_stay_apart() -> None:
    def forward(self: object, x: Tensor) -> Tensor:
        found = []
        for i in range(10):
            found += [torch.tensor(1e8).repeat(2) for _ in range(4)]
            found += [torch.tensor(float(i)).repeat(2) for _ in range(2)]
        return torch.stack(found) + x

    check(network(forward), [(torch.ones(2),)])
