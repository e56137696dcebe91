"""Networks as quick tests use them: those of DyCL with fewer channels."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from torch import Tensor, nn


class Small:
    """The three functions of a network module, of its small form if it has one.

    Parameters
    ----------
    name
        One of ``dyncc_models.NETWORKS``.
    """

    def __init__(self, name: str) -> None:
        self.module: ModuleType = import_module(f"dyncc_models.{name}")
        self._options: dict[str, Any] = {"small": True} if name.startswith("dycl.") else {}

    def build(self, seed: int = 0) -> nn.Module:
        """The network."""
        network: nn.Module = self.module.build(seed, **self._options)
        return network

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Arguments of one call."""
        inputs: tuple[Tensor, ...] = self.module.example_inputs(**self._options)
        return inputs

    def coverage_inputs(self, seed: int = 0) -> list[tuple[Tensor, ...]]:
        """Arguments of calls that take every edge."""
        inputs: list[tuple[Tensor, ...]] = self.module.coverage_inputs(seed, **self._options)
        return inputs
