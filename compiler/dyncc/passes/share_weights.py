"""Gives weights that are one array one name, so that it is stored once.

A parameter that two modules hold has one name already. Here are those that are tied by their
storage, as by ``b.weight.data = a.weight.data``. Weights that are merely equal stay apart: they are
different weights, one of which somebody may exchange, and in practice the equal ones are counters
of a few bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy

from dyncc.ir.hcfg import BlockOp, Hcfg, RegionCall
from dyncc.passes.drop_unused import drop_unused


def share_weights(program: Hcfg, weights: Mapping[str, numpy.ndarray]) -> Hcfg:
    """`program` with the first name of each array wherever regions are called with it.

    Parameters
    ----------
    program
        A program.
    weights
        Every weight, contiguous. Those of module state keep their names.
    """
    first: dict[object, str] = {}
    names = {
        name: first.setdefault(
            (array.__array_interface__["data"][0], array.dtype.str, array.shape), name
        )
        for name, array in weights.items()
        if array.size and name not in {slot.name for slot in program.state}
    }

    def bound(op: BlockOp) -> BlockOp:
        if not isinstance(op, RegionCall):
            return op
        return replace(op, weights=tuple(names.get(name, name) for name in op.weights))

    blocks = {
        name: replace(block, ops=tuple(map(bound, block.ops)))
        for name, block in program.blocks.items()
    }
    return drop_unused(replace(program, blocks=blocks))
