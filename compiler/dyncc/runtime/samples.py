"""Batches as arrays: taken apart into samples, and put together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from dyncc.core.errors import InputError
from dyncc.ir.hcfg import Hcfg, Leaf
from dyncc.ir.types import TensorType
from dyncc.runtime.stacks import is_joined


def split(program: Hcfg, arrays: Mapping[str, numpy.ndarray]) -> list[dict[str, numpy.ndarray]]:
    """The samples of a batch.

    Parameters
    ----------
    program
        The program that they are arguments of.
    arrays
        By argument, its values for all samples: along a dimension in front of those that it has in
        one call, or along its first, if that is of size 1 in a call.

    Returns
    -------
    list
        Arguments of a call by name, for each sample.

    Raises
    ------
    InputError
        If arrays have no such dimension, or differ in the number of samples.
    """
    signature = dict(program.signature)
    columns: dict[str, list[numpy.ndarray]] = {}
    for name, array in arrays.items():
        tree = signature.get(name)
        kind = tree.value.type if isinstance(tree, Leaf) else None
        rank = len(kind.shape) if isinstance(kind, TensorType) else 0
        if isinstance(kind, TensorType) and is_joined(kind.shape) and array.ndim == rank:
            columns[name] = [array[i : i + 1] for i in range(len(array))]
        elif array.ndim:
            columns[name] = [array[i, ...] for i in range(len(array))]
        else:
            raise InputError("a single number has no samples", where=name)
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise InputError(f"all arguments need the same number of samples: {found}")
    if not columns:
        raise InputError("there are no arguments, so there is no number of samples")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def stacked(results: Sequence[Mapping[str, Any]]) -> dict[str, numpy.ndarray]:
    """The outputs of all samples by name, stacked where they are alike; see `split`.

    An output that samples lack, or of which they have other shapes or dtypes, is given for each
    sample by itself, as in ``out0.3``.
    """
    found: dict[str, numpy.ndarray] = {}
    for name in dict.fromkeys(name for result in results for name in result):
        column = {
            place: numpy.asarray(result[name])
            for place, result in enumerate(results)
            if name in result
        }
        parts = list(column.values())
        kinds = {(part.dtype, part.shape) for part in parts}
        if len(parts) == len(results) and len(kinds) == 1:
            join = numpy.concatenate if is_joined(parts[0].shape) else numpy.stack
            found[name] = join(parts)
        else:
            found |= {f"{name}.{place}": part for place, part in column.items()}
    return found
