"""Ways to run a network, each in a module of its own.

A peer is made of two halves that never meet: `Peer.build` runs in the workshop, where the network
and torch are, and writes what it makes into a folder; `Peer.load` runs in a process of the peer's
own, and reads it there. Modules of peers import what they run on within these methods, so that a
process holds nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dyncc.bench.peers.base import Peer

#: What `--peers` may name, and the classes behind each name as ``module:class``.
PEERS: dict[str, tuple[str, ...]] = {
    "eager": ("eager:Eager",),
    "torch.compile": ("torch_compile:TorchCompile",),
    "export": ("export:Export",),
    "onnxruntime": ("onnx_path:OnnxPath", "onnx_control:OnnxScript", "onnx_control:OnnxExport"),
}


def ours(backend: str, batch: int = 1) -> Peer:
    """Dyncc itself, with one of its back ends, for batches of up to a size."""
    from dyncc.bench.peers.compiled import Compiled

    return Compiled(backend, batch)


def named(name: str) -> list[Peer]:
    """The peers behind a name of `PEERS`."""
    found: list[Peer] = []
    for place in PEERS[name]:
        module, _, kind = place.partition(":")
        found.append(getattr(import_module(f"dyncc.bench.peers.{module}"), kind)())
    return found
