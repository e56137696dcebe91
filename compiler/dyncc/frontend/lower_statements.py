"""Statements to flat code: one method for each construct."""

from __future__ import annotations

import ast
from collections.abc import Callable

from dyncc.frontend.code import UNCAUGHT, Code
from dyncc.frontend.lower_control import Control
from dyncc.frontend.lower_functions import Functions
from dyncc.frontend.lower_match import Matching
from dyncc.frontend.names import Function, names_of


class Statements(Control, Matching, Functions):
    """Methods that emit the code of a statement."""

    def nested(self, name: str) -> Statements:
        inner = Statements(name, self.code.file, self.code.lines)
        inner.code.free = self.code.free
        return inner

    def function(self, node: Function) -> Code:
        self.enter_function(node, names_of(node))
        if isinstance(node, ast.Lambda):
            self.emit(node, "return", uses=(self.expr(node.body), *self.owner()))
        else:
            self.body(node.body)
        return self.finish(node)

    def finish(self, node: ast.AST) -> Code:
        self.emit(node, "return", uses=(self.constant(None, node), *self.owner()))
        self.emit(node, "raise", uses=(UNCAUGHT,))
        for handler in {id(i.handler): i.handler for i in self.code.instrs if i.handler}.values():
            handler.target = self._labels[handler.target.number]
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
            elif isinstance(target, ast.Name):
                self.forget(target, target.id)
            else:
                self.unsupported(target, "`del` of an attribute")

    def stmt_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            whole = alias.asname is not None
            found = self.value(node, "import", const=(alias.name, 0, whole))
            name = alias.asname or alias.name.partition(".")[0]
            self.store(ast.copy_location(ast.Name(name, ast.Store()), node), found)

    def stmt_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self.value(node, "import", const=(node.module or "", node.level, True))
        for alias in node.names:
            if alias.name == "*":
                self.unsupported(node, "`import *`")
                continue
            item = self.value(node, "import from", module, const=alias.name)
            target = ast.Name(alias.asname or alias.name, ast.Store())
            self.store(ast.copy_location(target, node), item)


def _keyword(statement: ast.stmt) -> str:
    names = {
        "AsyncFor": "async for",
        "AsyncWith": "async with",
        "ClassDef": "class",
        "TryStar": "except*",
    }
    return names.get(type(statement).__name__, type(statement).__name__.lower())
