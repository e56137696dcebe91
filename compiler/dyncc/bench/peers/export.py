"""torch.export, which wants a network whose graph is known before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyncc.bench.peers.base import Contestant, Peer, Subject
from dyncc.bench.peers.eager import TorchContestant

if TYPE_CHECKING:
    from torch import nn

_FILE = "network.pt2"


class Export(Peer):
    """A network in one graph; decisions on data need torch.cond in its source."""

    name = "torch.export"
    imports = ("torch",)

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        """Export the network."""
        import torch

        torch.export.save(exported(subject), folder / _FILE)
        return {}

    def load(self, module: nn.Module | None, folder: Path) -> Contestant:
        """Load the graph, and run it in PyTorch."""
        import torch

        return TorchContestant(torch.export.load(folder / _FILE).module())


def exported(subject: Subject) -> Any:
    """The exported program of a network."""
    import torch

    example = subject.example
    args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
    return torch.export.export(subject.module, args, kwargs)
