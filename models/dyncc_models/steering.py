"""Deterministic set-up shared by the networks that ship without trained weights.

An untrained gate gives the same answer for nearly every input, so a network with random weights
would only ever take one side of each branch. The functions here set batch normalisation
statistics, gate biases and stop thresholds from a small calibration set, so that decisions vary
with the input and lie clear of a tie.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def textured_images(count: int, seed: int) -> Tensor:
    """Draw colour images which differ in colour, contrast and coarse texture.

    Pixel-wise white noise would not do: global average pooling makes all such images look alike
    to a gate.

    Parameters
    ----------
    count : int
        Number of images.
    seed : int
        Seed of the function's own generator.

    Returns
    -------
    Tensor, shape (count, 3, 32, 32), float32
        Images with roughly zero mean and unit variance (normalised intensity, no unit).
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, generator=generator)
    texture = F.interpolate(coarse, size=(32, 32), mode="bilinear", align_corners=False)
    grain = torch.randn(count, 3, 32, 32, generator=generator)
    colour = torch.randn(count, 3, 1, 1, generator=generator)
    contrast = 0.5 + torch.rand(count, 1, 1, 1, generator=generator)
    return contrast * (texture + 0.2 * grain) + 0.7 * colour


def one_by_one(batch: Tensor) -> list[tuple[Tensor, ...]]:
    """Cut a batch into arguments of forward calls with one row each.

    Parameters
    ----------
    batch : Tensor, shape (count, ...)
        The batch.

    Returns
    -------
    list of count tuples of one Tensor, shape (1, ...)
        Each with memory of its own.
    """
    return [(row.unsqueeze(0).clone(),) for row in batch.unbind(0)]


def settle_batch_norm(module: nn.Module, inputs: Tensor) -> Tensor:
    """Give a module's batch normalisation layers the statistics of a calibration batch.

    The affine parameters are also moved off their initial ones and zeros, so that a compiler
    which folds batch normalisation wrongly cannot pass by luck.

    Parameters
    ----------
    module : nn.Module
        Module to settle, in place; left in evaluation mode.
    inputs : Tensor, shape (batch, ...)
        Calibration batch, as the module would receive it.

    Returns
    -------
    Tensor, shape (batch, ...)
        The settled module's output for ``inputs``.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        nn.init.uniform_(layer.weight, 0.8, 1.2)
        nn.init.normal_(layer.bias, std=0.1)
        # Momentum 1 makes the running statistics those of the one batch passed below.
        layer.momentum = 1.0
    module.train()
    module(inputs)
    module.eval()
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    outputs: Tensor = module(inputs)
    return outputs


def balanced_threshold(values: Tensor) -> float:
    """Find a threshold that splits values about evenly and is far from all of them.

    Parameters
    ----------
    values : Tensor, shape (count,)
        Decision values, at least four.

    Returns
    -------
    float
        Middle of the widest gap between neighbours in the central half of the values.
    """
    ordered = values.double().sort().values
    count = ordered.numel()
    central = ordered[count // 4 : count - count // 4]
    widest = int((central[1:] - central[:-1]).argmax())
    return float(central[widest] + central[widest + 1]) / 2


def stopping_threshold(gaps: Tensor) -> float:
    """Find a stop threshold for which decode loops end at many different steps.

    A loop stops at the first step whose gap exceeds the threshold, and otherwise runs to its
    limit.

    Parameters
    ----------
    gaps : Tensor, shape (inputs, steps)
        Stop score minus the best other score, recorded while the loop ran freely to its limit.

    Returns
    -------
    float
        The threshold, at least 0.01 from every gap, for which the trip counts include one, the
        limit, and as many as possible of those between.

    Raises
    ------
    ValueError
        If no such threshold makes trip counts of one, the limit, and some other all occur.
    """
    steps = gaps.shape[1]
    ordered = gaps.double().flatten().sort().values
    best, best_kinds = 0.0, 0
    for low, high in zip(ordered[:-1].tolist(), ordered[1:].tolist(), strict=True):
        if high - low < 0.02:
            continue
        threshold = (low + high) / 2
        stops = gaps > threshold
        first = torch.where(stops.any(1), stops.int().argmax(1) + 1, steps + 1)
        kinds = set(first.tolist())
        # `steps + 1` stands for "never stopped", which differs from stopping on the last step.
        if {1, steps + 1} <= kinds and len(kinds) > best_kinds:
            best, best_kinds = threshold, len(kinds)
    if best_kinds < 3:
        raise ValueError("no threshold makes the loop stop at once, midway, and never")
    return best
