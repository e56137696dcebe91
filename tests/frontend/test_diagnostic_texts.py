"""Every text of a diagnostic: docs/diagnostics.md is what the programs that are refused give.

``pytest tests/frontend/test_diagnostic_texts.py --update-goldens`` writes the page.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
import textwrap
from collections import defaultdict
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import torch
from frontend import refused_programs
from frontend.differential import network

import dyncc.frontend
from dyncc.backends import skipopu, variants
from dyncc.core.errors import Diagnostic, UnsupportedError
from dyncc.core.explanations import Explanation, explanations
from dyncc.export import refusals
from dyncc.frontend import capture
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.standing import diagnostic

PAGE = Path(__file__).parents[2] / "docs" / "diagnostics.md"
FRONTEND = Path(dyncc.frontend.__file__).parent
SKIPOPU = Path(skipopu.__file__).parent
EXPORT = Path(refusals.__file__)
BATCHES = Path(variants.__file__)
REFUSALS = ("Unsupported", "WriteToShared")
X = (torch.ones(1, 4),)
#: File, first and last line of a place that makes a diagnostic.
Site = tuple[str, int, int]
INTRODUCTION = """\
# Diagnostics

What the front end refuses. All problems of a network are reported at once, each with its place, a
code, the construct, why it cannot be compiled, and the smallest change that would help. Of what
stands behind a problem only that is reported which does not follow from it: its results count as
unknown.
`dyncc explain DY302` says more of a code; `dyncc explain` lists all of them.
`dyncc compile --json` prints diagnostics as JSON on standard output, with the same exit code:

| Field | Holds |
|---|---|
| `ok` | whether there is an artifact; without one the fields below follow |
| `exit_code`, `error` | the exit code and the class of the error |
| `message`, `where`, `hint` | what is wrong, where, what to do; the last two may be null |
| `diagnostics` | each construct that cannot be compiled; empty for other errors |

A diagnostic has `file`, `line`, `column`, `end_column` (from 1, the end exclusive, in characters),
`code`, `construct`, `reason`, `hint`, `source` (the line) and `calls`: the calls that lead there,
outermost first, each with `file`, `line`, `column` and `function`. What is not known is null.
Codes keep their meaning from release to release; the other texts may change.

What a back end cannot compile, a region, has no code: the error names each region with its place,
and `--fallback eager` lets PyTorch run these regions; the manifest and `dyncc inspect` say which
and why. It covers regions only, which are pure: they get tensors and give tensors. What the front
end refuses is not left to PyTorch. Such a call may read or change Python objects that do not
exist in a compiled program, and without its Python there is nothing to record: its result would
have to be taken as it was when the network was compiled.

This page is made by `pytest tests/frontend/test_diagnostic_texts.py --update-goldens` from
`compiler/dyncc/core/explanations.md` and `tests/frontend/refused_programs.py`, where `x` is a
float32 tensor of shape (1, 4).
"""


def made(folder: Path, functions: tuple[str, ...], place: int) -> dict[Site, str]:
    """Every place in a folder that makes a diagnostic, and its code, construct and reason."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in functions:
                text = ": ".join(ast.unparse(part) for part in node.args[place : place + 3])
                found[path.name, node.lineno, node.end_lineno or node.lineno] = text
    return found


def test_every_code_is_explained_and_made() -> None:
    sites = made(FRONTEND, REFUSALS, 0) | made(SKIPOPU, ("Diagnostic",), 1)
    codes = {ast.literal_eval(text.partition(":")[0]) for text in sites.values()}
    for file in (EXPORT, BATCHES):
        codes |= set(re.findall(r'"(DY\d{3})"', file.read_text(encoding="utf-8")))
    assert codes == explanations().keys()


def test_every_text_of_a_diagnostic(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin: dict[int, tuple[str, int]] = {}
    kept: list[Unsupported] = []
    places: dict[Diagnostic, tuple[str, int]] = {}
    begin = Unsupported.__init__

    def remember(self: Unsupported, *args: Any) -> None:
        begin(self, *args)
        caller = sys._getframe(1)
        kept.append(self)
        origin[id(self)] = Path(caller.f_code.co_filename).name, caller.f_lineno

    def note(state: Any, problem: Unsupported) -> Diagnostic:
        result = diagnostic(state, problem)
        places[result] = origin[id(problem)]
        return result

    monkeypatch.setattr(Unsupported, "__init__", remember)
    for user in ("interpreter", "machine", "recovery"):
        monkeypatch.setattr(f"dyncc.frontend.{user}.diagnostic", note)
    missing = made(FRONTEND, REFUSALS, 0)
    entries: dict[str, list[str]] = defaultdict(list)
    for name, program in vars(refused_programs).items():
        if not isinstance(program, FunctionType) or program.__code__.co_varnames[:1] != ("self",):
            continue
        module = network(program, **refused_programs.MEMBERS.get(name, {}))
        with monkeypatch.context() as limits:
            for limit, value in refused_programs.LIMITS.get(name, {}).items():
                limits.setattr(f"dyncc.frontend.{limit}", value)
            with pytest.raises(UnsupportedError) as caught:
                capture(module, X, {}, name)
        for item in caught.value.diagnostics:
            file, line = places[item]
            for site in [
                site for site in missing if site[0] == file and site[1] <= line <= site[2]
            ]:
                del missing[site]
        entries[caught.value.diagnostics[0].code].append(_entry(program, caught.value.diagnostics))
    # A diagnostic that no program gives is not known to be what it should be.
    assert not missing
    page = _page(entries).replace(f"{Path(refused_programs.__file__).parent}/", "")
    if request.config.getoption("--update-goldens"):
        PAGE.write_text(page, encoding="utf-8")
    assert page == PAGE.read_text(encoding="utf-8")


def _page(entries: dict[str, list[str]]) -> str:
    parts, group = [INTRODUCTION], ""
    for item in explanations().values():
        if item.group != group:
            group = item.group
            parts.append(f"## {group}\n")
        parts.append(f'<a id="{item.code}"></a>\n\n### {item.code}: {item.title}\n\n{item.text}\n')
        if item.remedy:
            parts.append(f"Refused:\n\n{_code(item.example)}\nCompiled:\n\n{_code(item.remedy)}")
        parts += entries[item.code]
    return "\n".join(parts)


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


def _entry(program: FunctionType, found: tuple[Diagnostic, ...]) -> str:
    texts = "\n".join(str(item) for item in found)
    return f"{_code(inspect.getsource(program).rstrip())}\n```text\n{texts}\n```\n"


@pytest.mark.parametrize(
    "item", [item for item in explanations().values() if item.example], ids=lambda item: item.code
)
def test_examples_of_an_explanation(
    item: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dyncc.frontend.variants.MAX_VARIANTS", 10)
    with pytest.raises(UnsupportedError) as caught:
        _capture(item.example, tmp_path / "example.py")
    assert {problem.code for problem in caught.value.diagnostics} == {item.code}
    if item.remedy:
        _capture(item.remedy, tmp_path / "remedy.py")


def _capture(text: str, path: Path) -> None:
    """Capture an example: a file with a network or a ``forward``, or the body of one."""
    if "def forward" not in text:
        text = f"def forward(self, x):\n{textwrap.indent(text, '    ')}"
    path.write_text(f"import torch\nfrom torch import nn\n\n{text}\n", encoding="utf-8")
    found = _load(path)
    module = found.Network() if hasattr(found, "Network") else network(found.forward)
    capture(module, X, {}, path.stem)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
