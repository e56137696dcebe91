"""BlockDrop: a policy network looks at the image once and chooses which residual blocks to run.

Source: Z. Wu, T. Nagarajan, A. Kumar, S. Rennie, L. S. Davis, K. Grauman and R. Feris,
"BlockDrop: Dynamic Inference Paths in Residual Networks", CVPR 2018. The backbone is ResNet-32
(stages of 5, 5 and 5 blocks) and the policy a ResNet-8, as for CIFAR-10 in the paper. The shortcut
of a block which changes shape is a 1 x 1 convolution here.
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

STAGES = (5, 5, 5)
WIDTHS = (16, 32, 64)
CLASSES = 10
COVERAGE = 32
POLICY_SPREAD = 3.0  # standard deviation of a policy logit over the calibration images


class Residual(nn.Module):
    """The residual branch of a basic block: two 3 x 3 convolutions, without the addition."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h / stride, w / stride)."""
        out: Tensor = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return out


def make_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Make the shortcut of a block: the identity unless the block changes shape."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class PolicyNetwork(nn.Module):
    """ResNet-8 which gives, for each backbone block, the probability of keeping it."""

    def __init__(self, decisions: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        self.residuals = nn.ModuleList()
        self.shortcuts = nn.ModuleList()
        channels = WIDTHS[0]
        for width in WIDTHS:
            stride = 1 if width == channels else 2
            self.residuals.append(Residual(channels, width, stride))
            self.shortcuts.append(make_shortcut(channels, width, stride))
            channels = width
        self.average = nn.AdaptiveAvgPool2d(1)
        self.decide = nn.Linear(channels, decisions)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, 3, 32, 32) to keep probabilities (batch, decisions)."""
        x = F.relu(self.norm(self.conv(x)))
        for index in range(len(self.residuals)):
            x = F.relu(self.residuals[index](x) + self.shortcuts[index](x))
        return torch.sigmoid(self.decide(self.average(x).flatten(1)))


class BlockDrop(nn.Module):
    """ResNet-32 whose 15 residual branches are each kept or dropped by a policy network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        self.residuals = nn.ModuleList()
        self.shortcuts = nn.ModuleList()
        channels = WIDTHS[0]
        for width, count in zip(WIDTHS, STAGES, strict=True):
            for _ in range(count):
                stride = 1 if width == channels else 2
                self.residuals.append(Residual(channels, width, stride))
                self.shortcuts.append(make_shortcut(channels, width, stride))
                channels = width
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, CLASSES)
        self.policy = PolicyNetwork(sum(STAGES))

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
        policy = self.policy(x)
        x = F.relu(self.norm(self.conv(x)))
        for i in range(len(self.residuals)):
            shortcut = self.shortcuts[i](x)
            if policy[0, i] > 0.5:
                x = F.relu(self.residuals[i](x) + shortcut)
            else:
                x = shortcut
        logits: Tensor = self.classifier(self.average(x).flatten(1))
        return logits


def steer(network: BlockDrop, images: Tensor) -> None:
    """Set batch normalisation statistics and policy biases from a calibration set.

    Each decision is biased so that about half of the images keep the block, and its weights are
    scaled up so that probabilities spread over 0..1, as those of a trained policy do. Without
    this, all probabilities of a random policy lie close together on one side of 0.5.

    Parameters
    ----------
    network : BlockDrop
        Network to set, in place; left in evaluation mode.
    images : Tensor, shape (batch, 3, 32, 32)
        Calibration images.
    """
    network.eval()
    policy, decide = network.policy, network.policy.decide
    policy_logits = torch.logit(settle_batch_norm(policy, images).double())
    scale = POLICY_SPREAD / policy_logits.std(0)
    decide.weight.mul_(scale.unsqueeze(1))
    decide.bias.mul_(scale)
    for i, values in enumerate((policy_logits * scale).unbind(1)):
        decide.bias[i] -= balanced_threshold(values)
    keep = policy(images) > 0.5

    x = settle_batch_norm(nn.Sequential(network.conv, network.norm, nn.ReLU()), images)
    for i in range(len(network.residuals)):
        shortcut = settle_batch_norm(network.shortcuts[i], x)
        kept = F.relu(settle_batch_norm(network.residuals[i], x) + shortcut)
        x = torch.where(keep[:, i, None, None, None], kept, shortcut)


def build(seed: int = 0) -> nn.Module:
    """Build the network with random weights and a steered policy.

    Parameters
    ----------
    seed : int
        Seed of the weights.

    Returns
    -------
    nn.Module
        A ``BlockDrop`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = BlockDrop()
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
    """Return the images ``build(seed)`` was steered with: each block is kept and dropped.

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
