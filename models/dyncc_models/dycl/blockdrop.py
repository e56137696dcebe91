"""BlockDrop: a policy network looks at the image once and chooses which residual blocks to run.

Source: Z. Wu, T. Nagarajan, A. Kumar, S. Rennie, L. S. Davis, K. Grauman and R. Feris,
"BlockDrop: Dynamic Inference Paths in Residual Networks", CVPR 2018. The backbone is ResNet-110, of
three times 18 blocks, and the policy a ResNet-8, as for CIFAR-10 in the paper. As in the authors'
experiments, the shortcut of a block that changes shape has no weights: it averages and appends
channels of zeros. The policy's estimate of its own reward, which only training needs, is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyncc_models.dycl.skipnet import blocks_of
from dyncc_models.steering import (
    balanced_threshold,
    one_by_one,
    settle_batch_norm,
    textured_images,
)

LAYERS = 110
POLICY_LAYERS = 8
WIDTHS = (16, 32, 64)
SMALL_WIDTHS = (4, 8, 16)
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


class Shrink(nn.Module):
    """Halves height and width by averaging, and appends as many channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.average = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, h, w) to (batch, 2 channels, h / 2, w / 2)."""
        smaller = self.average(x)
        return torch.cat((smaller, torch.zeros_like(smaller)), dim=1)


class Backbone(nn.Module):
    """A ResNet for CIFAR whose residual branches can be dropped.

    Parameters
    ----------
    layers : int
        6 n + 2, for n blocks of each width.
    widths : tuple of int
        Channels of the three groups of blocks, each twice those of the group before.
    outputs : int
        Features that the last layer gives.
    """

    def __init__(self, layers: int, widths: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        shapes = blocks_of(layers, widths)
        self.conv = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.residuals = nn.ModuleList(Residual(*shape) for shape in shapes)
        self.shortcuts = nn.ModuleList(
            nn.Identity() if before == after else Shrink() for before, after, _ in shapes
        )
        self.average = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(widths[-1], outputs)

    def stem(self, x: Tensor) -> Tensor:
        """Map images (batch, 3, 32, 32) to features (batch, channels, 32, 32)."""
        return F.relu(self.norm(self.conv(x)))

    def head(self, x: Tensor) -> Tensor:
        """Map features (batch, channels, h, w) to (batch, outputs)."""
        logits: Tensor = self.last(self.average(x).flatten(1))
        return logits

    def forward(self, x: Tensor, actions: list[int]) -> Tensor:
        """Map an image (1, 3, 32, 32) and a zero or one for each block to (1, outputs)."""
        x = self.stem(x)
        for index, (residual, shortcut) in enumerate(
            zip(self.residuals, self.shortcuts, strict=True)
        ):
            identity = shortcut(x)
            if actions[index] == 1:
                x = F.relu(residual(x) + identity)
            else:
                x = identity
        return self.head(x)

    def run_all(self, x: Tensor) -> Tensor:
        """Map images (batch, 3, 32, 32) to (batch, outputs) without dropping anything."""
        x = self.stem(x)
        for residual, shortcut in zip(self.residuals, self.shortcuts, strict=True):
            x = F.relu(residual(x) + shortcut(x))
        return self.head(x)


class PolicyNetwork(nn.Module):
    """ResNet-8 which gives, for each backbone block, the probability of keeping it."""

    def __init__(self, widths: tuple[int, ...], decisions: int) -> None:
        super().__init__()
        self.features = Backbone(POLICY_LAYERS, widths, decisions)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, 3, 32, 32) to keep probabilities (batch, decisions)."""
        return torch.sigmoid(self.features.run_all(x))


class BlockDrop(nn.Module):
    """A ResNet whose residual branches are each kept or dropped by a policy network.

    Parameters
    ----------
    layers : int
        6 n + 2, for n blocks of each width.
    widths : tuple of int
        Channels of the three groups of blocks.
    """

    def __init__(self, layers: int = LAYERS, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.backbone = Backbone(layers, widths, CLASSES)
        self.policy = PolicyNetwork(widths, len(self.backbone.residuals))

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
        probabilities = self.policy(x)
        actions = (probabilities[0] > 0.5).int().tolist()
        logits: Tensor = self.backbone(x, actions)
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
    policy, decide = network.policy, network.policy.features.last
    policy_logits = torch.logit(settle_batch_norm(policy, images).double())
    scale = POLICY_SPREAD / policy_logits.std(0)
    decide.weight.mul_(scale.unsqueeze(1))
    decide.bias.mul_(scale)
    for i, values in enumerate((policy_logits * scale).unbind(1)):
        decide.bias[i] -= balanced_threshold(values)
    keep = policy(images) > 0.5

    backbone = network.backbone
    x = settle_batch_norm(nn.Sequential(backbone.conv, backbone.norm, nn.ReLU()), images)
    for i, (residual, shortcut) in enumerate(
        zip(backbone.residuals, backbone.shortcuts, strict=True)
    ):
        identity = shortcut(x)
        kept = F.relu(settle_batch_norm(residual, x) + identity)
        x = torch.where(keep[:, i, None, None, None], kept, identity)


def build(seed: int = 0, small: bool = False, layers: int = LAYERS) -> nn.Module:
    """Build the network with random weights and a steered policy.

    Parameters
    ----------
    seed : int
        Seed of the weights.
    small : bool
        A quarter of the channels.
    layers : int
        Depth of the backbone: 32, 110 or another 6 n + 2.

    Returns
    -------
    nn.Module
        A ``BlockDrop`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = BlockDrop(layers, SMALL_WIDTHS if small else WIDTHS)
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
    """Return the images ``build(seed)`` was steered with: each block is kept and dropped.

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
