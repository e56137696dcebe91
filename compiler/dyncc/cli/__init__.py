"""The command line; each command is in a module of its own and imported when it is called.

Exit codes: 0 done; 1 bad input; 2 usage; 3 a tool or package is missing; 4 a tool or back end
failed; 5 results differ; 70 a defect of dyncc; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import dyncc
from dyncc.core.errors import DynccError

COMMANDS = (
    "compile",
    "run",
    "generate",
    "verify",
    "inspect",
    "export",
    "doctor",
    "bench",
    "demo",
    "example",
    "table",
    "hw",
    "reference",
    "speed",
    "errors",
    "explain",
    "study",
)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="dyncc",
        description="Compile neural networks whose computation depends on their input.",
        epilog="Exit codes: 0 done, 1 bad input, 2 usage, 3 missing tool, 4 failing tool, "
        "5 results differ, 70 defect of dyncc, 130 interrupted.",
    )
    top.add_argument("--version", action="version", version=f"dyncc {dyncc.__version__}")
    top.add_argument(
        "-v", "--verbose", action="count", default=0, help="more messages; -vv shows tracebacks"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"dyncc.cli.{name}_command")
        sub = commands.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=getattr(module, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        return code
    except DynccError as error:
        if arguments.verbose > 1:
            traceback.print_exc()
        if getattr(arguments, "json", False):
            print(json.dumps(error.to_json(), indent=2))
            return error.exit_code
        print(f"dyncc: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("dyncc: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as in `dyncc inspect DIR | head`.
        sys.stderr.close()
        return 0
