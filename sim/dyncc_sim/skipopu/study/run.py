"""Measuring many points: in parallel, with what was measured before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any

from dyncc.core.errors import ConfigError, MissingToolError, ToolError
from dyncc_sim.skipopu.study.measure import Result, measure
from dyncc_sim.skipopu.study.points import Point
from dyncc_sim.skipopu.study.store import Store

#: Seconds in which a scheduler has to answer.
_ANSWER_S = 10
#: Told what was measured, how many points are done, and of how many.
Report = Callable[[str, int, int], None]


def run(
    points: Sequence[Point],
    store: Store,
    jobs: int = 1,
    scheduler: str | None = None,
    report: Report = lambda what, done, total: None,
) -> dict[Point, Result]:
    """Results of points; those that are not in the store are measured, and put there.

    Parameters
    ----------
    jobs
        Processes; -1 for one on each core.
    scheduler
        Address of a Dask scheduler, whose workers measure instead. They need this project, the
        packages of the model, the files of routers, and one thread each.

    Raises
    ------
    MissingToolError
        If joblib, or for a scheduler Dask, is missing.
    ToolError
        If the scheduler does not answer, or has no workers.
    ConfigError
        If `jobs` is 0, or workers have several threads.
    DynccError
        Whatever `measure` raises; what was measured before is kept.
    """
    if jobs == 0:
        raise ConfigError("jobs must be positive, or -1 for all cores, not 0")
    wanted = list(dict.fromkeys(points))
    found = {point: result for point in wanted if (result := store.get(point)) is not None}
    missing = [point for point in wanted if point not in found]
    report(_told(found, wanted), len(found), len(wanted))
    if not missing:
        return found
    try:
        import joblib
    except ImportError as error:
        raise MissingToolError(
            "joblib was not found", hint="Install it: pip install 'dyncc[llm]'"
        ) from error
    with _cluster(scheduler) if scheduler is not None else nullcontext():
        parallel = joblib.Parallel(
            n_jobs=jobs, batch_size=1, return_as="generator_unordered", pre_dispatch="2*n_jobs"
        )
        for point, result in parallel(joblib.delayed(_measured)(point) for point in missing):
            store.put(point, result)
            found[point] = result
            report(_told(found, wanted), len(found), len(wanted))
    return found


def _told(found: Sized, wanted: Sized) -> str:
    return f"{len(found)}/{len(wanted)} points"


def _measured(point: Point) -> tuple[Point, Result]:
    return point, measure(point)


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """Let joblib use the workers of a scheduler."""
    import joblib

    try:
        # Typed so, it is checked the same whether Dask is there or not.
        connect: Any = import_module("dask.distributed").Client
    except ImportError as error:
        raise MissingToolError(
            "a scheduler needs Dask, which was not found",
            hint="Install it: pip install distributed",
        ) from error
    try:
        client = connect(address, timeout=_ANSWER_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ToolError(
            f"the scheduler {address} does not answer within {_ANSWER_S} s",
            hint="Start one with: dask scheduler, and workers with: dask worker ADDRESS "
            "--nworkers N --nthreads 1",
        ) from error
    with client:
        threads = client.nthreads()
        if not threads:
            raise ToolError(
                f"the scheduler {address} has no workers",
                hint=f"Start some: dask worker {address} --nworkers N --nthreads 1",
            )
        if max(threads.values()) > 1:
            raise ConfigError(
                f"a worker of {address} has {max(threads.values())} threads, and the simulator's "
                "kernels need one thread a process",
                hint=f"Start workers with: dask worker {address} --nworkers N --nthreads 1",
            )
        with joblib.parallel_config(backend="dask"):
            yield client
