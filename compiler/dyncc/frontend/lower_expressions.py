"""Expressions to flat code: one method for each construct."""

from __future__ import annotations

import ast
from collections.abc import Callable

from dyncc.frontend.code import Label
from dyncc.frontend.lower_base import Lowering
from dyncc.frontend.names import drained


class Expressions(Lowering):
    """Methods that emit the code of an expression and return the register of its value."""

    def expr(self, node: ast.expr) -> str:
        method: Callable[[ast.expr], str] | None = getattr(
            self, f"expr_{type(node).__name__}", None
        )
        if method is None:
            return self.unsupported(node, f"`{type(node).__name__}` expression")
        return method(node)

    def condition(self, node: ast.expr, then: Label, orelse: Label) -> None:
        """Jump to one of two labels by the truth of `node`; and/or/not become control flow."""
        match node:
            case ast.BoolOp(operator, values):
                for value in values[:-1]:
                    go_on = self.label()
                    if isinstance(operator, ast.And):
                        self.condition(value, go_on, orelse)
                    else:
                        self.condition(value, then, go_on)
                    self.place(go_on)
                self.condition(values[-1], then, orelse)
            case ast.UnaryOp(ast.Not(), operand):
                self.condition(operand, orelse, then)
            case _:
                self.emit(node, "branch", uses=(self.expr(node),), targets=(then, orelse))

    def expr_Constant(self, node: ast.Constant) -> str:
        return self.constant(node.value, node)

    def expr_Name(self, node: ast.Name) -> str:
        name = self.rename(node.id)
        if name in self.cells:
            return self.value(node, "cell_get", name, const=name)
        if name in self.locals:
            return self.value(node, "load", name, const=name)
        if name in self.code.free:
            return self.value(node, "free", const=name)
        return self.value(node, "global", const=name)

    def expr_NamedExpr(self, node: ast.NamedExpr) -> str:
        value = self.expr(node.value)
        self.store(node.target, value)
        return value

    def expr_BinOp(self, node: ast.BinOp) -> str:
        left, right = self.expr(node.left), self.expr(node.right)
        return self.value(node, "binary", left, right, const=type(node.op).__name__)

    def expr_UnaryOp(self, node: ast.UnaryOp) -> str:
        if isinstance(node.op, ast.Not):
            return self.value(node, "not", self.expr(node.operand))
        return self.value(node, "unary", self.expr(node.operand), const=type(node.op).__name__)

    def expr_BoolOp(self, node: ast.BoolOp) -> str:
        result, end = self.temporary(), self.label()
        for value in node.values[:-1]:
            self.emit(node, "move", dest=(result,), uses=(self.expr(value),))
            go_on = self.label()
            targets = (go_on, end) if isinstance(node.op, ast.And) else (end, go_on)
            self.emit(value, "branch", uses=(result,), targets=targets)
            self.place(go_on)
        self.emit(node, "move", dest=(result,), uses=(self.expr(node.values[-1]),))
        self.place(end)
        return result

    def expr_Compare(self, node: ast.Compare) -> str:
        left = self.expr(node.left)
        result, end = self.temporary(), self.label()
        for index, (operator, comparator) in enumerate(
            zip(node.ops, node.comparators, strict=True)
        ):
            right = self.expr(comparator)
            self.emit(
                node, "compare", dest=(result,), uses=(left, right), const=type(operator).__name__
            )
            if index + 1 < len(node.ops):
                go_on = self.label()
                self.emit(node, "branch", uses=(result,), targets=(go_on, end))
                self.place(go_on)
            left = right
        self.place(end)
        return result

    def expr_IfExp(self, node: ast.IfExp) -> str:
        result, then, orelse, end = self.temporary(), self.label(), self.label(), self.label()
        self.condition(node.test, then, orelse)
        self.place(then)
        self.emit(node, "move", dest=(result,), uses=(self.expr(node.body),))
        self.emit(node, "jump", targets=(end,))
        self.place(orelse)
        self.emit(node, "move", dest=(result,), uses=(self.expr(node.orelse),))
        self.place(end)
        return result

    def expr_Attribute(self, node: ast.Attribute) -> str:
        return self.value(node, "getattr", self.expr(node.value), const=node.attr)

    def expr_Subscript(self, node: ast.Subscript) -> str:
        return self.value(node, "getitem", self.expr(node.value), self.expr(node.slice))

    def expr_Slice(self, node: ast.Slice) -> str:
        parts = [
            self.constant(None, node) if part is None else self.expr(part)
            for part in (node.lower, node.upper, node.step)
        ]
        return self.value(node, "slice", *parts)

    def _items(self, items: list[ast.expr]) -> tuple[tuple[str, ...], tuple[bool, ...]]:
        registers = tuple(
            self.value(item, "sequence", self.expr(item.value))
            if isinstance(item, ast.Starred)
            else self.expr(item)
            for item in items
        )
        return registers, tuple(isinstance(item, ast.Starred) for item in items)

    def expr_Tuple(self, node: ast.Tuple) -> str:
        uses, stars = self._items(node.elts)
        return self.value(node, "tuple", *uses, const=stars)

    def expr_List(self, node: ast.List) -> str:
        uses, stars = self._items(node.elts)
        return self.value(node, "list", *uses, const=stars)

    def expr_Dict(self, node: ast.Dict) -> str:
        registers: list[str] = []
        for key, value in zip(node.keys, node.values, strict=True):
            registers += [] if key is None else [self.expr(key)]
            registers.append(self.expr(value))
        stars = tuple(key is None for key in node.keys)
        return self.value(node, "dict", *registers, const=stars)

    def expr_Set(self, node: ast.Set) -> str:
        uses, stars = self._items(node.elts)
        return self.value(node, "set", *uses, const=stars)

    def expr_Call(self, node: ast.Call) -> str:
        function = self.expr(node.func)
        self.at_once.update(drained(node))
        positional, stars = self._items(node.args)
        names = tuple(keyword.arg for keyword in node.keywords)
        keywords = tuple(self.expr(keyword.value) for keyword in node.keywords)
        return self.value(node, "call", function, *positional, *keywords, const=(stars, names))

    def call(self, node: ast.AST, function: str, arguments: tuple[str, ...]) -> str:
        const = ((False,) * len(arguments), ())
        return self.value(node, "call", function, *arguments, const=const)

    def expr_JoinedStr(self, node: ast.JoinedStr) -> str:
        parts = tuple(self.expr(item) for item in node.values)
        return self.value(node, "concat", *parts)

    def expr_FormattedValue(self, node: ast.FormattedValue) -> str:
        value = self.expr(node.value)
        spec = self.constant("", node) if node.format_spec is None else self.expr(node.format_spec)
        return self.value(node, "format", value, spec, const=node.conversion)

    def expr_ListComp(self, node: ast.ListComp) -> str:
        return self.comprehension(node, node.generators, "list", (node.elt,))

    def expr_SetComp(self, node: ast.SetComp) -> str:
        return self.comprehension(node, node.generators, "set", (node.elt,))

    def expr_DictComp(self, node: ast.DictComp) -> str:
        return self.comprehension(node, node.generators, "dict", (node.key, node.value))

    def comprehension(
        self,
        node: ast.expr,
        generators: list[ast.comprehension],
        kind: str,
        element: tuple[ast.expr, ...],
    ) -> str:
        result = self.value(node, kind, const=())

        def give() -> None:
            self.emit(node, "collect", uses=(result, *map(self.expr, element)))

        self.generators(node, generators, give)
        return result

    def generators(
        self, node: ast.expr, generators: list[ast.comprehension], give: Callable[[], None]
    ) -> None:
        """The loops of a comprehension around what `give` emits."""
        names = {
            name.id: f".{name.id}{self._temporaries}"
            for generator in generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name)
        }
        self.locals |= set(names.values())

        def nest(index: int) -> None:
            if index == len(generators):
                give()
                return
            generator = generators[index]
            exhausted, end = self.label(), self.label()

            def body() -> None:
                loop = self.scopes[-1].loop
                assert loop is not None
                for test in generator.ifs:
                    go_on = self.label()
                    self.condition(test, go_on, loop[0])
                    self.place(go_on)
                nest(index + 1)

            self.loop(node, generator.iter, generator.target, body, exhausted, end)
            self.place(exhausted)
            self.place(end)

        self._renamed.append(names)
        nest(0)
        self._renamed.pop()

    def expr_Starred(self, node: ast.Starred) -> str:
        return self.unsupported(node, "starred expression")
