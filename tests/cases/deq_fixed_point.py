"""torchdeq: a fixed point, looked for until it is found well enough."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchdeq.solver import get_solver  # type: ignore[import-untyped]

PACKAGE = "torchdeq"
FUNCTION = "fixed_point_iter"
SIZE, BATCH = 5, 2


class Equilibrium(nn.Module):
    """A layer that is applied until its result stays."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(SIZE, SIZE)
        self.solver = get_solver("fixed_point_iter")

    def forward(self, features: Tensor) -> Any:
        def layer(state: Tensor) -> Tensor:
            return torch.tanh(self.inner(state) + features)

        return self.solver(layer, torch.zeros_like(features), max_iter=12, tol=1e-2)


def build() -> nn.Module:
    torch.manual_seed(0)
    network = Equilibrium()
    with torch.no_grad():
        network.inner.weight.mul_(1.5)
    return network.eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    """Features that are found at once, soon, and not in time."""
    generator = torch.Generator().manual_seed(1)
    scales = (0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0)
    return [(scale * torch.randn(BATCH, SIZE, generator=generator),) for scale in scales]
