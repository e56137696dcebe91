"""Compiles the variants of regions for several samples, for programs that run batches.

A region is compiled for 2, 4, 8, ... samples and for the limit, and variants that do not pay are
dropped. A group of samples at run time is cut into parts of these sizes, the largest first: nothing
is computed for samples that are not there, and every variant has static sizes, which schedules
need.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from dyncc.backends.batching import batched
from dyncc.backends.measuring import Sample
from dyncc.backends.paying import sizes_that_pay, variant_times
from dyncc.backends.refusals import FAILURES, diagnostic_at, reason
from dyncc.backends.selection import builder
from dyncc.core.backends import EAGER
from dyncc.core.errors import ConfigError, Diagnostic, UnsupportedError
from dyncc.ir.hcfg import (
    ARGUMENT,
    Block,
    Hcfg,
    HostOp,
    Loc,
    Region,
    RegionCall,
    Return,
    draws,
    only_torch,
)
from dyncc.ir.hostops import EFFECTS
from dyncc.runtime.artifact import open_library
from dyncc.runtime.batchfile import FILE, program_of, write_regions
from dyncc.runtime.summary import homes_of

#: Seconds for the comparison of all variants.
BUDGET = 10.0

#: The most samples that regions are compiled for.
MOST = 256

_CODE = "DY921"


def sizes(limit: int) -> list[int]:
    """The numbers of samples that regions are compiled for: powers of two, and the limit.

    Raises
    ------
    ConfigError
        If the limit is no number from 2 to `MOST`.
    """
    if not 2 <= limit <= MOST:
        raise ConfigError(f"batch must be from 2 to {MOST}, not {limit}")
    found = [2**power for power in range(1, limit.bit_length()) if 2**power <= limit]
    return found if found[-1] == limit else [*found, limit]


def refuse(program: Hcfg) -> None:
    """Raise UnsupportedError if samples of a batch would not be independent of each other."""
    found = list(dict.fromkeys(_refusals(program)))
    if found:
        raise UnsupportedError(found)


def _refusals(program: Hcfg) -> Iterator[Diagnostic]:
    called = False
    for slot in program.state:
        yield Diagnostic(
            slot.name, _CODE, "state that calls change",
            "each sample of a batch would start from what the one before it left",
            "Take it as an argument and return its new value, or call samples one after the other.",
        )  # fmt: skip
    for block in program.blocks.values():
        for op in block.ops:
            if isinstance(op, HostOp) and op.op in EFFECTS:
                yield _diagnostic(
                    block, op.loc, f"`{op.op}` in a batch",
                    "samples run side by side, so its lines would be mixed",
                    "Return what is to be shown.",
                )  # fmt: skip
            if isinstance(op, RegionCall):
                called = True
                if any(draws(each) for each in program.regions[op.region].ops):
                    yield _diagnostic(
                        block, None, f"random numbers in a batch (region @{op.region})",
                        "samples run side by side, so that they would draw in another order",
                        "Draw them outside, and give them to the network as an argument.",
                    )  # fmt: skip
        if isinstance(block.terminator, Return):
            for name, _ in block.terminator.state:
                if name.startswith(ARGUMENT):
                    yield _diagnostic(
                        block, block.terminator.loc,
                        f"a change of the argument {name.removeprefix(ARGUMENT)} in place",
                        "samples of a batch may share their arguments",
                        "Return the changed tensor instead.",
                    )  # fmt: skip
    if not called:
        yield Diagnostic(
            program.name, _CODE, "a network that computes nothing on tensors",
            "there is nothing that samples could share", "Compile it without a batch.",
        )  # fmt: skip


def _diagnostic(block: Block, loc: Loc | None, what: str, why: str, hint: str) -> Diagnostic:
    return diagnostic_at(loc or block.loc, f"block ^{block.name}", _CODE, what, why, hint)


def build(
    program: Hcfg,
    backend: str,
    report: Mapping[str, Any],
    limit: int,
    directory: Path,
    progress: Callable[[str, int, int], None],
    weights: Mapping[str, numpy.ndarray],
    observed: Mapping[str, Sample],
) -> dict[str, Any]:
    """Compile the variants, each with the back end of its region, and keep those that pay.

    Parameters
    ----------
    program
        The program; `refuse` has nothing against it.
    backend, report
        The back end of the artifact, and what its build returned.
    limit
        The most samples that a region takes at once; see `sizes`.
    directory
        The artifact's, which gets `dyncc.runtime.batchfile.FILE` and the back ends' files, whose
        names begin with ``batch_``.
    progress
        Called with the name of what is done next, its index, and the number of steps.
    weights
        Of the program, by name.
    observed
        A call of each region, with which its variants are measured where it is not PyTorch that
        runs them.

    Returns
    -------
    dict
        JSON-able. ``limit``; ``sizes``; ``regions``: by region and size, the name of the variant;
        ``alone``: why samples go through a region one after the other, by region; ``seconds``: by
        region and size, what a call took, for those that were measured; ``parts``: by back end, the
        report of its build; ``torch``: variants that PyTorch runs.
    """
    wanted = sizes(limit)
    homes = homes_of(backend, report, program)
    variants: dict[str, dict[int, Region]] = {}
    alone: dict[str, str] = {}
    for index, (name, region) in enumerate(program.regions.items()):
        progress(f"batches of {name}", index, len(program.regions))
        why = only_torch(region) or (None if region.params else "it takes no tensor of a sample's")
        if why is None:
            try:
                variants[name] = {size: batched(region, size, f"{name}x{size}") for size in wanted}
            except FAILURES as error:
                why = reason(error, "torch.func.vmap")
        if why is not None:
            alone[name] = why
    parts: dict[str, Any] = {}
    in_torch: list[str] = []
    for home in dict.fromkeys(homes[name] for name in variants):
        ours = [
            each
            for name, table in variants.items()
            if homes[name] == home
            for each in table.values()
        ]
        if home == EAGER:
            in_torch += [each.name for each in ours]
            continue
        parts[home], failures = _compiled(home, program.name, ours, directory, progress)
        for name in [name for name in variants if homes[name] == home]:
            failed = [failures[v.name] for v in variants[name].values() if v.name in failures]
            if failed:
                alone[name] = failed[0]
                del variants[name]
    times: dict[str, dict[int, float]] = {}
    for home, part in parts.items():
        alone_in = open_library(home, directory, report.get("parts", {home: report})[home])
        several_in = open_library(home, directory, part)
        names = [name for name in variants if homes[name] == home and name in observed]
        for index, name in enumerate(names):
            progress(f"measuring batches of {name}", index, len(names))
            found = variant_times(
                program.regions[name],
                {size: region.name for size, region in variants[name].items()},
                observed[name], alone_in, several_in, weights, BUDGET / len(names),
            )  # fmt: skip
            times[name] = {size: float(f"{seconds:.4g}") for size, seconds in found.items()}
            variants[name] = {size: variants[name][size] for size in sizes_that_pay(times[name])}
            if not variants[name]:
                del variants[name]
                alone[name] = "samples take no less time together"
    write_regions(directory / FILE, [r for table in variants.values() for r in table.values()])
    return {
        "limit": limit,
        "sizes": wanted,
        "regions": {
            name: {str(size): region.name for size, region in table.items()}
            for name, table in variants.items()
        },
        "alone": alone,
        "seconds": times,
        "parts": parts,
        "torch": in_torch,
    }


def _compiled(
    backend: str,
    name: str,
    regions: list[Region],
    directory: Path,
    progress: Callable[[str, int, int], None],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The report of a back end about some regions, and why it does not compile others."""
    program = program_of(name, regions)
    with tempfile.TemporaryDirectory(prefix=".batch.", dir=directory) as folder:
        report = builder(backend)(program, Path(folder), progress, fallback=True)
        for file in Path(folder).iterdir():
            file.rename(directory / f"batch_{file.name}")
    if "library" in report:
        report["library"] = f"batch_{report['library']}"
    for entry in report["regions"].values():
        if "model" in entry:
            entry["model"] = f"batch_{entry['model']}"
    return report, report.pop("torch")
