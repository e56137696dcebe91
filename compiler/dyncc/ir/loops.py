"""Dominators and natural loops of a graph of blocks.

A block dominates another one if all ways from the entry to that run through it. An edge back to a
block that dominates where it comes from makes a natural loop, which is entered at its head alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import networkx

Edges = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class NaturalLoop:
    """A loop with one way in; those with the same head are one.

    Attributes
    ----------
    head
        Where each turn begins.
    latches
        The blocks from which edges lead back to the head.
    blocks
        All of it.
    """

    head: str
    latches: tuple[str, ...]
    blocks: frozenset[str]


class Dominators:
    """The dominators of blocks that can be reached.

    Parameters
    ----------
    entry
        The block that all ways begin with.
    edges
        From and to which block each leads.
    """

    def __init__(self, entry: str, edges: Edges) -> None:
        graph = networkx.DiGraph(edges)
        graph.add_node(entry)
        #: By block, the nearest of the others that dominate it; the entry's is itself.
        self.above: Mapping[str, str] = {
            **networkx.immediate_dominators(graph, entry),
            entry: entry,
        }

    def of(self, block: str) -> list[str]:
        """A block and all that dominate it, outwards."""
        found = [block]
        while self.above[found[-1]] != found[-1]:
            found.append(self.above[found[-1]])
        return found


def natural_loops(edges: Edges, dominators: Dominators) -> dict[str, NaturalLoop]:
    """The natural loops by head, in the order in which edges back to them come."""
    before: dict[str, list[str]] = {}
    latches: dict[str, list[str]] = {}
    for source, target in edges:
        before.setdefault(target, []).append(source)
        if target in dominators.of(source):
            latches.setdefault(target, []).append(source)
    found = {}
    for head, sources in latches.items():
        blocks, pending = {head}, list(sources)
        while pending:
            name = pending.pop()
            if name not in blocks:
                blocks.add(name)
                pending += before[name]
        found[head] = NaturalLoop(head, tuple(sources), frozenset(blocks))
    return found
