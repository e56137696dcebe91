"""SkipNet-38 with feed-forward gates, for CIFAR-sized images.

Source: X. Wang, F. Yu, Z.-Y. Dou, T. Darrell and J. E. Gonzalez, "SkipNet: Learning Dynamic Routing
in Convolutional Networks", ECCV 2018. A ResNet of 18 basic blocks (36 at 74 layers, 54 at 110);
before every block but the first, a small convolutional gate looks at the features and decides
whether the block is worth its cost. Decisions are the hard ones the paper uses for inference.

The gate is FFGate-I at every depth; the paper has a smaller one, FFGate-II, for over 100 layers.
A block that changes shape and is skipped leaves its shortcut, a 1 x 1 convolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyncc_models.dycl.sdn_resnet import BasicBlock
from dyncc_models.steering import (
    balanced_threshold,
    one_by_one,
    settle_batch_norm,
    textured_images,
)

WIDTHS = (16, 32, 64)
SMALL_WIDTHS = (4, 8, 16)
LAYERS = 38
CLASSES = 10
COVERAGE = 32
GATE_SPREAD = 4.0  # standard deviation of a gate's logit difference over the calibration images


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


def blocks_of(layers: int, widths: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Shapes of the basic blocks of a ResNet for CIFAR.

    Parameters
    ----------
    layers : int
        6 n + 2, for n blocks of each width.
    widths : tuple of int
        Channels.

    Returns
    -------
    list of tuple of int
        Channels before and after each block, and its stride.

    Raises
    ------
    ValueError
        If there is no such network.
    """
    count, rest = divmod(layers - 2, 2 * len(widths))
    if rest or count < 1:
        raise ValueError(f"a ResNet for CIFAR has 6 n + 2 layers, not {layers}")
    after = [width for width in widths for _ in range(count)]
    before = [widths[0], *after[:-1]]
    return [(a, b, 1 if a == b else 2) for a, b in zip(before, after, strict=True)]


class SkipNet(nn.Module):
    """SkipNet: a convolution, basic blocks of which all but one are gated, and a classifier.

    Parameters
    ----------
    layers : int
        38, 74, 110 or another 6 n + 2.
    widths : tuple of int
        Channels of the three groups of blocks.
    """

    def __init__(self, layers: int = LAYERS, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        shapes = blocks_of(layers, widths)
        self.conv = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.first = BasicBlock(*shapes[0])
        self.units = nn.ModuleList(GatedBlock(*shape) for shape in shapes[1:])
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], CLASSES)

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


def build(seed: int = 0, small: bool = False, layers: int = LAYERS) -> nn.Module:
    """Build the network with random weights and steered gates.

    Parameters
    ----------
    seed : int
        Seed of the weights.
    small : bool
        A quarter of the channels.
    layers : int
        Depth: 38, 74, 110 or another 6 n + 2.

    Returns
    -------
    nn.Module
        A ``SkipNet`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = SkipNet(layers, SMALL_WIDTHS if small else WIDTHS)
        steer(network, textured_images(COVERAGE, seed))
    return network.eval()


def example_inputs(small: bool = False) -> tuple[torch.Tensor, ...]:
    """Return one image.

    Parameters
    ----------
    small : bool
        Has no effect: images have one size.

    Returns
    -------
    tuple of one Tensor, shape (1, 3, 32, 32), float32
        Normalised intensity.
    """
    del small
    return (textured_images(1, 1000),)


def coverage_inputs(seed: int = 0, small: bool = False) -> list[tuple[torch.Tensor, ...]]:
    """Return the images ``build(seed)`` was steered with: each gate skips and executes.

    Parameters
    ----------
    seed : int
        Seed of the images.
    small : bool
        Has no effect: images have one size.

    Returns
    -------
    list of 32 tuples of one Tensor, shape (1, 3, 32, 32), float32
        Normalised intensity.
    """
    del small
    return one_by_one(textured_images(COVERAGE, seed))
