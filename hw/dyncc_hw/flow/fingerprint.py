"""A hash of a netlist that does not depend on names."""

import hashlib
import re
from collections.abc import Callable

_DECLARATION = re.compile(r"\s*(?:wire|memory|cell|process)\b.* ([\\$]\S+)$")
_NAME = re.compile(r"[\\$]\S+")


def fingerprint(rtlil: str) -> str:
    """Hash of a design in RTLIL, as Amaranth writes it.

    Names of modules, ports, wires and cells count only by their order, so that something may be
    renamed in Python without its hash being another one. Comments and attributes do not count.
    """
    lines = [
        line.rstrip()
        for line in rtlil.splitlines()
        if not line.lstrip().startswith(("#", "attribute"))
    ]
    scopes: dict[str, dict[str, str]] = {}
    for line in lines:
        if line.startswith("module "):
            scope = scopes.setdefault(line.split()[1], {})
        elif match := _DECLARATION.match(line):
            scope.setdefault(match.group(1), f"n{len(scope)}")
    modules = {name: f"m{number}" for number, name in enumerate(scopes)}
    digest = hashlib.sha256()
    names, ports = modules, {}
    for line in lines:
        words = line.split()
        if words[:1] == ["module"]:
            names = modules | scopes[words[1]]
        elif words[:1] == ["cell"]:
            ports = scopes.get(words[1], {})
        elif words[:1] == ["connect"] and line.startswith("    "):
            # The port of a cell: a name of the module that the cell is of.
            line = line.replace(words[1], ports.get(words[1], words[1]), 1)
        digest.update(_NAME.sub(_replacement(names), line).encode() + b"\n")
    return digest.hexdigest()[:16]


def _replacement(names: dict[str, str]) -> Callable[[re.Match[str]], str]:
    return lambda match: names.get(match.group(), match.group())
