"""Compares a compiled network with the module it came from, and counts the edges taken."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from dyncc.core.errors import MismatchError
from dyncc.ir.hcfg import Branch, Hcfg
from dyncc.runtime.program import Program

#: A value may differ by ``RTOL`` of the greatest in the reference's tensor plus ``ATOL``, in its
#: own unit. Sums round in proportion to what is added, not to what is left: in a deep network,
#: a value near zero is as far off as the great ones beside it.
RTOL = 1e-4
ATOL = 1e-5
#: Greater values stand for infinity, as in masks: they count for themselves only.
HUGE = 1e4


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    inputs
        Number of inputs compared.
    elements
        Number of tensor elements and scalars compared; never zero.
    max_abs_error
        Largest absolute difference.
    counts
        How often each edge was taken.
    """

    inputs: int
    elements: int
    max_abs_error: float
    counts: dict[tuple[str, int], int]

    def untaken(self, program: Hcfg) -> list[tuple[str, int]]:
        """Edges that no input took."""
        return [
            (block, way) for block, way, _ in program.edges() if not self.counts.get((block, way))
        ]

    def taken(self, program: Hcfg) -> str:
        """How many edges were taken, of how many: ``6/7``."""
        edges = sum(1 for _ in program.edges())
        return f"{edges - len(self.untaken(program))}/{edges}"


def compare(
    module: torch.nn.Module,
    program: Program,
    inputs: Iterable[tuple[Any, ...] | dict[str, Any]],
    rtol: float = RTOL,
    atol: float = ATOL,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Run both on every input and compare full results.

    State that calls change is compared too, in so far as later calls show it: both start from
    their initial state and see the same calls. The given module is not changed.

    Raises
    ------
    MismatchError
        At the first difference: input, place in the result, both values.
    """
    reference = copy.deepcopy(module)
    program.reset_state()
    worst, elements, count = 0.0, 0, 0
    with program.trace() as counts, torch.no_grad():
        for number, example in enumerate(inputs):
            args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
            with torch.random.fork_rng(devices=[]):  # both draw the same numbers
                expected = reference(*copy.deepcopy(args), **copy.deepcopy(kwargs))
            found = program(*args, **kwargs)
            error, size = difference(expected, found, f"input {number}, output", rtol, atol)
            worst, elements, count = max(worst, error), elements + size, count + 1
            if progress is not None:
                progress(count)
    if not elements:
        raise MismatchError("nothing was compared", hint="Give at least one input.")
    return Comparison(count, elements, worst, counts)


def difference(
    expected: Any, found: Any, where: str, rtol: float, atol: float
) -> tuple[float, int]:
    """Compare two structures of tensors and Python values.

    Returns
    -------
    The largest absolute difference, and the number of elements.

    Raises
    ------
    MismatchError
        At the first difference; `where` is what to call the whole.
    """
    if isinstance(expected, tuple | list):
        names = getattr(expected, "_fields", None)
        if names is not None and names != getattr(found, "_fields", None):
            raise MismatchError(f"expected fields {names}, got {_kind(found)}", where=where)
        if not isinstance(found, tuple | list) or len(found) != len(expected):
            raise MismatchError(f"expected {len(expected)} items, got {_kind(found)}", where=where)
        parts = [
            difference(a, b, f"{where}[{i}]", rtol, atol)
            for i, (a, b) in enumerate(zip(expected, found, strict=True))
        ]
    elif isinstance(expected, dict):
        if not isinstance(found, dict) or list(found) != list(expected):
            raise MismatchError(f"expected keys {list(expected)}, got {_kind(found)}", where=where)
        parts = [
            difference(part, found[key], f"{where}[{key!r}]", rtol, atol)
            for key, part in expected.items()
        ]
    elif dataclasses.is_dataclass(expected):
        left, right = vars(expected), vars(found) if dataclasses.is_dataclass(found) else {}
        return difference(left, right, where, rtol, atol)
    elif isinstance(expected, torch.Generator) and isinstance(found, torch.Generator):
        return _numbers(expected.get_state(), found.get_state(), where, rtol, atol)
    elif isinstance(expected, torch.Tensor | float):
        return _numbers(expected, found, where, rtol, atol)
    else:
        if type(expected) is not type(found) or expected != found:
            raise MismatchError(f"expected {expected!r}, got {found!r}", where=where)
        return 0.0, 1
    return max((error for error, _ in parts), default=0.0), sum(size for _, size in parts)


def _kind(value: Any) -> str:
    size = f" of {len(value)}" if hasattr(value, "__len__") else ""
    return f"a {type(value).__name__}{size}"


def _numbers(expected: Any, found: Any, where: str, rtol: float, atol: float) -> tuple[float, int]:
    if isinstance(expected, float) != isinstance(found, float):
        raise MismatchError(f"expected {_kind(expected)}, got {_kind(found)}", where=where)
    left = numpy.asarray(torch.as_tensor(expected).detach())
    right = numpy.asarray(torch.as_tensor(found).detach())
    if left.shape != right.shape or left.dtype != right.dtype:
        raise MismatchError(
            f"expected {left.dtype}{list(left.shape)}, got {right.dtype}{list(right.shape)}",
            where=where,
        )
    if numpy.array_equal(left, right):
        return 0.0, int(left.size)
    if left.dtype.kind not in "fc":
        good = left == right
    else:
        sizes = numpy.abs(left)
        scale = float(sizes.max(initial=0.0, where=sizes <= HUGE))
        good = numpy.isclose(right, left, rtol=rtol, atol=atol, equal_nan=True)
        good |= numpy.isclose(right, left, rtol=0, atol=atol + rtol * scale)
    finite = numpy.isfinite(left) & numpy.isfinite(right) if left.dtype.kind in "fc" else good
    gap = numpy.abs(
        numpy.where(finite, right, 0).astype("complex128" if left.dtype.kind == "c" else "float64")
        - numpy.where(finite, left, 0)
    )
    worst = float(gap.max(initial=0.0))
    if not good.all():
        index = tuple(int(i) for i in numpy.argwhere(~good)[0])
        raise MismatchError(
            f"first difference at {list(index)}: expected {left[index]}, got {right[index]}; "
            f"{int((~good).sum())} of {good.size} elements differ, max abs error {worst:.3g}",
            where=where,
            hint=f"The bound is {rtol:g} of the tensor's greatest value plus {atol:g}.",
        )
    return worst, int(good.size)


def describe_edge(program: Hcfg, edge: tuple[str, int]) -> str:
    """An edge in words: where its branch stands and which way it goes."""
    block, way = edge
    terminator = program.blocks[block].terminator
    if isinstance(terminator, Branch):
        truth = "true" if way == 0 else "false"
        return f"{terminator.loc}: `{terminator.text}` {truth} (^{block})"
    return f"the jump out of ^{block} at {program.blocks[block].loc}"
