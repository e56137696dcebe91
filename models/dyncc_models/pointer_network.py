"""Pointer network: a decoder whose outputs are positions in its own input.

Source: O. Vinyals, M. Fortunato and N. Jaitly, "Pointer Networks", NeurIPS 2015. An LSTM reads the
points; a second LSTM then points at one of them per step through additive attention (equation 3)
and is fed the chosen point, until it points at the stop element or has visited every point.
Visited points are masked, as the paper does for the travelling salesman problem.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyncc_models.steering import one_by_one, stopping_threshold

POINTS = 10
HIDDEN_SIZE = 32
COVERAGE = 40
SCORE_SPREAD = 4.0  # standard deviation of the points' scores over the calibration inputs


class PointerNetwork(nn.Module):
    """LSTM encoder and pointing LSTM decoder over a fixed number of points in the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTMCell(2, HIDDEN_SIZE)
        self.decoder = nn.LSTMCell(2, HIDDEN_SIZE)
        self.start = nn.Parameter(torch.randn(1, 2))
        self.stop_key = nn.Parameter(torch.randn(1, 1, HIDDEN_SIZE))
        self.key = nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE, bias=False)
        self.query = nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE, bias=False)
        self.score = nn.Linear(HIDDEN_SIZE, 1, bias=False)

    def encode(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read the points.

        Parameters
        ----------
        points : Tensor, shape (batch, 10, 2)
            Coordinates in the plane.

        Returns
        -------
        keys : Tensor, shape (batch, 11, 32)
            Attention keys of the points, then of the stop element.
        hidden, cell : Tensor, shape (batch, 32)
            Final encoder state.
        """
        hidden = torch.zeros(points.shape[0], HIDDEN_SIZE)
        cell = torch.zeros(points.shape[0], HIDDEN_SIZE)
        states = []
        for position in range(POINTS):
            hidden, cell = self.encoder(points[:, position], (hidden, cell))
            states.append(hidden)
        keys = self.key(torch.stack(states, dim=1))
        keys = torch.cat([keys, self.stop_key.expand(points.shape[0], 1, HIDDEN_SIZE)], dim=1)
        return keys, hidden, cell

    def attend(self, keys: Tensor, hidden: Tensor) -> Tensor:
        """Score elements: keys (batch, 11, 32), hidden (batch, 32) to scores (batch, 11)."""
        scores: Tensor = self.score(torch.tanh(keys + self.query(hidden).unsqueeze(1))).squeeze(2)
        return scores

    def forward(self, points: Tensor) -> tuple[list[int], Tensor]:
        """Point greedily at one unvisited point after another.

        Parameters
        ----------
        points : Tensor, shape (1, 10, 2), float32
            Coordinates in the plane.

        Returns
        -------
        pointers : list of int
            Visited points in order, each 0..9; empty if the first choice is the stop element.
        log_probs : Tensor, shape (choices,)
            Natural logarithm of each choice's probability, the stop element's included.
        """
        keys, hidden, cell = self.encode(points)
        mask = torch.zeros(1, POINTS + 1, dtype=torch.bool)
        decoder_input: Tensor = self.start
        pointers: list[int] = []
        log_probs: list[Tensor] = []
        while len(pointers) < POINTS:
            hidden, cell = self.decoder(decoder_input, (hidden, cell))
            scores = self.attend(keys, hidden).masked_fill(mask, float("-inf"))
            log_prob = F.log_softmax(scores, dim=1)
            index = int(log_prob.argmax(1).item())
            log_probs.append(log_prob[0, index])
            if index == POINTS:
                break
            pointers.append(index)
            mask[0, index] = True
            decoder_input = points[:, index]
        return pointers, torch.stack(log_probs)


def scattered_points(seed: int) -> Tensor:
    """Draw point sets of different centres and extents.

    Parameters
    ----------
    seed : int
        Seed of the function's own generator.

    Returns
    -------
    Tensor, shape (40, 10, 2), float32
        Coordinates in the plane.
    """
    generator = torch.Generator().manual_seed(seed)
    centre = 1.5 * torch.randn(COVERAGE, 1, 2, generator=generator)
    extent = 0.5 + 2.0 * torch.rand(COVERAGE, 1, 1, generator=generator)
    return centre + extent * torch.randn(COVERAGE, POINTS, 2, generator=generator)


def steer(network: PointerNetwork, points: Tensor) -> None:
    """Spread the scores, and set the stop element's so that loops end after various trips.

    The recurrent weights are enlarged because PyTorch's initial ones make every state, and so
    every score, nearly the same. The stop element's score is then shifted: attention unit 0 is
    made to answer to the stop key alone, so that ``score.weight[0, 0]`` adds to that element's
    score and to no other. The shift is found by decoding freely, without stopping, and comparing
    the stop element's score with the best of the unvisited points at every step.

    Parameters
    ----------
    network : PointerNetwork
        Network to set, in place.
    points : Tensor, shape (batch, 10, 2)
        Calibration inputs.
    """
    for weight in (*network.encoder.parameters(), *network.decoder.parameters()):
        weight.mul_(3.0)
    for linear in (network.key, network.query):
        linear.weight.mul_(3.0)
        linear.weight[0] = 0.0
    network.score.weight[0, 0] = 0.0

    keys, hidden, cell = network.encode(points)
    network.score.weight.mul_(SCORE_SPREAD / network.attend(keys, hidden)[:, :POINTS].std())

    batch = torch.arange(len(points))
    visited = torch.zeros(len(points), POINTS, dtype=torch.bool)
    decoder_input = network.start.expand(len(points), 2)
    gaps = []
    for _ in range(POINTS):
        hidden, cell = network.decoder(decoder_input, (hidden, cell))
        scores = network.attend(keys, hidden)
        best, index = scores[:, :POINTS].masked_fill(visited, float("-inf")).max(1)
        gaps.append(scores[:, POINTS] - best)
        visited[batch, index] = True
        decoder_input = points[batch, index]

    network.stop_key[0, 0, 0] = 1.0
    shift = stopping_threshold(torch.stack(gaps, dim=1))
    network.score.weight[0, 0] = -shift / torch.tanh(torch.ones(())).item()


def build(seed: int = 0) -> nn.Module:
    """Build the network with random weights and a steered stop element.

    Parameters
    ----------
    seed : int
        Seed of the weights.

    Returns
    -------
    nn.Module
        A ``PointerNetwork`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = PointerNetwork()
        steer(network, scattered_points(seed))
    return network.eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    """Return one set of points.

    Returns
    -------
    tuple of one Tensor, shape (1, 10, 2), float32
        Coordinates in the plane.
    """
    return (scattered_points(1000)[:1].clone(),)


def coverage_inputs(seed: int = 0) -> list[tuple[torch.Tensor, ...]]:
    """Return the point sets ``build(seed)`` was steered with: stop at once, midway, never.

    Parameters
    ----------
    seed : int
        Seed of the point sets.

    Returns
    -------
    list of 40 tuples of one Tensor, shape (1, 10, 2), float32
        Coordinates in the plane.
    """
    return one_by_one(scattered_points(seed))
