"""``match``: patterns become tests and stores, in the order in which Python tries them."""

from __future__ import annotations

import ast

from dyncc.frontend.code import Label
from dyncc.frontend.lower_expressions import Expressions


class Matching(Expressions):
    """The method for ``match``, and one for each pattern."""

    def stmt_Match(self, node: ast.Match) -> None:
        subject = self.expr(node.subject)
        end = self.label()
        for case in node.cases:
            failed = self.label()
            self.pattern(case.pattern, subject, failed)
            if case.guard is not None:
                passed = self.label()
                self.condition(case.guard, passed, failed)
                self.place(passed)
            self.body(case.body)
            self.emit(node, "jump", targets=(end,))
            self.place(failed)
        self.place(end)

    def pattern(self, node: ast.pattern, subject: str, failed: Label) -> None:
        """Go on if `subject` matches, else to `failed`."""
        match node:
            case ast.MatchValue(value):
                self._check(node, "compare", (subject, self.expr(value)), "Eq", failed)
            case ast.MatchSingleton(value):
                uses = (subject, self.constant(value, node))
                self._check(node, "compare", uses, "Is", failed)
            case ast.MatchAs(pattern, name):
                if pattern is not None:
                    self.pattern(pattern, subject, failed)
                if name is not None:
                    self._bind(node, name, subject)
            case ast.MatchOr(patterns):
                self._alternatives(node, patterns, subject, failed)
            case ast.MatchSequence(patterns):
                self._sequence(node, patterns, subject, failed)
            case ast.MatchMapping(keys, patterns, rest):
                self._mapping(node, keys, patterns, rest, subject, failed)
            case ast.MatchClass():
                self._class(node, subject, failed)
            case _:
                self.unsupported(node, "this pattern")

    def _check(
        self, node: ast.AST, op: str, uses: tuple[str, ...], const: object, failed: Label
    ) -> None:
        go_on = self.label()
        truth = self.value(node, op, *uses, const=const)
        self.emit(node, "branch", uses=(truth,), targets=(go_on, failed))
        self.place(go_on)

    def _bind(self, node: ast.AST, name: str, value: str) -> None:
        target = ast.copy_location(ast.Name(name, ast.Store()), node)
        self.store(target, value)

    def _alternatives(
        self, node: ast.MatchOr, patterns: list[ast.pattern], subject: str, failed: Label
    ) -> None:
        matched = self.label()
        for pattern in patterns[:-1]:
            another = self.label()
            self.pattern(pattern, subject, another)
            self.emit(node, "jump", targets=(matched,))
            self.place(another)
        self.pattern(patterns[-1], subject, failed)
        self.place(matched)

    def _sequence(
        self, node: ast.MatchSequence, patterns: list[ast.pattern], subject: str, failed: Label
    ) -> None:
        star = next((i for i, p in enumerate(patterns) if isinstance(p, ast.MatchStar)), None)
        self._check(node, "is sequence", (subject,), (len(patterns), star), failed)
        parts = tuple(self.temporary() for _ in patterns)
        self.emit(node, "unpack", dest=parts, uses=(subject,), const=(len(patterns), star))
        for pattern, part in zip(patterns, parts, strict=True):
            if isinstance(pattern, ast.MatchStar):
                if pattern.name is not None:
                    self._bind(pattern, pattern.name, part)
            else:
                self.pattern(pattern, part, failed)

    def _mapping(
        self,
        node: ast.MatchMapping,
        keys: list[ast.expr],
        patterns: list[ast.pattern],
        rest: str | None,
        subject: str,
        failed: Label,
    ) -> None:
        registers = [self.expr(key) for key in keys]
        self._check(node, "is mapping", (subject, *registers), None, failed)
        for key, pattern in zip(registers, patterns, strict=True):
            self.pattern(pattern, self.value(node, "getitem", subject, key), failed)
        if rest is not None:
            self._bind(node, rest, self.value(node, "mapping rest", subject, *registers))

    def _class(self, node: ast.MatchClass, subject: str, failed: Label) -> None:
        kind = self.expr(node.cls)
        self._check(node, "is instance", (subject, kind), None, failed)
        for position, pattern in enumerate(node.patterns):
            part = self.value(node, "match position", subject, kind, const=position)
            self.pattern(pattern, part, failed)
        for name, pattern in zip(node.kwd_attrs, node.kwd_patterns, strict=True):
            self._check(node, "has attribute", (subject,), name, failed)
            self.pattern(pattern, self.value(node, "getattr", subject, const=name), failed)

    def body(self, statements: list[ast.stmt]) -> None:
        """Code for statements."""
        raise NotImplementedError
