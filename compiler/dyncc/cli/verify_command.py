"""``dyncc verify``."""

from __future__ import annotations

import argparse

HELP = "compare an artifact with eager PyTorch"
DESCRIPTION = """\
Compare an artifact with the module it was compiled from, on full outputs.

Inputs are the given files, else coverage_inputs() of the model file, else random arrays. Says
which edges of the control-flow graph were taken. Exit code 5 if anything differs."""
EPILOG = """\
examples:
  dyncc verify model.dyncc
  dyncc verify model.dyncc --input a.npz --input b.npz
  dyncc verify model.dyncc --model model.py:Net --random 100"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("artifact", metavar="DIR")
    parser.add_argument("--model", metavar="FILE.py[:NAME]", help="default: as it was compiled")
    parser.add_argument("--input", action="append", default=[], metavar="FILE.npz")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="N random inputs")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random inputs")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import torch

    from dyncc.cli.run_command import read_arrays, refuse_overlay
    from dyncc.core.errors import ConfigError
    from dyncc.modelfile import load_model
    from dyncc.runtime.artifact import load
    from dyncc.verification import compare, describe_edge

    refuse_overlay(arguments.artifact)
    program = load(arguments.artifact)
    reference = arguments.model or program.manifest.get("source", {}).get("model")
    if reference is None:
        raise ConfigError(
            f"{arguments.artifact} does not say which file it came from",
            hint="Give --model FILE.py[:NAME].",
        )
    model = load_model(reference)
    inputs: list[object]
    if arguments.input:
        inputs = [
            {key: torch.from_numpy(array) for key, array in read_arrays(path).items()}
            for path in arguments.input
        ]
        what = "given"
    elif not arguments.random and (found := model.coverage_inputs()) is not None:
        inputs, what = list(found), "coverage"
    else:
        generator = torch.Generator().manual_seed(arguments.seed)
        count = arguments.random or 20
        inputs = [_random(program.hcfg.signature, generator) for _ in range(count)]
        what = "random"
    found_ = compare(model.module, program, inputs)  # type: ignore[arg-type]
    print(
        f"{found_.inputs} {what} inputs, {found_.elements} values equal to eager PyTorch, "
        f"max abs error {found_.max_abs_error:.2g}; edges taken {found_.taken(program.hcfg)}"
    )
    for edge in found_.untaken(program.hcfg):
        print(f"  not taken: {describe_edge(program.hcfg, edge)}")
    return 0


def _random(signature: object, generator: object) -> dict[str, object]:
    from typing import Any, cast

    import torch

    from dyncc.ir.hcfg import Leaf, Literal, Record, Series, Struct
    from dyncc.ir.types import DTYPES, TensorType
    from dyncc.modelfile import random_tensor
    from dyncc.runtime.structs import struct_maker

    def build(tree: Any) -> Any:
        match tree:
            case Leaf(value) if isinstance(value.type, TensorType):
                dtype = getattr(torch, DTYPES[value.type.dtype])
                shape = [int(extent) for extent in value.type.shape]
                return random_tensor(shape, dtype, cast(torch.Generator, generator))
            case Leaf(value):
                kinds = {"bool": True, "int": 1, "float": 1.0, "complex": 1j}
                return kinds[str(value.type)]
            case Literal(literal):
                return literal
            case Series(kind, items):
                parts = [build(item) for item in items]
                return tuple(parts) if kind == "tuple" else parts
            case Record(pairs):
                return {key: build(item) for key, item in pairs}
            case Struct(kind, name, fields):
                make = struct_maker(kind, name, tuple(key for key, _ in fields))
                return make([build(item) for _, item in fields])

    return {name: build(tree) for name, tree in cast(Any, signature)}
