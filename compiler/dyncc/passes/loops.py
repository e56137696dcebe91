"""The loops of a program, and what does not change in them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from dyncc.ir.hcfg import Block, Jump, Value, jumps
from dyncc.ir.loops import Dominators, natural_loops
from dyncc.ir.order import reverse_postorder


@dataclass(frozen=True)
class Loop:
    """A natural loop: all ways into it lead to its head.

    Attributes
    ----------
    head
        Where each turn begins.
    blocks
        All of it, in the order of the program.
    always
        Those that every full turn runs through.
    """

    head: str
    blocks: tuple[str, ...]
    always: Set[str]


def loops_of(blocks: Mapping[str, Block]) -> list[Loop]:
    """The natural loops, inner ones first; those with one head are one."""
    order = reverse_postorder(blocks)
    rank = {name: place for place, name in enumerate(order)}
    edges = [(name, jump.target) for name in order for jump in jumps(blocks[name].terminator)]
    if all(rank[source] < rank[target] for source, target in edges):
        return []
    dominators = Dominators(order[0], edges)
    found = []
    for head, loop in natural_loops(edges, dominators).items():
        always = set.intersection(*(set(dominators.of(name)) for name in loop.latches))
        ordered = tuple(name for name in blocks if name in loop.blocks)
        found.append(Loop(head, ordered, always & loop.blocks))
    return sorted(found, key=lambda loop: (len(loop.blocks), rank[loop.head]))


def invariants(blocks: Mapping[str, Block], loop: Loop) -> dict[Value, Value]:
    """Block parameters that are the same in all turns of a loop, and which of its head each is."""
    edges = [
        (jump, blocks[jump.target])
        for name in loop.blocks
        for jump in jumps(blocks[name].terminator)
        if jump.target in loop.blocks
    ]
    # None is what changes. What is not in it has not been met yet, and is taken not to change.
    found: dict[Value, Value | None] = {param: param for param in blocks[loop.head].params}
    while _step(edges, found):
        pass
    return {value: origin for value, origin in found.items() if origin is not None}


def _step(edges: list[tuple[Jump, Block]], found: dict[Value, Value | None]) -> bool:
    """Follow all edges once; whether that was news."""
    before = dict(found)
    params = {param for _, target in edges for param in target.params}
    for jump, target in edges:
        for arg, param in zip(jump.args, target.params, strict=True):
            if arg in params and arg not in found:
                continue
            origin = found.get(arg)
            if found.setdefault(param, origin) != origin:
                found[param] = None
    return found != before
