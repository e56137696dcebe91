"""The loops of a program, and what does not change in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dyncc.ir.hcfg import Block, Jump, Value, jumps
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
    always: frozenset[str]


def loops_of(blocks: Mapping[str, Block]) -> list[Loop]:
    """The natural loops, inner ones first; those with one head are one."""
    order = reverse_postorder(blocks)
    rank = {name: place for place, name in enumerate(order)}
    into: dict[str, list[str]] = {}
    for name in order:
        for jump in jumps(blocks[name].terminator):
            into.setdefault(jump.target, []).append(name)
    if all(rank[source] < rank[name] for name in into for source in into[name]):
        return []
    above = _dominators(order, rank, into)
    found = []
    for head in order:
        latches = [name for name in into.get(head, ()) if head in _chain(name, above)]
        if not latches:
            continue
        inside = {head}
        pending = list(latches)
        while pending:
            name = pending.pop()
            if name not in inside:
                inside.add(name)
                pending += into[name]
        always = set.intersection(*(set(_chain(name, above)) for name in latches)) & inside
        ordered = tuple(name for name in blocks if name in inside)
        found.append(Loop(head, ordered, frozenset(always)))
    return sorted(found, key=lambda loop: len(loop.blocks))


def _dominators(
    order: list[str], rank: Mapping[str, int], into: Mapping[str, list[str]]
) -> dict[str, str]:
    """The next block that all ways to a block run through, by block.

    The algorithm is that of Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm", 2001.
    """
    above = {order[0]: order[0]}
    changed = True
    while changed:
        changed = False
        for name in order[1:]:
            sources = [source for source in into[name] if source in above]
            common = sources[0]
            for source in sources[1:]:
                while common != source:
                    if rank[common] > rank[source]:
                        common = above[common]
                    else:
                        source = above[source]
            if above.get(name) != common:
                above[name] = common
                changed = True
    return above


def _chain(name: str, above: Mapping[str, str]) -> list[str]:
    """A block and all that every way to it runs through."""
    found = [name]
    while above[found[-1]] != found[-1]:
        found.append(above[found[-1]])
    return found


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
