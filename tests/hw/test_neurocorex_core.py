"""The core in RTL equals its integer twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dyncc.arch.neurocorex import CoreSpec, Rule
from dyncc_hw.neurocorex.core import Core
from dyncc_hw.neurocorex.implementation import Implementation
from dyncc_sim.runner import run_bench

BENCH = "dyncc_sim.neurocorex_core_bench"
LEARNS = ["grown", "shrunk", "spikes"]


def compare(size: dict[str, Any], cover: list[str], seed: int = 7, **options: Any) -> None:
    options = {"steps": 25} | options | {"spec": size, "seed": seed, "cover": cover}
    implementation = Implementation(**options.get("implementation", {}))
    run_bench(Core(CoreSpec(**size), implementation), BENCH, options)


@pytest.mark.parametrize(
    ("size", "cover"),
    [
        ({"neurons": 1, "inputs": 1, "parameter_sets": 1}, []),
        ({"neurons": 9, "inputs": 4, "lanes": 4, "parameter_sets": 12}, ["spikes", "saturated"]),
        ({"neurons": 12, "inputs": 5, "max_delay": 6, "classes": 5},
         ["spikes", "travelling", "decided", "undecided"]),
        ({"neurons": 5, "inputs": 3, "lanes": 8, "weight_bits": 5, "state_bits": 32,
          "parameter_sets": 7}, ["spikes", "refractory"]),
        ({"neurons": 14, "inputs": 6, "lanes": 2, "synapse_words": 200, "max_delay": 2},
         ["spikes"]),
    ],
    ids=["one", "lanes", "delays and classes", "more lanes than neurons", "sparse"],
)  # fmt: skip
def test_core_equals_twin(size: dict[str, Any], cover: list[str]) -> None:
    compare(size, cover)


@pytest.mark.parametrize("rule", [Rule.OFF, Rule.TRACES, Rule.WINDOWS, Rule.LAGS])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_learning_core_equals_twin(rule: Rule, sparse: bool) -> None:
    size = {"neurons": 9, "inputs": 4, "lanes": 4, "learning": True, "parameter_sets": 12}
    if sparse:
        size["synapse_words"] = 60
    cover = {
        Rule.OFF: ["spikes"],
        Rule.TRACES: [*LEARNS, "at the upper bound", "at the lower bound"],
        Rule.WINDOWS: LEARNS,
        Rule.LAGS: LEARNS,
    }
    compare(size, cover[rule], rule=rule, steps=40)


@pytest.mark.parametrize(
    ("size", "cover"),
    [
        ({"neurons": 1, "inputs": 1, "parameter_sets": 1, "state_bits": 18}, []),
        ({"neurons": 9, "inputs": 4, "lanes": 4, "parameter_sets": 12}, ["spikes", "saturated"]),
        ({"neurons": 12, "inputs": 5, "state_bits": 32, "weight_bits": 16, "max_delay": 6,
          "classes": 5}, ["spikes", "travelling", "refractory"]),
    ],
    ids=["one", "lanes", "widest"],
)  # fmt: skip
def test_core_with_one_multiplier_equals_twin(size: dict[str, Any], cover: list[str]) -> None:
    compare(size, cover, implementation={"multipliers": "shared"})


@pytest.mark.parametrize(
    ("rule", "sparse"),
    [(Rule.OFF, False), (Rule.TRACES, False), (Rule.TRACES, True)],
    ids=["off", "dense", "sparse"],
)
def test_learning_core_with_one_port_equals_twin(rule: Rule, sparse: bool) -> None:
    size = {"neurons": 9, "inputs": 4, "lanes": 4, "learning": True, "parameter_sets": 12}
    if sparse:
        size["synapse_words"] = 60
    cover = ["spikes"] if rule == Rule.OFF else LEARNS
    implementation = {"multipliers": "shared", "memories": "single"}
    compare(size, cover, rule=rule, steps=40, implementation=implementation)


def test_the_published_size_takes_a_hundredth_of_its_cycles(tmp_path: Path) -> None:
    """96 neurons, 10 spikes, one weight a cycle: the original takes 96,000 cycles."""
    size = {"neurons": 96, "inputs": 96}
    record = tmp_path / "cycles.json"
    compare(size, [], seed=1, steps=2, rate=0.1, record=str(record))
    cycles = json.loads(record.read_text())
    assert cycles["10"] <= 1100
    assert cycles["10"] == cycles["0"] + 10 * 96 + 1
