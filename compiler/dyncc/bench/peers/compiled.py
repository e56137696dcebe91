"""Dyncc."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyncc.bench.arguments import Arguments
from dyncc.bench.peers.base import Contestant, Peer, Subject

if TYPE_CHECKING:
    from torch import nn

    from dyncc.runtime.program import Program

_ARTIFACT = "artifact"
#: What an artifact of a back end runs on; of one that chooses between them, all.
_IMPORTS = {
    "tvm": ("dyncc.runtime.tvm_library",),
    "onnxruntime": ("onnxruntime",),
    "eager": ("torch",),
}


class Compiled(Peer):
    """A network that dyncc compiled, loaded by its runtime alone.

    Parameters
    ----------
    backend
        As of `dyncc.compile`.
    """

    def __init__(self, backend: str) -> None:
        self.name = f"dyncc {backend}"
        self.imports = _IMPORTS.get(backend, (*_IMPORTS["tvm"], *_IMPORTS["onnxruntime"]))
        self._backend = backend

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        """Compile it, or take the artifact that was given."""
        from dyncc.driver import compile
        from dyncc.runtime.artifact import load

        if subject.artifact is not None:
            shutil.copytree(subject.artifact, folder / _ARTIFACT)
            program = load(folder / _ARTIFACT)
        else:
            target = folder / _ARTIFACT
            program = compile(subject.module, subject.example, target, self._backend)
        return {"seconds": program.manifest.get("seconds", {})}

    def load(self, module: nn.Module | None, folder: Path) -> Contestant:
        """Load the artifact; nothing of the compiler is imported."""
        from dyncc.runtime.artifact import load

        return _Running(load(folder / _ARTIFACT))


class _Running(Contestant):
    def __init__(self, program: Program) -> None:
        self._program = program

    def prepare(self, arguments: Arguments) -> Any:
        """NumPy arrays, as they are."""
        return arguments.positional, arguments.named

    def answer(self, prepared: Sequence[Any]) -> list[Any]:
        """One call after the other."""
        return [self._program(*positional, **named) for positional, named in prepared]
