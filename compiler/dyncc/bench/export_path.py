"""Writes the path of a call as an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor

from dyncc.backends.onnxruntime.exporting import region_model
from dyncc.bench.arguments import Arguments
from dyncc.bench.peers.onnx_path import RESULTS
from dyncc.bench.straight import straighten
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


def export_path(
    program: Program, weights: Mapping[str, Tensor], arguments: Arguments, file: Path
) -> int:
    """Write the path of a call as an ONNX graph, and return how many nodes it has.

    Parameters
    ----------
    program
        A program whose regions run in PyTorch.
    weights
        Its weights, which the graph will hold.
    arguments
        Of the call.
    file
        Where to write it. All but small weights stand in a file beside it, for they may be greater
        than the 2 GB that one file can hold.
    """
    first = _First()
    positional, named = tensors(arguments)
    program.reset_state()
    with program.observed(first):
        program(*positional, **named)
    assert first.arguments is not None
    path = straighten(program.hcfg, weights, first.arguments)
    model = region_model(path.region)
    graph = model.graph
    taken = {f"w{index}": name for index, name in enumerate(path.weights)}
    # As constants, which ONNX Runtime folds and packs; as inputs, it would take them as they are.
    kept = [item for item in graph.input if item.name not in taken]
    graph.initializer.extend(
        onnx.numpy_helper.from_array(weights[name].numpy(), place) for place, name in taken.items()
    )
    del graph.input[:]
    graph.input.extend(kept)
    onnx.helper.set_model_props(model, {RESULTS: str(path.results)})
    onnx.save_model(model, file, save_as_external_data=True, location=f"{file.stem}.weights")
    return len(graph.node)
