"""One line that says how large a program is."""

from __future__ import annotations

from dyncc.runtime.program import Program, tensor_bytes


def summary(program: Program) -> str:
    """Blocks, sub-networks, weights and compile time of a program."""
    hcfg = program.hcfg
    weight_bytes = sum(tensor_bytes(kind) for kind in hcfg.weights.values())
    seconds = sum(program.manifest.get("seconds", {}).values())
    return (
        f"{len(hcfg.blocks)} blocks, {len(hcfg.regions)} sub-networks, "
        f"{len(list(hcfg.edges()))} edges, {weight_bytes / 1e6:.2f} MB of weights, "
        f"compiled in {seconds:.1f} s for {program.manifest['backend']}"
    )
