"""The core in RTL equals its integer twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dyncc.arch.neurocorex import CoreSpec
from dyncc_hw.neurocorex.core import Core
from dyncc_sim.runner import run_bench

BENCH = "dyncc_sim.neurocorex_core_bench"


@pytest.mark.parametrize(
    "size",
    [
        {"neurons": 1, "inputs": 1, "parameter_sets": 1},
        {"neurons": 9, "inputs": 4, "lanes": 4, "parameter_sets": 12},
        {"neurons": 12, "inputs": 5, "parameter_sets": 16},
        {"neurons": 5, "inputs": 3, "lanes": 8, "weight_bits": 5, "state_bits": 32,
         "parameter_sets": 7},
    ],
    ids=lambda size: "-".join(map(str, size.values())),
)  # fmt: skip
def test_core_equals_twin(size: dict[str, Any]) -> None:
    least = 10 if size["neurons"] > 1 else 0
    options = {"spec": size, "seed": 7, "steps": 25, "least_spikes": least}
    run_bench(Core(CoreSpec(**size)), BENCH, options)


def test_the_published_size_takes_a_hundredth_of_its_cycles(tmp_path: Path) -> None:
    """96 neurons, 10 spikes, one weight a cycle: the original takes 96,000 cycles."""
    size = {"neurons": 96, "inputs": 96}
    record = tmp_path / "cycles.json"
    options = {"spec": size, "seed": 1, "steps": 2, "rate": 0.1, "record": str(record)}
    run_bench(Core(CoreSpec(**size)), BENCH, options)
    cycles = json.loads(record.read_text())
    assert cycles["10"] <= 1100
    assert cycles["10"] == cycles["0"] + 10 * 96 + 1
