"""How the runtime lays out weights: recipes, which are data in the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """How the runtime makes an array from weights.

    Attributes
    ----------
    inputs
        Positions of the weights it reads.
    steps
        (operation, argument) pairs that `dyncc.runtime.tvm_library` carries out.
    shape
        Shape of the result.
    dtype
        Its NumPy dtype.
    """

    inputs: tuple[int, ...]
    steps: tuple[tuple[str, Any], ...]
    shape: tuple[int, ...]
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """Return the form kept in the report."""
        return {"inputs": list(self.inputs), "steps": _listed(self.steps)}

    def then(self, step: str, argument: Any, shape: tuple[int, ...]) -> Recipe:
        """Return the recipe with one more step."""
        return Recipe(self.inputs, (*self.steps, (step, argument)), shape, self.dtype)

    def reshape(self, *shape: int) -> Recipe:
        """Return the recipe followed by a reshape."""
        return self.then("reshape", shape, shape)

    def transpose(self, *axes: int) -> Recipe:
        """Return the recipe followed by a transposition."""
        return self.then("transpose", axes, tuple(self.shape[axis] for axis in axes))

    def pad(self, axis: int, extent: int) -> Recipe:
        """Return the recipe followed by zeros along `axis`, up to `extent`."""
        if self.shape[axis] == extent:
            return self
        widths = tuple((0, extent - old if i == axis else 0) for i, old in enumerate(self.shape))
        shape = tuple(extent if i == axis else old for i, old in enumerate(self.shape))
        return self.then("pad", widths, shape)


def _listed(value: Any) -> Any:
    """Return nested tuples as the lists that JSON has."""
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
