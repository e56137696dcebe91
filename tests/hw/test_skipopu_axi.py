"""A SkipOPU on AXI buses equals the simulator."""

from __future__ import annotations

from pathlib import Path

import pytest

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.axi_device import AxiDevice
from dyncc_models.skipopu.config import KvPolicy
from dyncc_sim.runner import build_bench
from dyncc_sim.skipopu.bench.axi_rig import AxiRegisters
from dyncc_sim.skipopu.bench.instances import BATCHED, SINGLE, TARGETS
from dyncc_sim.skipopu.bench.machine_cases import decoder_cases

BENCH = "dyncc_sim.skipopu.bench.axi_bench"


def test_registers_over_axi() -> None:
    build = build_bench(AxiRegisters(BATCHED), "verilator")
    build.run(BENCH, {"seed": 1, "prefix": "s_axi_"}, ["at_once"])


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "batches"), [(SINGLE, [1, 1]), (BATCHED, [3, 1])])
def test_programs_over_axi(arch: ArchSpec, batches: list[int], tmp_path: Path) -> None:
    cases = decoder_cases(arch, KvPolicy.REUSE, batches)
    build = build_bench(AxiDevice(arch, TARGETS[arch.name]), "verilator")
    build.run(BENCH, {"cases": str(cases.write(tmp_path)), "seed": 1, "prefix": "s_axi"})
