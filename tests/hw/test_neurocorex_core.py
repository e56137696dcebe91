"""The core in RTL equals its integer twin."""

from __future__ import annotations

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
    run_bench(Core(CoreSpec(**size)), BENCH, {"spec": size, "seed": 7, "steps": 25})
