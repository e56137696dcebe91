"""torch.compile in its default mode, in which it may break the graph and go on in Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyncc.bench.peers.base import Contestant, Peer, Subject
from dyncc.bench.peers.eager import TorchContestant

if TYPE_CHECKING:
    from torch import nn


class TorchCompile(Peer):
    """Compiles during its first calls, and again when a guard fails."""

    name = "torch.compile"
    needs_module = True
    patience = 600.0  # each way around a graph break is compiled by itself
    imports = ("torch",)

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        """Nothing: it compiles where it runs."""
        return {}

    def load(self, module: nn.Module | None, folder: Path) -> Contestant:
        """The module, compiled anew: nothing is kept from earlier runs."""
        import os

        import torch

        assert module is not None
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
        return _Compiling(torch.compile(module))


class _Compiling(TorchContestant):
    def notes(self) -> Mapping[str, Any]:
        """How often the graph was broken, and how many graphs there are."""
        from torch._dynamo.utils import counters, graph_break_reasons

        return {
            "graph_breaks": len(graph_break_reasons),
            "graphs": counters["stats"]["unique_graphs"],
        }
