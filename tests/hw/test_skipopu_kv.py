"""Keys and values of SkipOPU: slots, tables and the history equal the executor's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hw.simulators import ICARUS, SIMULATORS

from dyncc.arch.skipopu.spec import ARCHS
from dyncc.core.errors import ConfigError, MismatchError
from dyncc_hw.skipopu.kv.store import KvShape
from dyncc_sim.runner import run_bench
from dyncc_sim.skipopu.bench.instances import SINGLE
from dyncc_sim.skipopu.bench.kv_player import INSTANCES
from dyncc_sim.skipopu.bench.kv_rig import KvRig

BENCH = "dyncc_sim.skipopu.bench.kv_bench"
#: Part of the cycles in which the bus has to be busy while slots are fetched. Narrow ones are kept
#: busy; in a cycle, 8 bytes at most go into a place.
SHARES = {"single": 0.9, "batched": 0.8, "batched_narrow": 0.9, "single_wide": 0.1}


def run(instance: str, simulator: str, tests: list[str], **options: Any) -> None:
    settings = {"instance": instance, "seed": 1, "share": SHARES[instance]}
    run_bench(
        KvRig(INSTANCES[instance]), BENCH, settings | options, simulator=simulator, tests=tests
    )


@pytest.mark.parametrize("instance", ["single", "batched"])
def test_slots_and_tiles_equal_the_executors(instance: str) -> None:
    run(instance, "verilator", ["steps", "rates"], steps=4)


@pytest.mark.parametrize("instance", ["single", "batched"])
def test_resets_and_traps(instance: str) -> None:
    run(instance, "verilator", ["aborts", "traps"], aborts=14)


@pytest.mark.parametrize("simulator", [ICARUS])
@pytest.mark.parametrize("instance", ["single", "batched"])
def test_the_other_simulator_agrees(instance: str, simulator: str) -> None:
    run(instance, simulator, ["rates"])


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("instance", INSTANCES)
def test_all_buses(instance: str, simulator: str) -> None:
    run(instance, simulator, ["steps", "rates", "aborts", "traps"], steps=9, aborts=20)


@pytest.mark.slow
@pytest.mark.parametrize("instance", INSTANCES)
def test_more_seeds(instance: str) -> None:
    for seed in range(2, 8):
        run(instance, "verilator", ["steps", "aborts"], seed=seed, steps=20, aborts=60)


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_tokens": 24}, "24 places are no groups of 16"),
        ({"columns": 12}, "12 columns do not divide a block of 32"),
        ({"columns": 64}, "64 columns do not divide a block of 32"),
        ({"vector_lanes": 3}, "a block of 32 keys or values is not some runs of 3 lanes"),
        ({"vector_lanes": 32}, "a block of 32 keys or values is not some runs of 32 lanes"),
        ({"kv_width": 80}, "80 keys are no blocks of 32"),
        ({"mantissa_bits": 6}, "keys have 8 bits, and mantissas of the array 6"),
    ],
)
def test_sizes_that_do_not_fit(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KvShape(replace(SINGLE, **changes))


def test_an_instance_without_a_history_has_the_places_that_take_turns() -> None:
    shape = KvShape(ARCHS["ice40_2x2"])
    assert (shape.places, shape.groups) == (0, 2)


# --- the bench can fail -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoils", "message"),
    [
        pytest.param("memory", r"memory differs at", marks=pytest.mark.slow),
        ("places", r"position 16 word .* column 0"),
        pytest.param("counts", r"resident, fetched: ", marks=pytest.mark.slow),
    ],
)
def test_a_difference_is_told(spoils: str, message: str) -> None:
    with pytest.raises(MismatchError, match=message):
        run("single", "verilator", ["steps"], steps=6, spoils=spoils)
