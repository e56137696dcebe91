"""Functions inside of functions, lambdas and generators."""

from __future__ import annotations

import ast
import inspect

from dyncc.frontend.code import GENERATOR, Code, Nested
from dyncc.frontend.lower_expressions import Expressions
from dyncc.frontend.names import Function, Names, comprehension_names, defaults, names_of

_IN_COMPREHENSION = "a function that uses a variable of the comprehension around it"
#: Parameter of a generator expression.
_ITERATOR = "iterator"
_GENERATOR = inspect.Signature([inspect.Parameter("iterator", inspect.Parameter.POSITIONAL_ONLY)])


class Functions(Expressions):
    """Methods that emit the code of functions inside of functions."""

    def nested(self, name: str) -> Functions:
        """The lowering of a function inside of this one."""
        raise NotImplementedError

    def function(self, node: Function) -> Code:
        """The code of a function."""
        raise NotImplementedError

    def finish(self, node: ast.AST) -> Code:
        """The code, ended by a return."""
        raise NotImplementedError

    def enter_function(self, node: ast.AST, names: Names) -> None:
        """Make cells of the variables that functions inside share."""
        self.code.is_generator = names.yields
        for name in sorted(names.cells):
            self.cells.add(name)
            self.emit(node, "cell", dest=(name,), uses=(name,))

    def stmt_FunctionDef(self, node: ast.FunctionDef) -> None:
        made = self._closure(node, node.name)
        for decorator in reversed(node.decorator_list):
            made = self.call(decorator, self.expr(decorator), (made,))
        self.store(ast.copy_location(ast.Name(node.name, ast.Store()), node), made)

    def expr_Lambda(self, node: ast.Lambda) -> str:
        return self._closure(node, "<lambda>")

    def _closure(self, node: Function, name: str) -> str:
        names = names_of(node)
        lowerer = self._inside(names, name)
        if lowerer is None:
            return self.unsupported(node, _IN_COMPREHENSION)
        captured = tuple(sorted(lowerer.cells))
        code = lowerer.function(node)
        signature, count = _signature(node.args)
        template = Nested(code, signature, count, captured)
        values = [self.expr(item) for item in defaults(node.args)]
        return self.value(node, "closure", *values, *map(self.rename, captured), const=template)

    def _inside(self, names: Names, name: str) -> Functions | None:
        """A lowering whose cells are those that it takes from here, or None."""
        captured = {free for free in names.free if self.rename(free) in self.cells}
        if any(self.rename(free) in self.locals for free in names.free - captured):
            return None
        lowerer = self.nested(f"{self.code.name}.<locals>.{name}")
        lowerer.locals = (names.bound - names.foreign) | captured
        lowerer.cells = captured
        return lowerer

    def expr_GeneratorExp(self, node: ast.GeneratorExp) -> str:
        """A generator; its first iterable is evaluated here."""
        if node in self.at_once:
            return self.comprehension(node, node.generators, "list", (node.elt,))
        names = comprehension_names(node)
        first = node.generators[0].iter
        lowerer = self._inside(names, "<genexpr>")
        if lowerer is None:
            return self.unsupported(node, _IN_COMPREHENSION)
        captured = tuple(sorted(lowerer.cells))
        code = lowerer.generator(node, names)
        template = Nested(code, _GENERATOR, 0, captured)
        iterator = self.value(first, "iter", self.expr(first))
        made = self.value(node, "closure", *map(self.rename, captured), const=template)
        return self.call(node, made, (iterator,))

    def generator(self, node: ast.GeneratorExp, names: Names) -> Code:
        """The code of a generator expression, whose parameter is its first iterator."""
        self.locals.add(_ITERATOR)
        self.enter_function(node, names)
        self.code.is_generator = True
        first, *rest = node.generators
        outer = ast.copy_location(ast.Name(_ITERATOR, ast.Load()), first.iter)
        whole = [ast.comprehension(first.target, outer, first.ifs, 0), *rest]

        def give() -> None:
            self.give(node, self.expr(node.elt))

        self.generators(node, whole, give)
        return self.finish(node)

    def expr_Yield(self, node: ast.Yield) -> str:
        value = self.constant(None, node) if node.value is None else self.expr(node.value)
        return self.give(node, value)

    def expr_YieldFrom(self, node: ast.YieldFrom) -> str:
        head, end = self.label(), self.label()
        iterator = self.value(node.value, "iter", self.expr(node.value))
        self.place(head)
        self.give(node, self.step(node, node, iterator, end))
        self.jump(node, head)
        self.place(end)
        return self.value(node, "outcome", iterator)

    def give(self, node: ast.AST, value: str) -> str:
        """Hand a value to the consumer of a generator; the register of what it sends."""
        dest = self.temporary()
        self.emit(node, "yield", dest=(dest,), uses=(value, GENERATOR))
        return dest


def _signature(arguments: ast.arguments) -> tuple[inspect.Signature, int]:
    """Parameters whose defaults are their positions among all defaults."""
    kinds = inspect.Parameter
    found: list[inspect.Parameter] = []
    plain = [*arguments.posonlyargs, *arguments.args]
    first = len(plain) - len(arguments.defaults)
    for position, item in enumerate(plain):
        kind = (
            kinds.POSITIONAL_ONLY
            if position < len(arguments.posonlyargs)
            else kinds.POSITIONAL_OR_KEYWORD
        )
        default = position - first if position >= first else kinds.empty
        found.append(kinds(item.arg, kind, default=default))
    if arguments.vararg is not None:
        found.append(kinds(arguments.vararg.arg, kinds.VAR_POSITIONAL))
    count = len(arguments.defaults)
    for item, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        default = kinds.empty if value is None else count
        count += value is not None
        found.append(kinds(item.arg, kinds.KEYWORD_ONLY, default=default))
    if arguments.kwarg is not None:
        found.append(kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(found), count
