"""Shallow-Deep Networks: what the four of them have in common.

Source: Y. Kaya, S. Hong and T. Dumitras, "Shallow-Deep Networks: Understanding and Mitigating
Network Overthinking", ICML 2019. Internal classifiers, six of them, five in MobileNet, sit where
about 15, 30, 45, 60, 75 and 90 % of the network's operations are done; their places are those of
the authors' experiments on CIFAR-10. The first classifier that is sure enough answers. If none is,
the most confident of all answers, the last one included. Weights are random; confidences are scaled
so that images leave at every exit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyncc_models.steering import one_by_one, settle_batch_norm, textured_images

CLASSES = 10
IMAGE = 32  # pixels on each side
REDUCED = 4  # pixels on each side after feature reduction
THRESHOLD = 0.9
COVERAGE = 42


class InternalClassifier(nn.Module):
    """Feature reduction to 4 x 4 by mixed pooling, then one linear layer (paper, section 3).

    Features of 2 x 2 are not reduced.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        window = size // REDUCED
        self.reduces = window > 0
        if self.reduces:
            self.mixture = nn.Parameter(torch.rand(1))
            self.maximum = nn.MaxPool2d(window)
            self.average = nn.AvgPool2d(window)
        self.linear = nn.Linear(channels * min(size, REDUCED) ** 2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (batch, channels, size, size) to logits (batch, 10)."""
        if self.reduces:
            share = torch.sigmoid(self.mixture)
            x = share * self.maximum(x) + (1.0 - share) * self.average(x)
        logits: Tensor = self.linear(x.flatten(1))
        return logits


class Layer(nn.Module):
    """A layer of the backbone, and its internal classifier if it has one."""

    def __init__(self, body: nn.Module, classifier: InternalClassifier | None) -> None:
        super().__init__()
        self.body = body
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer without its classifier."""
        features: Tensor = self.body(x)
        return features


class ShallowDeepNetwork(nn.Module):
    """A backbone with internal classifiers.

    Parameters
    ----------
    stem
        What comes before the layers.
    layers
        The layers of the backbone, in order.
    end
        The last classifier.
    threshold : float
        Softmax probability, 0..1, from which on an internal classifier answers.
    """

    layers: Sequence[Layer]

    def __init__(
        self, stem: nn.Module, layers: Sequence[Layer], end: nn.Module, threshold: float = THRESHOLD
    ) -> None:
        super().__init__()
        self.stem = stem
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]
        self.end = end
        self.threshold = threshold

    def forward(self, x: Tensor) -> tuple[Tensor, int, bool]:
        """Classify one image.

        Parameters
        ----------
        x : Tensor, shape (1, 3, 32, 32), float32
            Image, normalised intensity.

        Returns
        -------
        logits : Tensor, shape (1, 10)
            Logits of the classifier that answers.
        index : int
            Which one, in order of depth; the last classifier has the highest number.
        early : bool
            Whether it answered before the network's end was reached.
        """
        outputs = []
        confidences = []
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
            if layer.classifier is not None:
                output = layer.classifier(x)
                outputs.append(output)
                confidence = F.softmax(output[0], dim=0).max()
                confidences.append(confidence)
                if confidence >= self.threshold:
                    return output, len(outputs) - 1, True
        output = self.end(x)
        outputs.append(output)
        confidences.append(F.softmax(output[0], dim=0).max())
        best = int(torch.stack(confidences).argmax())
        return outputs[best], best, False

    def all_logits(self, x: Tensor) -> list[Tensor]:
        """Evaluate every classifier on images (batch, 3, 32, 32): each gives (batch, 10)."""
        x = self.stem(x)
        outputs = []
        for layer in self.layers:
            x = layer(x)
            if layer.classifier is not None:
                outputs.append(layer.classifier(x))
        return [*outputs, self.end(x)]


def sure_scales(logits: Tensor, threshold: float) -> Tensor:
    """By what logits must be multiplied for a softmax confidence equal to a threshold.

    Parameters
    ----------
    logits : Tensor, shape (batch, classes)
        Logits, the greatest of each row distinct.
    threshold : float
        Confidence, greater than 1 / classes.

    Returns
    -------
    Tensor, shape (batch,), float64
        The factors, found by bisection.
    """
    logits = logits.double()
    low = torch.full((len(logits),), -12.0, dtype=torch.float64)
    high = -low
    for _ in range(60):
        middle = (low + high) / 2
        sure = (logits * middle.exp().unsqueeze(1)).softmax(1).amax(1) >= threshold
        low, high = torch.where(sure, low, middle), torch.where(sure, middle, high)
    return high.exp()


def scale_classifier(linear: nn.Linear, logits: Tensor, here: Tensor, wanted: float) -> Tensor:
    """Centre and scale a classifier so that some images make it sure.

    Centred, it does not give one class to all; the greater its logits, the surer it is. The scale
    lies where it is far from making one image more or one less sure.

    Parameters
    ----------
    linear : nn.Linear
        Last layer of the classifier, changed in place.
    logits : Tensor, shape (batch, classes)
        What the classifier says of the calibration images.
    here : Tensor, shape (batch,), bool
        Images that come to it.
    wanted : float
        How many of these are to make it sure, roughly.

    Returns
    -------
    Tensor, shape (batch,), bool
        Images that do not make it sure.
    """
    mean = logits.mean(0)
    linear.bias.sub_(mean)
    needed = sure_scales(logits - mean, THRESHOLD)
    ordered = needed[here].sort().values
    first, last = max(1, int(0.6 * wanted)), max(2, int(1.4 * wanted))
    gaps = ordered[first : last + 1] / ordered[first - 1 : last]
    sure = first + int(gaps.argmax())
    scale = (ordered[sure - 1] * ordered[sure]).sqrt()
    linear.weight.mul_(scale)
    linear.bias.mul_(scale)
    return needed > scale


def steer(network: ShallowDeepNetwork, images: Tensor) -> None:
    """Settle batch normalisation, and let about equally many images leave at each exit.

    The last classifier is sure of half of the images that reach it.

    Parameters
    ----------
    network : ShallowDeepNetwork
        Network to set, in place; left in evaluation mode.
    images : Tensor, shape (batch, 3, 32, 32)
        Calibration images, several for each exit.
    """
    network.eval()
    exits_left = sum(layer.classifier is not None for layer in network.layers) + 1
    here = torch.ones(len(images), dtype=torch.bool)
    x = settle_batch_norm(network.stem, images)
    for layer in network.layers:
        assert isinstance(layer, Layer)
        x = settle_batch_norm(layer.body, x)
        if layer.classifier is not None:
            wanted = int(here.sum()) / exits_left
            here &= scale_classifier(layer.classifier.linear, layer.classifier(x), here, wanted)
            exits_left -= 1
    assert isinstance(network.end, nn.Sequential)
    last = network.end[-1]
    assert isinstance(last, nn.Linear)
    scale_classifier(last, settle_batch_norm(network.end, x), here, int(here.sum()) / 2)


def settle(network: ShallowDeepNetwork, seed: int) -> nn.Module:
    """Steer a network with the images of a seed, and return it in evaluation mode."""
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
    """Return the images ``build(seed)`` was steered with: some leave at each exit.

    Parameters
    ----------
    seed : int
        Seed of the images.
    small : bool
        Has no effect: images have one size.

    Returns
    -------
    list of 42 tuples of one Tensor, shape (1, 3, 32, 32), float32
        Normalised intensity.
    """
    del small
    return one_by_one(textured_images(COVERAGE, seed))
