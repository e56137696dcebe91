"""Drops regions that no block calls, and weights that no call binds.

Blocks vanish with the branches that led to them, and calls with what needed their results. A region
that is left behind would be compiled, and a weight stored.
"""

from __future__ import annotations

from dataclasses import replace

from dyncc.ir.hcfg import Hcfg, RegionCall


def drop_unused(program: Hcfg) -> Hcfg:
    """`program` with the regions and weights that it uses; those of module state stay."""
    calls = [
        op for block in program.blocks.values() for op in block.ops if isinstance(op, RegionCall)
    ]
    regions = {call.region for call in calls}
    weights = {name for call in calls for name in call.weights}
    weights.update(slot.name for slot in program.state)
    return replace(
        program,
        weights={name: kind for name, kind in program.weights.items() if name in weights},
        regions={name: region for name, region in program.regions.items() if name in regions},
    )
