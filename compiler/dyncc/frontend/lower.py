"""From a function's syntax tree to flat code: one method for each construct.

A construct without a method becomes an ``unsupported`` instruction, so that it costs nothing where
it is never reached and a diagnostic where it is.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Callable

from dyncc.frontend.code import Code, Instr, Label

# Equal code of two files is equal to Python, but stands in different places.
_CACHE: dict[tuple[types.CodeType, str], Code] = {}


class SourceUnavailable(Exception):
    """The source of a function cannot be read (built in, generated or interactive)."""


def code_of(function: types.FunctionType) -> Code:
    """Flat code of a Python function, cached by its code object and file.

    Raises
    ------
    SourceUnavailable
        If the source cannot be read.
    """
    key = (function.__code__, function.__code__.co_filename)
    found = _CACHE.get(key)
    if found is None:
        found = _CACHE[key] = _lower_function(function)
        found.serial = len(_CACHE)
    return found


def _lower_function(function: types.FunctionType) -> Code:
    try:
        block, first = inspect.getsourcelines(function)
        file = inspect.getsourcefile(function) or "<unknown>"
        whole, _ = inspect.findsource(function)
    except (OSError, TypeError) as error:
        raise SourceUnavailable(str(error)) from error
    text = "".join(block)
    indent = len(text) - len(text.lstrip(" \t"))
    try:
        tree = ast.parse(textwrap.dedent(text))
    except SyntaxError as error:  # a lambda in the middle of an expression
        raise SourceUnavailable(
            f"source of {function.__qualname__} does not stand alone"
        ) from error
    node = _find(tree, function)
    for item in ast.walk(tree):
        if isinstance(item, ast.expr | ast.stmt):
            item.lineno += first - 1
            item.col_offset += indent
    lowerer = _Lowerer(function.__qualname__, file, [line.rstrip("\n") for line in whole])
    lowerer.code.cells = frozenset(function.__code__.co_cellvars)
    lowerer.code.free = frozenset(function.__code__.co_freevars)
    lowerer.locals = set(function.__code__.co_varnames) | set(function.__code__.co_cellvars)
    return lowerer.function(node)


def _find(tree: ast.Module, function: types.FunctionType) -> ast.FunctionDef | ast.Lambda:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
            return node
        if isinstance(node, ast.Lambda) and function.__name__ == "<lambda>":
            names = [argument.arg for argument in node.args.args]
            if tuple(names) == function.__code__.co_varnames[: len(names)]:
                return node
    raise SourceUnavailable(f"no definition of {function.__qualname__} in its source")


class _Lowerer:
    """Holds the code under construction and the loop context."""

    def __init__(self, name: str, file: str, lines: list[str]) -> None:
        self.code = Code(name, file, lines)
        self.locals: set[str] = set()
        self._temporaries = 0
        self._labels: list[int | None] = []
        self._loops: list[tuple[Label, Label]] = []
        self._renamed: list[dict[str, str]] = []

    # -- building ------------------------------------------------------------------------------

    def function(self, node: ast.FunctionDef | ast.Lambda) -> Code:
        if isinstance(node, ast.Lambda):
            self.emit(node, "return", uses=(self.expr(node.body),))
        else:
            self.body(node.body)
            self.emit(node, "return", uses=(self.constant(None, node),))
        for instr in self.code.instrs:
            instr.targets = tuple(self._labels[label.number] for label in instr.targets)
        return self.code

    def temporary(self) -> str:
        self._temporaries += 1
        return f".{self._temporaries}"

    def label(self) -> Label:
        self._labels.append(None)
        return Label(len(self._labels) - 1)

    def place(self, label: Label) -> None:
        self._labels[label.number] = len(self.code.instrs)

    def emit(
        self,
        node: ast.AST,
        op: str,
        *,
        dest: tuple[str, ...] = (),
        uses: tuple[str, ...] = (),
        const: object = None,
        targets: tuple[Label, ...] = (),
    ) -> None:
        self.code.instrs.append(Instr(op, dest, uses, const, targets, node))

    def value(self, node: ast.AST, op: str, *uses: str, const: object = None) -> str:
        dest = self.temporary()
        self.emit(node, op, dest=(dest,), uses=uses, const=const)
        return dest

    def constant(self, value: object, node: ast.AST) -> str:
        return self.value(node, "const", const=value)

    def unsupported(self, node: ast.AST, construct: str) -> str:
        return self.value(node, "unsupported", const=construct)

    # -- statements ----------------------------------------------------------------------------

    def body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
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

    def loop(
        self,
        node: ast.AST,
        iterable: ast.expr,
        target: ast.expr,
        body: Callable[[], None],
        exhausted: Label,
        end: Label,
    ) -> None:
        """A ``for`` loop; `exhausted` and `end` are placed by the caller."""
        head = self.label()
        iterator = self.value(iterable, "iter", self.expr(iterable))
        self.place(head)
        self.emit(node, "next", uses=(iterator,), targets=(exhausted,))
        self.store(target, self.value(target, "fetch", iterator))
        self._loops.append((head, end))
        body()
        self._loops.pop()
        self.emit(node, "jump", targets=(head,))

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

    # -- stores --------------------------------------------------------------------------------

    def store(self, target: ast.expr, value: str) -> None:
        match target:
            case ast.Name(name):
                register = self.rename(name)
                if register in self.locals:
                    self.emit(target, "move", dest=(register,), uses=(value,))
                else:
                    self.unsupported(target, f"assignment to the global `{name}`")
            case ast.Attribute(owner, attribute):
                self.emit(target, "setattr", uses=(self.expr(owner), value), const=attribute)
            case ast.Subscript(owner, index):
                uses = (self.expr(owner), self.expr(index), value)
                self.emit(target, "setitem", uses=uses)
            case ast.Tuple(items) | ast.List(items):
                star = next((i for i, e in enumerate(items) if isinstance(e, ast.Starred)), None)
                parts = tuple(self.temporary() for _ in items)
                self.emit(target, "unpack", dest=parts, uses=(value,), const=(len(items), star))
                for item, part in zip(items, parts, strict=True):
                    self.store(item.value if isinstance(item, ast.Starred) else item, part)
            case _:
                self.unsupported(target, "assignment target")

    def rename(self, name: str) -> str:
        for scope in reversed(self._renamed):
            if name in scope:
                return scope[name]
        return name

    # -- expressions ---------------------------------------------------------------------------

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
            self.expr(item.value if isinstance(item, ast.Starred) else item) for item in items
        )
        return registers, tuple(isinstance(item, ast.Starred) for item in items)

    def expr_Tuple(self, node: ast.Tuple) -> str:
        uses, stars = self._items(node.elts)
        return self.value(node, "tuple", *uses, const=stars)

    def expr_List(self, node: ast.List) -> str:
        uses, stars = self._items(node.elts)
        return self.value(node, "list", *uses, const=stars)

    def expr_Dict(self, node: ast.Dict) -> str:
        if None in node.keys:
            return self.unsupported(node, "`**` in a dict display")
        keys = [self.expr(key) for key in node.keys if key is not None]
        values = [self.expr(value) for value in node.values]
        return self.value(node, "dict", *keys, *values)

    def expr_Call(self, node: ast.Call) -> str:
        function = self.expr(node.func)
        positional, stars = self._items(node.args)
        names = tuple(keyword.arg for keyword in node.keywords)
        keywords = tuple(self.expr(keyword.value) for keyword in node.keywords)
        return self.value(node, "call", function, *positional, *keywords, const=(stars, names))

    def call(self, node: ast.AST, function: str, arguments: tuple[str, ...]) -> str:
        const = ((False,) * len(arguments), ())
        return self.value(node, "call", function, *arguments, const=const)

    def expr_JoinedStr(self, node: ast.JoinedStr) -> str:
        parts: list[str] = []
        formats: list[tuple[int, str]] = []
        for item in node.values:
            if isinstance(item, ast.Constant):
                parts.append(self.constant(item.value, item))
                formats.append((-1, ""))
            elif isinstance(item, ast.FormattedValue):
                spec = item.format_spec
                if spec is not None and not all(
                    isinstance(part, ast.Constant) for part in getattr(spec, "values", ())
                ):
                    return self.unsupported(node, "nested format specification")
                text = "".join(str(part.value) for part in getattr(spec, "values", ()))
                parts.append(self.expr(item.value))
                formats.append((item.conversion, text))
        return self.value(node, "format", *parts, const=tuple(formats))

    def expr_ListComp(self, node: ast.ListComp) -> str:
        return self._comprehension(node, node.generators, node.elt)

    def expr_GeneratorExp(self, node: ast.GeneratorExp) -> str:
        # Evaluated at once: nothing that a generator's consumer does is visible to its body here.
        return self._comprehension(node, node.generators, node.elt)

    def _comprehension(
        self, node: ast.expr, generators: list[ast.comprehension], element: ast.expr
    ) -> str:
        result = self.value(node, "list", const=())
        append = self.value(node, "getattr", result, const="append")
        names = {
            name.id: f".{name.id}{self._temporaries}"
            for generator in generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name)
        }
        self.locals |= set(names.values())

        def nest(index: int) -> None:
            if index == len(generators):
                self.call(node, append, (self.expr(element),))
                return
            generator = generators[index]
            exhausted, end = self.label(), self.label()

            def body() -> None:
                head = self._loops[-1][0]
                for test in generator.ifs:
                    go_on = self.label()
                    self.condition(test, go_on, head)
                    self.place(go_on)
                nest(index + 1)

            self.loop(node, generator.iter, generator.target, body, exhausted, end)
            self.place(exhausted)
            self.place(end)

        self._renamed.append(names)
        nest(0)
        self._renamed.pop()
        return result

    def expr_Starred(self, node: ast.Starred) -> str:
        return self.unsupported(node, "starred expression")

    def expr_Lambda(self, node: ast.Lambda) -> str:
        return self.unsupported(node, "`lambda`")


def _keyword(statement: ast.stmt) -> str:
    names = {"AsyncFor": "async for", "AsyncWith": "async with", "ClassDef": "class"}
    return names.get(type(statement).__name__, type(statement).__name__.lower())
