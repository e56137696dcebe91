"""SkipNet-38 with feed-forward gates, for CIFAR-sized images.

Source: X. Wang, F. Yu, Z.-Y. Dou, T. Darrell and J. E. Gonzalez, "SkipNet: Learning Dynamic
Routing in Convolutional Networks", ECCV 2018. A ResNet-38 of 18 basic blocks; before every block
but the first, a small convolutional gate looks at the features and decides whether the block is
worth its cost. Decisions are the hard ones the paper uses for inference.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyncc_models.steering import (
    balanced_threshold,
    one_by_one,
    settle_batch_norm,
    textured_images,
)

BLOCKS_PER_WIDTH = 6
WIDTHS = (16, 32, 64)
CLASSES = 10
COVERAGE = 32
GATE_SPREAD = 4.0  # standard deviation of a gate's logit difference over the calibration images


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions added to a shortcut (He et al., CVPR 2016)."""

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


class FeedForwardGate(nn.Module):
    """Pooling, two 3 x 3 convolutions and a two-way decision (FFGate-I of the paper)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.decide = nn.Linear(channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (batch, channels, h, w) to logits (batch, 2): skip, then execute."""
        out = F.relu(self.norm1(self.conv1(self.pool(x))))
        out = F.relu(self.norm2(self.conv2(out)))
        logits: Tensor = self.decide(self.average(out).flatten(1))
        return logits


class GatedBlock(nn.Module):
    """A basic block which runs only if its gate says so."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.gate = FeedForwardGate(in_channels)
        self.block = BasicBlock(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (1, in_channels, h, w) to (1, out_channels, h / stride, w / stride)."""
        gate = self.gate(x)
        if gate.argmax(1).item() == 1:
            x = self.block(x)
        else:
            x = self.block.shortcut(x)
        return x


class SkipNet(nn.Module):
    """SkipNet-38: a convolution, 18 basic blocks of which 17 are gated, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        self.first = BasicBlock(WIDTHS[0], WIDTHS[0], stride=1)
        self.units = nn.ModuleList()
        channels = WIDTHS[0]
        for position in range(1, BLOCKS_PER_WIDTH * len(WIDTHS)):
            width = WIDTHS[position // BLOCKS_PER_WIDTH]
            self.units.append(GatedBlock(channels, width, stride=1 if width == channels else 2))
            channels = width
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Classify one image.

        Parameters
        ----------
        x : Tensor, shape (1, 3, 32, 32), float32
            Image, normalised intensity.

        Returns
        -------
        Tensor, shape (1, 10)
            Logits.
        """
        x = F.relu(self.norm(self.conv(x)))
        x = self.first(x)
        for unit in self.units:
            x = unit(x)
        logits: Tensor = self.classifier(self.average(x).flatten(1))
        return logits


def steer(network: SkipNet, images: Tensor) -> None:
    """Set batch normalisation statistics and gate biases from a calibration set.

    Gates are set in order of depth. Each sees the features that its images really reach it with,
    after the decisions before it, and is biased so that about half of them execute the block.
    Without this, a random gate answers the same for every image.

    Parameters
    ----------
    network : SkipNet
        Network to set, in place; left in evaluation mode.
    images : Tensor, shape (batch, 3, 32, 32)
        Calibration images.
    """
    network.eval()
    stem = nn.Sequential(network.conv, network.norm, nn.ReLU(), network.first)
    x = settle_batch_norm(stem, images)
    for unit in network.units:
        assert isinstance(unit, GatedBlock)
        logits = settle_batch_norm(unit.gate, x)
        difference = logits[:, 1] - logits[:, 0]
        # A wide spread keeps decisions clear of a tie, as training would.
        scale = GATE_SPREAD / difference.std()
        unit.gate.decide.weight.mul_(scale)
        unit.gate.decide.bias.mul_(scale)
        difference = difference * scale
        threshold = balanced_threshold(difference)
        unit.gate.decide.bias[1] -= threshold
        executed = settle_batch_norm(unit.block, x)
        keep = (difference > threshold)[:, None, None, None]
        x = torch.where(keep, executed, unit.block.shortcut(x))


def build(seed: int = 0) -> nn.Module:
    """Build the network with random weights and steered gates.

    Parameters
    ----------
    seed : int
        Seed of the weights.

    Returns
    -------
    nn.Module
        A ``SkipNet`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = SkipNet()
        steer(network, textured_images(COVERAGE, seed))
    return network.eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    """Return one image.

    Returns
    -------
    tuple of one Tensor, shape (1, 3, 32, 32), float32
        Normalised intensity.
    """
    return (textured_images(1, 1000),)


def coverage_inputs(seed: int = 0) -> list[tuple[torch.Tensor, ...]]:
    """Return the images ``build(seed)`` was steered with: each gate skips and executes.

    Parameters
    ----------
    seed : int
        Seed of the images.

    Returns
    -------
    list of 32 tuples of one Tensor, shape (1, 3, 32, 32), float32
        Normalised intensity.
    """
    return one_by_one(textured_images(COVERAGE, seed))
