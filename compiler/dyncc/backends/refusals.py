"""What a back end says of regions that it cannot compile."""

from __future__ import annotations

from collections.abc import Mapping

from dyncc.core.errors import ToolError
from dyncc.ir.hcfg import Hcfg, RegionCall, only_torch

#: What torch.export, importers and exporters, passes and linkers raise.
FAILURES = (
    RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError,
    AssertionError, OSError, ArithmeticError,
)  # fmt: skip

_LOG_LINES = 25


def tail(error: BaseException) -> str:
    """The last lines of an error."""
    text = f"{type(error).__name__}: {error}"
    return "\n".join(text.splitlines()[-_LOG_LINES:])


def open_regions(program: Hcfg) -> dict[str, str]:
    """The regions that no back end compiles, with the reason why PyTorch runs each."""
    reasons = {name: only_torch(region) for name, region in program.regions.items()}
    return {name: why for name, why in reasons.items() if why is not None}


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
