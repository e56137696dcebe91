"""``dyncc table``: every network of dyncc_models, compiled and compared."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dyncc.runtime.program import Program
    from dyncc.verification import Comparison

HELP = "compile every network of dyncc_models and write the table of results"
DESCRIPTION = """\
Compile each network of dyncc_models, compare it with eager PyTorch on inputs that are to take every
edge of its control-flow graph, time both, and write a Markdown table. Exit code 5 if a result
differs or an edge is not taken."""

HEAD = (
    "| Network | Blocks | Sub-networks | Edges taken | Inputs | Values compared | Max abs error "
    "| Compile time | Eager | Compiled | Speed |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("-o", "--output", metavar="FILE.md", help="default: standard output")
    parser.add_argument("--backend", default="tvm", choices=("tvm", "eager"))
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="default: all of them")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from pathlib import Path

    from dyncc.core.errors import ConfigError
    from dyncc_models import NETWORKS

    names = arguments.networks or NETWORKS
    for name in names:
        if name not in NETWORKS:
            raise ConfigError(
                f"there is no network {name!r}", hint=f"Choose from {', '.join(NETWORKS)}."
            )
    rows, untaken = [], []
    for name in names:
        row, missed = _measure(name, arguments.backend)
        rows.append(row)
        untaken += [f"{name}: {edge}" for edge in missed]
    text = "\n".join((HEAD, *rows, "", _conditions(arguments.backend)))
    if arguments.output is None:
        print(text)
    else:
        _write(Path(arguments.output), text)
        print(f"{arguments.output}: {len(rows)} networks")
    for edge in untaken:
        print(f"not taken: {edge}")
    return 5 if untaken else 0


def _measure(name: str, backend: str) -> tuple[str, list[str]]:
    """A row of the table, and the edges that were not taken."""
    from functools import partial
    from importlib import import_module

    import torch

    from dyncc.cli.progress import progress
    from dyncc.driver import compile
    from dyncc.timing import median_seconds
    from dyncc.verification import compare, describe_edge

    model = import_module(f"dyncc_models.{name}")
    network = model.build()
    with progress() as report:
        program = compile(network, model.example_inputs(), backend=backend, progress=report)
    inputs = model.coverage_inputs()
    found = compare(network, program, inputs)

    def answer_all(run: Any) -> None:
        with torch.inference_mode():
            for args in inputs:
                run(*args)

    eager, compiled = (
        1e3 * median_seconds(partial(answer_all, run)) / len(inputs) for run in (network, program)
    )
    missed = [describe_edge(program.hcfg, edge) for edge in found.untaken(program.hcfg)]
    return _row(name, program, found, eager, compiled), missed


def _row(name: str, program: Program, found: Comparison, eager: float, compiled: float) -> str:
    """A row; `eager` and `compiled` are milliseconds for one input."""
    hcfg = program.hcfg
    seconds = sum(program.manifest["seconds"].values())
    cells = (
        f"`{name}`",
        len(hcfg.blocks),
        len(hcfg.regions),
        found.taken(hcfg),
        found.inputs,
        found.elements,
        f"{found.max_abs_error:.1e}",
        f"{seconds:.1f} s",
        f"{eager:.2f} ms",
        f"{compiled:.2f} ms",
        f"{eager / compiled:.2f}x",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _conditions(backend: str) -> str:
    import os
    import platform
    from importlib.metadata import version

    import dyncc
    from dyncc.verification import ATOL, RTOL

    return (
        f"Every value lies within {RTOL:g} of eager PyTorch's plus {ATOL:g}. Times are medians for "
        f"one input at batch size 1, over all inputs. Measured with dyncc {dyncc.__version__}, "
        f"back end {backend}, PyTorch {version('torch')}, TVM {version('apache-tvm')}, "
        f"Python {platform.python_version()}, on {platform.machine()} with {os.cpu_count()} CPUs.\n"
    )


def _write(path: Any, text: str) -> None:
    """Replace the part of a page between the marks, or write a new page."""
    from dyncc.core.errors import ConfigError
    from dyncc.core.files import write_text

    begin, end = "<!-- table: begin -->", "<!-- table: end -->"
    try:
        page = path.read_text(encoding="utf-8") if path.exists() else f"{begin}\n{end}\n"
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    before, mark, rest = page.partition(begin)
    if not mark or end not in rest:
        raise ConfigError(
            f"{path} has no place for the table", hint=f"Put {begin} and {end} into it."
        )
    write_text(path, f"{before}{begin}\n{text}{end}{rest.partition(end)[2]}")
