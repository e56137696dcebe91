"""Clusters in RTL equal their integer twin, whatever is held up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dyncc.arch.neurocorex import CoreSpec, Rule
from dyncc.arch.neurocorex.cluster import ClusterSpec
from dyncc_sim.neurocorex_cluster import HeldCluster
from dyncc_sim.runner import run_bench

BENCH = "dyncc_sim.neurocorex_cluster_bench"
COVER = ["early events", "spikes", "events between cores", "requests at the start of a step"]


def compare(
    cores: list[dict[str, Any]],
    network: dict[str, Any],
    cover: list[str],
    tests: list[str] | None = None,
    **options: Any,
) -> None:
    settings = {"steps": 12, "seed": 1} | options
    settings |= {"cores": cores, "network": network, "cover": [*COVER, *cover]}
    spec = ClusterSpec(tuple(CoreSpec(**core) for core in cores))
    run_bench(HeldCluster(spec), BENCH, settings, tests=tests)


def test_cluster_equals_twin() -> None:
    """Dense and sparse, with delays, spikes that the host is not told of."""
    size = {"inputs": 14, "max_delay": 4, "parameter_sets": 13}
    cores = [
        {"neurons": 5, "lanes": 2, **size},
        {"neurons": 3, "synapse_words": 90, **size},
        {"neurons": 1, **size},
    ]
    network = {"neurons": 9, "inputs": 4, "max_delay": 4, "parameter_sets": 12}
    compare(cores, network, ["travelling", "silent neurons"], rules=[Rule.OFF] * 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_learning_cluster_equals_twin(seed: int) -> None:
    size = {
        "inputs": 14, "max_delay": 4, "parameter_sets": 13, "learning": True, "classes": 1
    }  # fmt: skip
    cores = [
        {"neurons": 6, "lanes": 2, **size},
        {"neurons": 4, "synapse_words": 90, **size},
        {"neurons": 2, **size},
    ]
    network = {**size, "neurons": 11, "inputs": 4, "parameter_sets": 12}
    rules = [Rule.TRACES, Rule.LAGS, Rule.WINDOWS]
    compare(cores, network, ["changed weights"], rules=rules, steps=40, seed=seed)


def measure(
    cores: list[dict[str, Any]], network: dict[str, Any], place: Path, **options: Any
) -> Any:
    """Cycles of each step, and of its longest core."""
    record = place / "cycles.json"
    compare(cores, network, [], tests=["step_cost"], record=str(record), **options)
    return json.loads(record.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("count", "more"), [(1, 13), (2, 16), (4, 21)])
def test_cycles_beyond_those_of_the_longest_core(count: int, more: int, tmp_path: Path) -> None:
    cores = [{"neurons": 4, "inputs": 4 * count}] * count
    cycles = measure(cores, {"neurons": 4 * count, "inputs": 4}, tmp_path, input_spikes=1, steps=2)
    assert [step - longest for step, longest in cycles] == [more] * 2


@pytest.mark.slow
def test_four_cores_are_three_times_as_fast_as_one(tmp_path: Path) -> None:
    """96 neurons, 10 input spikes, one weight a cycle: one core takes 1,068 cycles."""
    cores = [{"neurons": 24, "inputs": 168}] * 4
    cycles = measure(cores, {"neurons": 96, "inputs": 96}, tmp_path, input_spikes=10, steps=3)
    assert max(step for step, _ in cycles) <= 1068 / 3
