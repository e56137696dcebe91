"""Regions of several back ends in one program."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy

from dyncc.runtime.executor import Regions, sharing


class Home(Regions, Protocol):
    """Regions of one library."""

    @property
    def tensor(self) -> type:
        """The class of its tensors."""
        ...


class MixedRegions:
    """Regions of several back ends.

    A tensor between blocks is one of the library that made it. A region that gets a tensor of
    another library shares its memory through DLPack, which takes 0.5 to 1 µs between TVM and ONNX
    Runtime; for one of its own it takes a look at the type. So a program in which one back end
    makes what it uses itself pays nothing for the others.

    Parameters
    ----------
    main
        The back end of most regions; arguments of calls become its tensors.
    homes
        By name of region, the back end that runs it.
    """

    def __init__(self, main: Home, homes: Mapping[str, Home]) -> None:
        self._homes = homes
        self.from_external = main.from_external
        self.sharing = functools.partial(sharing, main)
        self._views: dict[type, Callable[[Any], numpy.ndarray]] = {
            home.tensor: home.to_numpy for home in (main, *homes.values())
        }

    def bind(
        self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> Callable[..., Sequence[Any]]:
        """A region with the weights of one call site."""
        home = self._homes[region]
        function, take = home.bind(region, weights, names), home.from_external
        return lambda *params: function(*map(take, params))

    def to_numpy(self, tensor: Any) -> numpy.ndarray:
        """A NumPy view of a tensor."""
        view: Callable[[Any], numpy.ndarray] = self._views.get(type(tensor), numpy.from_dlpack)
        return view(tensor)
