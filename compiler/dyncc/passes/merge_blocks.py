"""Joins a block with the one it jumps to, where nothing else goes there.

What entering a block costs, about a microsecond, is saved. A block calls at most one region, so two
that each call one stay apart: `dyncc verify` compares between them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from dyncc.ir.hcfg import Block, Hcfg, Jump, RegionCall, Value
from dyncc.passes.renaming import renamed_op, renamed_terminator


def merge_blocks(program: Hcfg) -> Hcfg:
    """`program` with chains of blocks joined, as long as one region call is in each."""
    blocks = dict(program.blocks)
    ways_in = Counter(jump.target for _, _, jump in program.edges())
    # In reverse post-order a chain grows from its head.
    for name in program.blocks:
        while name in blocks:
            block = blocks[name]
            onward = block.terminator
            if not isinstance(onward, Jump) or ways_in[onward.target] != 1:
                break
            after = blocks[onward.target]
            if after is program.entry or after is block or _calls(block) + _calls(after) > 1:
                break
            blocks[name] = _join(block, after, onward.args)
            del blocks[onward.target]
    return replace(program, blocks=blocks)


def _calls(block: Block) -> int:
    return sum(isinstance(op, RegionCall) for op in block.ops)


def _join(block: Block, after: Block, args: tuple[Value, ...]) -> Block:
    values = dict(zip(after.params, args, strict=True))
    ops = tuple(renamed_op(op, values) for op in after.ops)
    return replace(
        block,
        ops=(*block.ops, *ops),
        terminator=renamed_terminator(after.terminator, values),
        loc=block.loc if block.ops else after.loc,
    )
