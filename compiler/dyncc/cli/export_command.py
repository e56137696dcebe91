"""``dyncc export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dyncc.export.request import Progress
    from dyncc.runtime.artifact import Contents

#: Formats, the module of each in `dyncc.export`, and what it writes.
FORMATS = {
    "so": ("shared_library", "one shared library"),
    "source": ("source_tree", "a folder of C++ and object files, to build the library elsewhere"),
    "onnx": ("onnx", "one ONNX model with If and Loop, for ONNX Runtime"),
}
#: What the name of an output ends with by default.
_SUFFIXES = {"so": ".so", "source": "-source", "onnx": ".onnx"}

HELP = "make a shared library or an ONNX model of an artifact, which runs without Python"
DESCRIPTION = """\
Make of an artifact something that runs without Python. Formats:

{formats}

A library needs TVM's runtime, two libraries that --runtime copies: beside it, or where the loader
looks for libraries. Programs load it through <dyncc/model.hpp>, or through the C interface in
<dyncc/abi.h>; --headers copies both. An ONNX model needs ONNX Runtime alone. What cannot be
exported is reported all at once, with places in the source. See docs/export.md.""".format(
    formats="\n".join(f"  {name:8}{what}" for name, (_, what) in FORMATS.items())
)
EPILOG = """\
examples:
  dyncc export model.dyncc --format so -o out/model.so --runtime out --headers out/include
  dyncc export model.dyncc --format source --target aarch64-linux-gnu -o model-aarch64
  dyncc export model.dyncc --format onnx -o out/model.onnx"""


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
    from dyncc.cli.progress import progress
    from dyncc.cli.run_command import is_spiking, target_of
    from dyncc.core.errors import ConfigError
    from dyncc.runtime.artifact import read

    if arguments.mcpu and not arguments.target:
        raise ConfigError("--mcpu goes with --target")
    if arguments.target and arguments.target.partition("-")[0] in ("cuda", "nvptx64"):
        raise ConfigError(
            "no library for GPUs is made",
            hint="TVM's package generates CUDA kernels, but has no CUDA runtime to load and launch "
            "them. Give --format onnx: ONNX Runtime with its CUDA provider takes such models, "
            "which is not tested here.",
        )
    if arguments.runtime and arguments.target:
        raise ConfigError(
            "--runtime copies the runtime of this machine",
            hint="Take TVM's runtime from a build for the target.",
        )
    for option in ("target", "headers", "runtime"):
        if arguments.format == "onnx" and getattr(arguments, option):
            raise ConfigError(
                f"--{option} is for libraries", hint="An ONNX model is for all machines."
            )
    if target_of(arguments.artifact) == "skipopu" or is_spiking(arguments.artifact):
        raise ConfigError(f"{arguments.artifact} is not for CPUs, and cannot be exported")
    artifact = Path(arguments.artifact)
    suffix = _SUFFIXES[arguments.format]
    output = Path(arguments.output or artifact.with_name(artifact.resolve().stem + suffix))
    contents = read(artifact)
    with progress() as report:
        if arguments.format == "onnx":
            from dyncc.export import onnx

            onnx.export(contents, output, report)
        else:
            _library(arguments, contents, output, report)
    machine = "ONNX Runtime" if arguments.format == "onnx" else arguments.target or "this machine"
    print(f"{output}: {contents.program.name} for {machine}")
    return 0


def _library(
    arguments: argparse.Namespace, contents: Contents, output: Path, report: Progress
) -> None:
    from importlib import import_module

    from dyncc.backends.tvm.target import Cpu
    from dyncc.export.request import Request
    from dyncc.export.tree import copy_headers, copy_runtime

    module, _ = FORMATS[arguments.format]
    cpu = Cpu.cross(arguments.target, arguments.mcpu) if arguments.target else Cpu.host()
    import_module(f"dyncc.export.{module}").export(Request(contents, cpu), output, report)
    if arguments.headers:
        copy_headers(Path(arguments.headers))
    if arguments.runtime:
        copy_runtime(Path(arguments.runtime))
