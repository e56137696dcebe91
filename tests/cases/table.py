"""Code that nobody here wrote, compiled unmodified: one case for each file of this folder.

A case is a module with ``PACKAGE``, the distribution that the code comes from, ``FUNCTION``, what
of it is compiled, ``build()``, a network around it, ``example_inputs()`` and ``coverage_inputs()``;
maybe ``FALLBACK``, as of `dyncc.compile`, ``SLOW``, for tests that are not always run, and
``UNLED``, for a network whose results machine code and PyTorch can be asked to share only where
nothing leads it.
Run as a program, this file compiles all and writes the page::

    python tests/cases/table.py -o docs/cases.md
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dyncc
from dyncc.core.errors import UnsupportedError
from dyncc.core.files import write_text
from dyncc.proof import prove
from dyncc.runtime.program import Program

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "cases.md"
#: Files of the folder that are no cases.
OTHERS = ("small_llama", "table", "test_cases")
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in OTHERS)

INTRODUCTION = """\
# Code that nobody here wrote

Code from packages, compiled as it was installed: each file of [`tests/cases`](../tests/cases) holds
a network that calls it, and inputs. Every case is proved as by `dyncc verify`: first on its inputs
as they come, then led along each edge of its control-flow graph and through each loop. A case that
does not compile stands here with the first of its diagnostics. TVM lacks `nextafter`, which the
solver of `ode_dopri5` calls; PyTorch runs the sub-networks with it. That solver, led to take steps
that it would refuse, makes much of the last bit of its numbers: in TVM its results are compared, to
its own tolerances, on inputs as they come, and its edges are proved in PyTorch. `make cases` writes
this page.

| Case | Package | Function | Blocks | Sub-networks | Edges taken by inputs | Edges | Loops 0/1/n \
| Max abs error |
|---|---|---|--:|--:|--:|--:|--:|--:|
"""


@dataclass(frozen=True)
class Row:
    """What is known of a case: cells of the table, and the largest error."""

    cells: tuple[str, ...]
    error: float | None

    def text(self) -> str:
        """The row in Markdown; the error as the power of ten that bounds it."""
        last = () if self.error is None else (f"{self.error:.0e}",)
        return "| " + " | ".join((*self.cells, *last)) + " |"


def case(name: str) -> Any:
    """The module of a case."""
    return import_module(f"cases.{name}")


def measure(name: str, backend: str) -> Row:
    """Compile and prove a case.

    Raises
    ------
    MismatchError
        If it differs from eager PyTorch anywhere.
    """
    module = case(name)
    network = module.build()
    what = (f"`{name}`", f"{module.PACKAGE} {_release(module.PACKAGE)}", f"`{module.FUNCTION}`")
    try:
        program = dyncc.compile(
            network,
            module.example_inputs(),
            backend=backend,
            fallback=getattr(module, "FALLBACK", None),
        )
    except UnsupportedError as error:
        return Row((*what, f"refused: {_first(error)}", "", "", "", "", ""), None)
    alike = 0.0
    if backend != "eager" and getattr(module, "UNLED", False):
        alike = agreement(network, program, module.coverage_inputs())
        program = dyncc.compile(network, module.example_inputs(), backend="eager")
    proof = prove(network, program, module.coverage_inputs())
    edges = len(proof.edges)
    natural = sum(bool(proof.natural.edges.get(edge)) for edge in proof.edges)
    figures = (
        str(len(program.hcfg.blocks)),
        str(len(program.hcfg.regions)),
        f"{natural}/{edges}",
        f"{proof.taken()}/{edges}",
        f"{proof.turned()}/{len(proof.heads)}",
    )
    return Row((*what, *figures), max(alike, proof.natural.tally.worst, proof.forced.tally.worst))


def agreement(network: nn.Module, program: Program, inputs: list[tuple[Any, ...]]) -> float:
    """The largest difference of results on inputs as they come.

    Raises
    ------
    AssertionError
        If one is beyond 1e-3 of what is expected, plus 1e-4.
    """
    worst = 0.0
    for values in inputs:
        with torch.no_grad():
            expected = network(*values)
        found = program(*values)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        worst = max(worst, float((found - expected).abs().max()))
    return worst


def _release(package: str) -> str:
    return version(package).partition("+")[0]


def _first(error: UnsupportedError) -> str:
    """The first line of the first diagnostic, its path from the package or from here on."""
    text = str(error.diagnostics[0]).partition("\n")[0]
    text = text.replace(f"{HERE.parents[1]}/", "")
    return text.rpartition("site-packages/")[2].replace("|", "\\|")


def page(rows: list[Row]) -> str:
    """The page with all rows."""
    return INTRODUCTION + "".join(f"{row.text()}\n" for row in rows)


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description="compile all cases and write a page about them")
    parser.add_argument("-o", "--output", type=Path, default=PAGE, metavar="FILE.md")
    parser.add_argument("--backend", default="tvm", choices=("tvm", "eager"))
    arguments = parser.parse_args()
    rows = []
    for name in NAMES:
        rows.append(measure(name, arguments.backend))
        sys.stderr.write(f"{rows[-1].text()}\n")
    write_text(arguments.output, page(rows))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    torch.set_num_threads(1)
    sys.exit(main())
