"""Shallow-Deep Network on MobileNet, for CIFAR-sized images.

Sources: A. G. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", arXiv:1704.04861, 2017; and that of ``sdn``. As the authors of the latter do for 32 x
32 pixels, the first convolution and the first step of the original keep the size.
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

__all__ = ["RTOL", "build", "coverage_inputs", "example_inputs"]

#: Of its random weights each rounding grows: logits of up to 50 are off by 5e-5 of the greatest in
#: eager PyTorch itself, measured against float64, and softmax makes ten times as much of it.
RTOL = 1e-3
#: Channels and stride of each layer.
LAYERS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
#: Layers with a classifier.
EXITS = (2, 4, 6, 8, 11)
STEM = 32


def separable(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Make a depthwise and a pointwise convolution, each with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def make(divisor: int) -> ShallowDeepNetwork:
    """Make the network with all channels divided by `divisor`."""
    channels, size = STEM // divisor, IMAGE
    stem = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )
    layers = []
    for position, (width, stride) in enumerate(LAYERS):
        body = separable(channels, width // divisor, stride)
        channels, size = width // divisor, size // stride
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
        An eighth of the channels.

    Returns
    -------
    nn.Module
        A ``ShallowDeepNetwork`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return settle(make(8 if small else 1), seed)
