"""Keeps the places of a program (`dyncc.ir.places`) true while passes change it.

A pass does not know of places: it is a function from program to program. What it did to a block is
seen by comparing the program before and after one pass, which does one of these: it joins blocks
that follow each other, bypasses empty ones, makes a branch a jump, lets one block
stand for others that are like it, or puts a new one before another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from dyncc.ir.hcfg import Block, Branch, Hcfg, Jump, Value, jumps
from dyncc.ir.places import (
    Decision,
    Either,
    Passed,
    Path,
    Places,
    Point,
    Stand,
    decision_of,
    decisions,
    idle,
)
from dyncc.ir.standing import standing

_Edge = tuple[str, int]


def settle(places: Places, before: Hcfg, after: Hcfg) -> Places:
    """The places of `after`, which one pass has made from `before` with `places`."""
    return _Step(places, before, after).settled()


class _Step:
    """What one pass did."""

    def __init__(self, places: Places, before: Hcfg, after: Hcfg) -> None:
        self._places, self._before, self._after = places, before, after
        #: For each block that stands for others: these, with itself as the first.
        self._twins: dict[str, list[str]] = {}
        #: For each edge that led to other blocks like the one it leads to: these.
        self._led: dict[_Edge, set[str]] = {}

    def settled(self) -> Places:
        """The places afterwards."""
        blocks: dict[str, Point] = {}
        edges: dict[_Edge, tuple[Passed, ...]] = {}
        values = dict(self._places.values)
        for name, block in self._after.blocks.items():
            if name not in self._before.blocks:
                blocks[name] = self._put_before(block, values)
                continue
            passed, last = self._along(name)
            blocks[name] = replace(self._point(name), passed=tuple(passed))
            if isinstance(block.terminator, Branch):
                for way, jump in enumerate(jumps(self._before.blocks[last].terminator)):
                    found = self._edge(last, way, jump, (name, way))
                    if found is not None:
                        edges[name, way] = tuple(found)
        for name, twins in self._twins.items():
            self._unite(name, twins, blocks, edges, values)
        kept = {value.name for block in self._after.blocks.values() for value in block.params}
        values = {name: path for name, path in values.items() if name in kept}
        stands = {name: held for name in blocks if (held := self._stands(name))}
        settled = Places(values, blocks, edges)
        wanted = decisions(self._after) | idle(settled)
        return Places(
            values,
            {name: replace(p, passed=_only(p.passed, wanted)) for name, p in blocks.items()},
            {edge: _only(passed, wanted) for edge, passed in edges.items()},
            stands,
        )

    def _point(self, name: str) -> Point:
        return self._places.blocks.get(name, Point())

    def _on(self, name: str, way: int) -> tuple[Passed, ...]:
        return self._places.edges.get((name, way), ())

    def _stands(self, name: str) -> tuple[Stand, ...]:
        """What stands in a block for variables of the source, if that is true of all its twins."""
        if name not in self._before.blocks:
            return ()
        kept = {value.name for value in self._after.blocks[name].params}
        instead = standing(self._before, self._after, name)
        found: dict[str, Stand] = {}

        def add(path: Path, parameter: str) -> None:
            for item in instead.get(parameter, ()):
                if isinstance(item, Value):
                    stand = Stand(path, param=item.name)
                else:
                    assert isinstance(item, bool | int | float | complex | str)
                    stand = Stand(path, item)
                found.setdefault(repr(stand), stand)

        for value in self._before.blocks[name].params:
            if value.name in self._places.values:
                add(self._places.values[value.name], value.name)
        for stand in self._places.stands.get(name, ()):
            if stand.param is None or stand.param in kept:
                found.setdefault(repr(stand), stand)
            else:
                add(stand.path, stand.param)
        twins = self._twins.get(name, [])
        if len({self._point(twin).functions for twin in twins}) > 1:
            return ()
        for twin in twins[1:]:
            theirs = {repr(stand) for stand in self._places.stands.get(twin, ())}
            found = {key: stand for key, stand in found.items() if key in theirs}
        return tuple(found.values())

    def _put_before(self, block: Block, values: dict[str, Path]) -> Point:
        """Where a new block begins: where the one does to which it hands on what it is given."""
        given = {param: param for param in block.params}
        while block.name not in self._before.blocks:
            assert isinstance(block.terminator, Jump)
            after = self._after.blocks[block.terminator.target]
            handed = zip(block.terminator.args, after.params, strict=True)
            given = {param: given[arg] for arg, param in handed if arg in given}
            block = after
        for param, first in given.items():
            if param.name in self._places.values:
                values[first.name] = self._places.values[param.name]
        return replace(self._point(block.name), passed=())

    # -- blocks that were joined or bypassed -----------------------------------------------------

    def _along(self, name: str) -> tuple[list[Passed], str]:
        """What a block and those joined to it pass, and the last of them."""
        passed, last = list(self._point(name).passed), name
        end = self._after.blocks[name].terminator
        # Joined blocks bring operations, or another end than a jump.
        joined = not isinstance(end, Jump) or len(self._after.blocks[name].ops) > len(
            self._before.blocks[name].ops
        )
        seen = {name}
        while True:
            onward = self._before.blocks[last].terminator
            if isinstance(onward, Branch):
                if isinstance(end, Jump):
                    passed += self._decided(last, onward, end)
                break
            if not isinstance(onward, Jump):
                break
            passed += self._on(last, 0)
            target = onward.target
            if target in self._after.blocks or target in seen:
                break
            if not joined and not self._is_empty(target):
                assert isinstance(end, Jump)
                self._twin(target, end.target, (name, 0))
                break
            passed += self._point(target).passed
            seen.add(target)
            last = target
        return passed, last

    def _decided(self, name: str, branch: Branch, jump: Jump) -> list[Passed]:
        """What is passed where a branch has become a jump."""
        decision = decision_of(branch)
        ways = self._on(name, 0), self._on(name, 1)
        if branch.then == branch.orelse:
            if decision is not None:
                return [Either(decision, ways)]
            return list(ways[0] if ways[0] == ways[1] else ())
        way = 0 if jump.target == branch.then.target else 1
        return [*([] if decision is None else [decision]), *ways[way]]

    def _is_empty(self, name: str) -> bool:
        block = self._before.blocks[name]
        return not block.ops and isinstance(block.terminator, Jump)

    def _edge(self, last: str, way: int, jump: Jump, edge: _Edge) -> list[Passed] | None:
        """What is passed on an edge from which blocks have been removed; None if none have."""
        found = self._places.edges.get((last, way))
        target = jump.target
        if target in self._after.blocks:
            return None if found is None else list(found)
        if not self._is_empty(target):
            self._twin(target, jumps(self._after.blocks[edge[0]].terminator)[way].target, edge)
            return None if found is None else list(found)
        passed = list(found or ())
        seen: set[str] = set()
        while target not in self._after.blocks and target not in seen:
            seen.add(target)
            passed += self._point(target).passed
            onward = self._before.blocks[target].terminator
            if not isinstance(onward, Jump):
                break
            passed += self._on(target, 0)
            target = onward.target
        return passed

    # -- blocks of which one is left ---------------------------------------------------------------

    def _twin(self, gone: str, left: str, edge: _Edge) -> None:
        """Note that `edge` leads to `left` where it, or one like it, led to `gone`."""
        pending = [(gone, left, edge)]
        while pending:
            gone, left, edge = pending.pop()
            self._led.setdefault(edge, set()).add(gone)
            twins = self._twins.setdefault(left, [left])
            if gone in twins:
                continue
            twins.append(gone)
            ours = jumps(self._after.blocks[left].terminator)
            for way, jump in enumerate(jumps(self._before.blocks[gone].terminator)):
                # Equal blocks lead to equal ones.
                if jump.target not in self._after.blocks:
                    pending.append((jump.target, ours[way].target, (left, way)))

    def _unite(
        self,
        name: str,
        twins: Sequence[str],
        blocks: dict[str, Point],
        edges: dict[_Edge, tuple[Passed, ...]],
        values: dict[str, Path],
    ) -> None:
        """Leave of a block's places what is true of all that it stands for."""
        points = [self._point(twin) for twin in twins]
        first = blocks[name]
        same = len({point.functions for point in points}) == 1
        where = {self._before.blocks[twin].loc for twin in twins}
        blocks[name] = replace(
            first,
            functions=first.functions if same else (),
            whole=all(point.whole for point in points) and len(where) == 1,
        )
        for at, value in enumerate(self._before.blocks[name].params):
            paths: set[Path | None] = set()
            for twin in twins:
                params = self._before.blocks[twin].params
                paths.add(self._places.values.get(params[at].name) if at < len(params) else None)
            if len(paths) != 1 or not same:
                values.pop(value.name, None)
        for way in range(len(jumps(self._after.blocks[name].terminator))):
            if len({self._on(twin, way) for twin in twins}) > 1 and (name, way) in edges:
                edges[name, way] = ()
        if len({point.passed for point in points}) > 1:
            # What they pass depends on the way in.
            own = len(self._point(name).passed)
            blocks[name] = replace(blocks[name], passed=first.passed[own:])
            self._pass_on_the_way(name, blocks, edges)

    def _pass_on_the_way(
        self, name: str, blocks: dict[str, Point], edges: dict[_Edge, tuple[Passed, ...]]
    ) -> None:
        for block, way, jump in self._after.edges():
            if jump.target != name:
                continue
            origins = set(self._led.get((block, way), ()))
            ways = jumps(self._before.blocks[block].terminator)
            if way < len(ways) and ways[way].target == name:
                origins.add(name)
            found = {self._point(origin).passed for origin in origins}
            passed = found.pop() if len(found) == 1 else ()
            if isinstance(self._after.blocks[block].terminator, Jump):
                point = blocks[block]
                blocks[block] = replace(point, passed=(*point.passed, *passed))
            elif passed or (block, way) in edges:
                edges[block, way] = (*edges.get((block, way), ()), *passed)


def _only(passed: Iterable[Passed], wanted: Collection[Decision]) -> tuple[Passed, ...]:
    """Those that are `Either`, and those at which the source asks."""
    found: list[Passed] = []
    for item in passed:
        if isinstance(item, Either):
            ways = _only(item.ways[0], wanted), _only(item.ways[1], wanted)
            found.append(Either(item.decision, ways))
        elif item in wanted:
            found.append(item)
    return tuple(found)
