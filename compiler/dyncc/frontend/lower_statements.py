"""Statements to flat code: one method for each construct."""

from __future__ import annotations

import ast
from collections.abc import Callable

from dyncc.frontend.code import Code
from dyncc.frontend.lower_expressions import Expressions


class Statements(Expressions):
    """Methods that emit the code of a statement."""

    def function(self, node: ast.FunctionDef | ast.Lambda) -> Code:
        if isinstance(node, ast.Lambda):
            self.emit(node, "return", uses=(self.expr(node.body),))
        else:
            self.body(node.body)
            self.emit(node, "return", uses=(self.constant(None, node),))
        for instr in self.code.instrs:
            instr.targets = tuple(self._labels[label.number] for label in instr.targets)
        return self.code

    def body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.code.statements.add(len(self.code.instrs))
            method: Callable[[ast.stmt], None] | None = getattr(
                self, f"stmt_{type(statement).__name__}", None
            )
            if method is None:
                self.unsupported(statement, f"`{_keyword(statement)}` statement")
            else:
                method(statement)

    def stmt_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.expr(node.value)

    def stmt_Pass(self, node: ast.Pass) -> None:
        pass

    def stmt_Global(self, node: ast.Global) -> None:
        self.locals -= set(node.names)

    def stmt_Nonlocal(self, node: ast.Nonlocal) -> None:
        pass

    def stmt_Assign(self, node: ast.Assign) -> None:
        value = self.expr(node.value)
        for target in node.targets:
            self.store(target, value)

    def stmt_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.store(node.target, self.expr(node.value))

    def stmt_AugAssign(self, node: ast.AugAssign) -> None:
        operator = type(node.op).__name__
        target = node.target
        if isinstance(target, ast.Name):
            old = self.expr(ast.copy_location(ast.Name(target.id, ast.Load()), target))
            new = self.value(node, "inplace", old, self.expr(node.value), const=operator)
            self.store(target, new)
        elif isinstance(target, ast.Attribute):
            owner = self.expr(target.value)
            old = self.value(target, "getattr", owner, const=target.attr)
            new = self.value(node, "inplace", old, self.expr(node.value), const=operator)
            self.emit(node, "setattr", uses=(owner, new), const=target.attr)
        elif isinstance(target, ast.Subscript):
            owner, index = self.expr(target.value), self.expr(target.slice)
            old = self.value(target, "getitem", owner, index)
            new = self.value(node, "inplace", old, self.expr(node.value), const=operator)
            self.emit(node, "setitem", uses=(owner, index, new))

    def stmt_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                self.emit(node, "delitem", uses=(self.expr(target.value), self.expr(target.slice)))
            elif not isinstance(target, ast.Name):
                self.unsupported(target, "`del` of an attribute")

    def stmt_Return(self, node: ast.Return) -> None:
        value = self.constant(None, node) if node.value is None else self.expr(node.value)
        self.emit(node, "return", uses=(value,))

    def stmt_Raise(self, node: ast.Raise) -> None:
        if node.exc is None:
            self.unsupported(node, "`raise` without an exception")
        else:
            self.emit(node, "raise", uses=(self.expr(node.exc),))

    def stmt_Assert(self, node: ast.Assert) -> None:
        good, bad = self.label(), self.label()
        self.condition(node.test, good, bad)
        self.place(bad)
        kind = self.constant(AssertionError, node)
        arguments = () if node.msg is None else (self.expr(node.msg),)
        error = self.call(node, kind, arguments)
        self.emit(node, "raise", uses=(error,))
        self.place(good)

    def stmt_If(self, node: ast.If) -> None:
        then, orelse, end = self.label(), self.label(), self.label()
        self.condition(node.test, then, orelse)
        self.place(then)
        self.body(node.body)
        self.emit(node, "jump", targets=(end,))
        self.place(orelse)
        self.body(node.orelse)
        self.place(end)

    def stmt_While(self, node: ast.While) -> None:
        head, body, orelse, end = self.label(), self.label(), self.label(), self.label()
        self.emit(node, "loop")
        self.place(head)
        self.code.loop_heads.add(len(self.code.instrs))
        self.condition(node.test, body, orelse)
        self.place(body)
        self._loops.append((head, end))
        self.body(node.body)
        self._loops.pop()
        self.emit(node, "jump", targets=(head,))
        self.place(orelse)
        self.body(node.orelse)
        self.place(end)

    def stmt_For(self, node: ast.For) -> None:
        orelse, end = self.label(), self.label()

        def body() -> None:
            self.body(node.body)

        self.loop(node, node.iter, node.target, body, orelse, end)
        self.place(orelse)
        self.body(node.orelse)
        self.place(end)

    def stmt_Break(self, node: ast.Break) -> None:
        self.emit(node, "jump", targets=(self._loops[-1][1],))

    def stmt_Continue(self, node: ast.Continue) -> None:
        self.emit(node, "jump", targets=(self._loops[-1][0],))

    def stmt_With(self, node: ast.With) -> None:
        for item in node.items:
            manager = self.expr(item.context_expr)
            entered = self.value(item.context_expr, "enter", manager)
            if item.optional_vars is not None:
                self.store(item.optional_vars, entered)
        self.body(node.body)

    def stmt_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.unsupported(node, "nested function")


def _keyword(statement: ast.stmt) -> str:
    names = {"AsyncFor": "async for", "AsyncWith": "async with", "ClassDef": "class"}
    return names.get(type(statement).__name__, type(statement).__name__.lower())
