"""Weights of a region: which the compiled function takes, and in which layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import relax

from dyncc.backends.tvm.target import Cpu


@dataclass(frozen=True)
class Packed:
    """A Relax function whose weight arguments have the layouts that its schedules want.

    Attributes
    ----------
    function
        Takes the region's parameters, then one array for each recipe.
    recipes
        How the runtime makes each array from the region's weights.
    """

    function: relax.Function
    recipes: list[dict[str, Any]]


def pack_weights(function: relax.Function, params: int, cpu: Cpu) -> Packed:
    """Choose layouts."""
    count = len(function.params) - params
    return Packed(function, [{"inputs": [i], "steps": []} for i in range(count)])
