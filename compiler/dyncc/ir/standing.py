"""What stands in a block for a parameter that a pass took from it.

A pass that finds a parameter to be a constant, or the same as another one, writes that in its
place. The variable of the source that the parameter was is still there, and has to have the value
that is written now. So what a block does before and after the pass is laid side by side.
"""

from __future__ import annotations

from collections.abc import Iterator

from dyncc.ir.hcfg import (
    Block,
    BlockOp,
    Branch,
    Hcfg,
    HostOp,
    Operand,
    Raise,
    RegionCall,
    Return,
    Terminator,
    Value,
    jumps,
    tree_leaves,
)


def standing(before: Hcfg, after: Hcfg, name: str) -> dict[str, list[Operand]]:
    """For parameters that a block had before a pass and has no more: what it uses instead.

    Parameters
    ----------
    before, after
        Programs that both have the block.
    name
        Its name.

    Returns
    -------
    dict
        By name of the parameter: scalar literals, and values that are parameters of the block.
        Without those that the block did not use, or whose uses are gone too.
    """
    old, new = before.blocks[name], after.blocks[name]
    gone = set(old.params) - set(new.params)
    found: dict[str, list[Operand]] = {}
    if not gone:
        return found
    here = set(new.params)
    for was, now in _side_by_side(before, after, old, new):
        # It may still be a value of the block, made of a constant.
        literal = _literal_of(new, now) if isinstance(now, Value) else now
        if not isinstance(was, Value) or was not in gone:
            continue
        known = isinstance(literal, bool | int | float | complex | str)
        if not known and now not in here:
            continue
        stands: Operand = literal if known else now
        others = found.setdefault(was.name, [])
        if all(repr(stands) != repr(other) for other in others):
            others.append(stands)
    return found


def _literal_of(block: Block, value: Value) -> Operand:
    for op in block.ops:
        if value in op.results:
            return op.args[0] if isinstance(op, HostOp) and op.op == "const" else None
    return None


def _side_by_side(
    before: Hcfg, after: Hcfg, old: Block, new: Block
) -> Iterator[tuple[Operand, Operand]]:
    """Operands of what a block does in both programs."""
    made: dict[Value, BlockOp] = {op.results[0]: op for op in new.ops if op.results}
    for op in old.ops:
        same = made.get(op.results[0]) if op.results else None
        if same is not None and _kind(op) == _kind(same) and len(op.args) == len(same.args):
            yield from zip(op.args, same.args, strict=True)
    yield from _ends(old.terminator, new.terminator)
    for one, other in zip(jumps(old.terminator), jumps(new.terminator), strict=False):
        if one.target == other.target:
            given = dict(zip(before.blocks[one.target].params, one.args, strict=True))
            for param, arg in zip(after.blocks[other.target].params, other.args, strict=True):
                if param in given:
                    yield given[param], arg


def _kind(op: BlockOp) -> tuple[type, str]:
    return type(op), op.region if isinstance(op, RegionCall) else op.op


def _ends(old: Terminator, new: Terminator) -> Iterator[tuple[Operand, Operand]]:
    match old, new:
        case Branch(was), Branch(now) if (old.loc, old.text) == (new.loc, new.text):
            yield was, now
        case Raise(kind, was), Raise(other, now) if kind == other and len(was) == len(now):
            yield from zip(was, now, strict=True)
        case Return(), Return():
            was, now = _leaves(old), _leaves(new)
            if len(was) == len(now):
                yield from zip(was, now, strict=True)


def _leaves(end: Return) -> tuple[Value, ...]:
    found = [*tree_leaves(end.result)]
    for _, tree in end.state:
        found += tree_leaves(tree)
    return tuple(found)
