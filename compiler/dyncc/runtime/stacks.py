"""Values of several samples in one tensor each, and how groups of samples are put together.

Where the samples of a batch are at the same block, what a region makes for them is one tensor, a
*stack*, and each sample has a row of it. While the samples stay together, the next region takes the
stack as it is. When some of them go another way, rows of those that are left are copied into a new
stack, once: from then on they are rows of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy

from dyncc.ir.types import Dim, TensorType
from dyncc.runtime.alignment import aligned_empty


def is_joined(shape: Sequence[Dim]) -> bool:
    """Whether samples of this shape are stacked along their first dimension, which is of size 1."""
    return bool(shape) and shape[0] == 1


def stacked_extents(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """The shape of a stack of `size` samples of a shape."""
    return (size, *shape[1:]) if is_joined(shape) else (size, *shape)


def stacked_shape(kind: TensorType, size: int) -> tuple[int, ...]:
    """The shape of a stack of `size` samples of a type of known sizes."""
    return stacked_extents([int(extent) for extent in kind.shape], size)


class Memory(Protocol):
    """What is asked of a back end's tensors; see `dyncc.runtime.executor.Regions`."""

    def from_external(self, array: Any) -> Any:
        """A back-end tensor for an array, without a copy where possible."""
        ...

    def to_numpy(self, tensor: Any) -> numpy.ndarray:
        """A NumPy view of a back-end tensor."""
        ...


class Stack:
    """A tensor with a row for each of some samples.

    Parameters
    ----------
    tensor
        A back-end tensor.
    rows
        How many samples it has; 0 if it is a value of one sample, as the program has it.
    joined
        Whether the rows keep the dimension along which they are stacked.
    """

    __slots__ = ("_views", "joined", "rows", "tensor")

    def __init__(self, tensor: Any, rows: int, joined: bool) -> None:
        self.tensor = tensor
        self.rows = rows
        self.joined = joined
        self._views: list[tuple[Any, Any]] = []

    def seen(self, look: Callable[[Any], Any]) -> Any:
        """What `look` makes of the whole tensor, made once."""
        for known, view in self._views:
            if known == look:
                return view
        view = look(self.tensor)
        self._views.append((look, view))
        return view


class Row:
    """A tensor of one sample: a row of a stack."""

    __slots__ = ("index", "stack")

    def __init__(self, stack: Stack, index: int) -> None:
        self.stack = stack
        self.index = index

    def seen(self, look: Callable[[Any], Any]) -> Any:
        """What `look` makes of the tensor, as a view of what it makes of the stack."""
        stack, index = self.stack, self.index
        view = stack.seen(look)
        if not stack.rows:
            return view
        return view[index : index + 1] if stack.joined else view[index, ...]


def alone(tensor: Any) -> Row:
    """A tensor that one sample has for itself."""
    return Row(Stack(tensor, 0, False), 0)


def gather(rows: Sequence[Row], joined: bool, memory: Memory) -> Any:
    """A back-end tensor with the given rows, in their order.

    Rows that are a stack are not copied, nor those that lie one behind the other in one, if the
    back end takes memory that begins there. Others are copied, and are rows of the copy then.

    Parameters
    ----------
    rows
        At least two, of one shape and dtype.
    joined
        Whether their first dimension, of size 1, becomes that of the stack.
    memory
        The back end that the tensor is for.
    """
    count = len(rows)
    stack, first = rows[0].stack, rows[0].index
    if stack.rows and all(
        row.stack is stack and row.index == first + place for place, row in enumerate(rows)
    ):
        if stack.rows == count:
            return stack.tensor
        part = stack.seen(memory.to_numpy)[first : first + count]
        return memory.from_external(part)
    views = [row.seen(memory.to_numpy) for row in rows]
    shape = stacked_extents(views[0].shape, count) if joined else (count, *views[0].shape)
    array = aligned_empty(shape, views[0].dtype)
    for place, view in enumerate(views):
        array[place] = view[0] if joined else view
    tensor = memory.from_external(array)
    copied = Stack(tensor, count, joined)
    for place, row in enumerate(rows):
        row.stack, row.index = copied, place
    return tensor


def single(row: Row, memory: Memory) -> Any:
    """The back-end tensor of one row."""
    if not row.stack.rows or (row.stack.rows == 1 and row.stack.joined):
        return row.stack.tensor
    return memory.from_external(row.seen(memory.to_numpy))
