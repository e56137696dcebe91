"""Makes the original functions ask how to decide, by rewriting their tests and nothing else.

Python itself runs the source: a test ``if t:`` becomes ``if decide(t, place):``. Functions keep
their identity; only their code is exchanged, for the time of a proof. The front end has
no part in this.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

#: Names under which rewritten code finds what it asks.
DECIDE, OPERAND, PLAIN, TURNS, ITEM, AT = (
    f"__dyncc_{name}__" for name in ("decide", "operand", "plain", "turns", "item", "at")
)
_Node = TypeVar("_Node", bound=ast.AST)
_TEMPORARY = "__dyncc_{}"


@dataclass(frozen=True)
class Asked:
    """What rewritten code calls."""

    decide: Callable[..., bool]
    operand: Callable[..., Any]
    plain: Callable[[Any], Any]
    turns: Callable[..., Iterator[Any]]
    item: Callable[..., Any]
    at: Callable[[int, int], None]

    def names(self) -> dict[str, Any]:
        """By the names that rewritten code uses."""
        return {
            DECIDE: self.decide, OPERAND: self.operand, PLAIN: self.plain, TURNS: self.turns,
            ITEM: self.item, AT: self.at,
        }  # fmt: skip


def subscript_text(node: ast.expr) -> str:
    """What the source of a decision starts with that tries an index of a known sequence."""
    return f"{ast.unparse(node)}: "


def loop_text(node: ast.AST) -> str:
    """The source of a decision on whether a loop takes another turn."""
    return ast.unparse(node).splitlines()[0].rstrip(":")


class Rewriter(ast.NodeTransformer):
    """Rewrites one file.

    Parameters
    ----------
    tests
        Line, column and source of each decision.
    heads
        Line and column where blocks begin.
    """

    def __init__(self, tests: set[tuple[int, int, str]], heads: set[tuple[int, int]]) -> None:
        self._tests = tests
        self._places = {(line, column) for line, column, _ in tests}
        self._heads = heads
        self._temporaries = 0
        #: The tests that now ask.
        self.asking: set[tuple[int, int, str]] = set()
        #: In the iterable of a comprehension Python allows no assignment expression.
        self._may_keep = True

    # -- tests ---------------------------------------------------------------------------------

    def _asks(self, node: ast.expr | ast.pattern) -> bool:
        place = (node.lineno, node.col_offset)
        if place not in self._places or (*place, ast.unparse(node)) not in self._tests:
            return False
        self.asking.add((*place, ast.unparse(node)))
        return True

    def condition(self, node: ast.expr) -> ast.expr:
        """A test; ``and``, ``or`` and ``not`` are taken apart, as Python does."""
        if isinstance(node, ast.BoolOp):
            return _like(node, ast.BoolOp(node.op, [self.condition(part) for part in node.values]))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return _like(node, ast.UnaryOp(node.op, self.condition(node.operand)))
        if not self._asks(node):
            return self._visit(node)
        place, text = _place(node), ast.unparse(node)
        operands: list[ast.expr] = []
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and self._may_keep:
            sides = [self._keep(self._visit(part)) for part in (node.left, node.comparators[0])]
            new: ast.expr = _like(node, ast.Compare(sides[0][0], node.ops, [sides[1][0]]))
            operands = [read for _, read in sides]
        else:
            new = self._visit(node)
        return _call(node, DECIDE, new, *place, ast.Constant(text), *operands)

    def _visit(self, node: ast.expr) -> ast.expr:
        found: ast.expr = self.visit(node)
        return found

    def _keep(self, node: ast.expr) -> tuple[ast.expr, ast.expr]:
        """An expression that also keeps its value, and one that reads it later."""
        if isinstance(node, ast.Constant | ast.Name):
            return node, node
        self._temporaries += 1
        name = _TEMPORARY.format(self._temporaries)
        kept = _like(node, ast.NamedExpr(_like(node, ast.Name(name, ast.Store())), node))
        return kept, _like(node, ast.Name(name, ast.Load()))

    def _statement_test(self, node: Any) -> Any:
        test = self.condition(node.test)
        self._children(node, "test")
        node.test = test
        return node

    def _children(self, node: ast.AST, *skipped: str) -> None:
        """Visit all fields but some."""
        for name, value in ast.iter_fields(node):
            if name in skipped:
                continue
            if isinstance(value, list):
                if value and isinstance(value[0], ast.stmt):
                    setattr(node, name, self._body(value))
                else:
                    for index, item in enumerate(value):
                        if isinstance(item, ast.AST):
                            value[index] = self.visit(item)
            elif isinstance(value, ast.AST):
                setattr(node, name, self.visit(value))

    visit_If = visit_IfExp = visit_Assert = _statement_test

    def visit_While(self, node: ast.While) -> ast.AST:
        """A test, before which a turn begins."""
        here = self._heads_in(node.test)
        self._statement_test(node)
        for line, column in here:
            at = _call(node.test, AT, ast.Constant(line), ast.Constant(column))
            none = _like(at, ast.Compare(at, [ast.Is()], [_like(at, ast.Constant(None))]))
            node.test = _like(node.test, ast.BoolOp(ast.And(), [none, node.test]))
        return node

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        """A case; patterns that are values become a guard, which decides."""
        guard = None if node.guard is None else self.condition(node.guard)
        self._children(node, "guard")
        pattern = node.pattern
        values = pattern.patterns if isinstance(pattern, ast.MatchOr) else [pattern]
        if all(isinstance(value, ast.MatchValue) for value in values) and any(
            self._asks(value) for value in values
        ):
            self._temporaries += 1
            name = _TEMPORARY.format(self._temporaries)
            tests = [self._equal(name, value) for value in values]
            test = tests[0] if len(tests) == 1 else _like(pattern, ast.BoolOp(ast.Or(), tests))
            node.pattern = _like(pattern, ast.MatchAs(None, name))
            parts = [test] if guard is None else [test, guard]
            guard = test if guard is None else _like(pattern, ast.BoolOp(ast.And(), parts))
        node.guard = guard
        return node

    def _equal(self, name: str, value: Any) -> ast.expr:
        """The test of a pattern that is a value."""
        read = _like(value, ast.Name(name, ast.Load()))
        test: ast.expr = _like(value, ast.Compare(read, [ast.Eq()], [value.value]))
        if self._asks(value):
            test = _call(value, DECIDE, test, *_place(value), ast.Constant(ast.unparse(value)))
        return test

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """``and`` and ``or`` for their value: all but the last operand decide."""
        parts = [
            _call(part, OPERAND, self._visit(part), *_place(part), ast.Constant(text))
            if (text := ast.unparse(part)) and self._asks(part)
            else self._visit(part)
            for part in node.values[:-1]
        ]
        parts.append(self._visit(node.values[-1]))
        return _call(node, PLAIN, _like(node, ast.BoolOp(node.op, parts)))

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """A chained comparison: all but the last decide."""
        if len(node.ops) == 1 or not self._may_keep or not self._asks(node):
            self._children(node)
            return node
        text = ast.unparse(node)
        parts: list[ast.expr] = []
        left = self._visit(node.left)
        for position, (operator, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
            last = position + 1 == len(node.ops)
            kept, read = (self._visit(right), right) if last else self._keep(self._visit(right))
            link: ast.expr = _like(node, ast.Compare(left, [operator], [kept]))
            if not last:
                link = _call(node, OPERAND, link, *_place(node), ast.Constant(text))
            parts.append(link)
            left = read
        return _call(node, PLAIN, _like(node, ast.BoolOp(ast.And(), parts)))

    # -- loops and items -----------------------------------------------------------------------

    def visit_For(self, node: ast.For) -> ast.AST:
        """A loop that asks before each turn."""
        text = loop_text(node)
        place = (node.lineno, node.col_offset)
        self._children(node)
        if (*place, text) in self._tests:
            self.asking.add((*place, text))
        if (*place, text) in self._tests or place in self._heads:
            node.iter = _call(node.iter, TURNS, node.iter, *_place(node), ast.Constant(text))
        return node

    def _comprehension(self, node: Any) -> Any:
        text = loop_text(node)
        decides = (node.lineno, node.col_offset, text) in self._tests
        if decides:
            self.asking.add((node.lineno, node.col_offset, text))
        place = _place(node)
        for generator in node.generators:
            generator.ifs = [self.condition(test) for test in generator.ifs]
            before, self._may_keep = self._may_keep, False
            generator.iter = self.visit(generator.iter)
            self._may_keep = before
            if decides:
                generator.iter = _call(
                    generator.iter, TURNS, generator.iter, *place, ast.Constant(text)
                )
        self._children(node, "generators")
        return _like(node, node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """An index that is tried item by item."""
        start = subscript_text(node)
        place = (node.lineno, node.col_offset)
        found = {test for test in self._tests if test[:2] == place and test[2].startswith(start)}
        container, again = node.value, ast.unparse(node.value)
        self._children(node)
        if not found:
            return node
        if isinstance(node.ctx, ast.Load):
            self.asking |= found
            return _call(
                node, ITEM, node.value, node.slice, *_place(node), ast.Constant(start),
                ast.Constant(True),
            )  # fmt: skip
        if isinstance(container, ast.Name | ast.Attribute):
            self.asking |= found
            same = _like(node, ast.parse(again, mode="eval").body)
            node.slice = _call(
                node.slice, ITEM, same, node.slice, *_place(node), ast.Constant(start),
                ast.Constant(False),
            )  # fmt: skip
        return node

    # -- statements ----------------------------------------------------------------------------

    def _heads_in(self, node: ast.AST) -> list[tuple[int, int]]:
        first = (node.lineno, node.col_offset)  # type: ignore[attr-defined]
        last = (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
        return [head for head in sorted(self._heads) if first <= head < last]

    def _body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Statements, each after a call that says that it begins."""
        found: list[ast.stmt] = []
        for statement in statements:
            part: ast.AST = statement
            if isinstance(statement, ast.For | ast.If):
                part = statement.iter if isinstance(statement, ast.For) else statement.test
            elif isinstance(statement, ast.Match):
                part = statement.subject
            elif isinstance(statement, _NO_START):
                part = ast.Pass(lineno=0, col_offset=0, end_lineno=0, end_col_offset=0)
            heads = self._heads_in(part)
            found += [
                _like(
                    statement,
                    ast.Expr(_call(statement, AT, ast.Constant(line), ast.Constant(column))),
                )
                for line, column in heads
                if not (isinstance(statement, ast.For) and (line, column) == _start(statement))
            ]
            new = self.visit(statement)
            found += new if isinstance(new, list) else [new]
        return found

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A function; its description stays first."""
        start = node.body[0]
        is_doc = isinstance(start, ast.Expr) and isinstance(start.value, ast.Constant)
        self._children(node, "body")
        node.body = [start] * is_doc + self._body(node.body[is_doc:])
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Anything else."""
        self._children(node)
        return node


#: Statements that begin with something else than an expression of their own.
_NO_START = (ast.While, ast.Try, ast.With, ast.FunctionDef, ast.ClassDef)


def _start(node: ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _place(node: ast.AST) -> tuple[ast.expr, ast.expr]:
    return ast.Constant(node.lineno), ast.Constant(node.col_offset)  # type: ignore[attr-defined]


def _like(old: ast.AST, new: _Node) -> _Node:
    """`new` and what is new in it, at the place of `old`."""
    ast.copy_location(new, old)
    return ast.fix_missing_locations(new)


def _call(at: ast.AST, name: str, *args: ast.expr) -> ast.Call:
    return _like(at, ast.Call(_like(at, ast.Name(name, ast.Load())), list(args), []))
