"""torch.nn.AdaptiveLogSoftmaxWithLoss itself: a part of the targets for each cluster of classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PACKAGE = "torch"
FUNCTION = "AdaptiveLogSoftmaxWithLoss.forward"
CLASSES, FEATURES, ROWS = 20, 16, 5


class Loss(nn.Module):
    """The log-likelihood of targets, and its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(FEATURES, CLASSES, cutoffs=[5, 12])

    def forward(self, features: Tensor, targets: Tensor) -> Any:
        return self.softmax(features, targets)


def build() -> nn.Module:
    torch.manual_seed(0)
    return Loss().eval()


def example_inputs() -> tuple[Tensor, Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor, Tensor]]:
    """Targets in all clusters, in two, in one, and outside."""
    generator = torch.Generator().manual_seed(1)
    targets = (
        (0, 1, 6, 13, 19), (0, 1, 2, 3, 4), (5, 6, 7, 8, 9), (12, 13, 12, 19, 19), (0, 5, 6, 5, 11),
        (4, 12, 1, 2, 3), (5, 6, 12, 13, 14), (0, 1, 20, 3, 4), (7, 0, 13, 13, 13),
    )  # fmt: skip
    return [
        (torch.randn(ROWS, FEATURES, generator=generator), torch.tensor(row)) for row in targets
    ]
