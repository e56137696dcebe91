"""Arguments whose sizes are known when the program is called."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dyncc.core.errors import ConfigError
from dyncc.frontend.extents import extent_name, fresh_extent
from dyncc.ir.hcfg import Hcfg
from dyncc.ir.sizes import Size
from dyncc.ir.types import Dim, TensorType


@dataclass
class Shapes:
    """Shapes of arguments in which sizes have names.

    Attributes
    ----------
    dims
        By place, as in ``batch['x'][0]``.
    sizes
        What is known of the sizes.
    """

    dims: dict[str, tuple[Dim, ...]]
    sizes: dict[str, Size]
    _extents: dict[str, torch.SymInt] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Forget what an earlier attempt made of them."""
        self._extents.clear()
        self._used.clear()

    def fake_shape(
        self, where: str, example: torch.Tensor, fakes: FakeTensorMode
    ) -> tuple[Any, ...]:
        """The shape of an argument as native code sees it; raises ConfigError."""
        dims = self.dims.get(where)
        if dims is None:
            return tuple(example.shape)
        self._used.add(where)
        fits = len(dims) == example.dim() and all(
            self.sizes[dim].holds(extent) if isinstance(dim, str) else dim == extent
            for dim, extent in zip(dims, example.shape, strict=True)
        )
        if not fits:
            raise ConfigError(
                f"the example of {where} has the shape {list(example.shape)}, which is none of "
                f"[{','.join(map(str, dims))}]",
                hint="Correct the shape, or give a fitting example.",
            )
        return tuple(self._extent(dim, fakes) if isinstance(dim, str) else dim for dim in dims)

    def _extent(self, name: str, fakes: FakeTensorMode) -> torch.SymInt:
        if name not in self._extents:
            self._extents[name] = fresh_extent(fakes, least=min(self.sizes[name].low, 1))
        return self._extents[name]

    def check_used(self) -> None:
        """Raise ConfigError for a shape of no argument."""
        for where in self.dims.keys() - self._used:
            raise ConfigError(
                f"there is no tensor {where} among the arguments",
                hint="A tensor in a structure is called as in batch['x'][0].",
            )

    def named(self, program: Hcfg) -> Hcfg:
        """`program` with the names of sizes in its entry."""
        names = {str(extent_name(extent)): name for name, extent in self._extents.items()}
        if not names:
            return program
        entry = program.entry
        blocks = {**program.blocks, entry.name: _renamed(entry, names)}
        signature = _renamed(program.signature, names)
        return dataclasses.replace(
            program, blocks=blocks, signature=signature, state=_renamed(program.state, names)
        )


def _renamed(item: Any, names: dict[str, str]) -> Any:
    """A part of a program with other names for sizes."""
    if isinstance(item, TensorType):
        shape = tuple(names.get(dim, dim) if isinstance(dim, str) else dim for dim in item.shape)
        return TensorType(item.dtype, shape)
    if isinstance(item, tuple):
        return tuple(_renamed(part, names) for part in item)
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        fields = {f.name: _renamed(getattr(item, f.name), names) for f in dataclasses.fields(item)}
        return dataclasses.replace(item, **fields)
    return item
