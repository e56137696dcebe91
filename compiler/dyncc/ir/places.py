"""Where in the source a program's values and blocks come from: what a debugger has symbols for.

An artifact keeps this beside the program, and nothing needs it to run. ``dyncc verify`` uses it to
compare a block's parameters with the variables of the original source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dyncc.ir.hcfg import Branch, Hcfg, Jump, jumps

#: How to get at a value: the depth of a function activation and the name of a variable there, or
#: ``attribute`` or ``external`` and the dotted name of module state; then item by item.
Path = tuple[Any, ...]

#: A decision: file, line, 0-based column and source of the predicate.
Decision = tuple[str, int, int, str]


@dataclass(frozen=True)
class Point:
    """Where a block begins.

    Attributes
    ----------
    functions
        File and qualified name of each active function, outermost first.
    whole
        Whether it begins where a statement does, or a turn of a loop.
    passed
        Decisions that the block passes without a branch of its own, since their outcome was known
        when it was compiled; only those that are a branch elsewhere.
    recursive
        Whether at run time there are more activations, on a stack; `functions` are the innermost.
    """

    functions: tuple[tuple[str, str], ...] = ()
    whole: bool = False
    passed: tuple[Decision, ...] = ()
    recursive: bool = False


@dataclass(frozen=True)
class Places:
    """Places of block parameters, by name of the value, and of blocks, by name.

    ``edges`` lists the edges (block, index in its terminator) from which passes removed blocks,
    with the decisions that those passed.
    """

    values: Mapping[str, Path] = field(default_factory=dict)
    blocks: Mapping[str, Point] = field(default_factory=dict)
    edges: Mapping[tuple[str, int], tuple[Decision, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As lists and dicts."""
        return {
            "values": {name: list(path) for name, path in self.values.items()},
            "blocks": {
                name: {
                    "functions": [list(item) for item in point.functions],
                    "whole": point.whole,
                    "passed": [list(item) for item in point.passed],
                    "recursive": point.recursive,
                }
                for name, point in self.blocks.items()
            },
            "edges": [
                [block, way, [list(item) for item in passed]]
                for (block, way), passed in self.edges.items()
            ],
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Places:
        """Back from `to_json`; raises LookupError, TypeError or ValueError on anything else."""
        return Places(
            {str(name): tuple(path) for name, path in found["values"].items()},
            {
                str(name): Point(
                    tuple((file, function) for file, function in point["functions"]),
                    bool(point["whole"]),
                    tuple(_decision(item) for item in point["passed"]),
                    bool(point.get("recursive", False)),
                )
                for name, point in found["blocks"].items()
            },
            {
                (str(block), int(way)): tuple(_decision(item) for item in passed)
                for block, way, passed in found["edges"]
            },
        )


def _decision(found: Any) -> Decision:
    file, line, column, text = found
    return str(file), int(line), int(column), str(text)


def decision_of(branch: Branch) -> Decision | None:
    """Where a branch decides, or None if that is not known."""
    if branch.loc is None:
        return None
    return branch.loc.file, branch.loc.line, branch.loc.column, branch.text


def decisions(program: Hcfg) -> set[Decision]:
    """Where the branches of a program decide."""
    found = {
        decision_of(block.terminator)
        for block in program.blocks.values()
        if isinstance(block.terminator, Branch)
    }
    return {decision for decision in found if decision is not None}


def settle(places: Places, captured: Hcfg, program: Hcfg) -> Places:
    """The places of `program`, which passes have made from `captured` with `places`.

    Blocks that passes have joined or bypassed are followed to find what is passed on the way.
    """
    wanted = decisions(captured)
    kept = {value.name for block in program.blocks.values() for value in block.params}
    blocks: dict[str, Point] = {}
    edges: dict[tuple[str, int], tuple[Decision, ...]] = {}
    for name, block in program.blocks.items():
        if name not in captured.blocks:
            continue
        passed, last = _follow(name, places, captured, program)
        point = places.blocks.get(name, Point())
        blocks[name] = replace(point, passed=_only(passed, wanted))
        ways = jumps(captured.blocks[last].terminator)
        if len(ways) != len(jumps(block.terminator)):
            continue
        for way, jump in enumerate(ways):
            if jump.target not in program.blocks:
                passed = _bypassed(jump, places, captured, program)
                edges[name, way] = _only(passed, wanted)
    values = {name: path for name, path in places.values.items() if name in kept}
    return Places(values, blocks, edges)


def _only(passed: list[Decision], wanted: set[Decision]) -> tuple[Decision, ...]:
    return tuple(decision for decision in passed if decision in wanted)


def _follow(name: str, places: Places, captured: Hcfg, program: Hcfg) -> tuple[list[Decision], str]:
    """What a block and those joined to it pass, and the last of them."""
    passed = list(places.blocks.get(name, Point()).passed)
    for target in _onward(name, captured):
        if target in program.blocks:
            break
        passed += places.blocks.get(target, Point()).passed
        name = target
    return passed, name


def _onward(name: str, program: Hcfg) -> Iterator[str]:
    """The blocks that follow by jumps alone."""
    seen = {name}
    while isinstance(onward := program.blocks[name].terminator, Jump) and onward.target not in seen:
        name = onward.target
        seen.add(name)
        yield name


def _bypassed(jump: Jump, places: Places, captured: Hcfg, program: Hcfg) -> list[Decision]:
    passed = list(places.blocks.get(jump.target, Point()).passed)
    for target in _onward(jump.target, captured):
        if target in program.blocks:
            break
        passed += places.blocks.get(target, Point()).passed
    return passed
