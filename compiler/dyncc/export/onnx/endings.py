"""Where the ways out of a part of a program lead, and with which values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dyncc.export.onnx.graphs import Graph, Kind, Val

#: The target of ways that leave the program.
RETURN = ""


@dataclass(frozen=True)
class Flag:
    """A bool: a value, or the opposite of it."""

    value: Val
    positive: bool = True

    def opposite(self) -> Flag:
        """True where this is false."""
        return Flag(self.value, not self.positive)

    def read(self, graph: Graph) -> Val:
        """The bool as a value of a graph."""
        return self.value if self.positive else graph.op("Not", self.value, dtype="bool")


@dataclass(frozen=True)
class Way:
    """What a target gets.

    Attributes
    ----------
    values
        Of its parameters. Where another target is meant they may be anything.
    idle
        Only where a loop goes on: whether a parameter stays as it is where another target is meant.
    """

    values: Sequence[Val]
    idle: Sequence[bool] = ()


@dataclass(frozen=True)
class Ending:
    """The targets of a part, in the order of the program.

    Attributes
    ----------
    ways
        By target.
    flags
        For all targets but the last, whether it is the one that is meant.
    trap
        Where the part has no target since it raises: a number that cannot be read.
    """

    ways: Mapping[str, Way] = field(default_factory=dict)
    flags: Mapping[str, Flag] = field(default_factory=dict)
    trap: Val | None = None

    def flag(self, target: str, graph: Graph) -> Flag | bool:
        """Whether a target is meant."""
        if target not in self.ways:
            return False
        if target in self.flags:
            return self.flags[target]
        others = list(self.flags.values())
        if not others:
            return True
        if len(others) == 1:
            return others[0].opposite()
        found = others[0].read(graph)
        for other in others[1:]:
            found = graph.op("Or", found, other.read(graph), dtype="bool")
        return Flag(found, positive=False)

    def without(self, target: str) -> Ending:
        """The other targets, where this one is not meant."""
        ways = {name: way for name, way in self.ways.items() if name != target}
        flags = {name: self.flags[name] for name in list(ways)[:-1]}
        return Ending(ways, flags)


class Choice:
    """An If under construction, of two parts and their endings.

    Parameters
    ----------
    graph
        The graph that gets the If.
    flag
        Whether the first part runs.
    graphs, endings
        Of both parts.
    """

    def __init__(
        self, graph: Graph, flag: Flag, graphs: tuple[Graph, Graph], endings: tuple[Ending, Ending]
    ) -> None:
        self._graph = graph
        self._flag = flag
        self._graphs = graphs
        self._endings = endings
        self._outputs: tuple[list[Val], list[Val]] = ([], [])
        self._results: list[Val] = []

    def join(self, targets: Sequence[str], kept: Mapping[str, Sequence[Val]]) -> Ending:
        """Add the If, if there is need for one, and return where both parts lead.

        Parameters
        ----------
        targets
            The targets of both, in order.
        kept
            The parameters of loops around, by target.
        """
        ways = {target: self._way(target, kept.get(target)) for target in targets}
        flags = {target: self._joined_flag(target) for target in targets[:-1]}
        trap = None
        if any(ending.trap for ending in self._endings) and not targets:
            trap = self._slot([ending.trap for ending in self._endings])
        checks = any(graph.checks for graph in self._graphs)
        if checks and not any(value.kind == Kind("bool", ()) for value in self._results):
            self._choose([self._graph.literal(False)] * 2)  # which rests on the checks
        if self._results:
            branches = [
                graph.build(name, [], outputs)
                for graph, name, outputs in zip(
                    self._graphs, ("then", "else"), self._outputs, strict=True
                )
            ]
            if not self._flag.positive:
                branches.reverse()
            self._graph.node(
                "If", [self._flag.value], self._results,
                then_branch=branches[0], else_branch=branches[1],
            )  # fmt: skip
            if checks:
                self._graph.check(*self._results)
        return Ending(ways, flags, trap)

    def _way(self, target: str, kept: Sequence[Val] | None) -> Way:
        sides = [ending.ways.get(target) for ending in self._endings]
        count = max(len(side.values) for side in sides if side is not None)
        values: list[Val] = []
        idle: list[bool] = []
        for index in range(count):
            pair = [None if side is None else side.values[index] for side in sides]
            known = [value for value in pair if value is not None]
            # Where the other target is meant, nobody reads the value.
            if len(known) == 1 and self._graph.sees(known[0]):
                values.append(known[0])
                idle.append(False)
                continue
            if kept is not None:
                pair = [kept[index] if value is None else value for value in pair]
            values.append(self._slot(pair))
            idle.append(
                kept is not None and all(side is None or side.idle[index] for side in sides)
            )
        return Way(values, idle)

    def _joined_flag(self, target: str) -> Flag:
        sides = [
            ending.flag(target, graph)
            for ending, graph in zip(self._endings, self._graphs, strict=True)
        ]
        if sides == [True, False]:
            return self._flag
        if sides == [False, True]:
            return self._flag.opposite()
        pair: list[Val | None] = [
            graph.literal(side) if isinstance(side, bool) else side.read(graph)
            for side, graph in zip(sides, self._graphs, strict=True)
        ]
        return Flag(self._slot(pair))

    def _slot(self, pair: Sequence[Val | None]) -> Val:
        """A value that is one of two; None stands for one that nobody reads."""
        first, second = pair
        return first if first is not None and first == second else self._choose(pair)

    def _choose(self, pair: Sequence[Val | None]) -> Val:
        known = [value for value in pair if value is not None]
        kind = known[0].kind.joined(known[-1].kind if len(known) == 2 else None)
        for outputs, value, graph, ending in zip(
            self._outputs, pair, self._graphs, self._endings, strict=True
        ):
            outputs.append(stand_in(graph, kind, ending.trap) if value is None else value)
        result = self._graph.value(kind)
        self._results.append(result)
        return result


def stand_in(graph: Graph, kind: Kind, trap: Val | None = None) -> Val:
    """A value that nobody reads; the smallest there is of its kind."""
    if kind.sequence:
        result = graph.value(kind)
        graph.node("SequenceEmpty", [], [result], dtype=kind.element)
        return result
    if trap is not None:
        return graph.op("Cast", trap, dtype=kind.dtype, to=kind.element)
    return graph.constant(0, kind.dtype)
