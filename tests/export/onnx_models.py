"""Exports artifacts as ONNX models, runs them in plain ONNX Runtime, and compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
from export.exported import quiet

from dyncc.export import onnx
from dyncc.ir.hcfg import Each, Leaf, Literal, Record, Return, Series, Struct, Tree
from dyncc.runtime import artifact
from dyncc.runtime.hostlist import HostList
from dyncc.runtime.program import Program


def export(path: Path) -> Path:
    """The ONNX model of an artifact, beside it."""
    model = path.with_suffix(".onnx")
    onnx.export(artifact.read(path), model, quiet)
    return model


class Session:
    """An exported model in ONNX Runtime."""

    def __init__(self, model: Path, level: str = "ORT_ENABLE_ALL") -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised as well
        self._session = onnxruntime.InferenceSession(model, options)
        self.inputs = [item.name for item in self._session.get_inputs()]
        self.shapes = [item.shape for item in self._session.get_inputs()]
        self.outputs = [item.name for item in self._session.get_outputs()]

    def __call__(self, *arguments: Any) -> list[Any]:
        """The outputs."""
        feed = {
            name: numpy.asarray(value) for name, value in zip(self.inputs, arguments, strict=True)
        }
        found: list[Any] = self._session.run(None, feed)
        return found


def result_tree(program: Program) -> Tree:
    """The result of a program's first exit."""
    ends = (block.terminator for block in program.hcfg.blocks.values())
    return next(end.result for end in ends if isinstance(end, Return))


def parts(tree: Tree, value: Any) -> Iterator[Any]:
    """What the outputs should be, of what an artifact returned."""
    match tree:
        case Literal(None | str()):
            return
        case Leaf() | Literal() | Each(Leaf()):
            yield value
        case Series(_, items):
            for item, part in zip(items, value, strict=True):
                yield from parts(item, part)
        case Record(pairs):
            for key, item in pairs:
                yield from parts(item, value[key])
        case Struct(_, _, pairs):
            for key, item in pairs:
                yield from parts(item, getattr(value, key))
        case Each(Series(_, items)):
            for index, item in enumerate(items):
                yield from parts(Each(item), [row[index] for row in value])


def agree(found: Sequence[Any], expected: Sequence[Any], tolerance: float) -> None:
    """Fail unless outputs are what an artifact returned.

    Parameters
    ----------
    tolerance
        How far numbers may differ, in parts of the largest of their tensor; always by 1e-6.
    """
    assert len(found) == len(expected)
    for part, wanted in zip(found, expected, strict=True):
        if isinstance(part, list):  # a sequence of tensors
            agree(part, list(wanted), tolerance)
            continue
        whole = numpy.asarray(list(wanted) if isinstance(wanted, list | HostList) else wanted)
        assert part.shape == whole.shape
        if whole.size:
            assert part.dtype == whole.dtype
            limit = tolerance * numpy.nan_to_num(numpy.abs(whole), posinf=0).max()
            numpy.testing.assert_allclose(part, whole, rtol=0, atol=limit + 1e-6)
