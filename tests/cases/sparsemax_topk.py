"""entmax: sparsemax over few of the largest numbers, and over more where these do not suffice."""

from __future__ import annotations

import torch
from entmax import sparsemax  # type: ignore[import-untyped]
from torch import Tensor, nn

PACKAGE = "entmax"
FUNCTION = "sparsemax(k=2)"
ROWS, SIZE = 3, 10


class Attention(nn.Module):
    """Sparse weights."""

    def forward(self, scores: Tensor) -> Tensor:
        weights: Tensor = sparsemax(scores, dim=-1, k=2)
        return weights


def build() -> nn.Module:
    return Attention().eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    """Scores that are far apart, close, and the same."""
    generator = torch.Generator().manual_seed(1)
    scales = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 5.0)
    return [(scale * torch.randn(ROWS, SIZE, generator=generator),) for scale in scales]
