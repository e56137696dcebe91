"""``dyncc doctor``."""

from __future__ import annotations

import argparse

HELP = "show which tools and packages are there"
DESCRIPTION = """\
Show every package and external program that dyncc uses: version, place, purpose, and how to get
what is missing. Exit code 3 if something is missing that `dyncc compile` needs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command (none)."""


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from dyncc.core.tools import NEEDS, find

    found = [find(need) for need in NEEDS]
    for item in found:
        need = item.need
        state = item.version or ("MISSING" if need.required else "missing (optional)")
        print(f"{need.name:<16}{state:<20}{need.purpose}")
        print(f"{'':<16}{item.path or 'get it: ' + need.source}")
    return 3 if any(item.version is None and item.need.required for item in found) else 0
