"""``dyncc reference``."""

from __future__ import annotations

import argparse

HELP = "write the reference page of a design's registers and packets"
DESCRIPTION = """\
Write a Markdown page of the memories, registers and packets of a design, from the definitions that
its hardware, its twin and its host software read."""
EPILOG = """\
example:
  dyncc reference neurocorex -o docs/neurocorex-reference.md"""

PAGES = {
    "neurocorex": "dyncc.arch.neurocorex.reference",
    "skipopu": "dyncc.arch.skipopu.reference",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("design", choices=tuple(PAGES))
    parser.add_argument("-o", "--output", metavar="FILE.md", help="default: standard output")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from importlib import import_module

    from dyncc.core.files import write_text

    text = import_module(PAGES[arguments.design]).page()
    if arguments.output is None:
        print(text, end="")
    else:
        write_text(arguments.output, text)
        print(f"{arguments.output}: {len(text.splitlines())} lines")
    return 0
