"""Makes regions from torch functions, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from dyncc.backends.graphs import region_of, type_of
from dyncc.ir.hcfg import Hcfg, Region, Value


def trace(
    name: str,
    function: Callable[..., Any],
    params: Sequence[Tensor],
    weights: Sequence[Tensor] = (),
) -> Region:
    """Trace ``function(*params, *weights)`` into a region."""
    with torch.no_grad():
        graph = make_fx(function)(*params, *weights).graph
    values = [Value(f"in{i}", type_of(tensor)) for i, tensor in enumerate((*params, *weights))]
    return region_of(graph, name, values[: len(params)], values[len(params) :])


def program_of(*regions: Region) -> Hcfg:
    """A program that only carries regions."""
    return Hcfg("test", (), (), (), {}, {}, {region.name: region for region in regions})
