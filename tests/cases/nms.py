"""nms-3d: boxes that overlap others of higher scores are left out, one turn for each that stays."""

from __future__ import annotations

from typing import Any

import torch
from nms_3d import nms_3d  # type: ignore[import-untyped]
from torch import Tensor, nn

PACKAGE = "nms-3d"
FUNCTION = "nms_3d"
BOXES = 6


class Suppression(nn.Module):
    """The boxes that stay, and their numbers."""

    def forward(self, boxes: Tensor) -> Any:
        return nms_3d(boxes, iou_threshold=0.3, return_indices=True)


def build() -> nn.Module:
    return Suppression().eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for spread in (0.0, 0.5, 1.0, 2.0, 5.0):
        corner = spread * torch.rand(BOXES, 3, generator=generator)
        size = 1 + torch.rand(BOXES, 3, generator=generator)
        score = torch.rand(BOXES, 1, generator=generator)
        found.append((torch.cat([score, corner, corner + size], 1),))
    return found
