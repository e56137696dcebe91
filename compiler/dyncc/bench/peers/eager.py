"""PyTorch without a compiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyncc.bench.arguments import Arguments
from dyncc.bench.peers.base import Contestant, Peer, Subject

if TYPE_CHECKING:
    from torch import nn


class TorchContestant(Contestant):
    """A callable of torch tensors."""

    def __init__(self, call: Any) -> None:
        import torch

        self._call = call
        self._mode = torch.inference_mode

    def prepare(self, arguments: Arguments) -> Any:
        """Arguments as torch tensors."""
        from dyncc.bench.subjects import tensors

        return tensors(arguments)

    def answer(self, prepared: Sequence[Any]) -> list[Any]:
        """One call after the other."""
        with self._mode():
            return [self._call(*positional, **named) for positional, named in prepared]


class Eager(Peer):
    """The network as it is."""

    name = "eager"
    needs_module = True
    imports = ("torch",)
    for_operators = True

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def load(self, module: nn.Module | None, folder: Path) -> Contestant:
        """The module itself."""
        return TorchContestant(module)
