"""Where in the source a program's values and blocks come from: what a debugger has symbols for.

An artifact keeps this beside the program, and nothing needs it to run. ``dyncc verify`` uses it to
compare a block's parameters with the variables of the original source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dyncc.ir.hcfg import Branch, Hcfg

#: How to get at a value: the depth of a function activation and the name of a variable there, or
#: ``attribute`` or ``external`` and the dotted name of module state; then item by item.
Path = tuple[Any, ...]

#: A decision: file, line, 0-based column and source of the predicate.
Decision = tuple[str, int, int, str]


@dataclass(frozen=True)
class Either:
    """A decision that makes no difference, since both its ways lead to one place.

    The artifact does not decide it. The source is led both ways all the same, to see whether that
    is so.

    Attributes
    ----------
    decision
        Where the source decides.
    ways
        What is passed after it where it is true, and where it is false.
    """

    decision: Decision
    ways: tuple[tuple[Passed, ...], tuple[Passed, ...]]


#: What the source decides and the artifact does not.
Passed: TypeAlias = "Decision | Either"


def asked(passed: Passed) -> Decision:
    """The decision at which the source asks."""
    return passed.decision if isinstance(passed, Either) else passed


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
        when it was compiled, or makes no difference; of the former only those at which the
        source asks, since they are a branch elsewhere.
    recursive
        Whether at run time there are more activations, on a stack; `functions` are the innermost.
    """

    functions: tuple[tuple[str, str], ...] = ()
    whole: bool = False
    passed: tuple[Passed, ...] = ()
    recursive: bool = False


@dataclass(frozen=True)
class Stand:
    """What stands in a block for a variable of the source that it has no parameter for any more.

    Attributes
    ----------
    path
        The variable.
    literal
        The constant that passes found it to be; None if it is another value.
    param
        The name of the block's parameter that it is the same as.
    """

    path: Path
    literal: bool | int | float | complex | str | None = None
    param: str | None = None

    def to_json(self) -> list[Any]:
        """As a list."""
        if self.param is not None:
            return [list(self.path), "value", self.param]
        # JSON has no infinities and complex numbers, and not every reader keeps 1 and 1.0 apart.
        return [list(self.path), type(self.literal).__name__, str(self.literal)]

    @staticmethod
    def from_json(found: Any) -> Stand:
        """Back from `to_json`."""
        path, kind, text = found
        if kind == "value":
            return Stand(tuple(path), param=str(text))
        return Stand(tuple(path), _LITERALS[kind](text))


_LITERALS: dict[str, Callable[[str], Any]] = {
    "bool": lambda text: {"True": True, "False": False}[text],
    "int": int,
    "float": float,
    "complex": complex,
    "str": str,
}


@dataclass(frozen=True)
class Places:
    """Places of block parameters, by name of the value, and of blocks, by name.

    ``stands`` has for blocks what stands for variables whose parameters passes removed. ``edges``
    lists the edges (block, index in its terminator) from which passes removed blocks,
    with the decisions that those passed.
    """

    values: Mapping[str, Path] = field(default_factory=dict)
    blocks: Mapping[str, Point] = field(default_factory=dict)
    edges: Mapping[tuple[str, int], tuple[Passed, ...]] = field(default_factory=dict)
    stands: Mapping[str, tuple[Stand, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As lists and dicts."""
        return {
            "values": {name: list(path) for name, path in self.values.items()},
            "blocks": {
                name: {
                    "functions": [list(item) for item in point.functions],
                    "whole": point.whole,
                    "passed": [_passed_to_json(item) for item in point.passed],
                    "recursive": point.recursive,
                }
                for name, point in self.blocks.items()
            },
            "edges": [
                [block, way, [_passed_to_json(item) for item in passed]]
                for (block, way), passed in self.edges.items()
            ],
            "stands": {
                name: [stand.to_json() for stand in stands] for name, stands in self.stands.items()
            },
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
                    tuple(_passed(item) for item in point["passed"]),
                    bool(point.get("recursive", False)),
                )
                for name, point in found["blocks"].items()
            },
            {
                (str(block), int(way)): tuple(_passed(item) for item in passed)
                for block, way, passed in found["edges"]
            },
            {
                str(name): tuple(map(Stand.from_json, stands))
                for name, stands in found.get("stands", {}).items()
            },
        )


def _decision(found: Any) -> Decision:
    file, line, column, text = found
    return str(file), int(line), int(column), str(text)


def _passed(found: Any) -> Passed:
    if isinstance(found, dict):
        then, orelse = found["ways"]
        ways = tuple(map(_passed, then)), tuple(map(_passed, orelse))
        return Either(_decision(found["decision"]), ways)
    return _decision(found)


def _passed_to_json(passed: Passed) -> Any:
    if isinstance(passed, Either):
        ways = [[_passed_to_json(item) for item in way] for way in passed.ways]
        return {"decision": list(passed.decision), "ways": ways}
    return list(passed)


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


def idle(places: Places) -> set[Decision]:
    """Where the source decides what makes no difference."""
    pending = [item for point in places.blocks.values() for item in point.passed]
    pending += [item for passed in places.edges.values() for item in passed]
    found: set[Decision] = set()
    while pending:
        item = pending.pop()
        if isinstance(item, Either):
            found.add(item.decision)
            pending += [*item.ways[0], *item.ways[1]]
    return found
