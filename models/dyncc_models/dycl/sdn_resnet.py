"""Shallow-Deep Network on ResNet-56, for CIFAR-sized images.

Sources: K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", CVPR
2016; and that of ``sdn``. As with the authors of the latter, the shortcut of a block that changes
shape is a 1 x 1 convolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyncc_models.dycl.sdn import (
    CLASSES,
    IMAGE,
    InternalClassifier,
    Layer,
    ShallowDeepNetwork,
    coverage_inputs,
    example_inputs,
    settle,
)

__all__ = ["BasicBlock", "build", "coverage_inputs", "example_inputs"]

WIDTHS = (16, 32, 64)
BLOCKS = 9  # of each width
#: Blocks with a classifier.
EXITS = (3, 7, 11, 15, 19, 23)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions added to a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h / stride, w / stride)."""
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


def make(divisor: int) -> ShallowDeepNetwork:
    """Make the network with all channels divided by `divisor`."""
    channels, size = WIDTHS[0] // divisor, IMAGE
    stem = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )
    layers = []
    for position in range(BLOCKS * len(WIDTHS)):
        width = WIDTHS[position // BLOCKS] // divisor
        stride = 1 if width == channels else 2
        body = BasicBlock(channels, width, stride)
        channels, size = width, size // stride
        classifier = InternalClassifier(channels, size) if position in EXITS else None
        layers.append(Layer(body, classifier))
    end = nn.Sequential(nn.AvgPool2d(size), nn.Flatten(), nn.Linear(channels, CLASSES))
    return ShallowDeepNetwork(stem, layers, end)


def build(seed: int = 0, small: bool = False) -> nn.Module:
    """Build the network with random weights and steered exits.

    Parameters
    ----------
    seed : int
        Seed of the weights.
    small : bool
        A quarter of the channels.

    Returns
    -------
    nn.Module
        A ``ShallowDeepNetwork`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return settle(make(4 if small else 1), seed)
