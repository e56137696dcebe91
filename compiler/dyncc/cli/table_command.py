"""``dyncc table``: every network of dyncc_models, compiled, proved and timed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from dyncc.core.backends import BACKENDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dyncc.driver import Progress
    from dyncc.proof import Proof, Runs
    from dyncc.runtime.program import Program

HELP = "compile every network of dyncc_models and write the table of results"
DESCRIPTION = """\
Compile each network of dyncc_models, prove it against its source as `dyncc verify` does, time it
beside eager PyTorch, and write a Markdown table. With --depths, measure how long SkipNet takes to
compile at several depths instead. Exit code 5 if a result differs or an edge is not taken."""
EPILOG = """\
examples:
  dyncc table halting dycl.skipnet
  dyncc table -o docs/networks.md
  dyncc table --depths 38,74,110 -o docs/networks.md"""

HEAD = (
    "| Network | Blocks | Regions | Distinct | Compile time | Edges, natural | Edges, forced "
    "| Runs | Values | Max abs error | Eager | Compiled | Speed |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)
DEPTHS_HEAD = (
    "| Layers | Gates | Blocks | Regions | Distinct | Capture | Build | In all | For a gate |\n"
    "|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)
#: Inputs that are timed; networks differ in how many they need for their edges.
TIMED = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("-o", "--output", metavar="FILE.md", help="default: standard output")
    parser.add_argument("--backend", default="tvm", choices=tuple(BACKENDS))
    parser.add_argument(
        "--depths", type=_depths, metavar="N,N", help="compile time of SkipNet with N layers"
    )
    parser.add_argument(
        "--small", action="store_true", help="the networks of DyCL with fewer channels"
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="default: all of them")


def _depths(text: str) -> list[int]:
    depths = [int(part) for part in text.split(",")]
    if any(depth < 8 or depth % 6 != 2 for depth in depths):
        raise argparse.ArgumentTypeError(f"a SkipNet has 6 n + 2 layers, not {text}")
    return depths


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from dyncc.cli.progress import progress
    from dyncc.core.errors import ConfigError
    from dyncc_models import NETWORKS

    for name in arguments.networks:
        if name not in NETWORKS:
            raise ConfigError(
                f"there is no network {name!r}", hint=f"Choose from {', '.join(NETWORKS)}."
            )
    if arguments.depths:
        rows = [DEPTHS_HEAD, *_depth_rows(arguments.depths, arguments.backend, arguments.small)]
        _finish("depths", rows, arguments)
        return 0
    names = arguments.networks or NETWORKS
    rows, missing = [HEAD], []
    with progress() as report:
        for name in names:
            row, missed = _measure(name, arguments, _of(name, report))
            rows.append(row)
            missing += [f"{name}: {edge}" for edge in missed]
    _finish("table", rows, arguments)
    for edge in missing:
        print(f"not taken: {edge}")
    return 5 if missing else 0


def _of(name: str, report: Progress) -> Progress:
    """A progress callback that says which network it is about."""
    return lambda what, step, steps: report(f"{what} of {name}", step, steps)


def _measure(name: str, arguments: argparse.Namespace, report: Progress) -> tuple[str, list[str]]:
    """A row of the table, and the edges that were not taken."""
    from functools import partial
    from importlib import import_module

    import torch

    from dyncc.driver import compile
    from dyncc.proof import prove
    from dyncc.timing import median_seconds
    from dyncc.verification import RTOL, describe_edge

    model = import_module(f"dyncc_models.{name}")
    options = {"small": True} if arguments.small and name.startswith("dycl.") else {}
    report("weights", 0, 1)
    network = model.build(**options)
    program = compile(
        network, model.example_inputs(**options), backend=arguments.backend, progress=report
    )
    inputs = model.coverage_inputs(**options)
    rtol = getattr(model, "RTOL", RTOL)
    proof = prove(network, program, inputs, rtol=rtol, progress=report)
    report("timing", 0, 1)
    timed = inputs[:: -(-len(inputs) // TIMED)]

    def answer_all(run: Any) -> None:
        with torch.inference_mode():
            for args in timed:
                run(*args)

    program.reset_state()
    eager, compiled = (
        1e3 * median_seconds(partial(answer_all, run)) / len(timed) for run in (network, program)
    )
    missed = [
        f"{describe_edge(program.hcfg, edge)}: {reason}" for edge, reason in proof.unreached.items()
    ]
    return _row(name, program, proof, eager, compiled), missed


def _calls(program: Program) -> int:
    from dyncc.ir.hcfg import RegionCall

    return sum(
        isinstance(op, RegionCall) for block in program.hcfg.blocks.values() for op in block.ops
    )


def _row(name: str, program: Program, proof: Proof, eager: float, compiled: float) -> str:
    """A row; `eager` and `compiled` are milliseconds for one input."""

    def edges(runs: Runs) -> str:
        return f"{sum(bool(runs.edges.get(edge)) for edge in proof.edges)}/{len(proof.edges)}"

    tallies = proof.natural.tally, proof.forced.tally
    return _cells(
        f"`{name}`",
        len(program.hcfg.blocks),
        _calls(program),
        len(program.hcfg.regions),
        f"{sum(program.manifest['seconds'].values()):.1f} s",
        edges(proof.natural),
        edges(proof.forced),
        f"{proof.natural.count} + {proof.forced.count}",
        sum(tally.values for tally in tallies),
        f"{max(tally.worst for tally in tallies):.1e}",
        f"{eager:.2f} ms",
        f"{compiled:.2f} ms",
        f"{eager / compiled:.2f}x",
    )


def _cells(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _depth_rows(depths: list[int], backend: str, small: bool) -> Iterator[str]:
    """Rows of the table of depths."""
    from dyncc.cli.progress import progress
    from dyncc.driver import compile
    from dyncc_models.dycl import skipnet

    with progress() as bar:
        for depth in depths:
            report = _of(f"{depth} layers", bar)
            report("weights", 0, 1)
            network = skipnet.build(small=small, layers=depth)
            program = compile(network, skipnet.example_inputs(), backend=backend, progress=report)
            seconds = program.manifest["seconds"]
            gates = (depth - 2) // 2 - 1
            whole = sum(seconds.values())
            yield _cells(
                depth,
                gates,
                len(program.hcfg.blocks),
                _calls(program),
                len(program.hcfg.regions),
                f"{seconds['capture']:.1f} s",
                f"{seconds['build']:.1f} s",
                f"{whole:.1f} s",
                f"{whole / gates:.2f} s",
            )


def _finish(mark: str, rows: list[str], arguments: argparse.Namespace) -> None:
    """Print the table, or write it into a page."""
    from pathlib import Path

    text = "\n".join((*rows, "", _conditions(mark, arguments)))
    if arguments.output is None:
        print(text)
    else:
        _write(Path(arguments.output), mark, text)
        print(f"{arguments.output}: {len(rows) - 1} rows")


def _conditions(mark: str, arguments: argparse.Namespace) -> str:
    import os
    import platform
    from importlib.metadata import version

    import torch

    import dyncc
    from dyncc.verification import ATOL, RTOL

    bound = (
        f"Every value lies within {RTOL:g} of the greatest in its tensor, plus {ATOL:g}, of eager "
        "PyTorch's, except where a network's file says otherwise (`RTOL`). Times are medians for "
        "one input at batch size 1. "
    )
    return (
        f"{bound if mark == 'table' else ''}{'Fewer channels. ' if arguments.small else ''}"
        f"Measured with dyncc {dyncc.__version__}, "
        f"back end {arguments.backend}, PyTorch {version('torch')}, TVM {version('apache-tvm')}, "
        f"Python {platform.python_version()}, on {platform.machine()} with {os.cpu_count()} CPUs; "
        f"threads: {torch.get_num_threads()} of PyTorch's, "
        f"{os.environ.get('TVM_NUM_THREADS', os.cpu_count())} of TVM's.\n"
    )


def _write(path: Any, mark: str, text: str) -> None:
    """Replace the part of a page between the marks, or write a new page."""
    from dyncc.core.errors import ConfigError
    from dyncc.core.files import write_text

    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    try:
        page = path.read_text(encoding="utf-8") if path.exists() else f"{begin}\n{end}\n"
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    before, found, rest = page.partition(begin)
    if not found or end not in rest:
        raise ConfigError(
            f"{path} has no place for the table", hint=f"Put {begin} and {end} into it."
        )
    write_text(path, f"{before}{begin}\n{text}{end}{rest.partition(end)[2]}")
