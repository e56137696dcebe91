"""What is to be exported: an artifact and the machine that its library is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dyncc.backends.tvm.kernels import compile_kernels
from dyncc.backends.tvm.target import Cpu
from dyncc.core.errors import UnsupportedError
from dyncc.export.refusals import refusals
from dyncc.export.tree import write_tree
from dyncc.ir import sizes
from dyncc.runtime.artifact import Contents

#: Told what is done, and how far it is: (what, step, steps).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Request:
    """An artifact, and the CPU to generate code for."""

    artifact: Contents
    cpu: Cpu

    def check(self) -> None:
        """Raise UnsupportedError with everything that no library can be made of."""
        found = refusals(self.artifact)
        if found:
            raise UnsupportedError(found)

    def write_tree(self, folder: Path, progress: Progress) -> None:
        """Compile the regions and write the source tree of the library."""
        artifact = self.artifact
        progress("kernels", 0, 3)
        kernels = compile_kernels(artifact.program.regions, self.cpu)
        progress("host program", 1, 3)
        write_tree(
            folder,
            artifact.program,
            sizes.from_json(artifact.manifest.get("sizes", {})),
            artifact.weights,
            kernels,
            self.cpu.describe(),
        )
