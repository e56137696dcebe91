"""A host's way to registers and memory: requests, the memory that is shared, the whole device."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hw.simulators import ICARUS

from dyncc.arch.link import LinkSpec
from dyncc_sim.runner import run_bench
from dyncc_sim.skipopu.bench.host_rig import HostRig
from dyncc_sim.skipopu.bench.instances import INSTANCES

LINK = LinkSpec(clk_hz=12_000_000, baud=3_000_000)
MEMORY_BYTES, TURNS, PATIENCE = 4096, 4, 3000
BENCH = "dyncc_sim.skipopu.bench.host_bench"
COVER = [
    "CORRUPT", "PING OK", "READ OK", "WRITE OK", "GET OK", "PUT OK", "CHECK OK", "WRITE BUSY",
    "READ LENGTH", "WRITE LENGTH", "GET LENGTH", "PUT LENGTH", "CHECK LENGTH", "READ ADDRESS",
    "GET ADDRESS", "PUT ADDRESS", "CHECK ADDRESS", "WRITE ADDRESS", "other OPCODE", "repeated",
    "PUT SEQUENCE", "resets", "at once", "words of the machine read",
    "words of the machine written", "memories compared", "responses waits",
]  # fmt: skip


def host(name: str, simulator: str = "verilator", **options: Any) -> None:
    arch = INSTANCES[name]
    settings = {
        "name": name, "memory_bytes": MEMORY_BYTES, "turns": TURNS, "patience": PATIENCE,
        "link": asdict(LINK), "seed": 1, "latency": 4, "requests": 300, "cover": COVER,
    }  # fmt: skip
    rig = HostRig(arch, LINK, MEMORY_BYTES, TURNS, PATIENCE)
    run_bench(rig, BENCH, settings | options, simulator=simulator)


def test_requests_beside_a_machine() -> None:
    host("single")


def test_requests_beside_a_machine_that_leaves_no_gap() -> None:
    host("batched", cover=[*COVER, "overdue"])


@pytest.mark.parametrize("simulator", [ICARUS])
def test_requests_on_icarus(simulator: str) -> None:
    host("batched", simulator, seed=2, requests=60, cover=["memories compared"])
