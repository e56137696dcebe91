"""Control flow to flat code: branches, loops, exceptions, and what leaves them.

``finally`` is lowered once for each way out of its ``try``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from dyncc.frontend.code import Handler, Label
from dyncc.frontend.lower_base import Scope
from dyncc.frontend.lower_expressions import Expressions


class Control(Expressions):
    """Methods that emit the code of statements that decide what comes next."""

    # -- leaving -------------------------------------------------------------------------------

    def _clean_up(self, depth: int) -> None:
        """Run what ``finally`` says of the scopes that are left, down to the scope `depth`."""
        scopes, handler = self.scopes, self.handler
        for position in range(len(scopes) - 1, depth - 1, -1):
            cleanup = scopes[position].cleanup
            if cleanup is not None:
                self.scopes, self.handler = scopes[:position], scopes[position].handler
                cleanup()
        self.scopes, self.handler = scopes, handler

    def _leave_loop(self, node: ast.stmt, way: int) -> None:
        depth, loop = next(
            (depth, scope.loop)
            for depth, scope in reversed(list(enumerate(self.scopes)))
            if scope.loop is not None
        )
        self._clean_up(depth + 1)
        self.jump(node, loop[way])

    def stmt_Return(self, node: ast.Return) -> None:
        value = self.constant(None, node) if node.value is None else self.expr(node.value)
        self._clean_up(0)
        self.emit(node, "return", uses=(value, *self.owner()))

    def stmt_Break(self, node: ast.Break) -> None:
        self._leave_loop(node, 1)

    def stmt_Continue(self, node: ast.Continue) -> None:
        self._leave_loop(node, 0)

    # -- exceptions ----------------------------------------------------------------------------

    def stmt_Raise(self, node: ast.Raise) -> None:
        if node.exc is not None:
            error = self.value(node, "exception", self.expr(node.exc))
            if node.cause is not None:
                self.expr(node.cause)
        elif self._caught:
            error = self._caught[-1]
        else:
            self.unsupported(node, "`raise` without an exception, outside of `except`")
            return
        self.emit(node, "raise", uses=(error,))

    def stmt_Assert(self, node: ast.Assert) -> None:
        good, bad = self.label(), self.label()
        self.condition(node.test, good, bad)
        self.place(bad)
        kind = self.constant(AssertionError, node)
        arguments = () if node.msg is None else (self.expr(node.msg),)
        error = self.call(node, kind, arguments)
        self.emit(node, "raise", uses=(error,))
        self.place(good)

    def stmt_Try(self, node: ast.Try) -> None:
        if not node.finalbody:
            self._except(node)
            return

        def cleanup() -> None:
            self.body(node.finalbody)

        def cleanup_by(error: str, end: Label) -> None:
            self._caught.append(error)
            self.body(node.finalbody)
            self._caught.pop()

        self._finally(node, lambda: self._except(node), cleanup, cleanup_by)

    def _except(self, node: ast.Try) -> None:
        """A ``try`` without its ``finally``."""
        if not node.handlers:
            self.body(node.body)
            self.body(node.orelse)
            return
        catch, orelse, end = self.label(), self.label(), self.label()
        classes = [clause.type for clause in node.handlers]
        written = tuple(item for item in classes if item is not None)
        error = self.temporary()
        self.handler = Handler(
            catch, error, None if None in classes else written, outer := self.handler
        )
        self.body(node.body)
        # Part of the protected range: behind a call that ends it, its handler is still alive.
        self.jump(node, orelse)
        self.handler = outer
        self.place(orelse)
        self.body(node.orelse)
        self.jump(node, end)
        self.place(catch)
        self._caught.append(error)
        for clause in node.handlers:
            self._clause(clause, error, end)
        self._caught.pop()
        self.emit(node, "raise", uses=(error,))
        self.place(end)

    def _clause(self, clause: ast.ExceptHandler, error: str, end: Label) -> None:
        hit, following = self.label(), self.label()
        if clause.type is not None:
            matched = self.value(clause, "matches", error, self.expr(clause.type))
            self.emit(clause, "branch", uses=(matched,), targets=(hit, following))
        self.place(hit)
        if clause.name is not None:
            name = ast.copy_location(ast.Name(clause.name, ast.Store()), clause)
            self.store(name, error)
        self.body(clause.body)
        if clause.name is not None:
            self.forget(clause, clause.name)
        self.jump(clause, end)
        self.place(following)

    def _finally(
        self,
        node: ast.AST,
        body: Callable[[], None],
        cleanup: Callable[[], None],
        cleanup_by: Callable[[str, Label], None],
        manager: str | None = None,
    ) -> None:
        """`body`, and what is to be done on every way out of it.

        Parameters
        ----------
        cleanup
            Emits it for ways that raise nothing.
        cleanup_by
            Emits it for an exception: its register, and where to go if it goes no further.
        manager
            Register of the context manager, for ``with``.
        """
        catch, orelse, end = self.label(), self.label(), self.label()
        error, outer = self.temporary(), self.handler
        self.scopes.append(Scope(None, cleanup, outer))
        self.handler = Handler(catch, error, (), outer, manager)
        body()
        self.jump(node, orelse)
        self.handler = outer
        self.scopes.pop()
        self.place(orelse)
        cleanup()
        self.jump(node, end)
        self.place(catch)
        cleanup_by(error, end)
        self.emit(node, "raise", uses=(error,))
        self.place(end)

    def stmt_With(self, node: ast.With) -> None:
        self._with(node, list(node.items))

    def _with(self, node: ast.With, items: list[ast.withitem]) -> None:
        if not items:
            self.body(node.body)
            return
        item, *rest = items
        manager = self.expr(item.context_expr)
        entered = self.value(item.context_expr, "enter", manager)

        def body() -> None:
            if item.optional_vars is not None:
                self.store(item.optional_vars, entered)
            self._with(node, rest)

        def leave() -> None:
            self.value(item.context_expr, "exit", manager, self.constant(None, node))

        def leave_by(error: str, end: Label) -> None:
            swallowed, go_on = self.value(item.context_expr, "exit", manager, error), self.label()
            self.emit(item.context_expr, "branch", uses=(swallowed,), targets=(end, go_on))
            self.place(go_on)

        self._finally(node, body, leave, leave_by, manager)

    # -- branches and loops --------------------------------------------------------------------

    def stmt_If(self, node: ast.If) -> None:
        then, orelse, end = self.label(), self.label(), self.label()
        self.condition(node.test, then, orelse)
        self.place(then)
        self.body(node.body)
        self.jump(node, end)
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
        self.scopes.append(Scope((head, end)))
        self.body(node.body)
        self.scopes.pop()
        self.jump(node, head)
        self.place(orelse)
        self.body(node.orelse)
        self.place(end)

    def stmt_For(self, node: ast.For) -> None:
        orelse, end = self.label(), self.label()
        self.loop(node, node.iter, node.target, lambda: self.body(node.body), orelse, end)
        self.place(orelse)
        self.body(node.orelse)
        self.place(end)
