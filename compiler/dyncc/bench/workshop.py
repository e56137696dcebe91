"""Where networks are built, compiled and exported; lives in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import load_file

from dyncc.bench import paths
from dyncc.bench.arguments import Arguments, leaves
from dyncc.bench.opened import Opened
from dyncc.bench.peers.base import Leaves, Peer, Subject
from dyncc.bench.subjects import Source, answer_of, manifest_of, open_source, tensors
from dyncc.core.errors import DynccError, MismatchError
from dyncc.driver import compile
from dyncc.runtime.artifact import WEIGHTS
from dyncc.verification import ATOL, RTOL, difference


class Workshop:
    """Builds subjects, and knows the right answers.

    Parameters
    ----------
    folder
        For files of its own.
    threads
        Of torch.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._folder = folder
        self._subjects: dict[str, Subject] = {}
        self._answers: dict[str, list[Any]] = {}

    def open(self, key: str, reference: str, most_paths: int, most_inputs: int) -> Opened:
        """Build a network, and find its paths.

        Parameters
        ----------
        key
            What to call it from now on.
        reference
            Of `subjects.open_source`, or the folder of an artifact.
        most_paths, most_inputs
            How many paths are timed, and how many inputs of each.
        """
        artifact = None
        if (manifest := manifest_of(reference)) is not None:
            artifact, reference = Path(reference), manifest["source"]["model"]
        source = open_source(reference)
        (self._folder / key).mkdir(parents=True, exist_ok=True)
        torch.save(source.module.state_dict(), self._weights(key))
        positional, named = tensors(source.inputs[0])
        subject = Subject(source.module, named or positional, artifact=artifact)
        problem = self._capture(key, subject)
        traces = self._traces(subject, source)
        program = subject.program
        chosen = paths.choose(program.hcfg if program else None, traces, most_paths)
        inputs: list[Arguments] = []
        kept = []
        for number, path in enumerate(chosen):
            given = [source.inputs[index] for index in path.inputs[:most_inputs]]
            first = len(inputs)
            inputs += [Arguments(each.positional, each.named, number) for each in given]
            subject.representatives[number] = inputs[first]
            places = tuple(range(first, len(inputs)))
            kept.append(paths.Path(path.name, places, path.weight, path.blocks))
        self._subjects[key] = subject
        self._answers[key] = [answer_of(source.module, each) for each in inputs]
        return Opened(reference, inputs, len(traces), len(set(traces)), kept, problem)

    def build(self, key: str, peer: Peer, folder: Path) -> dict[str, Any]:
        """Let a peer build, and say how long it took and how large the result is."""
        folder.mkdir(parents=True)
        started = time.perf_counter()
        notes = peer.build(self._subjects[key], folder)
        seconds = time.perf_counter() - started
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return {"build_seconds": seconds, "artifact_bytes": size, "notes": dict(notes)}

    def check(self, key: str, answers: Sequence[Any], kept: Leaves) -> float:
        """Compare answers to the timed inputs with those of eager PyTorch.

        Parameters
        ----------
        answers
            For each input, the leaves of the result; tensors as arrays.
        kept
            What of the results they have.

        Returns
        -------
        float
            The largest absolute difference.

        Raises
        ------
        MismatchError
            At the first difference beyond the bounds of `dyncc.verification`.
        """
        worst = 0.0
        for number, (answer, found) in enumerate(zip(self._answers[key], answers, strict=True)):
            expected = leaves(answer)
            if kept is not Leaves.ALL:
                expected, found = _numbers(expected, kept), _numbers(found, kept)
            if len(found) != len(expected):
                raise MismatchError(
                    f"input {number} gives {len(found)} values, and {len(expected)} were expected"
                )
            for place, (right, other) in enumerate(zip(expected, found, strict=True)):
                where = f"input {number}, value {place}"
                error, _ = difference(_torch(right), _torch(other), where, RTOL, ATOL)
                worst = max(worst, error)
        return worst

    def weights(self, key: str) -> Path:
        """File with the state of the network, for processes that build it again."""
        return self._weights(key)

    def _weights(self, key: str) -> Path:
        return self._folder / key / "state.pt"

    def _capture(self, key: str, subject: Subject) -> str:
        """Make the program whose regions run in PyTorch; returns what is in the way."""
        target = self._folder / key / "captured"
        try:
            subject.program = compile(subject.module, subject.example, target, "eager")
        except DynccError as error:
            return str(error).splitlines()[0]
        subject.weights = load_file(target / WEIGHTS)
        return ""

    @staticmethod
    def _traces(subject: Subject, source: Source) -> list[paths.Trace]:
        if subject.program is None:
            return [() for _ in source.inputs]
        found = []
        for each in source.inputs:
            positional, named = tensors(each)
            with subject.program.trace() as counts:
                subject.program(*positional, **named)
            found.append(paths.key(counts))
        return found


def _numbers(values: Sequence[Any], kept: Leaves) -> list[Any]:
    """What a graph can give of leaves: its tensors, or all of its numbers in one row."""
    arrays = [value for value in values if isinstance(value, numpy.ndarray)]
    if kept is Leaves.TENSORS:
        return arrays
    rows = [
        numpy.ravel(value).astype(float)
        for value in values
        if isinstance(value, numpy.ndarray | numpy.generic | bool | int | float)
    ]
    return [numpy.concatenate(rows)] if rows else []


def _torch(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, numpy.ndarray) else value
