"""Make the database that comes with dyncc: tune the networks in it, on a machine that is free.

Run ``python benchmarks/tune_networks.py [--seconds 300] [NETWORK ...]``. What is found for one
is kept if the whole network gains by it: kernels that are measured alone find their weights in the
cache. Records of other machines stay in the file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import dyncc
from dyncc.backends.measuring import call_times
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning.database import SHIPPED, Database
from dyncc.backends.tvm.tuning.reuse import target_key
from dyncc.cli.progress import progress
from dyncc.core.errors import DynccError
from dyncc.core.tuning import NONE, Tuning
from dyncc.modelfile import load_model

NETWORKS = Path(__file__).parents[1] / "models" / "dyncc_models" / "dycl"

#: Seconds of a comparison of whole networks, and the gain from which records are kept.
SECONDS, LEAST = 20.0, 1.01


def main() -> int:
    """Tune each network; returns the exit code."""
    names = sorted(file.stem for file in NETWORKS.glob("*.py") if file.stem != "__init__")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=300.0, help="for each (default: 300)")
    parser.add_argument("--database", default=str(SHIPPED), help=f"default: {SHIPPED}")
    arguments = parser.parse_args()
    shipped = Database(Path(arguments.database))
    for name in arguments.networks or names:
        model = load_model(str(NETWORKS / f"{name}.py"))
        inputs = model.example_inputs()
        if inputs is None:
            continue  # what other networks share
        with tempfile.TemporaryDirectory(prefix="dyncc.") as folder, progress() as report:
            own = Path(folder) / "tuning.json"
            tuning = Tuning(arguments.seconds, str(own))
            try:
                tuned = dyncc.compile(model.module, inputs, tuning=tuning, progress=report)
                plain = dyncc.compile(model.module, inputs, tuning=Tuning(database=NONE))
            except DynccError as error:
                sys.stderr.write(f"{name}: {error}\n")
                return error.exit_code
            found = tuned.manifest["tuning"]
            runs = {"tuned": partial(tuned, *inputs), "plain": partial(plain, *inputs)}
            times = call_times(runs, SECONDS)
            gain = times["plain"] / times["tuned"]
            sys.stdout.write(
                f"{name}: {found['tuned']} of {found['kernels']} kernels tuned, the network "
                f"{gain:.3f} times as fast{'' if gain >= LEAST else ', which is not kept'}\n"
            )
            if not found["free"]:
                sys.stdout.write("  other processes use this machine: run this without them\n")
            if gain >= LEAST:
                for record in Database(own).of_target(target_key(Cpu.host())):
                    shipped.add(record)
                shipped.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
