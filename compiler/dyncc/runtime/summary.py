"""How large a program is, and who runs its regions."""

from __future__ import annotations

from typing import Any

from dyncc.runtime.program import Program, tensor_bytes


def in_torch(program: Program) -> dict[str, str]:
    """Why PyTorch runs a region, by name of the region."""
    if program.manifest["backend"] == "eager":
        return dict.fromkeys(program.hcfg.regions, "the back end is eager")
    return dict(program.manifest["report"].get("torch", {}))


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
    }


def summary(program: Program) -> str:
    """Blocks, sub-networks, weights and compile time of a program, in one line."""
    found = figures(program)
    by_torch = len(found["torch"]) if found["backend"] != "eager" else 0
    return (
        f"{found['blocks']} blocks, {found['regions']} sub-networks"
        f"{f' ({by_torch} run by PyTorch)' if by_torch else ''}, "
        f"{found['edges']} edges, {found['weight_bytes'] / 1e6:.2f} MB of weights, "
        f"compiled in {found['seconds']:.1f} s for {found['backend']}"
    )
