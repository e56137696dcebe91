"""Memory as compiled code takes it."""

from __future__ import annotations

import numpy

#: Compiled code may assume that every argument begins at a multiple of so many bytes.
ALIGNMENT = 64


def aligned(array: numpy.ndarray) -> numpy.ndarray:
    """A contiguous copy of an array that begins at a multiple of `ALIGNMENT`."""
    memory = numpy.empty(array.nbytes + ALIGNMENT, numpy.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    numpy.copyto(copy, array)
    return copy
