"""How blocks become structured Python: what stands where, and how long values live.

A block with one way in can stand where that way leads. The others are *heads*: the entry, where
ways meet, and where loops begin. A head and the blocks within it are a tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dyncc.ir.hcfg import (
    Hcfg,
    Value,
    jumps,
    operand_values,
    terminator_values,
)
from dyncc.ir.order import reverse_postorder

#: A deeper block becomes a head: Python takes no more than 100 levels of indentation.
MAX_DEPTH = 40

#: Loops further within each other share one: Python takes no more than 20.
MAX_LOOPS = 16


@dataclass(frozen=True)
class Flow:
    """The shape of a host program.

    Attributes
    ----------
    heads
        Names of the heads in reverse postorder of the blocks, the entry first: a way forwards goes
        to a later one.
    index
        Position of each head in `heads`.
    exits
        For each head, where the ways out of its tree lead.
    loops
        For the first head of a loop, its last one. Loops are intervals that do not cross, and every
        way backwards stays in one.
    alias
        For each parameter of a block that is no head, the value that it is.
    needed
        For each block, the values that it and the blocks of the tree after it use.
    """

    heads: tuple[str, ...]
    index: Mapping[str, int]
    exits: tuple[frozenset[int], ...]
    loops: Mapping[int, int]
    alias: Mapping[Value, Value]
    needed: Mapping[str, frozenset[Value]]


def flow_of(program: Hcfg, *, parameters: bool = False) -> Flow:
    """The shape of a program's host program.

    Parameters
    ----------
    program
        The program.
    parameters
        A block needs its parameters, whether it uses them or not.
    """
    order = reverse_postorder(program.blocks)
    root = _roots(program, order)
    heads = tuple(name for name in order if root[name] == name)
    index = {name: number for number, name in enumerate(heads)}
    exits: list[set[int]] = [set() for _ in heads]
    alias: dict[Value, Value] = {}
    for name in order:
        for jump in jumps(program.blocks[name].terminator):
            if jump.target in index:
                exits[index[root[name]]].add(index[jump.target])
            else:
                for param, value in zip(program.blocks[jump.target].params, jump.args, strict=True):
                    alias[param] = alias.get(value, value)
    needed: dict[str, frozenset[Value]] = {}
    for name in reversed(order):
        block = program.blocks[name]
        uses = {value for op in block.ops for value in operand_values(op.args)}
        uses |= set(terminator_values(block.terminator))
        if parameters:
            uses |= set(block.params)
        found = {alias.get(value, value) for value in uses}
        for jump in jumps(block.terminator):
            if jump.target not in index:
                found |= needed[jump.target]
        needed[name] = frozenset(found)
    return Flow(heads, index, tuple(map(frozenset, exits)), _loops(exits), alias, needed)


def _roots(program: Hcfg, order: list[str]) -> dict[str, str]:
    """For each block the head in whose tree it is."""
    before: dict[str, list[str]] = {name: [] for name in order}
    for name in order:
        for jump in jumps(program.blocks[name].terminator):
            before[jump.target].append(name)
    root = {order[0]: order[0]}
    depth = {order[0]: 0}
    for name in order[1:]:
        sources = before[name]
        # The one way in of a block comes from an earlier one.
        if len(sources) == 1 and depth[sources[0]] < MAX_DEPTH:
            root[name], depth[name] = root[sources[0]], depth[sources[0]] + 1
        else:
            root[name], depth[name] = name, 0
    return root


def _loops(exits: list[set[int]]) -> dict[int, int]:
    loops: dict[int, int] = {}
    for source, targets in enumerate(exits):
        for target in targets:
            if target <= source:
                loops[target] = source  # sources ascend
    for first in sorted(loops, reverse=True):
        place = first
        while place < loops[first]:
            place += 1
            loops[first] = max(loops[first], loops.get(place, place))
    around: list[int] = []
    for first in sorted(loops):
        while around and loops[around[-1]] < first:
            around.pop()
        if len(around) >= MAX_LOOPS:
            del loops[first]
        else:
            around.append(first)
    return loops
