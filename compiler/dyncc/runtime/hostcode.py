"""Writes the host program: one Python function that does what the blocks of a program do.

A block with one way in stands where that way leads, as in ``if gate: ... else: ...``. Heads (see
`dyncc.runtime.hostflow`) stand one after the other, so that a way forwards runs into the one it
leads to; where it could run into several, the local ``at`` says which is meant. A way backwards
closes a ``while`` around all that lies between.

Values are locals. A tensor or list is deleted after its last use, so that memory is held no longer
than needed. Data becomes text only as literals, and names only after all but letters, digits and
underscores are replaced; everything else is reached through the namespace of the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dyncc.ir.hcfg import (
    Block,
    Branch,
    Hcfg,
    HostOp,
    Jump,
    Loc,
    Operand,
    Raise,
    RegionCall,
    Return,
    Symbolic,
    Value,
    jumps,
    operand_values,
    terminator_values,
    tree_leaves,
)
from dyncc.ir.types import ListType, ScalarType, TensorType
from dyncc.runtime.hostflow import flow_of
from dyncc.runtime.hosttext import Names, tuple_of

_INDENT = "    "


@dataclass(frozen=True)
class Bindings:
    """What operations are at run time.

    Attributes
    ----------
    host
        Function of a host operation; it takes the operands that are not symbolic. None for one
        that gives its operand.
    region
        Function of a region call; it gives a sequence of results.
    shown
        What an exception shows of a tensor.
    raised
        Class of an exception, by name.
    """

    host: Callable[[HostOp], Callable[..., Any] | None]
    region: Callable[[RegionCall], Callable[..., Sequence[Any]]]
    shown: Callable[[Any], Any]
    raised: Callable[[str], type[BaseException]]


@dataclass(frozen=True)
class HostCode:
    """A host program as text.

    Attributes
    ----------
    name
        Of its function, which takes the parameters of the entry block and ``out``, a function that
        makes what the caller gets of a tensor. It returns the result, the new state by name as
        back-end values, and, if the program keeps state, all back-end tensors in the result.
        A watched one also takes ``watch``, which has the methods ``enter(block, arguments)``,
        ``decide(block, truth)`` and ``took(block, way)``. A stepped one is a generator: it gives
        each region call, as the function and a tuple of its arguments, and takes the results.
    text
        Its source.
    namespace
        What the text refers to.
    """

    name: str
    text: str
    namespace: dict[str, Any]


def write_host(
    program: Hcfg, bindings: Bindings, *, watched: bool = False, stepped: bool = False
) -> HostCode:
    """Write the host program.

    Parameters
    ----------
    program
        The program.
    bindings
        What its operations are.
    watched
        Tell ``watch`` of every block, branch and edge.
    stepped
        Leave region calls to whoever runs it.
    """
    return _Writer(program, bindings, watched, stepped).write()


class _Writer:
    def __init__(self, program: Hcfg, bindings: Bindings, watched: bool, stepped: bool) -> None:
        self._program = program
        self._bindings = bindings
        self._watched = watched
        self._stepped = stepped
        self._flow = flow_of(program, parameters=watched)
        self._names = Names(self._flow.alias)
        self._lines: list[str] = []
        self._name = self._names.new(program.name)

    def write(self) -> HostCode:
        entry = self._program.entry
        params = [self._names.value(param) for param in entry.params]
        params += ["out", "watch"] if self._watched else ["out"]
        self._line(0, f"def {self._name}({', '.join(params)}):")
        if 0 in self._flow.loops:
            self._line(1, "at = 0")
        self._heads(0, len(self._flow.heads) - 1, {0}, 1)
        return HostCode(self._name, "\n".join(self._lines) + "\n", self._names.namespace)

    def _line(self, depth: int, text: str, note: str = "") -> None:
        self._lines.append(_INDENT * depth + text + (f"  # {note}" if note else ""))

    # -- heads ---------------------------------------------------------------------------------

    def _heads(
        self, first: int, last: int, pending: set[int], depth: int, inside: bool = False
    ) -> set[int]:
        """Write the heads from `first` to `last`.

        Parameters
        ----------
        pending
            What ``at`` may be before them.
        inside
            Whether the loop that begins at `first` has been opened.

        Returns
        -------
        set of int
            What ``at`` may be after them.
        """
        place = first
        while place <= last:
            end = self._flow.loops.get(place)
            if end is not None and not (inside and place == first):
                pending = self._loop(place, end, pending, depth)
                place = end + 1
                continue
            if place in pending:
                certain = pending == {place}
                pending = (pending - {place}) | self._flow.exits[place]
                follower = place + 1
                runs_on = (
                    pending == {follower} and follower <= last and follower not in self._flow.loops
                )
                if not certain:
                    self._line(depth, f"if at == {place}:")
                block = self._program.blocks[self._flow.heads[place]]
                held = {param for param in block.params if _is_held(param)}
                self._block(block, held, depth + (not certain), follower if runs_on else None)
            place += 1
        return pending

    def _loop(self, first: int, last: int, pending: set[int], depth: int) -> set[int]:
        within = range(first, last + 1)
        if pending.isdisjoint(within):
            return pending
        self._line(
            depth,
            f"while at == {first}:" if first == last else f"while {first} <= at <= {last}:",
        )
        back = {t for place in within for t in self._flow.exits[place] if first <= t <= place}
        left = self._heads(first, last, pending.intersection(within) | back, depth + 1, True)
        return (pending | left).difference(within)

    # -- blocks --------------------------------------------------------------------------------

    def _block(self, block: Block, held: set[Value], depth: int, follower: int | None) -> None:
        """Write a block and those of its tree after it.

        Parameters
        ----------
        held
            Tensors and lists that locals hold when it begins.
        follower
            The head that comes next without a look at ``at``.
        """
        self._line(depth, f"# ^{ascii(block.name)[1:-1]}{_place(block.loc)}")
        if self._watched:
            params = map(self._names.read, block.params)
            self._line(depth, f"watch.enter({block.name!a}, {tuple_of(params)})")
        later = self._later(block)
        held = self._release(held, self._flow.needed[block.name], depth)
        for op, needed in zip(block.ops, later, strict=True):
            if isinstance(op, RegionCall):
                self._region(op, depth)
            else:
                self._host(op, depth)
            held |= {value for value in op.results if _is_held(value)}
            held = self._release(held, needed, depth)
        terminator = block.terminator
        match terminator:
            case Jump():
                self._way(block, 0, terminator, held, depth, follower)
            case Branch(condition, then, orelse, text, loc):
                test = self._names.read(condition)
                if self._watched:
                    test = f"watch.decide({block.name!a}, not not {test})"
                self._line(depth, f"if {test}:", f"{text!a}{_place(loc)}" if text else "")
                self._way(block, 0, then, set(held), depth + 1, follower)
                self._line(depth, "else:")
                self._way(block, 1, orelse, set(held), depth + 1, follower)
            case Return():
                self._return(terminator, depth)
            case Raise(exception, args, loc):
                kind = self._names.of(self._bindings.raised(exception), exception)
                shown = ", ".join(map(self._shown, args))
                self._line(depth, f"raise {kind}({shown})", _place(loc).strip())

    def _later(self, block: Block) -> list[set[Value]]:
        """What is needed after each operation of a block."""
        alias = self._flow.alias
        needed = {alias.get(value, value) for value in terminator_values(block.terminator)}
        for jump in jumps(block.terminator):
            if jump.target not in self._flow.index:
                needed |= self._flow.needed[jump.target]
        found = []
        for op in reversed(block.ops):
            found.append(set(needed))
            needed |= {alias.get(value, value) for value in operand_values(op.args)}
        return found[::-1]

    def _release(self, held: set[Value], needed: Iterable[Value], depth: int) -> set[Value]:
        dead = held.difference(needed)
        if dead:
            self._line(depth, f"del {', '.join(sorted(map(self._names.value, dead)))}")
        return held - dead

    def _way(
        self,
        block: Block,
        number: int,
        jump: Jump,
        held: set[Value],
        depth: int,
        follower: int | None,
    ) -> None:
        """Write an edge, and the block it leads to if that stands there."""
        start = len(self._lines)
        target = self._program.blocks[jump.target]
        if self._watched:
            self._line(depth, f"watch.took({block.name!a}, {number})")
        place = self._flow.index.get(jump.target)
        if place is None:
            self._block(target, held, depth, follower)
            return
        moves = [
            (self._names.value(param), self._names.read(value))
            for param, value in zip(target.params, jump.args, strict=True)
        ]
        moves = [(param, value) for param, value in moves if param != value]
        if moves:
            left, right = zip(*moves, strict=True)
            self._line(depth, f"{', '.join(left)} = {', '.join(right)}")
        self._release(held, target.params, depth)
        if place != follower:
            self._line(depth, f"at = {place}")
        if len(self._lines) == start:
            self._line(depth, "pass")

    # -- operations ----------------------------------------------------------------------------

    def _region(self, call: RegionCall, depth: int) -> None:
        function = self._names.of(self._bindings.region(call), call.region)
        args = [self._names.read(arg) for arg in call.args]
        called = f"{function}({', '.join(args)})"
        if self._stepped:
            called = f"yield {function}, {tuple_of(args)}"
        self._line(depth, f"{self._targets(call.results)}{called}")

    def _host(self, op: HostOp, depth: int) -> None:
        args = [self._names.read(arg) for arg in op.args if not isinstance(arg, Symbolic)]
        function = self._bindings.host(op)
        if function is None:
            (text,) = args
        else:
            text = f"{self._names.of(function, op.op)}({', '.join(args)})"
        left = (
            f"{self._names.value(op.results[0])} = "
            if len(op.results) == 1
            else self._targets(op.results)
        )
        self._line(depth, f"{left}{text}", _place(op.loc).strip())

    def _targets(self, results: Sequence[Value]) -> str:
        if not results:
            return ""
        names = [self._names.value(value) for value in results]
        return f"{', '.join(names)}{',' if len(names) == 1 else ''} = "

    def _shown(self, operand: Operand) -> str:
        text = self._names.read(operand)
        if isinstance(operand, Value) and isinstance(operand.type, TensorType):
            return f"{self._names.of(self._bindings.shown, 'shown')}({text})"
        return text

    # -- results -------------------------------------------------------------------------------

    def _return(self, leave: Return, depth: int) -> None:
        updates = [f"{name!a}: {self._names.tree(tree, None)}" for name, tree in leave.state]
        tensors: list[str] = []
        for leaf in tree_leaves(leave.result) if self._program.state else ():
            if isinstance(leaf.type, TensorType):
                tensors.append(self._names.read(leaf))
            elif isinstance(leaf.type, ListType) and isinstance(leaf.type.element, TensorType):
                tensors.append(f"*{self._names.read(leaf)}")
        parts = (
            self._names.tree(leave.result, "out"),
            f"{{{', '.join(updates)}}}",
            tuple_of(tensors),
        )
        self._line(depth, f"return {', '.join(parts)}", _place(leave.loc).strip())


def _place(loc: Loc | None) -> str:
    return "" if loc is None else f" {Path(loc.file).name!a}:{loc.line}"


def _is_held(value: Value) -> bool:
    """Whether a value holds memory worth giving back."""
    return not isinstance(value.type, ScalarType)
