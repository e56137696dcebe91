"""From a function to its flat code: finds the source and lowers the syntax tree.

`lower_statements` and `lower_expressions` have one method for each construct. A construct without a
method becomes an ``unsupported`` instruction, so that it costs nothing where it is never reached
and a diagnostic where it is.
"""

from __future__ import annotations

import ast
import inspect
import types
import warnings
from functools import lru_cache

from dyncc.frontend.code import Code
from dyncc.frontend.lower_statements import Statements
from dyncc.frontend.names import Function, names_of

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
    return found


def _lower_function(function: types.FunctionType) -> Code:
    try:
        file = inspect.getsourcefile(function) or "<unknown>"
        lines, _ = inspect.findsource(function)
    except (OSError, TypeError) as error:
        raise SourceUnavailable(str(error)) from error
    node = _find(_functions("".join(lines)), function)
    code = function.__code__
    lowerer = Statements(function.__qualname__, file, [line.rstrip("\n") for line in lines])
    lowerer.code.free = frozenset(code.co_freevars)
    lowerer.locals = set(code.co_varnames) | set(code.co_cellvars) | names_of(node).cells
    return lowerer.function(node)


@lru_cache(maxsize=64)
def _functions(source: str) -> dict[int, list[Function]]:
    """Every function of a file by the line on which its code begins."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python gave them when it imported the file
            tree = ast.parse(source)
    except SyntaxError as error:
        raise SourceUnavailable(str(error)) from error
    found: dict[int, list[Function]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            decorators = getattr(node, "decorator_list", [])
            line = min(item.lineno for item in (node, *decorators))
            found.setdefault(line, []).append(node)
    return found


def _find(functions: dict[int, list[Function]], function: types.FunctionType) -> Function:
    code = function.__code__
    found = None
    for node in functions.get(code.co_firstlineno, []):
        if isinstance(node, ast.FunctionDef):
            if node.name == code.co_name:
                return node
        elif code.co_name == "<lambda>" and _holds(node.body, code):
            found = node  # and perhaps another one inside of it
    if found is None:
        raise SourceUnavailable(f"no definition of {function.__qualname__} in its source")
    return found


def _holds(body: ast.expr, code: types.CodeType) -> bool:
    """Whether code comes from an expression; several lambdas may stand on one line."""
    first = (body.lineno, body.col_offset)
    last = (body.end_lineno or 0, body.end_col_offset or 0)
    # Instructions that stand for the function as a whole have no extent.
    places = [
        (line, column)
        for line, _, column, end in code.co_positions()
        if line is not None and column is not None and end is not None and column < end
    ]
    return all(first <= place < last for place in places)
