"""No decision on the coverage inputs is close enough to its threshold for rounding to flip it.

Compiled float32 code adds in another order than eager PyTorch: decision values differ by about
1e-6 to 1e-5. The bounds here are at least fifty times that, each in the unit of its decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

SEEDS = (0, 1)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.no_grad():
        yield


def outputs_of(module: nn.Module, run: Callable[[], Any]) -> list[Tensor]:
    """Collect what a submodule gives while `run` runs."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda part, inputs, output: outputs.append(output))
    run()
    handle.remove()
    return outputs


def top_gap(scores: Tensor) -> float:
    """The best score minus the second best, of scores of shape (count,)."""
    best, second = scores.topk(2).values.tolist()
    return float(best - second)


def shallow_deep(network: Any, arguments: tuple[Tensor, ...]) -> list[float]:
    """Distance of each confidence from the threshold, in probability."""
    confidence = torch.stack(network.all_logits(*arguments)[:-1]).softmax(-1).amax(-1)
    return [float(item) for item in (confidence - network.threshold).abs()]


def skipnet(network: Any, arguments: tuple[Tensor, ...]) -> list[float]:
    """Distance between the two logits of each gate."""
    found = [outputs_of(unit.gate, lambda: network(*arguments))[0] for unit in network.units]
    return [top_gap(logits[0]) for logits in found]


def blockdrop(network: Any, arguments: tuple[Tensor, ...]) -> list[float]:
    """Distance of each keep probability from one half."""
    return [abs(item - 0.5) for item in network.policy(*arguments)[0].tolist()]


def halting(network: Any, arguments: tuple[Tensor, ...]) -> list[float]:
    """Distance of each sum of halting probabilities from the threshold."""
    logits = outputs_of(network.halt, lambda: network(*arguments))
    sums = torch.sigmoid(torch.cat(logits)).cumsum(0)
    return [float(item) for item in (sums - (1.0 - network.epsilon)).abs()]


def pointer_network(network: Any, arguments: tuple[Tensor, ...]) -> list[float]:
    """Distance between the best two scores of each step, visited points left out."""
    pointers, _ = network(*arguments)
    gaps = []
    for step, output in enumerate(outputs_of(network.score, lambda: network(*arguments))):
        scores = output.flatten().clone()
        scores[pointers[:step]] = float("-inf")
        gaps.append(top_gap(scores))
    return gaps


def captioning(network: Any, arguments: tuple[Tensor, ...]) -> list[float]:
    """Distance between the best two logits of each step."""
    _, logits = network(*arguments)
    return [top_gap(step[0]) for step in logits]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("distances", "bound"),
    [
        (shallow_deep, 2e-3),
        (skipnet, 5e-2),
        (blockdrop, 2e-2),
        (halting, 5e-4),
        (pointer_network, 5e-3),
        (captioning, 2e-3),
    ],
)
def test_decisions_keep_clear_of_their_thresholds(
    distances: Callable[[Any, tuple[Tensor, ...]], list[float]], bound: float, seed: int
) -> None:
    module = import_module(f"dyncc_models.{distances.__name__}")
    network = module.build(seed)
    found = [item for row in module.coverage_inputs(seed) for item in distances(network, row)]
    assert found
    assert min(found) > bound
