"""Flat code: a function's body as instructions on named registers.

`dyncc.frontend.lower` makes it from the syntax tree and the machine runs it. A *program point* is a
code object and an index into it, so paths can be compared and joined at any point, also in the
middle of an expression. Registers are the function's locals and temporaries (``.0``, ``.1`` ...).
"""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dyncc.ir.hcfg import Loc

#: Register of the instruction that ends every code: it raises what nobody caught.
UNCAUGHT = ".uncaught"
#: Register that holds, while a generator runs, the generator.
GENERATOR = ".generator"
#: Registers of a function whose recursion has a stack, see `recursion`: the lists of the stack, the
#: objects that all activations share, and, during a return, to where it goes.
STACK, SHARED, SITE = ".stack", ".shared", ".site"


@dataclass(frozen=True)
class Label:
    """A jump target; resolved to an index when the code is finished."""

    number: int


@dataclass(eq=False)
class Handler:
    """Where an exception goes that is raised in a protected range.

    Attributes
    ----------
    target
        Program point of the first instruction of the handling code.
    register
        Register that receives the exception.
    classes
        Syntax of the classes that the code catches: empty for ``finally``, which passes everything
        on, None for a bare ``except``.
    outer
        The handler around this one in the same function.
    manager
        Register of the context manager, for ``with``.
    """

    target: Any
    register: str
    classes: tuple[ast.expr, ...] | None
    outer: Handler | None = None
    manager: str | None = None


@dataclass
class Instr:
    """One instruction.

    Attributes
    ----------
    op
        Name of the handler in the machine.
    dest
        Registers written.
    uses
        Registers read.
    const
        Everything else the operation needs: names, operators, literals.
    targets
        Program points that may follow besides the next one.
    node
        The syntax it came from.
    handler
        Where its exceptions go.
    """

    op: str
    dest: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    const: Any = None
    targets: tuple[Any, ...] = ()
    node: ast.AST | None = None
    handler: Handler | None = None

    @property
    def falls_through(self) -> bool:
        """Whether the next instruction may follow."""
        return self.op not in ("jump", "branch", "return", "raise")


@dataclass(frozen=True)
class Loop:
    """A loop in a code.

    Attributes
    ----------
    first, last
        Its program points.
    deciding
        Registers that decide whether there is another turn: variables, or an iterator.
    """

    first: int
    last: int
    deciding: frozenset[str]


@dataclass(eq=False)
class Nested:
    """A function inside of another one.

    Attributes
    ----------
    signature
        Its parameters; a default is a position in the defaults of the closure.
    defaults
        Number of defaults.
    captured
        Names of the cells that it takes from the functions around it.
    """

    code: Code
    signature: inspect.Signature
    defaults: int
    captured: tuple[str, ...]


@dataclass(eq=False)
class Code:
    """The flat code of one function.

    Attributes
    ----------
    name, file, first_line
        Where it comes from; lines of `node`s are relative to the file.
    free
        Names found in the cells of the Python function that this code belongs to.
    loop_heads
        Program points of ``while`` heads, where differing counters are widened.
    statements
        Program points where a statement begins.
    is_generator
        Whether a call makes a generator.
    """

    name: str
    file: str
    lines: list[str]
    instrs: list[Instr] = field(default_factory=list)
    free: frozenset[str] = frozenset()
    loop_heads: set[int] = field(default_factory=set)
    statements: set[int] = field(default_factory=set)
    serial: int = field(default_factory=itertools.count().__next__)
    is_generator: bool = False

    def loc(self, node: ast.AST | None) -> Loc:
        """Place of a syntax node in the user's file."""
        return Loc(self.file, getattr(node, "lineno", 0), getattr(node, "col_offset", 0))

    def source_line(self, line: int) -> str:
        """The text of a line of the file (1-based)."""
        return self.lines[line - 1] if 0 < line <= len(self.lines) else ""

    def successors(self, index: int) -> Iterator[int]:
        """Program points that may follow `index`."""
        instr = self.instrs[index]
        yield from instr.targets
        if instr.falls_through:
            yield index + 1
        if instr.op == "raise" and instr.handler is not None:
            yield instr.handler.target

    @cached_property
    def loops(self) -> list[Loop]:
        """Every loop, in the order of their heads."""
        ends: dict[int, int] = {}
        for index in range(len(self.instrs)):
            for point in self.successors(index):
                if point <= index:
                    ends[point] = index
        return [Loop(*item, self._deciding(*item)) for item in sorted(ends.items())]

    def _deciding(self, first: int, last: int) -> frozenset[str]:
        """What is read before the first statement in a loop."""
        found: set[str] = set()
        for index in range(first, last + 1):
            if index > first and index in self.statements:
                break
            instr = self.instrs[index]
            found.update(name for name in instr.uses if instr.op == "next" or name[0] != ".")
        return frozenset(found)

    @cached_property
    def live(self) -> list[frozenset[str]]:
        """Registers that are live before each instruction (backward data-flow)."""
        live: list[frozenset[str]] = [frozenset()] * (len(self.instrs) + 1)
        changed = True
        while changed:
            changed = False
            for index in range(len(self.instrs) - 1, -1, -1):
                instr = self.instrs[index]
                after: frozenset[str] = frozenset().union(
                    *(live[point] for point in self.successors(index))
                )
                before = (after - frozenset(instr.dest)) | frozenset(instr.uses)
                if instr.handler is not None:
                    before |= live[instr.handler.target] - {instr.handler.register}
                if before != live[index]:
                    live[index] = before
                    changed = True
        return [found | {STACK, SHARED, SITE} for found in live]

    def live_while_waiting(self, index: int) -> frozenset[str]:
        """Registers that are live while the instruction before `index` waits for another frame.

        It may go on elsewhere: a loop over a generator where that ends, ``try`` at its handler.
        """
        instr = self.instrs[index - 1]
        found = self.live[index].union(*(self.live[point] for point in instr.targets))
        if instr.handler is not None:
            found |= self.live[instr.handler.target] - {instr.handler.register}
        return found
