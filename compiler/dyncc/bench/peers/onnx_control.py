"""ONNX Runtime on whole networks, with their control flow as If and Loop."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyncc.bench.arguments import Arguments
from dyncc.bench.peers.base import Contestant, Leaves, Peer, Subject
from dyncc.bench.peers.export import exported
from dyncc.bench.peers.onnx_path import feed, input_names, session

if TYPE_CHECKING:
    from torch import nn

_FILE = "network.onnx"


class _Whole(Peer):
    """One graph for the network."""

    imports = ("onnxruntime",)

    def load(self, module: nn.Module | None, folder: Path) -> Contestant:
        """The one session."""
        return _Graph(session(folder / _FILE))


class OnnxScript(_Whole):
    """By TorchScript, whose `if` and loops become If and Loop."""

    name = "ONNX Runtime, If/Loop"

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        """Script the network, and export it with the exporter for TorchScript."""
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scripted = torch.jit.script(subject.module)
            torch.onnx.export(scripted, _positional(subject), folder / _FILE, dynamo=False)
        return {}


class OnnxExport(_Whole):
    """By torch.export, as torch.onnx.export does by default."""

    name = "ONNX Runtime, torch.export"

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        """Export the network with the default exporter."""
        import torch

        # It tries several ways, and tells of each at length; the first is the one to tell of.
        program = exported(subject)
        torch.onnx.export(program, (), folder / _FILE, dynamo=True, verbose=False)
        return {}


def _positional(subject: Subject) -> tuple[Any, ...]:
    example = subject.example
    return tuple(example.values()) if isinstance(example, dict) else tuple(example)


class _Graph(Contestant):
    leaves = Leaves.NUMBERS

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = input_names(session)

    def prepare(self, arguments: Arguments) -> Any:
        """Inputs by name."""
        return feed(self._names, arguments)

    def answer(self, prepared: Sequence[Any]) -> list[Any]:
        """One run after the other."""
        return [self._session.run(None, inputs) for inputs in prepared]
