"""Memory as compiled code takes it."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import numpy

#: Compiled code may assume that every argument begins at a multiple of so many bytes.
ALIGNMENT = 64


def aligned_empty(shape: Sequence[int], dtype: numpy.dtype) -> numpy.ndarray:
    """A contiguous array of no particular content that begins at a multiple of `ALIGNMENT`."""
    size = math.prod(shape) * dtype.itemsize
    memory = numpy.empty(size + ALIGNMENT, numpy.uint8)
    # The array's own `ctypes.data` takes three times as long.
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % ALIGNMENT  # type: ignore[arg-type]
    return numpy.ndarray(shape, dtype, memory, start)


def aligned(array: numpy.ndarray) -> numpy.ndarray:
    """A contiguous copy of an array that begins at a multiple of `ALIGNMENT`."""
    copy = aligned_empty(array.shape, array.dtype)
    numpy.copyto(copy, array)
    return copy
