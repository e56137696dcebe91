"""``dyncc example``: networks that run on a spiking core, and their figures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dyncc_models.spiking.examples.result import Result

HELP = "run an example on a spiking core and print its figures"
DESCRIPTION = """\
Run one of the examples of dyncc_models on a NeuroCoreX core, and print what it found.

names:
  digits                handwritten digits, trained with surrogate gradients
  termination_tradeoff  digits with early answers: steps against accuracy
  effort                digits beside a quantised perceptron: bit operations
  microseer             topics of papers from citations, with STDP
  stdp_curve            weight change against spike-time difference
  small_world           a small-world network that keeps itself going
  all                   all of them, as a Markdown page"""
EPILOG = """\
engines:
  twin               the integer model (the default)
  rtl                the hardware in a simulator, spoken to over its UART: minutes
  serial:PORT[@BAUD] a device at a serial port
  link               the twin of a device, spoken to as one over a line

examples:
  dyncc example digits
  dyncc example stdp_curve --engine rtl --plot window.svg
  dyncc example all --output docs/spiking-results.md"""

_HEAD = """\
# Results on the spiking core

Written by `dyncc example all --output docs/spiking-results.md`, on the twin. The same commands give
the same figures with `--engine rtl`, and with `--engine serial:PORT` on a board whose core is large
enough; effort depends on how its core stores synapses. What is done, and why, is in the docstrings
of the examples."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--engine", default="twin", help="see below")
    parser.add_argument("--quick", action="store_true", help="a small part of the data")
    parser.add_argument("--plot", metavar="FILE", help="draw it: .svg, .png, .pdf")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "-o", "--output", metavar="FILE.md",
        help="write a page, with plots in a folder figures beside it",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import json

    from dyncc.core.errors import ConfigError
    from dyncc.spiking import plots
    from dyncc_models.spiking.examples import EXAMPLES

    if arguments.name not in (*EXAMPLES, "all"):
        raise ConfigError(
            f"there is no example {arguments.name!r}",
            hint=f"Choose from {', '.join((*EXAMPLES, 'all'))}.",
        )
    names = list(EXAMPLES) if arguments.name == "all" else [arguments.name]
    if arguments.plot is not None and len(names) > 1:
        raise ConfigError("--plot draws one example", hint="--output draws all.")
    found = {name: _run(name, arguments) for name in names}
    if arguments.plot is not None:
        draw = found[names[0]].plot
        if draw is None:
            raise ConfigError(f"the example {names[0]} draws nothing")
        plots.save(draw(), arguments.plot)
    if arguments.output is not None:
        _write(arguments, found)
        print(f"{arguments.output}: {', '.join(names)}")
    elif arguments.json:
        figures = {name: result.figures for name, result in found.items()}
        print(json.dumps(figures if len(names) > 1 else figures[names[0]], indent=2))
    else:
        print("\n\n".join(result.text for result in found.values()))
    return 0


def _run(name: str, arguments: argparse.Namespace) -> Result:
    from importlib import import_module

    module: Any = import_module(f"dyncc_models.spiking.examples.{name}")
    result: Result = module.run(arguments.engine, arguments.quick)
    return result


def _write(arguments: argparse.Namespace, found: dict[str, Result]) -> None:
    """A page, and the plots that it shows."""
    from pathlib import Path

    from dyncc.core.files import write_text
    from dyncc.spiking import plots

    page = Path(arguments.output)
    folder = page.parent / "figures"
    folder.mkdir(exist_ok=True)
    for name, result in found.items():
        if result.plot is not None:
            plots.save(result.plot(), folder / f"{name}.svg")
    write_text(page, page_text(found))


def page_text(found: dict[str, Result]) -> str:
    """The page of results, in Markdown."""
    from dyncc_models.spiking.examples import EXAMPLES

    parts = [_HEAD]
    for name, result in found.items():
        source = f"../models/dyncc_models/spiking/examples/{name}.py"
        parts.append(f"## {EXAMPLES[name]}\n\n[`dyncc example {name}`]({source})\n\n{result.text}")
        if result.plot is not None:
            parts.append(f"![{EXAMPLES[name]}](figures/{name}.svg)")
    return "\n\n".join(parts) + "\n"
