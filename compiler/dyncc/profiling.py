"""Compiling by profile: a network is run on a user's inputs, and its paths are fused where it pays.

Edges are counted in runs in PyTorch. Regions are timed in the back end that the artifact is for, on
what a run gave them; so the program is compiled once to be timed, and, if `dyncc.passes.fuse_paths`
finds something to do, once more. Both versions are then timed in turns, and the faster one is kept.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from dyncc.backends.measuring import Recording, Sample, call_of, call_times, samples_of, unseen
from dyncc.core.errors import ConfigError, InputError
from dyncc.ir.hcfg import Hcfg
from dyncc.ir.places import Places
from dyncc.ir.profile import Edge, Profile
from dyncc.ir.settling import settle
from dyncc.ir.text import region_body
from dyncc.ir.verifier import verify
from dyncc.passes import stages
from dyncc.passes.fuse_paths import fuse_paths
from dyncc.runtime import artifact
from dyncc.runtime.program import Program

#: Seconds that all regions are timed for, unless three calls of each take longer.
BUDGET = 10.0

#: Writes what a back end makes of a program into a directory, and returns its report.
Build = Callable[[Hcfg, Path], Mapping[str, Any]]
#: Arguments of a call: in order, or by name.
Arguments = Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """What is to be compiled, and for what.

    Attributes
    ----------
    inputs
        Arguments of calls, by what to call them in messages; the calls run in this order.
    weights, sizes
        The network's; see `dyncc.backends.measuring.samples`.
    backend
        Of the artifact.
    kept
        Regions that stay as they are.
    """

    inputs: Mapping[str, Arguments]
    weights: Mapping[str, numpy.ndarray]
    sizes: Mapping[str, Any]
    backend: str
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Tuned:
    """A program by profile, already compiled.

    Attributes
    ----------
    program, places
        The program.
    profile
        Its profile.
    report
        Of the back end, whose files are in `directory`.
    """

    program: Hcfg
    places: Places
    profile: Profile
    report: Mapping[str, Any]
    directory: Path

    def deliver(self, directory: Path) -> Mapping[str, Any]:
        """Copy the back end's files; returns its report."""
        for file in self.directory.iterdir():
            if file.name not in artifact.OWN_FILES:
                shutil.copy2(file, directory)
        return self.report


def tune(program: Hcfg, places: Places, request: Request, build: Build, folder: Path) -> Tuned:
    """Compile a program by profile.

    Parameters
    ----------
    program, places
        The program after all passes.
    request
        What to run it on.
    build
        Compiles it.
    folder
        Where to compile; it has to outlive the result.

    Raises
    ------
    ConfigError
        If there are no inputs.
    InputError
        If some do not fit the network; says which.
    """
    if not request.inputs:
        raise ConfigError("a profile needs at least one input")
    edges, samples = observe(program, request)
    plain = _Version(program, places, request, build, folder / "plain")
    seconds = _times([(plain, samples)], request)
    profile = Profile(len(request.inputs), edges, seconds[0])
    faster, faster_places = _fused(program, places, profile, request)
    if faster is not program:
        edges, samples_after = observe(faster, request)
        fused = _Version(faster, faster_places, request, build, folder / "fused")
        before, after = _times([(plain, samples), (fused, samples_after)], request)
        profile = replace(profile, seconds=before)
        expected = profile.expected(program)
        by_fusing = Profile(len(request.inputs), edges, after, float(f"{expected:.4g}"))
        if by_fusing.expected(faster) < expected:
            return fused.tuned(by_fusing)
    return plain.tuned(profile)


class _Version:
    """A program, compiled and loaded to be timed."""

    def __init__(
        self, program: Hcfg, places: Places, request: Request, build: Build, path: Path
    ) -> None:
        self.program, self.places, self._path = program, places, path
        weights = {name: request.weights[name] for name in program.weights}
        artifact.write(
            path, program, weights, request.backend, lambda into: build(program, into), {}, places
        )
        self.loaded = artifact.load(path)

    def tuned(self, profile: Profile) -> Tuned:
        """The version that is kept."""
        report = self.loaded.manifest["report"]
        return Tuned(self.program, self.places, profile, report, self._path)


def _fused(
    program: Hcfg, places: Places, profile: Profile, request: Request
) -> tuple[Hcfg, Places]:
    """The program with its paths fused, as long as that pays."""
    while True:
        after, seconds = fuse_paths(program, profile, request.kept)
        if after is program:
            return program, places
        verify(after)
        places, program = settle(places, program, after), after
        for _, after in stages(program):
            places, program = settle(places, program, after), after
        profile = replace(profile, edges=observe(program, request)[0], seconds=seconds)


def observe(program: Hcfg, request: Request) -> tuple[dict[Edge, int], dict[str, Sample]]:
    """Run a program in PyTorch: how often each edge was taken, and a call of each region.

    Raises
    ------
    InputError
        If an input does not fit; says which.
    """
    recording = Recording(program)
    network = Program(program, recording, request.weights, {"sizes": dict(request.sizes)})
    with unseen(), network.trace() as counts:
        for where, given in request.inputs.items():
            _run(network, *call_of(given), where)
    return dict(counts), samples_of(program, recording)


def _run(network: Program, args: Sequence[Any], kwargs: Mapping[str, Any], where: str) -> None:
    # An exception of the network's own is a way to leave it.
    with contextlib.suppress(Exception):
        try:
            network(*args, **kwargs)
        except InputError as error:
            misfit = error
        else:
            return
    raise InputError(
        f"this input of the profile does not fit: {misfit.message}",
        where=f"{where}: {misfit.where}" if misfit.where else where,
        hint=misfit.hint or "Give arrays by the names of the arguments of forward.",
    ) from misfit


def _times(
    versions: Sequence[tuple[_Version, Mapping[str, Sample]]], request: Request
) -> list[dict[str, float]]:
    """Seconds of a call of each region of each version; equal regions are timed once."""
    calls: dict[str, Callable[[], Any]] = {}
    bodies: list[dict[str, str]] = []
    for version, samples in versions:
        found = {name: region_body(version.program.regions[name]) for name in samples}
        bodies.append(found)
        for name, body in found.items():
            if body not in calls:
                calls[body] = _call(version.loaded, name, samples[name], request.weights)
    times = call_times(calls, BUDGET)
    return [{name: times[body] for name, body in found.items()} for found in bodies]


def _call(
    program: Program, region: str, sample: Sample, weights: Mapping[str, numpy.ndarray]
) -> Callable[[], Any]:
    regions = program.regions
    function = regions.bind(region, [weights[name] for name in sample.weights], sample.weights)
    arguments = [regions.from_external(array) for array in sample.arguments]
    return lambda: function(*arguments)
