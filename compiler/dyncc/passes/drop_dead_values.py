"""Drops block parameters and host operations that nothing needs, also around loops."""

from __future__ import annotations

from dataclasses import replace

from dyncc.ir.hcfg import (
    Block,
    BlockOp,
    Branch,
    Hcfg,
    HostOp,
    Jump,
    Raise,
    Return,
    Value,
    jumps,
    map_jumps,
    operand_values,
    tree_leaves,
)
from dyncc.ir.hostops import EFFECTS, MATH_TO_FLOAT

#: Host operations that may raise; they stay, as they do in eager Python.
_MAY_RAISE = frozenset(
    {
        *(f"math.{name}" for name in (*MATH_TO_FLOAT, "floor", "ceil", "trunc")),
        "float", "round",
        "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "position", "range.len",
        "int", "list.push", "list.get", "list.set", "list.pop", "list.min", "list.max",
        "list.slice",
        "list.stack", "list.cat", "str.percent", "format",
    }
)  # fmt: skip


def drop_dead_values(program: Hcfg) -> Hcfg:
    """`program` without parameters and host operations whose values are never needed.

    A region's results are left as they are: a result that nothing needs was never made one by
    the front end, and dropping one later would make equal regions differ.
    """
    needed: set[Value] = set(program.entry.params)
    # An operation without results acts: it asserts something.
    acting = frozenset(
        name for name, region in program.regions.items() if any(not op.results for op in region.ops)
    )
    changed = True
    while changed:
        before = len(needed)
        # Against the direction of values, so that one turn does for all but loops.
        for block in reversed(list(program.blocks.values())):
            _mark(program, block, needed, acting)
        changed = len(needed) != before
    blocks = {
        name: _rewrite(program, block, needed, acting) for name, block in program.blocks.items()
    }
    return replace(program, blocks=blocks)


def _mark(program: Hcfg, block: Block, needed: set[Value], acting: frozenset[str]) -> None:
    terminator = block.terminator
    match terminator:
        case Branch(condition):
            needed.add(condition)
        case Return(result, state):
            needed.update(tree_leaves(result))
            for _, tree in state:
                needed.update(tree_leaves(tree))
        case Raise(_, args):
            needed.update(operand_values(args))
    for jump in jumps(terminator):
        target = program.blocks[jump.target]
        needed.update(
            arg for arg, param in zip(jump.args, target.params, strict=True) if param in needed
        )
    for op in reversed(block.ops):
        if _stays(op, needed, acting):
            needed.update(operand_values(op.args))


def _stays(op: BlockOp, needed: set[Value], acting: frozenset[str]) -> bool:
    if isinstance(op, HostOp):
        stays = op.op in _MAY_RAISE or op.op in EFFECTS
    else:
        stays = op.region in acting
    return stays or any(value in needed for value in op.results)


def _rewrite(program: Hcfg, block: Block, needed: set[Value], acting: frozenset[str]) -> Block:
    def shorten(jump: Jump) -> Jump:
        params = program.blocks[jump.target].params
        kept = tuple(arg for arg, param in zip(jump.args, params, strict=True) if param in needed)
        return Jump(jump.target, kept)

    return replace(
        block,
        params=tuple(value for value in block.params if value in needed),
        ops=tuple(op for op in block.ops if _stays(op, needed, acting)),
        terminator=map_jumps(block.terminator, shorten),
    )
