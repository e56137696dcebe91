"""torch.nn.AdaptiveLogSoftmaxWithLoss.predict: three ways, by the rows in the shortlist."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PACKAGE = "torch"
FUNCTION = "AdaptiveLogSoftmaxWithLoss.predict"
CLASSES, FEATURES, ROWS = 20, 16, 5


class Predict(nn.Module):
    """Asks an adaptive softmax for classes."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(FEATURES, CLASSES, cutoffs=[5, 12])

    def forward(self, features: Tensor) -> Tensor:
        return self.softmax.predict(features)


def build() -> nn.Module:
    torch.manual_seed(0)
    return Predict().eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    """Rows near the head's weights of the shortlist, of clusters, and of both."""
    network = build()
    head = network.softmax.head.weight.detach()
    generator = torch.Generator().manual_seed(1)
    found = []
    for clusters in (0, 0, 1, 2, 3, 4, 5, 5):
        rows = [head[5 + i % 2] if i < clusters else head[i % 5] for i in range(ROWS)]
        noise = 0.05 * torch.randn(ROWS, FEATURES, generator=generator)
        found.append((20 * torch.stack(rows) + noise,))
    return found
