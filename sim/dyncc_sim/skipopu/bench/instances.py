"""Instances that are small enough to simulate as hardware, and with which all paths are taken."""

from __future__ import annotations

from dataclasses import replace

from dyncc.arch.skipopu.formats import KvType
from dyncc.arch.skipopu.spec import ARCHS, ArchSpec

#: One token at a time, keys and values in BFP8, two bytes a cycle: a small ECP5.
SINGLE = ArchSpec(
    "single", 50_000_000, 4, 4, 2, 8, 32, KvType.BFP8, 1, 2048, 64, 16, 1, 100e6, 6, 64, 1, 0, 0,
    8 << 10, 64, 8, 128, 1, 1,
)  # fmt: skip
#: Batches of tokens, keys and values in binary16, 12-bit mantissas, wider everywhere: a small U280.
BATCHED = ArchSpec(
    "batched", 100_000_000, 4, 4, 2, 12, 32, KvType.F16, 4, 2048, 64, 16, 2, 800e6, 8, 64, 4, 0, 0,
    8 << 10, 64, 8, 128, 2, 1,
)  # fmt: skip
#: The array of the ECP5 at a memory that is sixteen times as fast, and batches: a real decoder's
#: layers pass in a sixteenth of the cycles.
FAST = replace(
    ARCHS["ecp5_85f"], name="fast", tokens=4, memory_bytes_s=1600e6, memory_requests=4,
    refresh_period_cycles=0, refresh_cycles=0,
)  # fmt: skip
#: Instances by name, and the multipliers of each.
INSTANCES = {arch.name: arch for arch in (SINGLE, BATCHED, FAST, ARCHS["ecp5_85f"])}
TARGETS = dict.fromkeys(INSTANCES, "MULT18X18D") | {BATCHED.name: "DSP48E2"}
