"""Plans decisions that take every edge of a program and turn every loop not, once and often."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from dyncc.ir.hcfg import Branch, Hcfg, Return, jumps

Edge = tuple[str, int]

#: Blocks that branch, in the order of a run, and whether to take the way of a true condition.
Script = list[tuple[str, bool]]

#: How often a loop is turned, for "several".
SEVERAL = 3


@dataclass(frozen=True)
class Loop:
    """A loop: its head and the edges that lead back to it."""

    head: str
    back: frozenset[Edge]


class Graph:
    """The blocks and edges of a program, with what planning needs to know of them."""

    def __init__(self, program: Hcfg) -> None:
        self.program = program
        self.entry = program.entry.name
        self.targets: dict[Edge, str] = {
            (block, way): jump.target for block, way, jump in program.edges()
        }
        self._into: dict[str, list[Edge]] = {}
        for edge, target in self.targets.items():
            self._into.setdefault(target, []).append(edge)
        self.ways: dict[str, int] = {
            name: len(jumps(block.terminator)) for name, block in program.blocks.items()
        }
        returns = [n for n, b in program.blocks.items() if isinstance(b.terminator, Return)]
        raises = [n for n in self.ways if not self.ways[n] and n not in returns]
        self._home = self._distances(returns)
        for name, far in self._distances(raises).items():
            self._home.setdefault(name, far + len(self.ways))
        self.loops = self._loops()

    def homeward(self) -> dict[str, bool]:
        """For each branch the way that leads out soonest; a return is preferred to a raise."""
        return {
            name: self._far(self._home, self.targets[name, 0])
            <= self._far(self._home, self.targets[name, 1])
            for name, ways in self.ways.items()
            if ways == 2
        }

    def _far(self, distances: Mapping[str, int], name: str) -> int:
        return distances.get(name, 1 << 30)

    def _distances(self, goals: Iterable[str], without: Collection[Edge] = ()) -> dict[str, int]:
        """Edges between each block and the nearest of `goals`."""
        found = dict.fromkeys(goals, 0)
        pending = deque(found)
        while pending:
            name = pending.popleft()
            for edge in self._into.get(name, ()):
                if edge[0] not in found and edge not in without:
                    found[edge[0]] = found[name] + 1
                    pending.append(edge[0])
        return found

    def _loops(self) -> list[Loop]:
        order: dict[str, int] = {}
        seen = {self.entry}
        stack = [(self.entry, 0)]
        finished: list[str] = []
        while stack:
            name, way = stack.pop()
            if way == self.ways[name]:
                finished.append(name)
                continue
            stack.append((name, way + 1))
            target = self.targets[name, way]
            if target not in seen:
                seen.add(target)
                stack.append((target, 0))
        order = {name: index for index, name in enumerate(reversed(finished))}
        back: dict[str, set[Edge]] = {}
        for edge, target in self.targets.items():
            if order[target] <= order[edge[0]]:
                back.setdefault(target, set()).add(edge)
        return [Loop(head, frozenset(edges)) for head, edges in back.items()]

    def wander(self, length: int, chance: random.Random) -> Script:
        """A walk with random decisions."""
        script: Script = []
        name = self.entry
        while self.ways[name] and len(script) < length:
            way = chance.randrange(self.ways[name])
            if self.ways[name] == 2:
                script.append((name, way == 0))
            name = self.targets[name, way]
        return script

    # -- plans -----------------------------------------------------------------------------------

    def cover(self, uncovered: Collection[Edge], chance: random.Random | None = None) -> Script:
        """Decisions that take as many of the given edges as one run easily can.

        With `chance`, every third decision is a random one.
        """
        rest = set(uncovered)
        near = self._distances({edge[0] for edge in rest})
        script: Script = []
        name = self.entry
        for _ in range(4 * len(self.targets) + 8):
            if name not in near or not self.ways[name]:
                break
            way = 0
            if self.ways[name] == 2:
                far = [
                    -1 if (name, w) in rest else self._far(near, self.targets[name, w])
                    for w in (0, 1)
                ]
                way = 0 if far[0] <= far[1] else 1
                if chance is not None and chance.random() < 1 / 3:
                    way = chance.randrange(2)
                script.append((name, way == 0))
            if (name, way) in rest:
                rest.remove((name, way))
                near = self._distances({edge[0] for edge in rest})
            name = self.targets[name, way]
        return script

    def turn(self, loop: Loop, count: int) -> Script | None:
        """Decisions that enter a loop, take an edge back `count` times, and leave the program.

        None if the loop's head cannot be reached.
        """
        path = self._route(self.entry, {loop.head})
        if path is None:
            return None
        sources = {edge[0] for edge in loop.back}
        for _ in range(count):
            part = self._route(loop.head, sources, without=loop.back)
            if part is None:
                return None
            last = self.targets[part[-1]] if part else loop.head
            part.append(next(edge for edge in sorted(loop.back) if edge[0] == last))
            path += part
        ends = [n for n, ways in self.ways.items() if not ways]
        returns = [n for n in ends if isinstance(self.program.blocks[n].terminator, Return)]
        out = self._route(loop.head, set(returns), loop.back)
        if out is None:
            out = self._route(loop.head, set(ends), loop.back)
        path += out or []
        return [(name, way == 0) for name, way in path if self.ways[name] == 2]

    def _route(
        self, start: str, goals: Collection[str], without: Collection[Edge] = ()
    ) -> list[Edge] | None:
        distances = self._distances(goals, without)
        if start not in distances:
            return None
        path: list[Edge] = []
        while distances[start]:
            edge = min(
                (
                    (start, way)
                    for way in range(self.ways[start])
                    if (start, way) not in without and self.targets[start, way] in distances
                ),
                key=lambda edge: distances[self.targets[edge]],
            )
            path.append(edge)
            start = self.targets[edge]
        return path

    def turns(self, loop: Loop, edges: Iterable[Edge]) -> set[int]:
        """How often a run, given by its edges, turned a loop each time it came to it.

        More than one counts as `SEVERAL`.
        """
        found: set[int] = set()
        count = 0 if loop.head == self.entry else None
        for edge in edges:
            if edge in loop.back:
                count = (count or 0) + 1
            elif self.targets[edge] == loop.head:
                if count is not None:
                    found.add(min(count, 2))
                count = 0
        if count is not None:
            found.add(min(count, 2))
        return {SEVERAL if turns == 2 else turns for turns in found}


def branches(program: Hcfg) -> int:
    """How many blocks end in a branch."""
    return sum(isinstance(block.terminator, Branch) for block in program.blocks.values())
