"""``dyncc verify``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dyncc.proof import BatchRuns, Proof, Runs
    from dyncc.runtime.program import Program

HELP = "prove every path of an artifact against its source"
DESCRIPTION = """\
Run an artifact and the Python source it was compiled from side by side, and compare at every block
boundary: the variables that the blocks pass on, the truth of each predicate, results, exceptions
and module state.

First on inputs as they come: the given files, else coverage_inputs() of the model file, else random
arrays; where sizes may differ, random arrays of several sizes in any case. Then both are led: every
branch both ways, every loop not at all, once and several times. Of an artifact that was compiled
with --batch, samples are then run in batches, some as they come and others led at random, and each
is compared with what it gives alone, also at every block boundary.
Exit code 5 at the first difference, with its block, source line, variable and values."""
EPILOG = """\
examples:
  dyncc verify model.dyncc
  dyncc verify model.dyncc --input a.npz --input b.npz
  dyncc verify model.dyncc --model model.py:Net --random 100 --paths 500 --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("artifact", metavar="DIR")
    parser.add_argument("--model", metavar="FILE.py[:NAME]", help="default: as it was compiled")
    parser.add_argument("--input", action="append", default=[], metavar="FILE.npz")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="N random inputs")
    parser.add_argument(
        "--paths", type=int, default=0, metavar="N", help="N more runs, with random decisions"
    )
    parser.add_argument(
        "--rtol",
        type=float,
        metavar="X",
        help="a value may differ by this part of its tensor's greatest, and by 1e-5 "
        "(default: RTOL of the model file, else 1e-4)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of random inputs and decisions")
    parser.add_argument(
        "--complete", action="store_true", help="exit code 5 also if an edge or loop is missing"
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import dataclasses
    import json

    from dyncc.cli.progress import progress
    from dyncc.cli.run_command import refuse_overlay
    from dyncc.core.errors import ConfigError
    from dyncc.modelfile import load_model
    from dyncc.proof import compare_batches, prove
    from dyncc.runtime.artifact import load
    from dyncc.verification import RTOL

    refuse_overlay(arguments.artifact)
    program = load(arguments.artifact)
    reference = arguments.model or program.manifest.get("source", {}).get("model")
    if reference is None:
        raise ConfigError(
            f"{arguments.artifact} does not say which file it came from",
            hint="Give --model FILE.py[:NAME].",
        )
    model = load_model(reference)
    rtol = model.rtol() if arguments.rtol is None else arguments.rtol
    inputs, what = _inputs(arguments, program, model)
    with progress() as report:
        proof = prove(
            model.module,
            program,
            inputs,
            rtol=RTOL if rtol is None else rtol,
            seed=arguments.seed,
            wander=arguments.paths,
            progress=report,
        )
    batches = None
    if program.batch_limit > 1:
        batches = compare_batches(program, inputs, arguments.seed)
    if arguments.json:
        found = {
            **_figures(program, proof, what),
            "batches": None if batches is None else dataclasses.asdict(batches),
        }
        print(json.dumps(found, indent=2))
    else:
        _print(program, proof, what)
        if batches is not None:
            print(_batches(batches))
    return 5 if arguments.complete and not proof.complete else 0


def _inputs(arguments: argparse.Namespace, program: Program, model: Any) -> tuple[list[Any], str]:
    """Arguments of calls, and what to call them."""
    import random

    import torch

    from dyncc.cli.run_command import read_arrays

    if arguments.input:
        given = [
            {key: torch.from_numpy(array) for key, array in read_arrays(path).items()}
            for path in arguments.input
        ]
        return given, "given"
    generator = torch.Generator().manual_seed(arguments.seed)
    chance = random.Random(arguments.seed)

    def made(count: int) -> list[dict[str, object]]:
        return [
            _random(
                program.hcfg.signature,
                generator,
                {name: size.choose(chance, turn) for name, size in program.sizes.items()},
            )
            for turn in range(count)
        ]

    if not arguments.random and (found := model.coverage_inputs()) is not None:
        if not program.sizes:
            return list(found), "coverage"
        # What the file gives may all be of one size.
        return [*found, *made(8)], "coverage and random"
    return made(arguments.random or 20), "random"


def _print(program: Program, proof: Proof, what: str) -> None:
    natural, forced = proof.natural, proof.forced
    print(f"natural: {natural.count} {what} inputs, {_covered(proof, natural)}, {_worst(natural)}")
    print(f"forced:  {forced.count} paths, {_covered(proof, forced)}, {_worst(forced)}")
    tallies = natural.tally, forced.tally
    print(
        f"edges {proof.taken()}/{len(proof.edges)}, "
        f"loops 0/1/n {proof.turned()}/{len(proof.heads)}, "
        f"{sum(tally.values for tally in tallies)} values "
        f"({sum(tally.elements for tally in tallies)} elements) equal to the source at "
        f"{sum(tally.boundaries for tally in tallies)} block boundaries"
    )
    blind, unseen = (sum(getattr(tally, key) for tally in tallies) for key in ("blind", "unseen"))
    if blind or unseen:
        print(
            f"  not compared: {blind} boundaries in the middle of a statement, "
            f"{unseen} values without a variable in the source"
        )
    for number, text in (
        (natural.infeasible, "natural runs raise, in both"),
        (forced.infeasible, "forced paths are infeasible: both raise, or cannot go on"),
        (forced.given_up, "forced paths do not come to an end"),
        (sum(tally.ties for tally in tallies), "predicates differ by rounding alone"),
    ):
        if number:
            print(f"  {number} {text}")
    for text in _missing(program, proof):
        print(f"  {text}")


def _batches(found: BatchRuns) -> str:
    """What batches were compared, in a line."""
    return (
        f"batches: {found.samples - found.raised} samples in {found.batches} batches, "
        f"{found.forced} of {found.samples} led at random, {found.elements} elements equal to "
        f"those of single calls, max abs error {found.worst:.1g}"
        + (f", {found.raised} samples raise alone" if found.raised else "")
        + (f", {found.ties} predicates differ by rounding alone" if found.ties else "")
    )


def _covered(proof: Proof, runs: Runs) -> str:
    from dyncc.proof.paths import SEVERAL

    edges = sum(bool(runs.edges.get(edge)) for edge in proof.edges)
    whole = {0, 1, SEVERAL}
    loops = sum(runs.turns.get(head, set()) == whole for head in proof.heads)
    return f"edges {edges}/{len(proof.edges)}, loops 0/1/n {loops}/{len(proof.heads)}"


def _worst(runs: Runs) -> str:
    return f"max abs error {runs.tally.worst:.1g} at {runs.tally.where or 'no place'}"


def _missing(program: Program, proof: Proof) -> list[str]:
    """What no run took, in words."""
    from dyncc.proof.paths import SEVERAL
    from dyncc.verification import describe_edge

    found = [
        f"not taken: {describe_edge(program.hcfg, edge)}: {reason}"
        for edge, reason in proof.unreached.items()
    ]
    names = {0: "not at all", 1: "once", SEVERAL: "several times"}
    for head in proof.heads:
        if missing := proof.missing(head):
            loc = program.hcfg.blocks[head].loc
            turns = ", ".join(names[turn] for turn in sorted(missing))
            found.append(f"not turned: the loop at {loc} (^{head}) {turns}")
    return found


def _figures(program: Program, proof: Proof, what: str) -> dict[str, Any]:
    def runs(found: Runs) -> dict[str, Any]:
        tally = found.tally
        return {
            "runs": found.count,
            "infeasible": found.infeasible,
            "given_up": found.given_up,
            "edges": sum(bool(found.edges.get(edge)) for edge in proof.edges),
            "values": tally.values,
            "elements": tally.elements,
            "boundaries": tally.boundaries,
            "boundaries_not_compared": tally.blind,
            "values_not_compared": tally.unseen,
            "ties": tally.ties,
            "max_abs_error": tally.worst,
            "worst_at": tally.where,
        }

    return {
        "inputs": what,
        "edges": len(proof.edges),
        "edges_taken": proof.taken(),
        "loops": len(proof.heads),
        "loops_turned": proof.turned(),
        "complete": proof.complete,
        "natural": runs(proof.natural),
        "forced": runs(proof.forced),
        "missing": _missing(program, proof),
    }


def _random(signature: object, generator: object, sizes: dict[str, int]) -> dict[str, object]:
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
                shape = [sizes[e] if isinstance(e, str) else e for e in value.type.shape]
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
