"""``dyncc explain``."""

from __future__ import annotations

import argparse

HELP = "explain a diagnostic by its code"
DESCRIPTION = """\
Explain a diagnostic by the code that it is printed with: why such a construct cannot be compiled,
an example, and how it compiles. Without a code list all of them."""
EPILOG = """\
examples:
  dyncc explain DY302
  dyncc explain
  dyncc explain --json DY302"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("code", metavar="CODE", nargs="?", help="such as DY302 (default: list all)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import json

    from dyncc.core.errors import ConfigError
    from dyncc.core.explanations import explanations

    known = explanations()
    if arguments.code is None:
        if arguments.json:
            print(json.dumps([item.to_json() for item in known.values()], indent=2))
            return 0
        group = None
        for item in known.values():
            if item.group != group:
                print(f"{item.group}:" if group is None else f"\n{item.group}:")
                group = item.group
            print(f"  {item.code}  {item.title}")
        return 0
    found = known.get(arguments.code.upper())
    if found is None:
        raise ConfigError(
            f"there is no diagnostic {arguments.code}", hint="List them with `dyncc explain`."
        )
    print(json.dumps(found.to_json(), indent=2) if arguments.json else found)
    return 0
