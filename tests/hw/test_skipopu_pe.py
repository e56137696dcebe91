"""The engine of matrix products and attention equals the simulator."""

from __future__ import annotations

import pytest
from hw.simulators import SIMULATORS

from dyncc.core.errors import MismatchError
from dyncc_sim.skipopu.bench.instances import BATCHED, SINGLE
from dyncc_sim.skipopu.bench.pe_cases import REQUIRED, random_cases, run, wrong_cases

INSTANCES = {arch.name: arch for arch in (SINGLE, BATCHED)}


@pytest.mark.parametrize("name", [SINGLE.name, pytest.param(BATCHED.name, marks=pytest.mark.slow)])
def test_products_and_attention_under_stalls(name: str) -> None:
    run(random_cases(INSTANCES[name], 1, 12), 1, False, REQUIRED, "verilator")


@pytest.mark.parametrize("name", INSTANCES)
def test_traps_and_what_comes_after_them(name: str) -> None:
    required = ["trap SHAPE", "trap BUFFER", "trap NONE"]
    run(wrong_cases(INSTANCES[name], 2), 2, False, required, "verilator")


def test_a_wrong_number_is_told() -> None:
    cases = random_cases(SINGLE, 3, 2)
    wanted = cases.operations[1]["after"][0]
    place = next(i for i, number in enumerate(wanted) if number)
    wanted[place] ^= 1
    with pytest.raises(MismatchError, match=rf"numbers \[{place}\]"):
        run(cases, 3, True, (), "verilator")


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("name", INSTANCES)
def test_more_seeds(name: str, simulator: str) -> None:
    for seed in range(4, 7 if simulator == "icarus" else 16):
        run(random_cases(INSTANCES[name], seed, 12), seed, bool(seed % 3 == 0), (), simulator)
