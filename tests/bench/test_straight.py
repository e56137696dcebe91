"""A path without control flow gives what the network gives, for every input that takes it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bench import networks
from torch import nn

from dyncc.backends.aten import run_region
from dyncc.bench.paths import key
from dyncc.bench.straight import Straight, straighten
from dyncc.driver import compile
from dyncc.runtime.program import Program


class _Entry:
    def __init__(self) -> None:
        self.arguments: list[Any] = []

    def enter(self, block: str, arguments: Any) -> None:
        self.arguments = self.arguments or list(arguments)

    def decide(self, block: str, truth: bool) -> bool:
        return truth


def _weights(program: Program, module: nn.Module) -> dict[str, torch.Tensor]:
    state = module.state_dict()
    return {name: state[name] for name in program.hcfg.weights}


def _entered(program: Program, call: tuple[torch.Tensor, ...]) -> list[Any]:
    entry = _Entry()
    with program.observed(entry):
        program(*call)
    return entry.arguments


def _tensors(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, list | tuple):
        return [tensor for part in result for tensor in _tensors(part)]
    return []


@pytest.mark.parametrize(
    ("kind", "width"),
    [(networks.Exits, 4), (networks.Gates, 4), (networks.Decoder, 4), (networks.Words, 4)],
)
def test_every_input_of_a_path(kind: type[nn.Module], width: int) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    calls = networks.inputs(width, 24)
    program = compile(module, calls[0], backend="eager")
    weights = _weights(program, module)
    paths: dict[object, Straight] = {}
    reused = 0
    for call in calls:
        with program.trace() as counts:
            program(*call)
        trace = key(counts)
        arguments = _entered(program, call)
        reused += trace in paths
        path = paths.setdefault(trace, straighten(program.hcfg, weights, arguments))
        with torch.no_grad():
            expected = _tensors(module(*call))
            found = run_region(path.region, arguments, [weights[name] for name in path.weights])
        assert path.results == len(expected)
        # What the path was decided on is computed, too.
        assert len(found) > path.results
        for ours, theirs in zip(found[: path.results], expected, strict=True):
            torch.testing.assert_close(ours, theirs)
        assert path.blocks == 1 + sum(counts.values())
    assert len(paths) > 1
    assert reused
