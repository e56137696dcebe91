"""SkipNet-38 with recurrent gates, for CIFAR-sized images.

Source: that of ``skipnet``. One LSTM decides for all blocks: it sees the pooled features before
each block, embedded in ten dimensions by a layer of the block's group, and remembers what it saw
and decided before. It costs next to nothing beside a block, unlike a convolutional gate. Here too,
a block that changes shape and is skipped leaves its shortcut, a 1 x 1 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyncc_models.dycl.sdn_resnet import BasicBlock
from dyncc_models.dycl.skipnet import (
    CLASSES,
    COVERAGE,
    LAYERS,
    SMALL_WIDTHS,
    WIDTHS,
    blocks_of,
    coverage_inputs,
    example_inputs,
)
from dyncc_models.steering import balanced_threshold, settle_batch_norm, textured_images

__all__ = ["RecurrentSkipNet", "build", "coverage_inputs", "example_inputs"]

EMBEDDED = 10
HIDDEN = 10
SPREAD = 2.0  # standard deviation of a gate's logit over blocks and calibration images
ENLARGED = 6.0  # by how much the LSTM's initial weights are
DRAWS = 100
FEWEST = 2  # calibration images for which each block is run, and skipped
CLEAR = 1e-3  # least distance of a logit from zero


class RecurrentGate(nn.Module):
    """An LSTM with a decision: run the block, or not."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTMCell(EMBEDDED, HIDDEN)
        self.decide = nn.Linear(HIDDEN, 1)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Decide.

        Parameters
        ----------
        x : Tensor, shape (batch, 10)
            Embedded features.
        state : tuple of two Tensor, shape (batch, 10), or None
            What the gate remembers; None at the first block.

        Returns
        -------
        Tensor, shape (batch, 1)
            Probability, 0..1, that the block is worth running.
        tuple of two Tensor, shape (batch, 10)
            What it remembers now.
        """
        hidden, cell = self.lstm(x, state)
        return torch.sigmoid(self.decide(hidden)), (hidden, cell)


class RecurrentSkipNet(nn.Module):
    """SkipNet: a convolution, basic blocks of which all but one are gated, and a classifier.

    Parameters
    ----------
    layers : int
        38, 74, 110 or another 6 n + 2.
    widths : tuple of int
        Channels of the three groups of blocks.
    """

    blocks: Sequence[BasicBlock]

    def __init__(self, layers: int = LAYERS, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        shapes = blocks_of(layers, widths)
        self.conv = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.blocks = nn.ModuleList(  # type: ignore[assignment]
            BasicBlock(*shape) for shape in shapes
        )
        self.embed = nn.ModuleDict({str(width): nn.Linear(width, EMBEDDED) for width in widths})
        self.gate = RecurrentGate()
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], CLASSES)

    def embedded(self, x: Tensor) -> Tensor:
        """Map features (batch, channels, h, w) to what the gate sees (batch, 10)."""
        pooled = self.average(x).flatten(1)
        seen: Tensor = self.embed[str(pooled.shape[1])](pooled)
        return seen

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
        x = F.relu(self.norm(self.conv(x)))
        state = None
        for position, block in enumerate(self.blocks):
            if position == 0:
                x = block(x)
                continue
            keep, state = self.gate(self.embedded(x), state)
            x = block(x) if keep.item() > 0.5 else block.shortcut(x)
        logits: Tensor = self.classifier(self.average(x).flatten(1))
        return logits


def steer(network: RecurrentSkipNet, images: Tensor) -> None:
    """Set batch normalisation statistics, embeddings and the gate from a calibration set.

    The LSTM and its decision serve all blocks, and an embedding all blocks of a width, so that no
    gate can be biased by itself. Embeddings are centred and spread over the calibration images;
    gates with enlarged weights, which depend on what they see, are then drawn until one lets every
    block be run for some images and skipped for others.

    Parameters
    ----------
    network : RecurrentSkipNet
        Network to set, in place; left in evaluation mode.
    images : Tensor, shape (batch, 3, 32, 32)
        Calibration images.

    Raises
    ------
    ValueError
        If no gate was found.
    """
    network.eval()
    stem = nn.Sequential(network.conv, network.norm, nn.ReLU(), network.blocks[0])
    first = settle_batch_norm(stem, images)
    settled: set[str] = set()
    x = first
    for block in network.blocks[1:]:
        name = str(x.shape[1])
        if name not in settled:
            settled.add(name)
            embed = network.embed[name]
            assert isinstance(embed, nn.Linear)
            seen = network.embedded(x)
            embed.weight.div_(seen.std(0).unsqueeze(1))
            embed.bias.sub_(seen.mean(0)).div_(seen.std(0))
        executed = settle_batch_norm(block, x)
        keep = torch.rand(len(x), 1, 1, 1) > 0.5
        x = torch.where(keep, executed, block.shortcut(x))
    for _ in range(DRAWS):
        network.gate = draw_gate()
        decide = network.gate.decide
        for _ in range(2):
            decide.bias.sub_(balanced_threshold(gate_logits(network, first).flatten()))
        logits = gate_logits(network, first)
        scale = SPREAD / logits.std()
        decide.weight.mul_(scale)
        decide.bias.mul_(scale)
        run = (logits > 0).sum(1)
        clear = float((logits * scale).abs().min()) > CLEAR
        if clear and FEWEST <= int(run.min()) <= int(run.max()) <= len(images) - FEWEST:
            return
    raise ValueError(f"none of {DRAWS} gates runs and skips every block")


def draw_gate() -> RecurrentGate:
    """Draw a gate with enlarged weights, in evaluation mode."""
    gate = RecurrentGate()
    for weight in gate.lstm.parameters():
        weight.mul_(ENLARGED)
    return gate.eval()


def gate_logits(network: RecurrentSkipNet, x: Tensor) -> Tensor:
    """Decide for a batch.

    Parameters
    ----------
    network : RecurrentSkipNet
        The network.
    x : Tensor, shape (batch, channels, 32, 32)
        Features after the first block.

    Returns
    -------
    Tensor, shape (gates, batch), float64
        Logits of all gates; a block is run where they are positive.
    """
    state = None
    found = []
    for block in network.blocks[1:]:
        keep, state = network.gate(network.embedded(x), state)
        logit = torch.logit(keep[:, 0].double())
        found.append(logit)
        x = torch.where((logit > 0)[:, None, None, None], block(x), block.shortcut(x))
    return torch.stack(found)


def build(seed: int = 0, small: bool = False, layers: int = LAYERS) -> nn.Module:
    """Build the network with random weights and a steered gate.

    Parameters
    ----------
    seed : int
        Seed of the weights.
    small : bool
        A quarter of the channels.
    layers : int
        Depth: 38, 74, 110 or another 6 n + 2.

    Returns
    -------
    nn.Module
        A ``RecurrentSkipNet`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = RecurrentSkipNet(layers, SMALL_WIDTHS if small else WIDTHS)
        steer(network, textured_images(COVERAGE, seed))
    return network.eval()
