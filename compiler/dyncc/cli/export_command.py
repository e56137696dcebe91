"""``dyncc export``."""

from __future__ import annotations

import argparse
from pathlib import Path

#: Formats, the module of each in `dyncc.export`, and what it writes.
FORMATS = {
    "so": ("shared_library", "one shared library"),
    "source": ("source_tree", "a folder of C++ and object files, to build the library elsewhere"),
}

HELP = "make a shared library of an artifact, which runs without Python"
DESCRIPTION = """\
Make of an artifact something that runs without Python. Formats:

{formats}

A library needs TVM's runtime, two libraries that --runtime copies: beside it, or where the loader
looks for libraries. Programs load it through <dyncc/model.hpp>, or through the C interface in
<dyncc/abi.h>; --headers copies both. What cannot be exported is reported all at once, with places
in the source. See docs/export.md.""".format(
    formats="\n".join(f"  {name:8}{what}" for name, (_, what) in FORMATS.items())
)
EPILOG = """\
examples:
  dyncc export model.dyncc --format so -o out/model.so --runtime out --headers out/include
  dyncc export model.dyncc --format source --target aarch64-linux-gnu -o model-aarch64"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("artifact", metavar="DIR")
    parser.add_argument("--format", choices=tuple(FORMATS), default="so", help="default: so")
    parser.add_argument(
        "-o", "--output", metavar="PATH", help="by default beside the artifact, named after it"
    )
    parser.add_argument(
        "--target",
        metavar="TRIPLE",
        help="the machine to compile for, such as aarch64-linux-gnu (default: this one)",
    )
    parser.add_argument("--mcpu", metavar="CPU", help="with --target: LLVM's name of its CPU")
    parser.add_argument(
        "--headers", metavar="DIR", help="copy the headers for C++ programs to this folder, too"
    )
    parser.add_argument(
        "--runtime", metavar="DIR", help="copy TVM's runtime libraries to this folder, too"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from importlib import import_module

    from dyncc.backends.tvm.target import Cpu
    from dyncc.cli.progress import progress
    from dyncc.cli.run_command import is_spiking, target_of
    from dyncc.core.errors import ConfigError
    from dyncc.export.request import Request
    from dyncc.export.tree import copy_headers, copy_runtime
    from dyncc.runtime.artifact import read

    if arguments.mcpu and not arguments.target:
        raise ConfigError("--mcpu goes with --target")
    if arguments.runtime and arguments.target:
        raise ConfigError(
            "--runtime copies the runtime of this machine",
            hint="Take TVM's runtime from a build for the target.",
        )
    if target_of(arguments.artifact) == "skipopu" or is_spiking(arguments.artifact):
        raise ConfigError(f"{arguments.artifact} is not for CPUs, and cannot be exported")
    module, _ = FORMATS[arguments.format]
    artifact = Path(arguments.artifact)
    suffix = ".so" if arguments.format == "so" else "-source"
    output = Path(arguments.output or artifact.with_name(artifact.resolve().stem + suffix))
    cpu = Cpu.cross(arguments.target, arguments.mcpu) if arguments.target else Cpu.host()
    request = Request(read(artifact), cpu)
    with progress() as report:
        import_module(f"dyncc.export.{module}").export(request, output, report)
    if arguments.headers:
        copy_headers(Path(arguments.headers))
    if arguments.runtime:
        copy_runtime(Path(arguments.runtime))
    print(f"{output}: {request.artifact.program.name} for {arguments.target or 'this machine'}")
    return 0
