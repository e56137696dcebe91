"""Every text of a diagnostic: docs/diagnostics.md is what the programs that are refused give.

``pytest tests/frontend/test_diagnostic_texts.py --update-goldens`` writes the page.
"""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from frontend import refused_programs
from frontend.differential import network

import dyncc.frontend
from dyncc.core.errors import Diagnostic, UnsupportedError
from dyncc.frontend import capture
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.machine import Machine

PAGE = Path(__file__).parents[2] / "docs" / "diagnostics.md"
FRONTEND = Path(dyncc.frontend.__file__).parent
#: How many diagnostics no program triggers yet; this number may only fall.
WITHOUT_PROGRAM = 58
#: File, first and last line of a place that makes a diagnostic.
Site = tuple[str, int, int]
INTRODUCTION = """\
# Diagnostics

What the front end refuses. All problems of a network are reported at once, each with its place, the
construct, why it cannot be compiled, and the smallest change that would help.
`dyncc compile --json` prints them as JSON on standard output, with the same exit code:

| Field | Holds |
|---|---|
| `ok` | whether there is an artifact; without one the fields below follow |
| `exit_code`, `error` | the exit code and the class of the error |
| `message`, `where`, `hint` | what is wrong, where, what to do; the last two may be null |
| `diagnostics` | each construct that cannot be compiled; empty for other errors |

A diagnostic has `file`, `line`, `column`, `end_column` (from 1, the end exclusive, in characters),
`code`, `construct`, `reason`, `hint`, `source` (the line) and `calls`: the calls that lead there,
outermost first, each with `file`, `line`, `column` and `function`. What is not known is null.

This page is made by `pytest tests/frontend/test_diagnostic_texts.py --update-goldens` from
`tests/frontend/refused_programs.py`, where `x` is a float32 tensor of shape (1, 4).
"""


def sites() -> dict[Site, str]:
    """Every place in the front end that makes a diagnostic, and its construct and reason."""
    found = {}
    for path in sorted(FRONTEND.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Unsupported":
                text = ": ".join(ast.unparse(part) for part in node.args[:3])
                found[path.name, node.lineno, node.end_lineno or node.lineno] = text
    return found


def test_every_text_of_a_diagnostic(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin: dict[int, tuple[str, int]] = {}
    kept: list[Unsupported] = []
    made: dict[Diagnostic, tuple[str, int]] = {}
    begin, diagnostic = Unsupported.__init__, Machine.diagnostic

    def remember(self: Unsupported, *args: Any) -> None:
        begin(self, *args)
        caller = sys._getframe(1)
        kept.append(self)
        origin[id(self)] = Path(caller.f_code.co_filename).name, caller.f_lineno

    def note(self: Machine, state: Any, problem: Unsupported) -> Diagnostic:
        result = diagnostic(self, state, problem)
        made[result] = origin[id(problem)]
        return result

    monkeypatch.setattr(Unsupported, "__init__", remember)
    monkeypatch.setattr(Machine, "diagnostic", note)
    missing, parts = sites(), [INTRODUCTION]
    for name, program in vars(refused_programs).items():
        if not isinstance(program, FunctionType) or program.__module__ != refused_programs.__name__:
            continue
        module = network(program, **refused_programs.MEMBERS.get(name, {}))
        with pytest.raises(UnsupportedError) as caught:
            capture(module, (torch.ones(1, 4),), {}, name)
        for item in caught.value.diagnostics:
            file, line = made[item]
            for site in [
                site for site in missing if site[0] == file and site[1] <= line <= site[2]
            ]:
                del missing[site]
        parts.append(_entry(program, caught.value.diagnostics))
    assert len(missing) <= WITHOUT_PROGRAM, "\n".join(f"{s}: {t}" for s, t in missing.items())
    assert len(missing) >= WITHOUT_PROGRAM, f"lower WITHOUT_PROGRAM to {len(missing)}"
    rest = "".join(f"- `{site[0]}`: `{text}`\n" for site, text in missing.items())
    parts.append(f"## Diagnostics that no program above shows\n\n{rest}")
    page = "\n".join(parts).replace(f"{Path(refused_programs.__file__).parent}/", "")
    if request.config.getoption("--update-goldens"):
        PAGE.write_text(page, encoding="utf-8")
    assert page == PAGE.read_text(encoding="utf-8")


def _entry(program: FunctionType, found: tuple[Diagnostic, ...]) -> str:
    title = found[0].construct
    texts = "\n".join(str(item) for item in found)
    source = inspect.getsource(program).rstrip()
    return (
        f"## {title[:1].upper()}{title[1:]}\n\n```python\n{source}\n```\n\n```text\n{texts}\n```\n"
    )
