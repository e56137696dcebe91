"""Which names a function binds, reads, and shares with functions inside of it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.Lambda


@dataclass
class Names:
    """What a function does with names.

    Attributes
    ----------
    bound
        Its own variables.
    used
        Names that it, or a function in it, reads or declares ``nonlocal``.
    foreign
        Names that it declares ``nonlocal`` or ``global``.
    captured
        Names that functions in it take from around themselves.
    yields
        Whether it is a generator.
    """

    bound: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    captured: set[str] = field(default_factory=set)
    yields: bool = False

    @property
    def free(self) -> set[str]:
        """Names that come from outside of it."""
        return self.used - (self.bound - self.foreign)

    @property
    def cells(self) -> set[str]:
        """Its variables that functions in it share."""
        return self.captured & (self.bound - self.foreign)


def names_of(node: Function) -> Names:
    """The names of a function."""
    names = Names(bound={argument.arg for argument in parameters(node.args)})
    _visit(names, node.body if isinstance(node.body, list) else [node.body])
    return names


def parameters(arguments: ast.arguments) -> Iterator[ast.arg]:
    """All parameters of a function."""
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (item for item in (arguments.vararg, arguments.kwarg) if item is not None)


def defaults(arguments: ast.arguments) -> list[ast.expr]:
    """The defaults of a function, in order."""
    return [*arguments.defaults, *(item for item in arguments.kw_defaults if item is not None)]


def _visit(names: Names, nodes: Iterable[ast.AST], at_once: Sequence[ast.AST] = ()) -> None:
    """Note what `nodes` do; generator expressions of `at_once` are no generators."""
    for node in nodes:
        match node:
            case ast.Name(name, ast.Load()):
                names.used.add(name)
            case ast.Name(name):
                names.bound.add(name)
            case ast.Global(listed):
                names.foreign.update(listed)
                names.used -= set(listed)
            case ast.Nonlocal(listed):
                names.foreign.update(listed)
                names.used.update(listed)
            case ast.FunctionDef() | ast.Lambda():
                if isinstance(node, ast.FunctionDef):
                    names.bound.add(node.name)
                    _visit(names, node.decorator_list)
                _visit(names, defaults(node.args))
                _take(names, names_of(node).free)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                inner = comprehension_names(node)
                names.used |= inner.free
                names.captured |= inner.captured - inner.bound
                if isinstance(node, ast.GeneratorExp) and node not in at_once:
                    names.captured |= inner.free
            case ast.Call():
                _visit(names, ast.iter_child_nodes(node), drained(node))
            case ast.Yield() | ast.YieldFrom():
                names.yields = True
                _visit(names, ast.iter_child_nodes(node))
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                names.bound.add(name)
                _visit(names, ast.iter_child_nodes(node))
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                names.bound.add(name)
                _visit(names, ast.iter_child_nodes(node))
            case ast.Import(aliases) | ast.ImportFrom(names=aliases):
                names.bound.update((item.asname or item.name).split(".")[0] for item in aliases)
            case ast.arg() | ast.ClassDef():
                pass
            case _:
                _visit(names, ast.iter_child_nodes(node))


def _take(names: Names, free: set[str]) -> None:
    names.used |= free
    names.captured |= free


#: Functions and methods that go through all of an iterable before anything else happens.
_DRAINING = {
    "sum", "list", "tuple", "set", "frozenset", "max", "min", "sorted", "dict", "any", "all",
    "join", "stack", "cat", "concat", "extend", "update", "fsum", "prod", "tensor",
}  # fmt: skip


def drained(node: ast.Call) -> list[ast.AST]:
    """The generator expressions among arguments that the call goes through at once."""
    name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
    found = [item for item in node.args if isinstance(item, ast.GeneratorExp)]
    return [*found] if name in _DRAINING else []


def comprehension_names(node: ast.expr) -> Names:
    """The names of a comprehension; its variables are its own."""
    inner = Names()
    _visit(inner, ast.iter_child_nodes(node))
    return inner
