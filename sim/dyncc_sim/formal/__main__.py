"""Proves properties of the hardware, and prints a table of them."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table

from dyncc.core.errors import DynccError
from dyncc_sim.formal.properties import PROPERTIES
from dyncc_sim.formal.prover import Outcome, prove
from dyncc_sim.formal.sby import ENGINE, Mode


def _row(outcome: Outcome) -> list[str]:
    item = outcome.item
    kind = "induction over" if item.mode is Mode.PROVE else "all of"
    how = f"{kind} {item.depth} cycle{'s' if item.depth > 1 else ''}"
    if item.suffices:
        how += f"; {item.suffices}"
    faults = ", ".join(outcome.refuted)
    held = "no: " + "; ".join(outcome.problems) if outcome.problems else "yes"
    return [item.name, item.claim, item.of, how, faults, held, f"{outcome.seconds:.0f}"]


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if all properties that were asked for hold, else 5."""
    parser = argparse.ArgumentParser(prog="python -m dyncc_sim.formal", description=__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of names; else all but the slow")
    parser.add_argument("--slow", action="store_true", help="also those that take minutes")
    given = parser.parse_args(arguments)
    items = [
        item
        for item in PROPERTIES
        if (given.slow or not item.slow)
        and (not given.names or any(item.name.startswith(name) for name in given.names))
    ]
    console = Console()
    table = Table(title=f"Properties, proved by SymbiYosys with {ENGINE}", show_lines=True)
    for name in ("property", "claim", "of", "proof", "refuted with", "holds", "seconds"):
        table.add_column(name)
    outcomes = []
    with console.status("") as status:
        for item in items:
            status.update(f"{item.name} ...")
            try:
                outcomes.append(prove(item))
            except DynccError as error:
                console.print(f"error: {error}", style="red", markup=False)
                return error.exit_code
            table.add_row(*_row(outcomes[-1]))
    console.print(table)
    return 5 if any(outcome.problems for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
