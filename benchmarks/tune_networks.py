"""Make the database that comes with dyncc: tune the networks in it, on a machine that is free.

Run ``python benchmarks/tune_networks.py [--seconds 300] [NETWORK ...]``. Records of other machines
stay in the file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import dyncc
from dyncc.backends.tvm.tuning.database import SHIPPED
from dyncc.cli.progress import progress
from dyncc.core.errors import DynccError
from dyncc.core.tuning import Tuning
from dyncc.modelfile import load_model

NETWORKS = Path(__file__).parents[1] / "models" / "dyncc_models" / "dycl"


def main() -> int:
    """Tune each network; returns the exit code."""
    names = sorted(file.stem for file in NETWORKS.glob("*.py") if file.stem != "__init__")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=300.0, help="for each (default: 300)")
    parser.add_argument("--database", default=str(SHIPPED), help=f"default: {SHIPPED}")
    arguments = parser.parse_args()
    for name in arguments.networks or names:
        model = load_model(str(NETWORKS / f"{name}.py"))
        inputs = model.example_inputs()
        if inputs is None:
            continue  # what other networks share
        try:
            with progress() as report:
                program = dyncc.compile(
                    model.module,
                    inputs,
                    tuning=Tuning(arguments.seconds, arguments.database),
                    progress=report,
                )
        except DynccError as error:
            sys.stderr.write(f"{name}: {error}\n")
            return error.exit_code
        found = program.manifest["tuning"]
        sys.stdout.write(
            f"{name}: {found['tuned']} of {found['kernels']} kernels, "
            f"{found['before'] / found['after']:.3f} times as fast\n"
        )
        if not found["free"]:
            sys.stdout.write("  other processes use this machine: run this again without them\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
