"""The quantised multilayer perceptron that the spiking network is compared with.

One hidden layer. Pixels and hidden activations have few bits and no sign, weights few bits and a
sign; products and sums are those of integers. `train_digits` made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from safetensors.numpy import load_file

import dyncc_models
from dyncc_models.spiking.examples.digits import LEVELS

WEIGHTS = Path(dyncc_models.__file__).parent / "weights" / "mlp_digits.safetensors"


@dataclass(frozen=True)
class Mlp:
    """A trained perceptron.

    Attributes
    ----------
    arrays
        ``hidden.weight`` (64, hidden) and ``scores.weight`` (hidden, 10), integers; the `scale` and
        `bias` of each; ``bound``, the largest activation.
    weight_bits, activation_bits
        Widths; they bound what `arrays` and activations hold.
    """

    arrays: dict[str, NDArray[Any]]
    weight_bits: int
    activation_bits: int

    @property
    def hidden(self) -> int:
        """Units of the hidden layer."""
        return len(self.arrays["hidden.bias"])

    def classify(self, images: Any) -> tuple[NDArray[numpy.int64], list[float]]:
        """Digits of images, and which part of each layer's inputs was not zero.

        Parameters
        ----------
        images
            Grey levels 0..16, shape (count, 64).
        """
        arrays, top = self.arrays, 2**self.activation_bits - 1
        pixels = numpy.minimum(images, top)
        current = pixels @ arrays["hidden.weight"].astype(numpy.int64)
        real = current * (arrays["hidden.scale"] / LEVELS) + arrays["hidden.bias"]
        levels = numpy.rint(real * (top / arrays["bound"])).clip(0, top).astype(numpy.int64)
        sums = levels @ arrays["scores.weight"].astype(numpy.int64)
        unit = arrays["scores.scale"] * arrays["bound"] / top
        answers = (sums * unit + arrays["scores.bias"]).argmax(axis=1)
        return answers, [float((values > 0).mean()) for values in (pixels, levels)]


@cache
def trained() -> Mlp:
    """The perceptron in the repository."""
    arrays = load_file(WEIGHTS)
    bits = arrays.pop("bits").tolist()
    return Mlp(arrays, *bits)
