r"""Trains the digits networks: the spiking one, and the quantised multilayer perceptron beside it.

Usage::

    python -m dyncc_models.spiking.examples.train_digits --seed 0

The spiking network is trained by back-propagation through time. The derivative of a spike by the
potential is replaced by :math:`1 / (1 + (\pi v)^2)`, the arctangent surrogate (Fang et al., ICCV
2021). The loss is the cross-entropy of the scores after every step, later ones counting more, so
that early scores can be trusted, plus the mean firing rate: neurons then fire a third as often, at
no loss on the validation part. In the forward pass weights are rounded to what the core will hold
(int8); gradients pass the rounding unchanged. Images are turned, moved and stretched a little.

On one CPU it takes about a minute; the same seed gives the same weights.

The perceptron has one hidden layer with a bounded rectifier whose bound is learnt (PACT, Choi et
al., arXiv:1805.06085), and weights and activations of few bits. The cheapest of `CANDIDATES` that
is as accurate on the validation part as the spiking network is kept.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from dyncc.spiking.energy import of_mlp
from dyncc_models.spiking.examples import digits, mlp
from dyncc_models.spiking.examples.digits import HIDDEN_TAU, SCORES_TAU

HIDDEN = 128
BATCH = 64
EPOCHS = 600
LEARNING_RATE = 1e-2
WEIGHT_DECAY = 1e-3
RATE_COST = 0.5
#: Of the loss after the first and after the last step.
LOSS_WEIGHTS = (0.2, 1.0)
#: Largest changes of an image: radians, parts, pixels, parts.
ROTATION, SCALE, SHEAR, SHIFT, CONTRAST = 0.21, 0.12, 0.15, 0.8, 0.1
#: Hidden units, bits of a weight, bits of an activation; from the cheapest.
CANDIDATES = tuple(
    sorted(
        ((hidden, *bits) for hidden in (16, 24, 32, 48, 64) for bits in ((4, 4), (8, 4), (8, 8))),
        key=lambda sizes: of_mlp((64, sizes[0], 10), *sizes[1:]).s_ace,
    )
)


def changed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, stretch, shear, move and dim images at random.

    Parameters
    ----------
    images
        Grey levels 0..16, shape (batch, 64).

    Returns
    -------
    Tensor
        The same kind and shape.
    """

    def draw(largest: float) -> Tensor:
        return (2 * torch.rand(len(images), generator=generator) - 1) * largest

    angle, wide, high, shear = draw(ROTATION), 1 + draw(SCALE), 1 + draw(SCALE), draw(SHEAR)
    cosine, sine = angle.cos(), angle.sin()
    # An image spans -1..1 in each direction, so that a pixel is 1/4.
    first = torch.stack((cosine * wide, shear - sine * high, draw(SHIFT / 4)), dim=1)
    second = torch.stack((sine * wide, cosine * high, draw(SHIFT / 4)), dim=1)
    grid = F.affine_grid(
        torch.stack((first, second), dim=1), [len(images), 1, 8, 8], align_corners=False
    )
    moved = F.grid_sample(images.reshape(-1, 1, 8, 8).float(), grid, align_corners=False)
    dimmed = moved.reshape(-1, 64) * (1 + draw(CONTRAST))[:, None]
    found: Tensor = dimmed.round().clamp(0, digits.LEVELS)
    return found


def rounded(values: Tensor, unit: Tensor) -> Tensor:
    """Multiples of a unit, whose gradient is that of `values`."""
    found: Tensor = values + ((values / unit).round() * unit - values).detach()
    return found


def weight_unit(weights: Tensor, bits: int) -> Tensor:
    """What a weight of one stands for, if the largest is to fit."""
    found: Tensor = weights.detach().abs().max() / (2 ** (bits - 1) - 1)
    return found


def fire(above: Tensor) -> Tensor:
    """Whether potentials are above 0: spikes, 0 or 1, whose gradient is the surrogate's."""
    smooth = torch.atan(math.pi * above) / math.pi
    return smooth + ((above > 0).to(above.dtype) - smooth).detach()


