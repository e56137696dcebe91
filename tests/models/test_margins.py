"""No decision on the coverage inputs is close enough to its threshold for rounding to flip it.

Compiled float32 code adds in another order than eager PyTorch: decision values differ by about
1e-6 to 1e-5. The bounds here are at least fifty times that, each in the unit of its decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from models.small import Small
from torch import Tensor, nn

from dyncc_models import NETWORKS

SEEDS = (0, 1)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.no_grad():
        yield


def outputs_of(modules: nn.Module | Iterable[nn.Module], run: Callable[[], Any]) -> list[Tensor]:
    """Collect what submodules give while `run` runs."""
    outputs: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda part, inputs, output: outputs.append(output))
        for module in ([modules] if isinstance(modules, nn.Module) else modules)
    ]
    run()
    for handle in handles:
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


def sdn(network: Any, arguments: tuple[Tensor, ...]) -> list[float]:
    """Distance of each confidence from the threshold; of the best two, if none exceeds it."""
    _, index, early = network(*arguments)
    confidence = torch.stack(network.all_logits(*arguments)).softmax(-1).amax(-1).flatten()
    if early:
        return [float(item) for item in (confidence[: index + 1] - network.threshold).abs()]
    found = (confidence[:-1] - network.threshold).abs().tolist()
    return [*map(float, found), top_gap(confidence)]


def skipnet(network: Any, arguments: tuple[Tensor, ...]) -> list[float]:
    """Distance between the two logits of each gate."""
    found = outputs_of((unit.gate for unit in network.units), lambda: network(*arguments))
    return [top_gap(logits[0]) for logits in found]


def skipnet_recurrent(network: Any, arguments: tuple[Tensor, ...]) -> list[float]:
    """Distance of each probability from one half."""
    found = outputs_of(network.gate, lambda: network(*arguments))
    return [abs(keep.item() - 0.5) for keep, _ in found]


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
    _, logits, *_ = network(*arguments)
    return [top_gap(step[0]) for step in logits]


#: How far from its threshold each decision keeps, in the unit of the function.
BOUNDS: dict[str, tuple[Callable[[Any, tuple[Tensor, ...]], list[float]], float]] = {
    "shallow_deep": (shallow_deep, 2e-3),
    "halting": (halting, 5e-4),
    "pointer_network": (pointer_network, 5e-3),
    "dycl.sdn_mobilenet": (sdn, 3e-4),
    "dycl.sdn_vgg": (sdn, 3e-4),
    "dycl.sdn_resnet": (sdn, 3e-4),
    "dycl.sdn_wideresnet": (sdn, 3e-4),
    "dycl.skipnet": (skipnet, 5e-2),
    "dycl.skipnet_recurrent": (skipnet_recurrent, 2e-4),
    "dycl.captioning": (captioning, 5e-4),
    "dycl.captioning_attention": (captioning, 2e-4),
    "dycl.blockdrop": (blockdrop, 2e-2),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_decisions_keep_clear_of_their_thresholds(name: str, seed: int) -> None:
    distances, bound = BOUNDS[name]
    model = Small(name)
    network = model.build(seed)
    found = [item for row in model.coverage_inputs(seed) for item in distances(network, row)]
    assert found
    assert min(found) > bound
