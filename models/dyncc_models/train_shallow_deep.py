"""Train the Shallow-Deep Network on the digits and write its weights.

Usage::

    python -m dyncc_models.train_shallow_deep --epochs 60 --seed 0 --output weights.safetensors

Source: Kaya et al., ICML 2019. As in the paper's "SDN training", all classifiers are trained
together on a weighted sum of their losses in which the internal ones count for less.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from dyncc_models.digits import Split, digits_split
from dyncc_models.shallow_deep import WEIGHTS, ShallowDeepNetwork

BATCH = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-3
# Internal losses first, final loss last. The paper weights early classifiers less because they
# have less capacity and would otherwise pull the shared features their way.
LOSS_WEIGHTS = (0.4, 0.6, 0.8, 1.0)
# Tried from the lowest, which saves the most computation. Lower ones than 0.9 are left out: they
# lose no validation accuracy either, but hardly any image then reaches the last two exits, and
# this network is here to exercise a compiler.
THRESHOLDS = (0.9, 0.95, 0.98, 0.99)
TOLERATED_ERRORS = 1  # validation images the early exits may lose against the final classifier


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by up to one pixel, filling with background.

    Parameters
    ----------
    images : Tensor, shape (batch, 1, 8, 8)
        Intensity in 0..1.
    generator : torch.Generator
        Source of the offsets.

    Returns
    -------
    Tensor, shape (batch, 1, 8, 8)
        The moved images.
    """
    padded = F.pad(images, (1, 1, 1, 1))
    # Half of the horizontal and vertical offsets are zero, so that centred digits stay common.
    table = torch.tensor([0, 1, 1, 2])
    choice = torch.randint(4, (len(images), 2), generator=generator)
    rows, columns = (table[choice].unsqueeze(-1) + torch.arange(8)).unbind(1)
    batch = torch.arange(len(images))[:, None, None]
    return padded[batch, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def train(epochs: int, seed: int) -> ShallowDeepNetwork:
    """Train from scratch and choose the confidence threshold.

    Parameters
    ----------
    epochs : int
        Passes over the training part, at least one.
    seed : int
        Seed of the initial weights, of the order of the images and of the split.

    Returns
    -------
    ShallowDeepNetwork
        In evaluation mode. The caller's random state is left alone.
    """
    parts = digits_split(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ShallowDeepNetwork()
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = -(-len(parts.train.labels) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    for _ in range(epochs):
        order = torch.randperm(len(parts.train.labels), generator=generator)
        for index in torch.split(order, BATCH):
            images = shifted(parts.train.images[index], generator)
            labels = parts.train.labels[index]
            answers = network.all_logits(images)
            loss = torch.zeros(())
            for weight, logits in zip(LOSS_WEIGHTS, answers, strict=True):
                loss = loss + weight * F.cross_entropy(logits, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()
    network.threshold = choose_threshold(network, parts.validation)
    return network


def choose_threshold(network: ShallowDeepNetwork, validation: Split) -> float:
    """Take the lowest threshold that costs next to no validation accuracy.

    Parameters
    ----------
    network : ShallowDeepNetwork
        Trained network, in evaluation mode.
    validation : Split
        Validation part of the digits.

    Returns
    -------
    float
        Softmax probability; the highest one on offer if every one costs accuracy.
    """
    with torch.no_grad():
        logits = torch.stack(network.all_logits(validation.images))
    correct = logits.argmax(-1) == validation.labels
    confidence = logits[:-1].softmax(-1).amax(-1)
    final_correct = int(correct[-1].sum())
    for threshold in THRESHOLDS:
        confident = confidence >= threshold
        exits = torch.where(confident.any(0), confident.int().argmax(0), len(confident))
        early_correct = int(correct.gather(0, exits.unsqueeze(0)).sum())
        if early_correct >= final_correct - TOLERATED_ERRORS:
            return threshold
    return THRESHOLDS[-1]


def evaluate(network: ShallowDeepNetwork, split: Split) -> tuple[int, list[int]]:
    """Classify images one at a time, through the early exits.

    Parameters
    ----------
    network : ShallowDeepNetwork
        Network in evaluation mode.
    split : Split
        Images and labels.

    Returns
    -------
    correct : int
        Number of images classified correctly.
    exits : list of int
        How many images left at each of the four exits.
    """
    correct, exits = 0, [0, 0, 0, 0]
    with torch.no_grad():
        for image, label in zip(split.images, split.labels.tolist(), strict=True):
            logits, index = network(image.unsqueeze(0))
            correct += int(logits.argmax(1).item() == label)
            exits[index] += 1
    return correct, exits


def describe(network: ShallowDeepNetwork, epochs: int, seed: int) -> dict[str, str]:
    """Measure a trained network and describe how it was made.

    Parameters
    ----------
    network : ShallowDeepNetwork
        Trained network, in evaluation mode.
    epochs, seed : int
        What it was trained with.

    Returns
    -------
    dict of str to str
        ``accuracy`` (test, a fraction), ``correct`` and ``total`` (test images), ``exit_counts``
        (test images per exit, comma-separated), ``validation_accuracy``, ``threshold``,
        ``epochs``, ``seed``, ``split``, ``split_seed`` and ``command``.
    """
    parts = digits_split(seed)
    correct, exits = evaluate(network, parts.test)
    validation_correct, _ = evaluate(network, parts.validation)
    total = len(parts.test.labels)
    sizes = "/".join(str(len(part.labels)) for part in parts)
    return {
        "network": "Shallow-Deep Network (Kaya et al., ICML 2019)",
        "accuracy": repr(correct / total),
        "correct": str(correct),
        "total": str(total),
        "exit_counts": ",".join(map(str, exits)),
        "validation_accuracy": repr(validation_correct / len(parts.validation.labels)),
        "threshold": repr(network.threshold),
        "epochs": str(epochs),
        "seed": str(seed),
        "split": f"dyncc_models.digits.digits_split({seed}): {sizes} train/validation/test",
        "split_seed": str(seed),
        "command": f"python -m dyncc_models.train_shallow_deep --epochs {epochs} --seed {seed}",
        "torch": torch.__version__,
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command line described at the top of this file.

    Parameters
    ----------
    arguments : list of str, optional
        Command-line arguments; those of the process if not given.
    """
    parser = argparse.ArgumentParser(description="Train the Shallow-Deep Network on the digits.")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    # One thread: the sums in a threaded reduction depend on how many cores there are.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = train(options.epochs, options.seed)
        metadata = describe(network, options.epochs, options.seed)
    finally:
        torch.set_num_threads(threads)
    save_file(network.state_dict(), str(options.output), metadata=metadata)
    print(
        f"test accuracy {metadata['accuracy']}, exits {metadata['exit_counts']}, "
        f"threshold {metadata['threshold']}, written to {options.output}"
    )


if __name__ == "__main__":
    main()