class SpikingNetwork(nn.Module):
    """The network of `digits.network`, in floating point but for its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Parameter(torch.randn(digits.LINES, HIDDEN) / 2)
        self.scores = nn.Parameter(torch.randn(HIDDEN, 10) * 4 / math.sqrt(HIDDEN))

    def forward(self, spikes: Tensor) -> tuple[Tensor, Tensor]:
        """Scores after each step (steps, batch, 10), and the mean firing rate.

        Parameters
        ----------
        spikes
            Shape (batch, steps, LINES).
        """
        hidden = rounded(self.hidden, weight_unit(self.hidden, 8))
        readout = rounded(self.scores, weight_unit(self.scores, 8))
        potential, score = torch.zeros(HIDDEN), torch.zeros(10)
        scores, rates = [], []
        for arriving in spikes.unbind(1):
            potential = potential + (arriving @ hidden - potential) / HIDDEN_TAU
            fired = fire(potential - 1)
            potential = potential - fired.detach()
            score = score + (fired @ readout - score) / SCORES_TAU
            scores.append(score)
            rates.append(fired.mean())
        return torch.stack(scores), torch.stack(rates).mean()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """What training makes small."""
        scores, rate = self(torch.from_numpy(digits.encode(images.long().numpy())).float())
        weights = torch.linspace(*LOSS_WEIGHTS, len(scores))
        losses = torch.stack([F.cross_entropy(score, labels) for score in scores])
        found: Tensor = (weights * losses).sum() / weights.sum() + RATE_COST * rate
        return found

    def arrays(self) -> dict[str, Tensor]:
        """What is written to a file."""
        return {
            **_integers("hidden", self.hidden, 8),
            **_integers("scores", self.scores, 8),
        }


class Perceptron(nn.Module):
    """The network of `mlp`, with rounded weights and activations."""

    def __init__(self, hidden: int, weight_bits: int, activation_bits: int) -> None:
        super().__init__()
        self.weight_bits, self.top = weight_bits, 2**activation_bits - 1
        self.hidden = nn.Parameter(torch.randn(64, hidden) / 4)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.scores = nn.Parameter(torch.randn(hidden, 10) / math.sqrt(hidden))
        self.scores_bias = nn.Parameter(torch.zeros(10))
        self.bound = nn.Parameter(torch.tensor(4.0))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, 10) of grey levels 0..16 (batch, 64)."""
        pixels = images.float().clamp(max=self.top) / digits.LEVELS
        hidden = rounded(self.hidden, weight_unit(self.hidden, self.weight_bits))
        scores = rounded(self.scores, weight_unit(self.scores, self.weight_bits))
        active = torch.minimum((pixels @ hidden + self.hidden_bias).relu(), self.bound)
        return rounded(active, self.bound.detach() / self.top) @ scores + self.scores_bias

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """What training makes small."""
        return F.cross_entropy(self(images), labels)

    def arrays(self) -> dict[str, Tensor]:
        """What is written to a file."""
        return {
            **_integers("hidden", self.hidden, self.weight_bits),
            **_integers("scores", self.scores, self.weight_bits),
            "hidden.bias": self.hidden_bias.detach(),
            "scores.bias": self.scores_bias.detach(),
            "bound": self.bound.detach(),
        }


def _integers(name: str, weights: Tensor, bits: int) -> dict[str, Tensor]:
    unit = weight_unit(weights, bits)
    return {
        f"{name}.weight": (weights.detach() / unit).round().to(torch.int8),
        f"{name}.scale": unit,
    }


def train(build: Callable[[], Any], epochs: int, seed: int) -> Any:
    """A network, trained on the training part.

    Parameters
    ----------
    build
        Makes it.
    epochs
        Passes over the training part.
    seed
        Of initial weights, order and changes of images. The caller's random state is left alone.
    """
    part = digits.digits("training")
    # One thread: the sums in a threaded reduction depend on how many cores there are.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(build, part, epochs, seed)
    finally:
        torch.set_num_threads(threads)


def _train(build: Callable[[], Any], part: digits.Digits, epochs: int, seed: int) -> Any:
    images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    for _ in range(epochs):
        for index in torch.randperm(len(labels), generator=generator).split(BATCH):
            loss = network.loss(changed(images[index], generator), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network


def accuracy(perceptron: Perceptron, part: str) -> float:
    """Share of right answers."""
    data = digits.digits(part)
    with torch.no_grad():
        answers = perceptron(torch.from_numpy(data.images)).argmax(1)
    return float((answers.numpy() == data.labels).mean())


def cheapest(wanted: float, epochs: int, seed: int) -> tuple[Perceptron, tuple[int, int, int]]:
    """The cheapest perceptron that is so accurate on the validation part, and its sizes.

    If there is none, the most accurate one.
    """
    found = []
    for sizes in CANDIDATES:
        perceptron = train(partial(Perceptron, *sizes), epochs, seed)
        share = accuracy(perceptron, "validation")
        print(f"perceptron of {sizes}: {share:.2%}")  # noqa: T201  (a program for a person)
        if share >= wanted:
            return perceptron, sizes
        found.append((share, perceptron, sizes))
    return max(found, key=lambda item: item[0])[1:]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line described at the top of this file."""
    parser = argparse.ArgumentParser(description="Train the digits networks.")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    # One entry: safetensors writes several in an order that changes from run to run.
    made = {
        "made_by": "python -m dyncc_models.spiking.examples.train_digits "
        f"--epochs {options.epochs} --seed {options.seed} (torch {torch.__version__})"
    }
    spiking = train(SpikingNetwork, options.epochs, options.seed)
    save_file(spiking.arrays(), digits.WEIGHTS, made)
    data = digits.digits("validation")
    wanted = digits.classify(data.images).accuracy(data.labels)
    print(f"spiking network: {wanted:.2%} of the validation part")  # noqa: T201
    perceptron, sizes = cheapest(wanted, options.epochs, options.seed)
    save_file(perceptron.arrays() | {"bits": torch.tensor(sizes[1:])}, mlp.WEIGHTS, made)


if __name__ == "__main__":
    main()
