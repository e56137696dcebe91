"""Makes one block of those that begin at the same place of the source and do the same.

The front end makes a block for each static state in which a place is reached. Where the states
differ in what the rest of the program does not look at, the blocks are equal.

It pays in what is stored, bound and proved, and costs nothing: every path runs what it ran. Blocks
that begin at different places stay apart, although they are equal: one block for two lines could be
compared with neither, and messages would name the wrong one. For the same reason their
predicates must be the same decisions of the source. Two sides of one branch that do the
same are joined by `hoist_common_code` wherever they are.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from dyncc.ir.hcfg import Block, Hcfg, Jump, Value, jumps, map_jumps
from dyncc.passes.renaming import op_identity, terminator_identity


def merge_equal_blocks(program: Hcfg) -> Hcfg:
    """`program` with one block for each class of equal ones, the first of it.

    Blocks are equal if they have equal operations and leave to equal blocks. Classes start with
    all that have equal operations and are split until that holds, as states of an automaton are
    (Moore, 1956), so that equal loops are found too.
    """
    bodies = {name: _body(block) for name, block in program.blocks.items()}
    # The entry's parameters are the program's.
    bodies[program.entry.name] = "entry"
    classes = _first_of_each(bodies)
    while True:
        split = _first_of_each(
            {
                name: (classes[name], *(classes[jump.target] for jump in jumps(block.terminator)))
                for name, block in program.blocks.items()
            }
        )
        if split == classes:
            break
        classes = split

    def lead(jump: Jump) -> Jump:
        return replace(jump, target=classes[jump.target])

    return replace(
        program,
        blocks={
            name: replace(block, terminator=map_jumps(block.terminator, lead))
            for name, block in program.blocks.items()
            if classes[name] == name
        },
    )


def _first_of_each(keys: dict[str, Hashable]) -> dict[str, str]:
    """For each name the first name with an equal key."""
    first: dict[Hashable, str] = {}
    return {name: first.setdefault(key, name) for name, key in keys.items()}


def _body(block: Block) -> Hashable:
    """What a block is but for the names of its values and of the blocks that follow."""
    values: dict[Value, Value] = {}

    def define(new: tuple[Value, ...]) -> None:
        for value in new:
            values[value] = Value(str(len(values)), value.type)

    define(block.params)
    parts: list[Hashable] = [block.loc, *values.values()]
    for op in block.ops:
        parts.append(op_identity(op, values))
        define(op.results)
    return *parts, terminator_identity(block.terminator, values)
