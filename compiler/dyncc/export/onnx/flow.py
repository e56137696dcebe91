"""From blocks to If and Loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from dyncc.core.errors import Diagnostic
from dyncc.export.literals import Unexportable
from dyncc.export.onnx.endings import RETURN, Choice, Ending, Flag, Way, stand_in
from dyncc.export.onnx.graphs import Graph, Kind, Val, kind_of
from dyncc.export.onnx.host import NO_EFFECTS, emit_host
from dyncc.export.onnx.structure import Structure
from dyncc.export.refusals import FLOW, HOST, diagnostic
from dyncc.ir.hcfg import (
    Block,
    Branch,
    Hcfg,
    HostOp,
    Jump,
    Operand,
    Raise,
    RegionCall,
    Return,
    Tree,
    Value,
    operand_values,
)
from dyncc.ir.hostops import EFFECTS

#: Adds a call of a region to a graph, with the values that it takes, and gives its results.
Caller: TypeAlias = Callable[[Graph, RegionCall, Sequence[Val]], list[Val]]


class Flow:
    """Writes the blocks of a program into a graph.

    Parameters
    ----------
    program, structure
        The program, and how its blocks nest.
    call
        Adds calls of regions.
    leaves
        The results of the program in order: for a result as a tree, values and constants.
    """

    def __init__(
        self,
        program: Hcfg,
        structure: Structure,
        call: Caller,
        leaves: Callable[[Tree], list[Operand]],
    ) -> None:
        self._blocks = program.blocks
        self._entry = program.entry
        self._structure = structure
        self._call = call
        self._leaves = leaves
        self._values: dict[Value, Val] = {}
        #: What loops begin with, and their parameters while they are written.
        self._initial: dict[str, Sequence[Val]] = {}
        self._open: dict[str, Sequence[Val]] = {}
        #: What there is no ONNX for. Values that rest on it are `_NOTHING`, and the graph is none.
        self.problems: list[Diagnostic] = []

    def write(self, graph: Graph, inputs: Sequence[Val]) -> list[Val]:
        """Write all blocks, and return the values of the program's results.

        Parameters
        ----------
        inputs
            A value for each parameter of the first block.
        """
        entry, problems = self._entry.name, self.problems
        for block in self._blocks.values():
            if block.name not in self._structure.order:
                problems += [
                    _problem(block, op) for op in block.ops
                    if isinstance(op, HostOp) and op.op in EFFECTS
                ]  # fmt: skip
        if entry in self._structure.order:
            self._enter(entry, inputs)
            ending = self._part(entry, graph, None)
            if RETURN in ending.ways:
                return list(ending.ways[RETURN].values)
        problems.append(
            diagnostic(
                self._entry, None, FLOW, "a program that does not return", "a model has outputs",
                "Return a result on some path.",
            )
        )  # fmt: skip
        return []

    def _read(self, operand: Operand, graph: Graph) -> Val:
        if isinstance(operand, Value):
            return self._values[self._structure.alias.get(operand, operand)]
        if not isinstance(operand, bool | int | float):
            raise Unexportable(f"nothing in ONNX is made of the constant {operand!r}")
        return graph.literal(operand)

    # -- where blocks stand --------------------------------------------------------------------

    def _enter(self, name: str, values: Sequence[Val]) -> None:
        """Give a block's parameters their values."""
        if name in self._structure.loops:
            self._initial[name] = values
            return
        block = self._blocks[name]
        for index, value in zip(self._structure.passed[name], values, strict=True):
            self._values[block.params[index]] = value

    def _part(self, name: str, graph: Graph, truth: Flag | None) -> Ending:
        """Write a block and all that stands in and behind it.

        Parameters
        ----------
        truth
            Something that is true whenever the graph runs; None: it always runs.
        """
        if name not in self._structure.loops:
            return self._block(name, graph, truth)
        ending = self._loop(name, graph, truth)
        return self._settle(ending, self._structure.behind.get(name, ()), graph, truth)

    def _block(self, name: str, graph: Graph, truth: Flag | None) -> Ending:
        block = self._blocks[name]
        for op in block.ops:
            if isinstance(op, RegionCall):
                found = self._call(graph, op, [self._read(arg, graph) for arg in op.args])
                self._values.update(zip(op.results, found, strict=True))
            else:
                self._host(block, op, graph)
        ending = self._leave(block, graph, truth)
        return self._settle(ending, self._structure.within.get(name, ()), graph, truth)

    def _host(self, block: Block, op: HostOp, graph: Graph) -> None:
        nothing = _nothing(graph)
        found = [nothing] * len(op.results)
        known = all(self._read(value, graph) != nothing for value in operand_values(op.args))
        if known or op.op in EFFECTS:
            try:
                found = emit_host(op, graph, lambda operand: self._read(operand, graph))
            except Unexportable as refusal:
                self.problems.append(_problem(block, op, refusal.why))
        self._values.update(zip(op.results, found, strict=True))

    def _settle(
        self, ending: Ending, blocks: Sequence[str], graph: Graph, truth: Flag | None
    ) -> Ending:
        """Write the blocks that stand behind a part."""
        for name in blocks:
            if name not in ending.ways:
                continue
            flag = ending.flag(name, graph)
            self._enter(name, ending.ways[name].values)
            if isinstance(flag, bool):
                ending = self._part(name, graph, truth)
                continue
            inner = graph.inner()
            there = self._part(name, inner, flag)
            rest = ending.without(name)
            ending = self._join(graph, flag, (inner, graph.inner()), (there, rest))
        return ending

    def _join(
        self, graph: Graph, flag: Flag, graphs: tuple[Graph, Graph], endings: tuple[Ending, Ending]
    ) -> Ending:
        order = self._structure.order
        targets = sorted(
            {target for ending in endings for target in ending.ways},
            key=lambda target: order.get(target, len(order)),
        )
        return Choice(graph, flag, graphs, endings).join(targets, self._open)

    # -- ways ----------------------------------------------------------------------------------

    def _leave(self, block: Block, graph: Graph, truth: Flag | None) -> Ending:
        terminator = block.terminator
        match terminator:
            case Jump():
                return self._go(block, terminator, graph, truth)
            case Branch(condition, then, orelse):
                flag = Flag(self._read(condition, graph))
                graphs = (graph.inner(), graph.inner())
                endings = (
                    self._go(block, then, graphs[0], flag),
                    self._go(block, orelse, graphs[1], flag.opposite()),
                )
                return self._join(graph, flag, graphs, endings)
            case Return(result):
                return Ending({RETURN: Way([self._read(x, graph) for x in self._leaves(result)])})
            case Raise():
                raise AssertionError("blocks that raise are no part of the structure")

    def _go(self, block: Block, jump: Jump, graph: Graph, truth: Flag | None) -> Ending:
        structure, target = self._structure, jump.target
        if target not in structure.order:
            return _raised(self._blocks[target], graph, truth)
        values = [self._read(jump.args[index], graph) for index in structure.passed[target]]
        if structure.order[target] <= structure.order[block.name] or target in structure.apart:
            return Ending({target: Way(values, [True] * len(values))})
        self._enter(target, values)
        return self._part(target, graph, truth)

    def _kind(self, block: Block, param: Value) -> Kind:
        try:
            return kind_of(param.type)
        except Unexportable as refusal:
            self.problems.append(diagnostic(block, None, HOST, "a value", refusal.why))
            return Kind("f32")

    def _loop(self, name: str, graph: Graph, truth: Flag | None) -> Ending:
        block = self._blocks[name]
        body = graph.inner()
        params = [block.params[index] for index in self._structure.passed[name]]
        carried = [body.value(self._kind(block, param)) for param in params]
        self._values.update(zip(params, carried, strict=True))
        self._open[name] = carried
        ending = self._block(name, body, truth)
        del self._open[name]
        flag = ending.flag(name, body)
        onward = body.literal(flag) if isinstance(flag, bool) else flag.read(body)
        if name in ending.ways:
            following = ending.ways[name]
        else:
            following = Way(carried, [True] * len(carried))
        turns = _Turns(graph, body, self._initial.pop(name), carried, following)
        rest = ending.without(name)
        ways = {
            target: Way([turns.last(value) for value in way.values], [False] * len(way.values))
            for target, way in rest.ways.items()
        }
        flags = {
            target: Flag(turns.last(flag.value), flag.positive)
            for target, flag in rest.flags.items()
        }
        turns.add(onward, endless=not ways)
        return Ending(ways, flags)


