"""The vector engine does what the simulator's does, instruction by instruction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hw.simulators import ICARUS

from dyncc.arch.skipopu.spec import ARCHS
from dyncc.core.errors import ConfigError, MismatchError
from dyncc.core.tools import FPGA_TOOLS, find
from dyncc_hw.skipopu.area import cells, luts
from dyncc_hw.skipopu.vector.buffer import VectorBuffer
from dyncc_hw.skipopu.vector.engine import VectorEngine
from dyncc_sim.runner import run_bench
from dyncc_sim.skipopu.bench.instances import BATCHED, SINGLE
from dyncc_sim.skipopu.bench.vector_rig import VectorRig

YOSYS = find(FPGA_TOOLS["yosys"])
needs_yosys = pytest.mark.skipif(
    YOSYS.path is None, reason=f"yosys was not found: {YOSYS.need.source}"
)


def run(arch: Any, simulator: str = "verilator", **options: Any) -> None:
    usual = {"arch": arch.name, "seed": 1, "rounds": 1, "quiet": False, "alter": ""}
    run_bench(
        VectorRig(arch),
        "dyncc_sim.skipopu.bench.vector_bench",
        usual | options,
        simulator=simulator,
    )


@pytest.mark.parametrize("arch", [SINGLE, BATCHED], ids=lambda arch: arch.name)
def test_instructions(arch: Any) -> None:
    run(arch)


@pytest.mark.parametrize("arch", [SINGLE, BATCHED], ids=lambda arch: arch.name)
def test_cycles_are_those_of_the_model_of_time(arch: Any) -> None:
    run(arch, quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", [ICARUS])
@pytest.mark.parametrize("arch", [SINGLE, BATCHED], ids=lambda arch: arch.name)
def test_on_icarus(arch: Any, simulator: str) -> None:
    run(arch, simulator)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [SINGLE, BATCHED], ids=lambda arch: arch.name)
def test_more_instructions(arch: Any) -> None:
    for seed in range(2, 6):
        run(arch, seed=seed, rounds=4)
        run(arch, seed=seed, rounds=2, quiet=True)


@pytest.mark.parametrize(
    ("alter", "says"),
    [
        ("numbers", "token 0 word .* is .*, not"),
        pytest.param("mantissas", "mantissas", marks=pytest.mark.slow),
        pytest.param("scalars", "scalar . of token 0 is", marks=pytest.mark.slow),
        pytest.param("predicates", "predicates", marks=pytest.mark.slow),
        ("trap", "trap ., not BUS"),
    ],
)
def test_the_bench_tells_what_is_wrong(alter: str, says: str) -> None:
    with pytest.raises(MismatchError, match=says):
        run(SINGLE, alter=alter)


def test_instances_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="a block of 32 is no even number of words of 32"):
        VectorEngine(replace(BATCHED, vector_lanes=32))
    odd = replace(BATCHED, vector_words=2049)
    for component in (VectorEngine, VectorBuffer):
        with pytest.raises(ConfigError, match="2049 numbers are no words of 2 lanes"):
            component(odd)


@pytest.mark.slow
@needs_yosys
def test_sizes_on_an_ecp5() -> None:
    arch = ARCHS["ecp5_85f"]
    engine, buffer = (cells(part(arch), "MULT18X18D") for part in (VectorEngine, VectorBuffer))
    print(f"engine: {luts(engine)} LUTs, {engine}")  # noqa: T201
    print(f"buffer: {luts(buffer)} LUTs, {buffer}")  # noqa: T201
    assert engine["MULT18X18D"] <= 14
    assert luts(engine) < 9600
    # Two copies of 8192 numbers.
    assert buffer["DP16KD"] <= 26
    assert "TRELLIS_DPR16X4" not in buffer
    assert luts(buffer) < 900
