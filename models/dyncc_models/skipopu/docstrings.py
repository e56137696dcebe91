"""English text about programs that installed packages bring: their docstrings.

Files are parsed, not imported. Docstrings come in the order of packages and of paths; a paragraph
is kept once, and none that the topics of `corpus` have. The text differs between versions of
packages, so `digest` belongs to what is trained on it.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from dyncc.core.errors import MissingToolError
from dyncc_models.skipopu import corpus

#: Where docstrings come from: Python's library, and packages that dyncc or one of its extras needs.
PACKAGES = ("stdlib", "numpy", "torch", "matplotlib", "networkx")
#: A docstring that is shorter, in characters, says little.
_SHORTEST = 300
_LEFT_OUT = {"site-packages", "test", "tests", "testing", "_vendor", "idlelib", "pydoc_data"}


@lru_cache(maxsize=1)
def text() -> str:
    """Docstrings, one after the other, with an empty line between.

    Raises
    ------
    MissingToolError
        If a package is missing.
    """
    known = {
        " ".join(paragraph.split())
        for split in corpus.SPLITS
        for document in corpus.documents(split)
        for paragraph in document.split("\n\n")
    }
    found = []
    for package in PACKAGES:
        for docstring in _docstrings(_folder(package)):
            kept = []
            for paragraph in docstring.split("\n\n"):
                words = " ".join(paragraph.split())
                if words and words not in known:
                    known.add(words)
                    kept.append(paragraph.strip("\n"))
            joined = "\n\n".join(kept)
            if len(joined) >= _SHORTEST:
                found.append(joined)
    return "\n\n".join(found)


def digest() -> str:
    """SHA-256 of `text` in UTF-8, in hexadecimal."""
    return hashlib.sha256(text().encode()).hexdigest()


def _folder(package: str) -> Path:
    if package == "stdlib":
        return Path(sysconfig.get_path("stdlib"))
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingToolError(
            f"the package {package} was not found", hint=f"Get it: pip install {package}"
        )
    return Path(spec.origin).parent


def _docstrings(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if _LEFT_OUT & set(path.relative_to(folder).parts):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            if isinstance(node, kinds):
                docstring = ast.get_docstring(node)
                if docstring:
                    yield docstring
