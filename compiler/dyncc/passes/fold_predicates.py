"""Computes what is known at compile time: predicates, numbers, parameters, and what they decide.

The front end knows much, but a value that it has widened, since it once differed between two paths
to a place, stays a value when the other path turns out not to exist. Here, over the whole program:

- a host operation on constants is carried out, by the function that would carry it out at run
  time; one that raises stays, and raises when it is run;
- a branch on a known condition is a jump, and blocks to which nothing else leads vanish;
- a block parameter that is one constant on every edge is that constant, and of parameters that
  are the same on every edge one is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dyncc.ir.hcfg import (
    Block,
    BlockOp,
    Branch,
    Hcfg,
    HostOp,
    Jump,
    Operand,
    Raise,
    Value,
    jumps,
    map_jumps,
    reachable,
    terminator_values,
)
from dyncc.passes.constants import Constant, Known, propagate, taken
from dyncc.passes.renaming import renamed_op, renamed_operand, renamed_terminator


def fold_predicates(program: Hcfg) -> Hcfg:
    """`program` with everything that is known computed, as often as that makes more known."""
    while (after := _fold(program)) != program:
        program = after
    return program


def _fold(program: Hcfg) -> Hcfg:
    known = propagate(program)
    blocks: dict[str, Block] = {}
    for name, facts in known.items():
        block = program.blocks[name]
        ways = taken(block, facts)
        decided = isinstance(block.terminator, Branch) and len(ways) == 1
        blocks[name] = replace(block, terminator=ways[0]) if decided else block
    reached = reachable(blocks)
    blocks = {name: blocks[name] for name in program.blocks if name in reached}
    leaders = _leaders(blocks, known)
    spare = {value for value, leader in leaders.items() if leader != value}
    entry = program.entry.name
    spare |= {
        value
        for name, block in blocks.items()
        if name != entry
        for value in block.params
        if value in known[name] and known[name][value].writable
    }
    return replace(
        program,
        blocks={
            name: _rewrite(block, blocks, known[name], leaders, spare)
            for name, block in blocks.items()
        },
    )


def _leaders(blocks: Mapping[str, Block], known: Mapping[str, Known]) -> dict[Value, Value]:
    """For each parameter the first of its block that is the same on every edge.

    All are taken to be the same until an edge tells them apart, so that two which only a loop
    passes on, each to itself, are found.
    """
    entry = next(iter(blocks))
    edges: dict[str, list[tuple[str, Jump]]] = {name: [] for name in blocks}
    for name, block in blocks.items():
        for jump in jumps(block.terminator):
            edges[jump.target].append((name, jump))
    leaders: dict[Value, Value] = {}
    for name, block in blocks.items():
        first: dict[object, Value] = {}
        for value in block.params:
            leaders[value] = value if name == entry else first.setdefault(value.type, value)

    def seen(name: str, value: Value) -> Value | Constant:
        return known[name].get(value) or leaders.get(value, value)

    changed = True
    while changed:
        changed = False
        for name, block in blocks.items():
            groups: dict[object, Value] = {}
            for position, value in enumerate(block.params):
                if name == entry:
                    continue
                arriving = tuple(seen(source, jump.args[position]) for source, jump in edges[name])
                leader = groups.setdefault((leaders[value], arriving), value)
                changed |= leader != leaders[value]
                leaders[value] = leader
    return leaders


def _rewrite(
    block: Block,
    blocks: Mapping[str, Block],
    known: Known,
    leaders: Mapping[Value, Value],
    spare: set[Value],
) -> Block:
    """A block with literals as operands, and without the parameters `spare`."""
    literals: dict[Value, Operand] = {
        value: found.literal for value, found in known.items() if found.writable
    }
    same = {value: leaders[value] for value in block.params}

    def shorten(jump: Jump) -> Jump:
        params = blocks[jump.target].params
        pairs = zip(jump.args, params, strict=True)
        return Jump(jump.target, tuple(arg for arg, param in pairs if param not in spare))

    terminator = renamed_terminator(map_jumps(block.terminator, shorten), same)
    if isinstance(terminator, Raise):
        args = tuple(renamed_operand(arg, literals) for arg in terminator.args)
        terminator = replace(terminator, args=args)
    # Edges and results take values only, and regions take no scalars.
    needed = set(terminator_values(terminator))
    ops: list[BlockOp] = [
        HostOp("const", (literals[value],), (value,))
        for value in block.params
        if value in spare and value in needed
    ]
    for op in block.ops:
        if not isinstance(op, HostOp):
            ops.append(renamed_op(op, same))
        elif len(op.results) == 1 and op.results[0] in literals:
            (value,) = op.results
            if value in needed:
                ops.append(HostOp("const", (literals[value],), (value,), op.loc))
        else:
            args = tuple(renamed_operand(arg, same | literals) for arg in op.args)
            ops.append(replace(op, args=args))
    params = tuple(value for value in block.params if value not in spare)
    return replace(block, params=params, ops=tuple(ops), terminator=terminator)
