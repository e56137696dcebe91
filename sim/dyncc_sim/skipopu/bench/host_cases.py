"""A small decoder as a host loads it."""

from __future__ import annotations

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.backends.skipopu.artifact import PROGRAMS, Overlay
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_sim.skipopu.bench.machine_cases import TWO_LAYERS
from dyncc_sim.skipopu.small import Small


def small_overlay(
    arch: ArchSpec, policy: KvPolicy = KvPolicy.REUSE, config: LlamaConfig = TWO_LAYERS
) -> Overlay:
    """A decoder of random numbers with random routers."""
    decoders = {
        name: Small(arch, policy, all_logits=name == "logits", config=config) for name in PROGRAMS
    }
    small = decoders["token"]
    # What programs write comes first or last, and is not part of the image.
    fixed = [region for region in small.places.regions.values() if not region.writable]
    first = min(region.address for region in fixed if region.name != "tokens")
    end = max(region.address + region.size for region in fixed)
    return Overlay(
        "small", arch, small.plan, small.places, first, small.memory().content[first:end],
        {name: tuple(found.program) for name, found in decoders.items()}, (), "", None, {},
    )  # fmt: skip
