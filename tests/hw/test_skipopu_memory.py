"""The memory of SkipOPU: port, buses, load and store engines, against the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hw.simulators import SIMULATORS

from dyncc.arch.skipopu.spec import ARCHS, ArchSpec
from dyncc_sim.runner import build_bench
from dyncc_sim.skipopu.bench.instances import BATCHED, SINGLE
from dyncc_sim.skipopu.bench.memory_cases import described
from dyncc_sim.skipopu.bench.memory_rig import MemoryRig

BENCHES = ["dyncc_sim.skipopu.bench.memory_bench", "dyncc_sim.skipopu.bench.memory_engines_bench"]
#: Icarus takes much longer.
SHORT = ("faults", "instructions")


def options(arch: ArchSpec, bus: str, rounds: int, seed: int = 1) -> dict[str, Any]:
    return {
        "bus": bus, "bus_bytes": arch.bus_bytes, "burst_bytes": arch.burst_bytes,
        "requests": arch.memory_requests, "latency": arch.memory_latency_cycles,
        "rounds": rounds, "seed": seed, "arch": described(arch),
    }  # fmt: skip


def run(
    arch: ArchSpec, bus: str, simulator: str, rounds: int,
    seeds: Sequence[int] = (1,), tests: Sequence[str] | None = None,
) -> None:  # fmt: skip
    build = build_bench(MemoryRig(arch, bus), simulator)
    for seed in seeds:
        build.run(BENCHES, options(arch, bus, rounds, seed), tests)


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize(
    ("arch", "bus"), [(SINGLE, "wishbone"), (BATCHED, "axi")], ids=["single", "batched"]
)
def test_memory_equals_the_simulator(arch: ArchSpec, bus: str, simulator: str) -> None:
    if simulator == "icarus":
        run(arch, bus, simulator, 0, tests=SHORT)
    else:
        run(arch, bus, simulator, 10)


def test_axi_with_the_memory_of_others() -> None:
    build = build_bench(MemoryRig(BATCHED, "axi"), "verilator")
    build.run("dyncc_sim.skipopu.bench.memory_axi_bench", options(BATCHED, "axi", 5))


def wide(bus_bytes: int, lanes: int, requests: int) -> ArchSpec:
    """An instance with another bus."""
    return replace(
        BATCHED, name=f"bus of {bus_bytes}", memory_bytes_s=bus_bytes * BATCHED.clk_hz,
        burst_bytes=max(64, 8 * bus_bytes), vector_lanes=lanes, memory_requests=requests,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("bus", ["wishbone", "axi"])
@pytest.mark.parametrize(
    "arch",
    [
        *(wide(size, lanes, 4) for size, lanes in ((2, 2), (4, 1), (16, 4), (32, 1), (64, 16))),
        wide(32, 1, 1), replace(ARCHS["ecp5_85f"], vector_words=2048),
    ],
    ids=lambda arch: f"{arch.bus_bytes}-{arch.vector_lanes}-{arch.memory_requests}",
)  # fmt: skip
def test_memory_with_all_buses(arch: ArchSpec, bus: str) -> None:
    run(arch, bus, "verilator", 10, seeds=(1, 2))


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "bus"), [(SINGLE, "axi"), (BATCHED, "wishbone")])
def test_memory_with_more_seeds(arch: ArchSpec, bus: str) -> None:
    run(arch, bus, "verilator", 40, seeds=range(2, 6))