class _Turns:
    """A Loop under construction.

    Parameters
    ----------
    graph, body
        The graph that gets the Loop, and that of a turn.
    initial, carried, following
        Its parameters: before the first turn, in a turn, and after it.
    """

    def __init__(
        self, graph: Graph, body: Graph, initial: Sequence[Val], carried: Sequence[Val],
        following: Way,
    ) -> None:  # fmt: skip
        self._graph = graph
        self._body = body
        self._initial = list(initial)
        self._carried = list(carried)
        self._following = list(following.values)
        self._results = [graph.value(value.kind) for value in self._following]
        self._last: dict[Val, Val] = {}
        for value, result in zip(self._following, self._results, strict=True):
            self._last.setdefault(value, result)
        for value, result, idle in zip(carried, self._results, following.idle, strict=True):
            if idle:
                self._last[value] = result

    def last(self, value: Val) -> Val:
        """What a value was in the last turn."""
        if self._graph.sees(value):
            return value
        if value not in self._last:
            self._initial.append(stand_in(self._graph, value.kind))
            self._carried.append(
                self._body.value(Kind(value.kind.dtype, None, value.kind.sequence))
            )
            self._following.append(value)
            self._last[value] = self._graph.value(value.kind)
            self._results.append(self._last[value])
        return self._last[value]

    def add(self, onward: Val, *, endless: bool) -> None:
        """Add the Loop, which has another turn if `onward` is true."""
        if not self._results:
            # Nothing but what may fail in it.
            self._initial.append(self._graph.literal(False))
            self._carried.append(self._body.value(Kind("bool", ())))
            self._following.append(self._carried[0])
            self._results.append(self._graph.value(Kind("bool", ())))
        turn = self._body.value(Kind("i64", ()))
        condition = self._body.value(Kind("bool", ()))
        body = self._body.build(
            "turn", [turn, condition, *self._carried], [onward, *self._following]
        )
        self._graph.node("Loop", ["", "", *self._initial], self._results, body=body)
        if self._body.checks or endless:
            self._graph.check(*self._results)


def _nothing(graph: Graph) -> Val:
    return Val("", Kind("f32"), graph.root)


def _problem(block: Block, op: HostOp, why: str = NO_EFFECTS) -> Diagnostic:
    return diagnostic(block, op.loc, HOST, f"the operation {op.op}", why)


def _raised(block: Block, graph: Graph, truth: Flag | None) -> Ending:
    """The ending of a way to a block that raises: a number that cannot be read."""
    end = block.terminator
    assert isinstance(end, Raise)
    if truth is None:
        return Ending()  # whatever the inputs are
    shown = ", ".join(arg if isinstance(arg, str) else "..." for arg in end.args)
    text = f"{end.exception}: {shown}" if shown else end.exception
    index = graph.op("Cast", truth.read(graph), dtype="i64", to=Kind("i64").element)
    trap = graph.op("Gather", graph.constant([0], "i64"), index, dtype="i64", label=text)
    graph.check(trap)
    return Ending(trap=trap)
