"""What a proof finds."""

from __future__ import annotations

from dataclasses import dataclass, field

from dyncc.proof.paths import SEVERAL, Edge
from dyncc.proof.replay import Tally


@dataclass
class Runs:
    """Runs of one kind, natural or forced.

    Attributes
    ----------
    count
        Runs compared to their end.
    infeasible
        Runs that raised in both, in the middle of a block.
    given_up
        Runs that did not come to an end.
    edges
        How often each edge was taken by the runs that were compared.
    turns
        For the head of each loop, how often it was turned: 0, 1, or 3 for several.
    tally
        What was compared.
    """

    count: int = 0
    infeasible: int = 0
    given_up: int = 0
    edges: dict[Edge, int] = field(default_factory=dict)
    turns: dict[str, set[int]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)


@dataclass
class Proof:
    """What a proof found.

    Attributes
    ----------
    edges
        Edges of the program.
    heads
        Heads of its loops.
    natural, forced
        The runs.
    unreached
        Edges that no run took, with the reason.
    """

    edges: list[Edge]
    heads: list[str]
    natural: Runs
    forced: Runs
    unreached: dict[Edge, str]

    def taken(self) -> int:
        """How many edges were taken, by runs of any kind."""
        return sum(
            bool(self.natural.edges.get(edge) or self.forced.edges.get(edge)) for edge in self.edges
        )

    def turned(self) -> int:
        """How many loops were turned not at all, once and several times."""
        return sum(not self.missing(head) for head in self.heads)

    def missing(self, head: str) -> set[int]:
        """Numbers of turns that no run took a loop through."""
        seen = self.natural.turns.get(head, set()) | self.forced.turns.get(head, set())
        return {0, 1, SEVERAL} - seen

    @property
    def complete(self) -> bool:
        """Whether every edge was taken and every loop turned 0, 1 and several times."""
        return self.taken() == len(self.edges) and self.turned() == len(self.heads)
