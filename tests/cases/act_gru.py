"""pytorch-adaptive-computation-time: a GRU that thinks as long as its halting unit wants."""

from __future__ import annotations

import torch
from pytorch_adaptive_computation_time import AdaptiveGRU  # type: ignore[import-untyped]
from torch import Tensor, nn

PACKAGE = "pytorch-adaptive-computation-time"
FUNCTION = "AdaptiveGRU"
SIZE, HIDDEN, STEPS, BATCH = 4, 6, 3, 2


def build() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = AdaptiveGRU(SIZE, HIDDEN, num_layers=1, time_penalty=0.01, time_limit=12)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "_halting_unit" in name and name.endswith("weight"):
                parameter.mul_(8)
    return network.eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    """Sequences that are thought over for one step, for some, and to the limit."""
    generator = torch.Generator().manual_seed(1)
    scales = torch.logspace(-1, 1.3, 12)
    return [(scale * torch.randn(STEPS, BATCH, SIZE, generator=generator),) for scale in scales]
