"""The search that a compilation asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy

from dyncc.backends.measuring import samples
from dyncc.backends.refusals import open_regions, translated
from dyncc.backends.tvm.build import import_for_tvm
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning.machines import Here, There
from dyncc.backends.tvm.tuning.reuse import Found, databases
from dyncc.backends.tvm.tuning.session import Session
from dyncc.core.errors import ConfigError
from dyncc.core.tuning import Tuning
from dyncc.ir.hcfg import Hcfg
from dyncc.runtime.threads import thread_count


@dataclass(frozen=True)
class Request:
    """What to search for, and how long.

    Attributes
    ----------
    tuning
        How long, and where.
    weights, sizes
        The network's; see `dyncc.backends.measuring.samples`.
    runs
        Arguments of runs that stand for all; how often they call a region is what it weighs.
    """

    tuning: Tuning
    weights: Mapping[str, numpy.ndarray]
    runs: Sequence[Any]
    sizes: Mapping[str, Any]


def tune(
    program: Hcfg, request: Request, progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Search for faster code of a program's kernels, and keep it in the database in use.

    Parameters
    ----------
    program
        The network.
    request
        What is asked for.
    progress
        Told what is tried, and how many seconds of how many are over.

    Returns
    -------
    dict
        JSON-able: the fields of `dyncc.backends.tvm.tuning.session.Outcome`, ``machine`` and
        ``database`` (a file).

    Raises
    ------
    ConfigError
        If what is found could not be kept, or kernels would be measured in other threads than they
        are compiled for.
    ToolError
        If the machine that measures fails; what was found until then is kept.
    """
    seconds = request.tuning.seconds or 0.0
    end = time.perf_counter() + seconds
    cpu, sources = Cpu.host(), databases()
    if not sources:
        raise ConfigError(
            "tuning needs a database for what it finds",
            hint="Name a file with --database, or none of your own: then it is in your cache.",
        )
    if request.tuning.rpc is None and thread_count() != cpu.threads:
        raise ConfigError(
            f"code is made for {cpu.threads} threads, and would be measured in {thread_count()}",
            hint="Unset DYNCC_NUM_THREADS and TVM_NUM_THREADS while tuning.",
        )
    machine = Here() if request.tuning.rpc is None else There(*request.tuning.address())

    def importing(what: str, step: int, steps: int) -> None:
        progress("tuning: the kernels of the program", 0, int(seconds))

    regions, _ = translated(
        program, open_regions(program), importing, 0,
        lambda index, region: import_for_tvm(region, f"region_{index}"),
    )  # fmt: skip
    left = max(end - time.perf_counter(), 0.0)
    session = Session(cpu, machine, sources[0], Found(cpu, sources), left, progress)
    observed = samples(program, request.weights, request.runs, request.sizes)
    outcome = session.run(list(regions.values()), observed, request.weights)
    return {**asdict(outcome), "machine": machine.name, "database": str(sources[0].path)}
