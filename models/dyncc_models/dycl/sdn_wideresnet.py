"""Shallow-Deep Network on WideResNet-32-4, for CIFAR-sized images.

Sources: S. Zagoruyko and N. Komodakis, "Wide Residual Networks", BMVC 2016; and that of ``sdn``,
whose authors give this name to 15 blocks (three times five) of four times the usual width, with
biases in the convolutions, and let the second convolution of a block take the stride.
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

__all__ = ["build", "coverage_inputs", "example_inputs"]

WIDTHS = (16, 32, 64)
WIDENING = 4
BLOCKS = 5  # of each width
DROPOUT = 0.3
#: Blocks with a classifier.
EXITS = (2, 4, 6, 8, 10, 12)


class WideBlock(nn.Module):
    """Pre-activated block: normalisation and ReLU come before each convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.dropout = nn.Dropout(DROPOUT)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h / stride, w / stride)."""
        out = self.dropout(self.conv1(F.relu(self.norm1(x))))
        out = self.conv2(F.relu(self.norm2(out)))
        total: Tensor = out + self.shortcut(x)
        return total


def make(widening: int) -> ShallowDeepNetwork:
    """Make the network, `widening` times as wide as a ResNet."""
    channels, size = WIDTHS[0], IMAGE
    stem = nn.Conv2d(3, channels, 3, padding=1)
    layers = []
    for position in range(BLOCKS * len(WIDTHS)):
        group, place = divmod(position, BLOCKS)
        width, stride = widening * WIDTHS[group], 2 if group and not place else 1
        body = WideBlock(channels, width, stride)
        channels, size = width, size // stride
        classifier = InternalClassifier(channels, size) if position in EXITS else None
        layers.append(Layer(body, classifier))
    end = nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AvgPool2d(size),
        nn.Flatten(),
        nn.Linear(channels, CLASSES),
    )
    return ShallowDeepNetwork(stem, layers, end)


def build(seed: int = 0, small: bool = False) -> nn.Module:
    """Build the network with random weights and steered exits.

    Parameters
    ----------
    seed : int
        Seed of the weights.
    small : bool
        As wide as a ResNet, not four times.

    Returns
    -------
    nn.Module
        A ``ShallowDeepNetwork`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return settle(make(1 if small else WIDENING), seed)
