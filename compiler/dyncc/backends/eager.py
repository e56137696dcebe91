"""The reference back end: regions run as torch operations, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch

from dyncc.backends.aten import run_region
from dyncc.ir.hcfg import Hcfg, is_static


def build(
    program: Hcfg,
    directory: Path,
    progress: Callable[[str, int, int], None],
    *,
    fallback: bool = False,
) -> dict[str, Any]:
    """Compile nothing; see `dyncc.backends.tvm.build` for the contract."""
    return {"torch": torch.__version__}


class EagerRegions:
    """Runs the regions of a program with torch."""

    tensor = torch.Tensor

    def __init__(self, program: Hcfg) -> None:
        self._regions = program.regions

    def bind(
        self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> Callable[..., tuple[torch.Tensor, ...]]:
        """A region with the weights of one call site."""
        body = self._regions[region]
        known = is_static(body)
        tensors = [torch.from_numpy(weight) for weight in weights]

        def call(*params: torch.Tensor) -> tuple[torch.Tensor, ...]:
            with torch.inference_mode():
                results = run_region(body, params, tensors, None if known else {})
            # Results must not share memory with each other or with parameters.
            return tuple(result.clone() for result in results)

        return call

    @staticmethod
    def from_external(array: Any) -> torch.Tensor:
        """A tensor for a torch tensor, a NumPy array or another library's tensor."""
        if isinstance(array, torch.Tensor):
            return array.detach()
        if not isinstance(array, numpy.ndarray | numpy.generic):
            # Of a capsule, torch does not first ask for what others may refuse: that takes 3 µs.
            shared: torch.Tensor = torch.utils.dlpack.from_dlpack(array.__dlpack__())
            return shared
        return torch.from_numpy(numpy.require(array, requirements=["C", "W"]))

    @staticmethod
    def to_numpy(tensor: torch.Tensor) -> numpy.ndarray:
        """A NumPy view of a tensor."""
        found: numpy.ndarray = tensor.detach().numpy()
        return found
