"""From a function to its flat code: finds the source and lowers the syntax tree.

`lower_statements` and `lower_expressions` have one method for each construct. A construct without a
method becomes an ``unsupported`` instruction, so that it costs nothing where it is never reached
and a diagnostic where it is.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types

from dyncc.frontend.code import Code
from dyncc.frontend.lower_statements import Statements

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
    lowerer = Statements(function.__qualname__, file, [line.rstrip("\n") for line in whole])
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
