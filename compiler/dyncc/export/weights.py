"""The read-only data of a library: packed weights, and constants that the compiler made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy

from dyncc.runtime.alignment import ALIGNMENT
from dyncc.runtime.tvm_library import pack


class Data:
    """Arrays in one file, each once, at multiples of the alignment that kernels need.

    Parameters
    ----------
    weights
        Every weight of the program.
    """

    def __init__(self, weights: Mapping[str, numpy.ndarray]) -> None:
        self._weights = weights
        self._arrays: list[numpy.ndarray] = []
        self._offsets: dict[bytes, int] = {}
        self._packed: dict[tuple[tuple[str, ...], str], int] = {}
        self.bytes = 0

    def add(self, array: numpy.ndarray) -> int:
        """The offset of an array, which is added unless the same bytes are there."""
        array = numpy.asarray(array, order="C")
        key = hashlib.sha256(array.tobytes()).digest()
        if key not in self._offsets:
            self._offsets[key] = self.bytes
            self._arrays.append(array)
            self.bytes += -(-max(array.nbytes, 1) // ALIGNMENT) * ALIGNMENT
        return self._offsets[key]

    def weight(self, name: str) -> int:
        """The offset of a weight as it is."""
        return self.add(self._weights[name])

    def packed(self, recipe: Mapping[str, Any], names: Sequence[str]) -> int:
        """The offset of what a recipe makes of the weights of a call."""
        sources = tuple(names[index] for index in recipe["inputs"])
        key = (sources, json.dumps(recipe["steps"]))
        if key not in self._packed:
            self._packed[key] = self.add(pack(recipe, [self._weights[name] for name in sources]))
        return self._packed[key]

    def write(self, file: BinaryIO) -> None:
        """Write all arrays that were added."""
        for array in self._arrays:
            file.write(array.tobytes())
            file.write(bytes(-max(array.nbytes, 1) % ALIGNMENT + (array.nbytes == 0)))
