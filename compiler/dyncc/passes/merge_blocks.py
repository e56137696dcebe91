"""Joins a block with the one it jumps to, where nothing else goes there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from dyncc.ir.hcfg import (
    Block,
    BlockOp,
    Branch,
    Hcfg,
    Jump,
    Operand,
    Raise,
    RegionCall,
    Return,
    Terminator,
    Value,
    map_jumps,
    map_leaves,
)


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
    ops = tuple(_rename_op(op, values) for op in after.ops)
    return replace(
        block,
        ops=(*block.ops, *ops),
        terminator=_rename(after.terminator, values),
        loc=block.loc if block.ops else after.loc,
    )


def _rename_op(op: BlockOp, values: Mapping[Value, Value]) -> BlockOp:
    if isinstance(op, RegionCall):
        return replace(op, args=tuple(values.get(arg, arg) for arg in op.args))
    return replace(op, args=tuple(_operand(arg, values) for arg in op.args))


def _operand(operand: Operand, values: Mapping[Value, Value]) -> Operand:
    if isinstance(operand, Value):
        return values.get(operand, operand)
    if isinstance(operand, tuple):
        return tuple(_operand(part, values) for part in operand)
    return operand


def _rename(terminator: Terminator, values: Mapping[Value, Value]) -> Terminator:
    def jump(edge: Jump) -> Jump:
        return Jump(edge.target, tuple(values.get(arg, arg) for arg in edge.args))

    terminator = map_jumps(terminator, jump)
    match terminator:
        case Branch(condition):
            return replace(terminator, condition=values.get(condition, condition))
        case Return(result, state):
            return replace(
                terminator,
                result=map_leaves(result, values),
                state=tuple((name, map_leaves(tree, values)) for name, tree in state),
            )
        case Raise(_, args):
            return replace(terminator, args=tuple(_operand(part, values) for part in args))
        case Jump():
            return terminator
