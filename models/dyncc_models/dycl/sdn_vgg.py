"""Shallow-Deep Network on VGG-16 with batch normalisation, for CIFAR-sized images.

Sources: K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015; and that of ``sdn``. As the authors of the latter do for 32 x 32 pixels,
the fully connected layers have 512 units.
"""

from __future__ import annotations

import torch
from torch import nn

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

#: Channels of each convolution, and whether it is followed by pooling.
LAYERS = (
    (64, False), (64, True), (128, False), (128, True), (256, False), (256, False), (256, True),
    (512, False), (512, False), (512, True), (512, False), (512, False), (512, True),
)  # fmt: skip
#: Layers with a classifier.
EXITS = (1, 3, 5, 6, 8, 9)
UNITS = 512


def convolution(in_channels: int, out_channels: int, pools: bool) -> nn.Module:
    """Make a 3 x 3 convolution with batch normalisation, ReLU and 2 x 2 pooling if asked for."""
    parts = [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*parts, nn.ReLU(), *([nn.MaxPool2d(2)] if pools else []))


def make(divisor: int) -> ShallowDeepNetwork:
    """Make the network with all channels and units divided by `divisor`."""
    channels, size, units = 3, IMAGE, UNITS // divisor
    layers = []
    for position, (width, pools) in enumerate(LAYERS):
        body = convolution(channels, width // divisor, pools)
        channels, size = width // divisor, size // 2 if pools else size
        classifier = InternalClassifier(channels, size) if position in EXITS else None
        layers.append(Layer(body, classifier))
    hidden = nn.Sequential(
        nn.Flatten(), nn.Linear(channels * size * size, units), nn.ReLU(), nn.Dropout(0.5)
    )
    layers.append(Layer(hidden, None))
    end = nn.Sequential(nn.Linear(units, units), nn.Dropout(0.5), nn.Linear(units, CLASSES))
    return ShallowDeepNetwork(nn.Identity(), layers, end)


def build(seed: int = 0, small: bool = False) -> nn.Module:
    """Build the network with random weights and steered exits.

    Parameters
    ----------
    seed : int
        Seed of the weights.
    small : bool
        A sixteenth of the channels and units.

    Returns
    -------
    nn.Module
        A ``ShallowDeepNetwork`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return settle(make(16 if small else 1), seed)
