"""ONNX Runtime on static graphs: for each path that is timed, all of its blocks in one graph.

No user could deploy that, since it takes somebody to know the path before. It is what ONNX Runtime
could reach at best, without any control flow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from dyncc.bench.arguments import Arguments, leaves
from dyncc.bench.peers.base import Contestant, Leaves, Peer, Subject

if TYPE_CHECKING:
    from torch import nn


#: What a graph says of itself: how many of its results are the network's.
RESULTS = "results"


class OnnxPath(Peer):
    """A graph for each path."""

    name = "ONNX Runtime, static path"
    imports = ("onnxruntime",)
    for_operators = True

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        """Export the regions of each path as one graph."""
        if subject.program is None:
            raise ValueError("paths are not known where dyncc cannot capture the network")
        from dyncc.bench.export_path import export_path

        nodes = [
            export_path(subject.program, subject.weights, arguments, folder / f"{path}.onnx")
            for path, arguments in subject.representatives.items()
        ]
        return {"graphs": len(nodes), "most_nodes": max(nodes)}

    def load(self, module: nn.Module | None, folder: Path) -> Contestant:
        """A session for each path."""
        files = sorted(folder.glob("*.onnx"))
        return _Paths({int(file.stem): session(file) for file in files})


class _Paths(Contestant):
    leaves = Leaves.TENSORS

    def __init__(self, sessions: Mapping[int, Any]) -> None:
        self._sessions = sessions
        self._names = {path: input_names(found) for path, found in sessions.items()}
        self._results = {path: results(found) for path, found in sessions.items()}

    def prepare(self, arguments: Arguments) -> Any:
        """The session of the path, its inputs by name, and how many results are the network's."""
        path = arguments.path
        return self._sessions[path], feed(self._names[path], arguments), self._results[path]

    def answer(self, prepared: Sequence[Any]) -> list[Any]:
        """One graph after the other."""
        return [session.run(None, inputs)[:count] for session, inputs, count in prepared]


def session(file: Path) -> Any:
    """A session of ONNX Runtime with as many threads as every other peer has."""
    import os

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])


def results(session: Any) -> int:
    """How many results of a graph are those of the network."""
    return int(session.get_modelmeta().custom_metadata_map[RESULTS])


def input_names(session: Any) -> list[str]:
    """Names of the inputs of a session, in order."""
    return [item.name for item in session.get_inputs()]


def feed(names: Sequence[str], arguments: Arguments) -> dict[str, numpy.ndarray]:
    """The tensors among arguments, by the names of a graph's inputs."""
    arrays = [
        leaf
        for leaf in leaves((arguments.positional, dict(arguments.named)))
        if isinstance(leaf, numpy.ndarray)
    ]
    return dict(zip(names, arrays, strict=True))
