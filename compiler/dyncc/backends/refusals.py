"""Regions that a back end translates, and what it says of those that it cannot."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Container, Mapping
from typing import TypeVar

from dyncc.core.errors import Diagnostic, ToolError
from dyncc.ir.hcfg import Hcfg, Loc, Region, RegionCall, only_torch

#: What torch.export, importers and exporters, passes and linkers raise.
FAILURES = (
    RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError,
    AssertionError, OSError, ArithmeticError,
)  # fmt: skip

_LOG_LINES = 25

T = TypeVar("T")


def tail(error: BaseException) -> str:
    """The last lines of an error."""
    text = f"{type(error).__name__}: {error}"
    return "\n".join(text.splitlines()[-_LOG_LINES:])


def open_regions(program: Hcfg) -> dict[str, str]:
    """The regions that no back end compiles, with the reason why PyTorch runs each."""
    reasons = {name: only_torch(region) for name, region in program.regions.items()}
    return {name: why for name, why in reasons.items() if why is not None}


def translated(
    program: Hcfg,
    left_out: Container[str],
    progress: Callable[[str, int, int], None],
    steps: int,
    translate: Callable[[int, Region], T],
    raises: tuple[type[BaseException], ...] = FAILURES,
) -> tuple[dict[str, T], dict[str, BaseException]]:
    """What a back end makes of each region but some, by name, and why it makes nothing of others.

    Parameters
    ----------
    left_out
        Names of regions that it is not asked for.
    progress, steps
        Called before each region with its name, its position, and the number of all steps.
    translate
        Is given the position of a region in the program, and the region.
    raises
        What `translate` raises of a region that it cannot translate.
    """
    found: dict[str, T] = {}
    failures: dict[str, BaseException] = {}
    for index, (name, region) in enumerate(program.regions.items()):
        if name in left_out:
            continue
        progress(f"region {name}", index, steps)
        try:
            found[name] = translate(index, region)
        except raises as error:
            failures[name] = error
    return found, failures


def diagnostic_at(
    place: Loc | None, otherwise: str, code: str, construct: str, reason: str, hint: str
) -> Diagnostic:
    """A diagnostic with the line of the source at a place; `otherwise` names the unknown place."""
    if place is None:
        return Diagnostic(otherwise, code, construct, reason, hint)
    line = linecache.getline(place.file, place.line).rstrip()
    return Diagnostic(str(place), code, construct, reason, hint, line, place.column)


def reason(error: BaseException, library: str) -> str:
    """Why PyTorch runs a region that `library` cannot compile, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{library} cannot compile it: {type(error).__name__}: {lines[-1] if lines else ''}"


def refused(program: Hcfg, failures: Mapping[str, BaseException], library: str) -> ToolError:
    """The error with every region that `library` cannot compile, and the places that call it."""
    names = ", ".join(f"{name!r} ({_places(program, name)})" for name in failures)
    noun = "region" if len(failures) == 1 else "regions"
    return ToolError(
        f"{library} cannot compile the {noun} {names}",
        hint=f"Give --fallback eager, and PyTorch runs what {library} cannot compile; or compile "
        "with the eager back end.",
        log="\n".join(f"{name}: {tail(error)}" for name, error in failures.items()),
    )


def _places(program: Hcfg, region: str) -> str:
    calls = [
        block.loc
        for block in program.blocks.values()
        if any(isinstance(op, RegionCall) and op.region == region for op in block.ops)
    ]
    return ", ".join(str(loc) for loc in dict.fromkeys(calls) if loc is not None) or "no place"
