"""torchdiffeq: a neural ODE, solved with steps whose number and sizes depend on the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchdiffeq import odeint  # type: ignore[import-untyped]

SLOW = True
FALLBACK = "eager"
UNLED = True
PACKAGE = "torchdiffeq"
FUNCTION = "odeint(method='dopri5')"
SIZE = 3


class Field(nn.Module):
    """What the state changes by."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(SIZE, 8)
        self.outer = nn.Linear(8, SIZE)

    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        change: Tensor = self.outer(torch.tanh(self.inner(state))) * torch.cos(time)
        return change


class Flow(nn.Module):
    """Where the state is at three times."""

    def __init__(self) -> None:
        super().__init__()
        self.field = Field()
        self.register_buffer("times", torch.tensor([0.0, 0.5, 2.0]))

    def forward(self, state: Tensor) -> Tensor:
        path: Tensor = odeint(self.field, state, self.times, rtol=1e-3, atol=1e-4, method="dopri5")
        return path


def build() -> nn.Module:
    torch.manual_seed(0)
    flow = Flow()
    with torch.no_grad():
        flow.field.inner.weight.mul_(4)
        flow.field.outer.weight.mul_(4)
    return flow.double().eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    """States near and far from rest, in float64: a step depends on differences of like numbers."""
    generator = torch.Generator().manual_seed(1)
    scales = (0.0, 1e-6, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0)
    return [(scale * torch.randn(2, SIZE, generator=generator).double(),) for scale in scales]
