"""Records which sides of a network's decisions were taken, by tracing lines of its own file."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from torch import nn

#: Where a decision was taken: module name, line, and the indices of the fixed loops around it.
Place = tuple[str, int, tuple[int, ...]]


@dataclass(frozen=True)
class Decision:
    """An ``if`` or a ``while`` in a forward method.

    Attributes
    ----------
    line
        Line of the condition.
    taken
        First line of the body, which follows `line` when the condition holds.
    indices
        Variables of the enclosing ``for ... in range(len(...))``: such a loop makes the same
        number of trips for every input, so each trip is a decision of its own.
    """

    line: int
    taken: int
    indices: tuple[str, ...]


def decisions_of(path: Path) -> list[Decision]:
    """List the decisions in the methods of a model file that are called ``forward``."""
    found: list[Decision] = []

    def visit(node: ast.AST, indices: tuple[str, ...]) -> None:
        if isinstance(node, ast.If | ast.While):
            found.append(Decision(node.test.lineno, node.body[0].lineno, indices))
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            iterated = ast.unparse(node.iter)
            if iterated.startswith("range(len(self."):
                indices = (*indices, node.target.id)
        for child in ast.iter_child_nodes(node):
            visit(child, indices)

    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == "forward":
            visit(node, ())
    return found


class Sides:
    """Sides of decisions taken so far.

    Attributes
    ----------
    taken
        For each place, the outcomes seen there.
    """

    def __init__(self, path: Path, network: nn.Module) -> None:
        self.path = str(path)
        self.decisions = {decision.line: decision for decision in decisions_of(path)}
        self.names = {id(module): name for name, module in network.named_modules()}
        self.taken: defaultdict[Place, set[bool]] = defaultdict(set)

    def trace(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        """Trace function for `sys.settrace`."""
        del event, argument
        if frame.f_code.co_filename != self.path or frame.f_code.co_name != "forward":
            return None
        pending: Place | None = None

        def line_traced(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
            nonlocal pending
            del argument
            if event not in ("line", "return"):
                return line_traced
            if pending is not None:
                reached = frame.f_lineno if event == "line" else -1
                self.taken[pending].add(reached == self.decisions[pending[1]].taken)
                pending = None
            decision = self.decisions.get(frame.f_lineno) if event == "line" else None
            if decision is not None:
                values = frame.f_locals
                module = self.names[id(values["self"])]
                indices = tuple(values[name] for name in decision.indices)
                pending = (module, decision.line, indices)
            return line_traced

        return line_traced


@contextmanager
def recorded(path: Path, network: nn.Module) -> Iterator[Sides]:
    """Record the sides that calls of `network` take within the ``with`` block."""
    sides = Sides(path, network)
    before = sys.gettrace()
    sys.settrace(sides.trace)
    try:
        yield sides
    finally:
        sys.settrace(before)
