"""How large a program is, and who runs its regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from dyncc.ir.hcfg import Hcfg
from dyncc.runtime.program import Program, tensor_bytes


def in_torch(program: Program) -> dict[str, str]:
    """Why PyTorch runs a region, by name of the region."""
    if program.manifest["backend"] == "eager":
        return dict.fromkeys(program.hcfg.regions, "the back end is eager")
    return dict(program.manifest["report"].get("torch", {}))


def runners(program: Program) -> dict[str, str]:
    """The back end that runs each region, by name of the region."""
    return homes_of(program.manifest["backend"], program.manifest["report"], program.hcfg)


def homes_of(backend: str, report: Mapping[str, Any], program: Hcfg) -> dict[str, str]:
    """The back end that runs each region, given the back end of an artifact and its report."""
    if backend == "eager":
        return dict.fromkeys(program.regions, "eager")
    parts = report.get("parts", {backend: report})
    found = {name: part for part in parts for name in parts[part].get("regions", {})}
    return found | dict.fromkeys(report.get("torch", {}), "eager")


def choice(program: Program, region: str) -> dict[str, Any] | None:
    """What ``--backend auto`` measured of a region, and what it chose; None if nothing."""
    found: dict[str, Any] | None = program.manifest["report"].get("choices", {}).get(region)
    return found


def kernels(program: Program, region: str) -> dict[str, Any]:
    """What TVM made of a region.

    Returns
    -------
    dict
        ``kernels``: how many, 0 if another back end runs it; ``tuned``: by name, what a search
        found for some of them, where and when, see `dyncc.backends.tvm.tuning.reuse.Found.report`.
    """
    report = program.manifest["report"]
    part = report.get("parts", {program.manifest["backend"]: report}).get("tvm", {})
    entry = part.get("regions", {}).get(region, {})
    return {"kernels": entry.get("kernels", 0), "tuned": entry.get("tuned", {})}


def figures(program: Program) -> dict[str, Any]:
    """Blocks, regions, edges, bytes of weights, seconds, and what PyTorch runs, JSON-able."""
    hcfg = program.hcfg
    return {
        "name": hcfg.name,
        "backend": program.manifest["backend"],
        "blocks": len(hcfg.blocks),
        "regions": len(hcfg.regions),
        "edges": len(list(hcfg.edges())),
        "weight_bytes": sum(tensor_bytes(kind) for kind in hcfg.weights.values()),
        "seconds": sum(program.manifest.get("seconds", {}).values()),
        "torch": in_torch(program),
        "batch": program.batch_limit,
    }


def summary(program: Program) -> str:
    """Blocks, sub-networks, weights and compile time of a program, in one line."""
    found = figures(program)
    by_torch = len(found["torch"]) if found["backend"] != "eager" else 0
    shares = Counter(runners(program).values()) if found["backend"] == "auto" else Counter()
    parts = ", ".join(f"{number} by {name}" for name, number in shares.most_common())
    return (
        f"{found['blocks']} blocks, {found['regions']} sub-networks"
        f"{f' ({by_torch} run by PyTorch)' if by_torch else ''}, "
        f"{found['edges']} edges, {found['weight_bytes'] / 1e6:.2f} MB of weights, "
        f"compiled in {found['seconds']:.1f} s for {found['backend']}"
        f"{f' ({parts})' if parts else ''}"
        f"{f', for batches of up to {limit}' if (limit := found['batch']) > 1 else ''}"
    )
