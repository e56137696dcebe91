"""``dyncc study``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dyncc_sim.skipopu.study.measure import Result
    from dyncc_sim.skipopu.study.points import Point

HELP = "what precision, skipping and KV policies cost a language model on SkipOPU"
DESCRIPTION = """\
Measure the perplexity of SmolLM2-135M on held-out text, on the bit-exact simulator and in PyTorch:
against the skip rate, the bits of mantissas and of weights, and the policy of keys and values. With
it go bytes of keys and values, hits of the history buffer, and bandwidth. Writes a Markdown page
with pictures.

Every result is kept in a file of its own, so that a study that was interrupted goes on where it
ended; a result is measured again if code or data give other numbers than before.

With --point one setting is measured and printed instead; parameters that are not named have their
defaults."""
EPILOG = """\
examples:
  dyncc study -o docs/skipopu-study.md --jobs -1
  dyncc study --quick
  dyncc study --point mantissa_bits=8 kv=BFP8 --windows 2
  dyncc study --point engine=pytorch routers=skip:a7,m12 policy=reuse --windows 8
  dyncc study --scheduler tcp://host:8786 -o docs/skipopu-study.md"""

#: How much is measured: defaults, and what they are.
_SIZES = {
    "windows": (8, "windows of 512 tokens of the simulator's main figures"),
    "sweep_windows": (2, "windows of its other figures"),
    "pytorch_windows": (8, "windows of PyTorch's figures"),
    "context": (1024, "tokens of the text whose keys and values are counted"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "-o", "--output", metavar="FILE.md", help="the page, with pictures in a folder figures"
    )
    parser.add_argument(
        "--results", metavar="DIR", default="out/study", help="results (default: out/study)"
    )
    parser.add_argument(
        "-j", "--jobs", type=int, default=1, metavar="N", help="processes; -1: one for each core"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="let the workers of a Dask scheduler measure"
    )
    for name, (usual, text) in _SIZES.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=usual, metavar="N",
            help=f"{text} (default: {usual})",
        )  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--quick", action="store_true", help="a toy of random numbers, to try everything"
    )
    what.add_argument("--point", nargs="*", metavar="NAME=VALUE", help="measure one setting")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from functools import partial
    from pathlib import Path

    from dyncc.cli.pages import write_page
    from dyncc.cli.progress import progress
    from dyncc.core.errors import ConfigError, MissingToolError

    try:
        from dyncc_sim.skipopu.study import page, plan
        from dyncc_sim.skipopu.study.points import parse
        from dyncc_sim.skipopu.study.run import run as measure
        from dyncc_sim.skipopu.study.store import Store
    except ImportError as error:
        raise MissingToolError(
            f"the study needs {error.name}", hint="Install it: pip install 'dyncc[llm,plots]'"
        ) from error

    def measured(points: Sequence[Point]) -> Mapping[Point, Result]:
        with progress() as report:
            return measure(points, store, arguments.jobs, arguments.scheduler, report)

    store = Store(Path(arguments.results), _warn)
    if arguments.point is not None:
        if arguments.output is not None:
            raise ConfigError("--output is for the whole study, and --point measures one setting")
        points = parse(arguments.point).windows(arguments.windows)
        found = measured(points)
        print(page.told([found[point] for point in points]))
        return 0
    if arguments.quick:
        chosen, command = plan.QUICK, "dyncc study --quick"
    else:
        sizes = {name: getattr(arguments, name) for name in _SIZES}
        chosen = plan.full(*sizes.values())
        given = (f"--{name.replace('_', '-')} {size}" for name, size in sizes.items())
        command = " ".join(("dyncc study", *given))
    study = plan.carry_out(chosen, measured)
    derived = page.derive(study)
    if arguments.output is None:
        print(page.page(study, derived, "", command), end="")
        return 0
    command += f" -o {arguments.output}"
    write_page(
        Path(arguments.output),
        partial(page.write_pictures, study, derived),
        lambda folder: page.page(study, derived, folder, command),
    )
    return 0


def _warn(message: str) -> None:
    print(f"dyncc: warning: {message}", file=sys.stderr)
