"""A device in RTL, through its serial line, answers what its twin answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy
import pytest

from dyncc.arch.link import LinkSpec
from dyncc.arch.neurocorex import CoreSpec, Rule
from dyncc.core.errors import ConfigError
from dyncc.link.faults import FAULTS, FaultyTransport
from dyncc.spiking.device_core import DeviceCore
from dyncc.spiking.twin_core import TwinCore
from dyncc_hw.neurocorex.device import Device
from dyncc_hw.neurocorex.implementation import Implementation
from dyncc_hw.neurocorex.runner import Runner
from dyncc_hw.neurocorex.stepper import checked_limit
from dyncc_models.spiking.random_images import random_image
from dyncc_sim.neurocorex import FASTEST, SimulatedDevice
from dyncc_sim.runner import run_bench

#: Has all memories but those of learning.
SMALL = {
    "neurons": 9, "inputs": 6, "lanes": 2, "parameter_sets": 6, "synapse_words": 40,
    "max_delay": 3, "classes": 3,
}  # fmt: skip
COVER = [
    "CORRUPT", "PING OK", "READ OK", "WRITE OK", "EVENTS OK", "RUN OK", "STOP OK", "SNAPSHOT OK",
    "DRAIN OK", "READ LENGTH", "DRAIN LENGTH", "RUN ADDRESS", "DRAIN ADDRESS", "other OPCODE",
]  # fmt: skip
OPCODES = ["READ", "WRITE", "EVENTS", "RUN", "STOP", "SNAPSHOT", "DRAIN"]
COVER_ALL = [
    *COVER, "READ ADDRESS", "WRITE ADDRESS", "PING LENGTH", "other SEQUENCE",
    *(f"{opcode} {status}" for opcode in OPCODES for status in ("OK", "LENGTH", "SEQUENCE")),
]  # fmt: skip


def compare(
    bench: str,
    size: dict[str, Any],
    link: LinkSpec = FASTEST,
    implementation: Implementation | None = None,
    **options: Any,
) -> None:
    device = Device(CoreSpec(**size), link, implementation or Implementation())
    settings = {
        "spec": size,
        "link": {"clk_hz": link.clk_hz, "baud": link.baud, "receive_bytes": link.receive_bytes},
        "seed": 1, "requests": 100, "cover": COVER, "drained_steps": 100,
    }  # fmt: skip
    run_bench(device, f"dyncc_sim.neurocorex_{bench}_bench", settings | options)


def test_device_answers_as_its_twin() -> None:
    compare("device", SMALL)


def test_device_survives_what_should_not_be() -> None:
    compare("fault", SMALL)


def test_host_over_a_faulty_line_gets_the_results_of_the_twin() -> None:
    spec = CoreSpec(**SMALL)
    draw = numpy.random.default_rng(5)
    image = replace(random_image(spec, 5), termination=None)
    lines = draw.random((60, spec.inputs)) < 0.4
    faulty = FaultyTransport(SimulatedDevice(spec), 0.15, seed=5)
    with TwinCore(spec) as twin, DeviceCore(faulty) as device:
        for core in (twin, device):
            core.program(image)
        wanted, found = twin.run(lines, [0, 3, 4]), device.run(lines, [0, 3, 4])
        assert numpy.array_equal(found.spikes, wanted.spikes)
        assert numpy.array_equal(found.potentials, wanted.potentials)
        assert numpy.array_equal(device.weights(), twin.weights())
        counted = twin.counters()
        assert {name: device.counters()[name] for name in counted} == counted
        assert wanted.spikes.any()
    assert faulty.frames > 200
    assert set(faulty.faults) == set(FAULTS)


def run_words(seed: int, cycles: int) -> None:
    size, limit = {"neurons": 5, "inputs": 6}, 40
    options = {"spec": size, "limit": limit, "seed": seed, "cycles": cycles}
    run_bench(Runner(CoreSpec(**size), limit), "dyncc_sim.neurocorex_runner_bench", options)


def test_runner_does_what_words_say() -> None:
    run_words(1, 15_000)


def test_a_limit_of_cycles_is_checked() -> None:
    with pytest.raises(ConfigError, match="limit must be at least 1 cycle, not 0"):
        checked_limit(0)


LEARNING = {"neurons": 10, "inputs": 7, "lanes": 4, "parameter_sets": 5, "learning": True}


@pytest.mark.slow
@pytest.mark.parametrize("rule", [Rule.TRACES, Rule.WINDOWS, Rule.LAGS], ids=lambda rule: rule.name)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_learning_device_answers_as_its_twin(sparse: bool, rule: Rule) -> None:
    size = LEARNING | ({"synapse_words": 60} if sparse else {})
    compare("device", size, rule=rule, requests=300)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_device_answers_as_its_twin_for_long(seed: int) -> None:
    compare("device", SMALL, seed=seed, requests=1000, cover=COVER_ALL, drained_steps=1000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "link", "implementation"),
    [
        ({"neurons": 1, "parameter_sets": 1}, FASTEST, None),
        ({"neurons": 16, "inputs": 16, "weight_bits": 5, "state_bits": 32}, FASTEST,
         Implementation("shared", "single")),
        ({"neurons": 70, "inputs": 300, "lanes": 8}, LinkSpec(3_500_000, 500_000, 512), None),
    ],
    ids=["one neuron", "one multiplier", "long queue and slow line"],
)  # fmt: skip
def test_other_devices_answer_as_their_twins(
    size: dict[str, Any], link: LinkSpec, implementation: Implementation | None
) -> None:
    compare("device", size, link, implementation, requests=200)


@pytest.mark.slow
def test_positions_in_the_log_wrap() -> None:
    """They are counted modulo 2^16."""
    compare("device", SMALL, requests=10, cover=[], drained_steps=20_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_runner_does_what_words_say_for_long(seed: int) -> None:
    run_words(seed, 100_000)
