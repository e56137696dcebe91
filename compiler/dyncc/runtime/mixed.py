"""Regions of which the back end compiled some and PyTorch runs the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy

from dyncc.runtime.executor import Regions


class MixedRegions:
    """Regions in two hands; tensors between blocks are those of the back end.

    Parameters
    ----------
    compiled
        The back end's regions.
    torch_regions
        Those that run in PyTorch.
    names
        Which regions these are.
    """

    def __init__(self, compiled: Regions, torch_regions: Regions, names: Collection[str]) -> None:
        self._compiled = compiled
        self._torch = torch_regions
        self._names = frozenset(names)
        self.from_external = compiled.from_external
        self.to_numpy = compiled.to_numpy

    def bind(
        self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> Callable[..., Sequence[Any]]:
        """A region with the weights of one call site."""
        if region not in self._names:
            return self._compiled.bind(region, weights, names)
        function = self._torch.bind(region, weights, names)
        enter, leave = self._torch.from_external, self._torch.to_numpy
        to_numpy, from_external = self.to_numpy, self.from_external

        def call(*params: Any) -> tuple[Any, ...]:
            results = function(*[enter(to_numpy(param)) for param in params])
            return tuple(from_external(leave(result)) for result in results)

        return call
