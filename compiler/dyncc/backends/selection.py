"""Each region in the back end that runs it fastest, or that it is pinned to."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy

from dyncc.backends.eager import EagerRegions
from dyncc.backends.measuring import Sample, region_times, samples
from dyncc.backends.refusals import open_regions, refused
from dyncc.core.backends import AUTO, COMPILING, EAGER, PACKAGES
from dyncc.core.errors import ConfigError, MissingToolError
from dyncc.ir.hcfg import Hcfg
from dyncc.runtime.artifact import open_library
from dyncc.runtime.mixed import Home

#: A region leaves the back end of most only if another is faster by this part of its time, and by
#: `EXCHANGE` for each tensor that it takes or gives. Times of a busy machine differ by as much.
MARGIN = 0.05

#: Seconds that it takes to hand a tensor to another library: measured, 0.5 to 1 µs.
EXCHANGE = 1e-6

#: Seconds that all regions of a program are measured for, unless three calls of each take longer.
BUDGET = 10.0

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Request:
    """What is to be chosen from.

    Attributes
    ----------
    backend
        ``auto``, or the back end of the regions without a pin.
    pins
        Back ends by name or pattern of regions (``r1``, ``r*``); the last that fits counts.
    weights, example_inputs, sizes
        The network's, to run it with; see `dyncc.backends.measuring.samples`.
    """

    backend: str
    pins: Mapping[str, str]
    weights: Mapping[str, numpy.ndarray]
    example_inputs: Any
    sizes: Mapping[str, Any]


def available(backend: str) -> bool:
    """Whether what a back end needs is installed."""
    return all(importlib.util.find_spec(package) for package in PACKAGES[backend])


def pinned(program: Hcfg, pins: Mapping[str, str]) -> dict[str, str]:
    """The back end of each region with a pin.

    Raises
    ------
    ConfigError
        If a pin fits no region, or a region that only PyTorch runs.
    """
    in_torch = open_regions(program)
    found: dict[str, str] = {}
    for pattern, backend in pins.items():
        names = [name for name in program.regions if fnmatchcase(name, pattern)]
        if not names:
            raise ConfigError(
                f"there is no region {pattern!r} to pin",
                hint=f"The regions are {', '.join(program.regions) or 'none'}.",
            )
        for name in names:
            if name in in_torch and backend != EAGER:
                raise ConfigError(
                    f"the region {name!r} cannot be pinned to {backend}: {in_torch[name]}",
                    hint=f"Pin it to {EAGER}, which is what runs it, or to nothing.",
                )
        found |= dict.fromkeys(names, backend)
    return found


def build(
    program: Hcfg,
    directory: Path,
    progress: Progress,
    *,
    fallback: bool = False,
    request: Request,
) -> dict[str, Any]:
    """Compile regions with the back ends they may have, measure them, and keep one of each.

    Parameters
    ----------
    program, directory, progress, fallback
        As of `dyncc.backends.tvm.build`; with `fallback` PyTorch may also run a region because it
        is fastest.
    request
        What to choose from.

    Returns
    -------
    dict
        JSON-able. ``parts``: by back end, the report of its ``build`` with the regions that it
        runs; ``main``: the back end of most; ``torch``: why PyTorch runs a region; ``choices``: by
        region, ``backend``, whether it is ``pinned``, ``calls`` in the run with the example inputs,
        and ``seconds`` of a call by back end; ``margin``: see `MARGIN`.

    Raises
    ------
    ConfigError, MissingToolError
        If a pin is wrong, or asks for what is not installed.
    ToolError
        If no back end can compile a region.
    """
    directory = Path(directory)
    pins = pinned(program, request.pins)
    in_torch = open_regions(program)
    if request.backend == EAGER:
        in_torch |= {name: "the back end is eager" for name in program.regions if name not in pins}
    in_torch |= {name: "it is pinned to PyTorch" for name, to in pins.items() if to == EAGER}
    candidates = _candidates(program, request.backend, pins, in_torch)
    parts = {
        backend: builder(backend)(
            replace(program, regions={name: program.regions[name] for name in names}),
            directory,
            progress,
            fallback=True,
        )
        for backend, names in candidates.items()
        if names
    }
    failed = {
        name: "; ".join(part["torch"][name] for part in parts.values() if name in part["torch"])
        for name in program.regions
        if name not in in_torch and not any(name in part["regions"] for part in parts.values())
    }
    if failed and not fallback:
        causes = {name: RuntimeError(text) for name, text in failed.items()}
        raise refused(program, causes, request.backend)
    in_torch |= failed
    homes: dict[str, Home] = {
        backend: open_library(backend, directory, part) for backend, part in parts.items()
    }
    homes[EAGER] = EagerRegions(program)
    observed = samples(program, request.weights, [request.example_inputs], request.sizes)
    runners = {
        name: [backend for backend, part in parts.items() if name in part["regions"]]
        for name in observed
        if name not in in_torch
    }
    times: dict[str, dict[str, float]] = {}
    for index, (name, backends) in enumerate(runners.items()):
        progress(f"measuring {name}", index, len(runners))
        usable = {backend: homes[backend] for backend in (*backends, EAGER)}
        share = BUDGET / len(runners)
        times[name] = region_times(name, observed[name], usable, request.weights, share)
    main, chosen = choose(program, observed, times, runners, pins, eager=fallback)
    in_torch |= {name: "PyTorch is fastest" for name, backend in chosen.items() if backend == EAGER}
    kept = _kept(parts, chosen, directory)
    return {
        "main": main if main in kept else next(iter(kept), EAGER),
        "parts": kept,
        "torch": {name: in_torch[name] for name in program.regions if name in in_torch},
        "margin": MARGIN,
        "choices": {
            name: {
                "backend": backend,
                "pinned": name in pins,
                "calls": observed[name].calls,
                "seconds": {key: float(f"{value:.4g}") for key, value in times[name].items()},
            }
            for name, backend in chosen.items()
        },
    }


def _candidates(
    program: Hcfg, backend: str, pins: Mapping[str, str], in_torch: Mapping[str, str]
) -> dict[str, list[str]]:
    """The regions that each back end compiles."""
    common = [name for name in COMPILING if available(name)] if backend == AUTO else [backend]
    found: dict[str, list[str]] = {name: [] for name in COMPILING}
    for region in program.regions:
        if region not in in_torch:
            for name in [pins[region]] if region in pins else common:
                found[name].append(region)
    return found


def builder(backend: str) -> Callable[..., dict[str, Any]]:
    """The function that builds regions for a back end; see `dyncc.backends.tvm.build`.

    Raises
    ------
    MissingToolError
        If what it needs is not installed.
    """
    if not available(backend):
        missing = [name for name in PACKAGES[backend] if not importlib.util.find_spec(name)]
        raise MissingToolError(
            f"the back end {backend} needs {', '.join(missing)}",
            hint="Install it: pip install 'dyncc[onnx]'",
        )
    found: Callable[..., dict[str, Any]] = import_module(f"dyncc.backends.{backend}").build
    return found


def choose(
    program: Hcfg,
    observed: Mapping[str, Sample],
    times: Mapping[str, Mapping[str, float]],
    runners: Mapping[str, Sequence[str]],
    pins: Mapping[str, str],
    *,
    eager: bool,
) -> tuple[str, dict[str, str]]:
    """The back end of most regions, and that of each measured one.

    That of most is the one in which the network's run takes least if it runs all it can. Another
    takes a region over only if that gains more than `MARGIN` and what the exchange of tensors
    costs.

    Parameters
    ----------
    program
        The program.
    observed
        How often each region is called.
    times
        By region and back end, seconds of a call.
    runners
        By region, the back ends that compiled it.
    pins
        By region, the back end that it has to have.
    eager
        Whether PyTorch may run a region.
    """
    allowed = {name: [*found, EAGER] if eager else list(found) for name, found in runners.items()}

    def total(backend: str) -> float:
        return sum(
            max(observed[name].calls, 1)
            * (times[name][backend] if backend in found else min(times[name][b] for b in found))
            for name, found in allowed.items()
        )

    present = [name for name in (*COMPILING, EAGER) if any(name in f for f in allowed.values())]
    main = min(present, key=total, default=EAGER)
    chosen: dict[str, str] = {}
    for name, found in allowed.items():
        best = min(found, key=times[name].__getitem__)
        region = program.regions[name]
        price = EXCHANGE * (len(region.params) + len(region.results))
        if name in pins:
            best = pins[name]
        elif main in found and times[name][best] * (1 + MARGIN) + price >= times[name][main]:
            best = main
        chosen[name] = best
    return main, chosen


def _kept(
    parts: Mapping[str, dict[str, Any]], chosen: Mapping[str, str], directory: Path
) -> dict[str, dict[str, Any]]:
    """The parts with the regions that they are to run; files of nothing else stay."""
    found: dict[str, dict[str, Any]] = {}
    for backend, part in parts.items():
        regions = {
            name: entry for name, entry in part["regions"].items() if chosen.get(name) == backend
        }
        for name, entry in part["regions"].items():
            if name not in regions and "model" in entry:
                (directory / entry["model"]).unlink()
        if regions:
            found[backend] = {**part, "regions": regions, "torch": {}}
        elif "library" in part:
            (directory / part["library"]).unlink(missing_ok=True)
    return found
