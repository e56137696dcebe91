"""Dyncc."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyncc.bench.arguments import Arguments
from dyncc.bench.peers.base import Contestant, Peer, Subject
from dyncc.core.errors import UnsupportedError

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
    batch
        The largest batch. Above 1 the network is compiled for such batches, if it can be: compile
        time and artifact are those of a network that takes them.
    """

    def __init__(self, backend: str, batch: int = 1) -> None:
        self.name = f"dyncc {backend}"
        self.imports = _IMPORTS.get(backend, (*_IMPORTS["tvm"], *_IMPORTS["onnxruntime"]))
        self._backend = backend
        self._batch = batch

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        """Compile it, or take the artifact that was given."""
        from dyncc.runtime.artifact import load

        if subject.artifact is not None:
            shutil.copytree(subject.artifact, folder / _ARTIFACT)
            program = load(folder / _ARTIFACT)
        else:
            program = self._compiled(subject, folder / _ARTIFACT)
        return {
            "seconds": program.manifest.get("seconds", {}),
            "batch": program.batch_limit,
        }

    def _compiled(self, subject: Subject, target: Path) -> Program:
        from dyncc.driver import compile

        if self._batch > 1:
            with contextlib.suppress(UnsupportedError):  # its samples depend on each other
                return compile(
                    subject.module, subject.example, target, self._backend, batch=self._batch
                )
        return compile(subject.module, subject.example, target, self._backend)

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
        """A batch, if the network was compiled for batches; else one call after the other."""
        if len(prepared) > 1 and self._program.batch_limit > 1:
            return self._program.batch([named or positional for positional, named in prepared])
        return [self._program(*positional, **named) for positional, named in prepared]
