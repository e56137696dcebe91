"""Writes the path of a call as an ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dyncc.backends.aten import run_region
from dyncc.bench.arguments import Arguments
from dyncc.bench.straight import Straight, straighten
from dyncc.bench.subjects import tensors
from dyncc.runtime.program import Program


class _First:
    """Observes the arguments of a program's first block."""

    def __init__(self) -> None:
        self.arguments: Sequence[Any] | None = None

    def enter(self, block: str, arguments: Sequence[Any]) -> None:
        self.arguments = self.arguments or list(arguments)

    def decide(self, block: str, truth: bool) -> bool:
        return truth


class PathModule(nn.Module):
    """A path as a module that keeps its weights."""

    def __init__(self, path: Straight, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self._region = path.region
        for index, weight in enumerate(weights):
            self.register_buffer(f"w{index}", weight)

    def forward(self, *params: Tensor) -> tuple[Tensor, ...]:
        """Run the path."""
        return run_region(self._region, params, list(self.buffers()))


def path_module(
    program: Program, weights: Mapping[str, Tensor], arguments: Arguments
) -> tuple[PathModule, tuple[Tensor, ...]]:
    """The path of a call as a module, and the tensors that it takes in that call.

    Parameters
    ----------
    program
        A program whose regions run in PyTorch.
    weights
        Its weights.
    arguments
        Of the call.
    """
    first = _First()
    positional, named = tensors(arguments)
    program.reset_state()
    with program.observed(first):
        program(*positional, **named)
    assert first.arguments is not None
    path = straighten(program.hcfg, weights, first.arguments)
    module = PathModule(path, [weights[name] for name in path.weights])
    return module.eval(), tuple(item for item in first.arguments if isinstance(item, Tensor))


def export_path(
    program: Program, weights: Mapping[str, Tensor], arguments: Arguments, file: Path
) -> int:
    """Write the path of a call as an ONNX graph, and return how many nodes it has."""
    module, params = path_module(program, weights, arguments)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(module, params)
        written = torch.onnx.export(exported, (), dynamo=True, verbose=False)
    assert written is not None
    written.save(str(file))
    return len(written.model.graph)
