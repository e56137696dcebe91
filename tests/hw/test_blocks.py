"""Each block of the core equals its twin, in every documented cycle, on both simulators."""

from __future__ import annotations

import pytest
from hw.simulators import SIMULATORS

from dyncc.arch.neurocorex import CoreSpec
from dyncc_sim.neurocorex_rig import run_blocks

SPECS = {
    "dense": CoreSpec(9, 4, lanes=4, parameter_sets=12, learning=True, max_delay=6, classes=5),
    "sparse": CoreSpec(
        11, 5, lanes=2, weight_bits=5, state_bits=32, synapse_words=60, learning=True, classes=3
    ),
}
OTHERS = {
    "no inputs": CoreSpec(3, state_bits=18, weight_bits=16, parameter_sets=1),
    "more lanes than neurons": CoreSpec(6, 3, lanes=8, weight_bits=2, synapse_words=40),
    "one of each": CoreSpec(1, 1, parameter_sets=1, learning=True, classes=1),
    "deep": CoreSpec(40, 30, lanes=2, learning=True, max_delay=16, classes=33),
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_blocks_equal_their_twins(name: str, simulator: str) -> None:
    run_blocks(SPECS[name], 1, simulator)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS | OTHERS)
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_blocks_of_more_cores(name: str, simulator: str) -> None:
    for seed in range(2, 7):
        run_blocks((SPECS | OTHERS)[name], seed, simulator)
