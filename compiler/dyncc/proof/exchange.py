"""Exchanges the code of functions, for the time of a proof, for code that asks how to decide."""

from __future__ import annotations

import ast
import types
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from dyncc.core.errors import ModelError
from dyncc.ir.places import Decision
from dyncc.proof.functions import functions_of
from dyncc.proof.source import Asked, Rewriter

#: Code objects that change, with their new form, by qualified name and first line.
Changes = dict[tuple[str, int], list[tuple[types.CodeType, types.CodeType]]]


# --- exchanging code ----------------------------------------------------------------------------


def _pairs(
    old: types.CodeType, new: types.CodeType
) -> Iterator[tuple[types.CodeType, types.CodeType]]:
    """Code objects of the original with their rewritten counterparts."""
    yield old, new
    inner = [
        [const for const in code.co_consts if isinstance(const, types.CodeType)]
        for code in (old, new)
    ]
    for left, right in zip(*inner, strict=True):
        yield from _pairs(left, right)


def rewritten(
    file: str, tests: set[tuple[int, int, str]], heads: set[tuple[int, int]]
) -> tuple[Changes, set[Decision]]:
    """What changes in a file, and the decisions that its functions ask for then.

    Raises
    ------
    ModelError
        If the file cannot be read.
    """
    rewriter = Rewriter(tests, heads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python gave them when it imported the file
        try:
            text = Path(file).read_text(encoding="utf-8")
            old = compile(text, file, "exec", dont_inherit=True)
            tree = rewriter.visit(ast.parse(text, file))
        except (OSError, SyntaxError, ValueError) as error:
            raise ModelError(f"the source cannot be read again: {error}", where=file) from error
        new = compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True)
    found: Changes = {}
    asking = {(file, *test) for test in rewriter.asking}
    for before, after in _pairs(old, new):
        if before.co_code != after.co_code or before.co_consts != after.co_consts:
            key = (before.co_qualname, before.co_firstlineno)
            found.setdefault(key, []).append((before, after))
    return found, asking


@contextmanager
def asking(
    decisions: Iterable[Decision],
    heads: Iterable[tuple[str, int, int]],
    asked: Asked,
    root: nn.Module,
) -> Iterator[set[Decision]]:
    """Let the functions that hold `decisions`, and blocks that begin at `heads`, ask `asked`.

    They are looked for from the network `root`.

    Gives those of `decisions` that are asked for. Others follow from what happens, such as whether
    an operation raises.
    """
    tests: dict[str, set[tuple[int, int, str]]] = {}
    starts: dict[str, set[tuple[int, int]]] = {}
    for file, line, column, text in decisions:
        tests.setdefault(file, set()).add((line, column, text))
    for file, line, column in heads:
        starts.setdefault(file, set()).add((line, column))
    files: dict[str, Changes] = {}
    asking: set[Decision] = set()
    for file in {*tests, *starts}:
        if not file.startswith("<"):
            files[file], found = rewritten(file, tests.get(file, set()), starts.get(file, set()))
            asking |= found
    changed: list[tuple[types.FunctionType, types.CodeType]] = []
    scopes: dict[int, dict[str, Any]] = {}
    names = asked.names()
    try:
        changing = {file for file, changes in files.items() if changes}
        for function in functions_of(changing, root):
            code = function.__code__
            choices = files.get(code.co_filename, {}).get((code.co_qualname, code.co_firstlineno))
            if choices is None:
                continue
            after = next((b for a, b in choices if a.co_code == code.co_code), choices[0][1])
            changed.append((function, code))
            function.__code__ = after
            scope = function.__globals__
            scopes[id(scope)] = scope
            scope.update(names)
        yield asking
    finally:
        for function, code in changed:
            function.__code__ = code
        for scope in scopes.values():
            for name in names:
                scope.pop(name, None)
