"""The scikit-learn handwritten digits, split once for the whole project.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998 (the copy bundled with scikit-learn, 1797 images).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TRAINING_FRACTION = 0.6
VALIDATION_FRACTION = 0.2
PIXEL_MAXIMUM = 16.0  # each pixel counts the set bits of a 4 x 4 cell


class Split(NamedTuple):
    """Images and their labels.

    Attributes
    ----------
    images : Tensor, shape (count, 1, 8, 8), float32
        Intensity in 0..1.
    labels : Tensor, shape (count,), int64
        Digit in 0..9.
    """

    images: Tensor
    labels: Tensor


class DigitsSplit(NamedTuple):
    """The three disjoint parts of the digits; the test part is for final figures only."""

    train: Split
    validation: Split
    test: Split


def digits_split(seed: int = 0) -> DigitsSplit:
    """Split the digits into training (60 %), validation (20 %) and test (20 %) parts.

    Weights are fitted on the training part and thresholds chosen on the validation part; the
    test part is held back for the reported accuracy.

    Parameters
    ----------
    seed : int
        Seed of the permutation.

    Returns
    -------
    DigitsSplit
        1078 training, 359 validation and 360 test images.
    """
    # Imported here so that the other networks do not need scikit-learn.
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images).to(torch.float32).unsqueeze(1) / PIXEL_MAXIMUM
    labels = torch.from_numpy(data.target).to(torch.int64)
    count = len(labels)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    train_end = int(TRAINING_FRACTION * count)
    validation_end = int((TRAINING_FRACTION + VALIDATION_FRACTION) * count)
    parts = (order[:train_end], order[train_end:validation_end], order[validation_end:])
    return DigitsSplit(*(Split(images[part], labels[part]) for part in parts))
