"""Adaptive Computation Time: a recurrent cell that decides how long to think.

Source: A. Graves, "Adaptive Computation Time for Recurrent Neural Networks", arXiv:1603.08983,
2016. One input is presented; the cell is applied to it repeatedly until the halting probabilities
add up to 1 - epsilon or the step limit is reached. The output is read from the mean of the states,
each weighted by its halting probability, the last by what remains (equations 5 to 13). As in the
paper, the input carries a flag which is 1 on the first step only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dyncc_models.steering import one_by_one

INPUT_SIZE = 16
HIDDEN_SIZE = 32
OUTPUT_SIZE = 8
COVERAGE = 40
HALTING_MEAN = -1.0  # of the halting logits of the first step, over the calibration inputs
HALTING_SPREAD = 4.0  # their standard deviation


class AdaptiveComputation(nn.Module):
    """A GRU cell with a halting unit.

    Parameters
    ----------
    max_steps : int
        Limit on the number of steps.
    epsilon : float
        Probability, 0..1, that may be left over; lets the network halt after one step.
    """

    def __init__(self, max_steps: int = 10, epsilon: float = 0.01) -> None:
        super().__init__()
        self.max_steps = max_steps
        self.epsilon = epsilon
        self.cell = nn.GRUCell(INPUT_SIZE + 1, HIDDEN_SIZE)
        self.halt = nn.Linear(HIDDEN_SIZE, 1)
        self.output = nn.Linear(HIDDEN_SIZE, OUTPUT_SIZE)

    def forward(self, x: Tensor) -> tuple[Tensor, int, Tensor]:
        """Process one input for as long as it needs.

        Parameters
        ----------
        x : Tensor, shape (1, 16), float32
            Input features.

        Returns
        -------
        output : Tensor, shape (1, 8)
            Output for the mean state.
        steps : int
            Number of steps taken, 1..max_steps.
        ponder_cost : Tensor, shape (1, 1)
            Steps plus remainder, N + R in the paper, in steps.
        """
        state = torch.zeros(1, HIDDEN_SIZE)
        mean_state = torch.zeros(1, HIDDEN_SIZE)
        probability = torch.zeros(1, 1)
        halting_sum = torch.zeros(1, 1)
        remainder = torch.ones(1, 1)
        flag = torch.ones(1, 1)
        n = 0
        while halting_sum.item() < 1.0 - self.epsilon and n < self.max_steps:
            # A state is added with its own probability only once it is known not to be the last.
            mean_state = mean_state + probability * state
            remainder = 1.0 - halting_sum
            state = self.cell(torch.cat([x, flag], dim=1), state)
            probability = torch.sigmoid(self.halt(state))
            halting_sum = halting_sum + probability
            flag = torch.zeros(1, 1)
            n += 1
        mean_state = mean_state + remainder * state
        return self.output(mean_state), n, n + remainder


def inputs_of_varied_size(seed: int) -> Tensor:
    """Draw input features whose magnitudes differ, so that some states are more decided.

    Parameters
    ----------
    seed : int
        Seed of the function's own generator.

    Returns
    -------
    Tensor, shape (40, 16), float32
        Input features.
    """
    generator = torch.Generator().manual_seed(seed)
    magnitude = 0.2 + 2.0 * torch.rand(COVERAGE, 1, generator=generator)
    return magnitude * torch.randn(COVERAGE, INPUT_SIZE, generator=generator)


def steer(network: AdaptiveComputation, inputs: Tensor) -> None:
    """Scale the halting unit so that some inputs halt at once and others never do.

    A random halting unit gives probabilities near 0.5 and halts after two or three steps whatever
    the input. To halt after one step takes a logit of 4.6 (probability 0.99), and to run for all
    ten takes logits of about -2.3 and below.

    Parameters
    ----------
    network : AdaptiveComputation
        Network to set, in place.
    inputs : Tensor, shape (batch, 16)
        Calibration inputs.
    """
    flag = torch.ones(len(inputs), 1)
    logits = network.halt(network.cell(torch.cat([inputs, flag], dim=1)))
    scale = HALTING_SPREAD / logits.std()
    network.halt.weight.mul_(scale)
    network.halt.bias.mul_(scale)
    network.halt.bias.add_(HALTING_MEAN - scale * logits.mean())


def build(seed: int = 0) -> nn.Module:
    """Build the network with random weights and a steered halting unit.

    Parameters
    ----------
    seed : int
        Seed of the weights.

    Returns
    -------
    nn.Module
        An ``AdaptiveComputation`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = AdaptiveComputation()
        steer(network, inputs_of_varied_size(seed))
    return network.eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    """Return one input.

    Returns
    -------
    tuple of one Tensor, shape (1, 16), float32
        Input features.
    """
    return (inputs_of_varied_size(1000)[:1].clone(),)


def coverage_inputs(seed: int = 0) -> list[tuple[torch.Tensor, ...]]:
    """Return the inputs ``build(seed)`` was steered with: one step, some, and the limit.

    Parameters
    ----------
    seed : int
        Seed of the inputs.

    Returns
    -------
    list of 40 tuples of one Tensor, shape (1, 16), float32
        Input features.
    """
    return one_by_one(inputs_of_varied_size(seed))
