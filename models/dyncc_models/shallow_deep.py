"""Shallow-Deep Network for 8 x 8 digits: a CNN that stops as soon as it is confident.

Source: Y. Kaya, S. Hong and T. Dumitras, "Shallow-Deep Networks: Understanding and Mitigating
Network Overthinking", ICML 2019. The internal classifiers use the paper's feature reduction, a
learned mixture of maximum and average pooling, and the network takes the first exit whose
softmax confidence reaches a threshold. The paper's CIFAR backbones are replaced by four small
convolution stages that suit 8 x 8 images.

``train_shallow_deep`` made the weights that ship with the package.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from dyncc_models.digits import digits_split

WEIGHTS = Path(__file__).parent / "weights" / "shallow_deep_digits.safetensors"
CLASSES = 10


class ConvStage(nn.Module):
    """Convolution, batch normalisation, ReLU and, where asked for, 2 x 2 maximum pooling."""

    def __init__(self, in_channels: int, out_channels: int, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h, w), or half of h and w."""
        out: Tensor = self.pool(F.relu(self.norm(self.conv(x))))
        return out


class InternalClassifier(nn.Module):
    """Feature reduction to 2 x 2 by mixed pooling, then one linear layer (paper, section 3)."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.mixture = nn.Parameter(torch.zeros(1))
        self.maximum = nn.MaxPool2d(size // 2)
        self.average = nn.AvgPool2d(size // 2)
        self.linear = nn.Linear(channels * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (batch, channels, size, size) to logits (batch, 10)."""
        share = torch.sigmoid(self.mixture)
        reduced = share * self.maximum(x) + (1.0 - share) * self.average(x)
        logits: Tensor = self.linear(reduced.flatten(1))
        return logits


class ShallowDeepNetwork(nn.Module):
    """Four convolution stages with a classifier after each; the first confident one answers.

    Parameters
    ----------
    threshold : float
        Softmax probability, 0..1, at or above which an internal classifier's answer is taken.
    """

    def __init__(self, threshold: float = 0.9) -> None:
        super().__init__()
        self.threshold = threshold
        self.stages = nn.ModuleList(
            [
                ConvStage(1, 32, pool=False),
                ConvStage(32, 64, pool=True),
                ConvStage(64, 64, pool=False),
            ]
        )
        self.classifiers = nn.ModuleList(
            [
                InternalClassifier(32, size=8),
                InternalClassifier(64, size=4),
                InternalClassifier(64, size=4),
            ]
        )
        self.final_stage = ConvStage(64, 64, pool=False)
        self.final_classifier = InternalClassifier(64, size=4)

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        """Classify one image, stopping at the first confident classifier.

        Parameters
        ----------
        x : Tensor, shape (1, 1, 8, 8), float32
            Image, intensity in 0..1.

        Returns
        -------
        logits : Tensor, shape (1, 10)
            Unnormalised log-probabilities from the classifier that answered.
        exit_index : int
            0, 1 or 2 for an internal classifier, 3 for the final one.
        """
        for index in range(len(self.classifiers)):
            x = self.stages[index](x)
            logits: Tensor = self.classifiers[index](x)
            confidence = F.softmax(logits, dim=1).max()
            if confidence.item() >= self.threshold:
                return logits, index
        x = self.final_stage(x)
        logits = self.final_classifier(x)
        return logits, len(self.classifiers)

    def all_logits(self, x: Tensor) -> list[Tensor]:
        """Evaluate every classifier, for training and calibration.

        Parameters
        ----------
        x : Tensor, shape (batch, 1, 8, 8), float32
            Images, intensity in 0..1.

        Returns
        -------
        list of four Tensor, each of shape (batch, 10)
            Logits of the three internal classifiers and the final one.
        """
        answers = []
        for stage, classifier in zip(self.stages, self.classifiers, strict=True):
            x = stage(x)
            answers.append(classifier(x))
        answers.append(self.final_classifier(self.final_stage(x)))
        return answers


def read_metadata(path: Path = WEIGHTS) -> dict[str, str]:
    """Read what a weights file says about how it was made and how well it does.

    Parameters
    ----------
    path : Path
        A safetensors file written by ``train_shallow_deep``.

    Returns
    -------
    dict of str to str
        The keys are listed in ``train_shallow_deep.describe``.
    """
    with safe_open(str(path), framework="pt") as weights:
        return dict(weights.metadata())


def load_shallow_deep(path: Path = WEIGHTS) -> ShallowDeepNetwork:
    """Load the trained network, in evaluation mode, with the threshold it was calibrated for.

    Parameters
    ----------
    path : Path
        A safetensors file written by ``train_shallow_deep``.

    Returns
    -------
    ShallowDeepNetwork
        The network; its own copy of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        network = ShallowDeepNetwork(float(read_metadata(path)["threshold"]))
    network.load_state_dict(load_file(str(path)))
    return network.eval()


def build(seed: int = 0) -> nn.Module:
    """Return the trained network.

    Parameters
    ----------
    seed : int
        Has no effect: the weights are the shipped ones. Kept so that all networks are built the
        same way.

    Returns
    -------
    nn.Module
        A ``ShallowDeepNetwork`` in evaluation mode.
    """
    del seed
    return load_shallow_deep()


def example_inputs() -> tuple[torch.Tensor, ...]:
    """Return one image of uniform noise.

    Returns
    -------
    tuple of one Tensor, shape (1, 1, 8, 8), float32
        Intensity in 0..1.
    """
    return (torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)


def coverage_inputs(seed: int = 0) -> list[tuple[torch.Tensor, ...]]:
    """Choose up to 12 digits for each exit, none of them close to the threshold.

    They come from the validation part, so that nothing tuned on them has seen the test part.
    Most digits leave at the first exit, which is why they are chosen by exit and not at random.

    Parameters
    ----------
    seed : int
        Seed of the order in which images are considered.

    Returns
    -------
    list of tuple of one Tensor, shape (1, 1, 8, 8), float32
        At most 48 images, intensity in 0..1, in order of exit.
    """
    network = load_shallow_deep()
    images = digits_split(int(read_metadata()["split_seed"])).validation.images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    images = images[order]
    with torch.no_grad():
        logits = torch.stack(network.all_logits(images)[:-1])
    confidence = logits.softmax(-1).amax(-1)
    clear = ((confidence - network.threshold).abs() > 2e-3).all(0)
    confident = confidence >= network.threshold
    exits = torch.where(confident.any(0), confident.int().argmax(0), len(confident))
    chosen: list[tuple[Tensor, ...]] = []
    for index in range(len(confident) + 1):
        members = images[clear & (exits == index)][:12]
        chosen.extend((member.unsqueeze(0).clone(),) for member in members)
    return chosen
