"""Random networks on cores of many sizes: RTL equals twin, bit for bit."""

from __future__ import annotations

import pytest
from hw.simulators import ICARUS, SIMULATORS
from hypothesis import given, settings
from hypothesis import strategies as st

from dyncc.arch.neurocorex import CoreSpec, Rule
from dyncc_hw.neurocorex.core import Core
from dyncc_hw.neurocorex.implementation import Implementation
from dyncc_sim.neurocorex_random_bench import Network, settings_for
from dyncc_sim.runner import Build, build_bench

BENCH = "dyncc_sim.neurocorex_random_bench"
Choice = tuple[CoreSpec, Implementation]

STANDARD = Implementation()
SMALL = Implementation("shared", "single")
#: A build takes seconds, on Verilator ten: all examples share these.
POOL: list[Choice] = [
    (CoreSpec(1, parameter_sets=1), STANDARD),
    (CoreSpec(9, 4, lanes=4, parameter_sets=12, max_delay=6, classes=5), STANDARD),
    (CoreSpec(1, 1, parameter_sets=3, learning=True, classes=1), STANDARD),
    (CoreSpec(9, 4, lanes=4, parameter_sets=12, learning=True, synapse_words=60), STANDARD),
    (CoreSpec(6, 5, lanes=2, parameter_sets=12, learning=True, max_delay=2), SMALL),
]
MORE: list[Choice] = [
    (CoreSpec(5, 3, lanes=8, weight_bits=5, state_bits=32, parameter_sets=7), STANDARD),
    (CoreSpec(14, 6, lanes=2, synapse_words=200, max_delay=2, classes=14), STANDARD),
    (CoreSpec(17, 16, lanes=16, weight_bits=16, learning=True, max_delay=16), STANDARD),
    (CoreSpec(12, 7, lanes=4, learning=True, synapse_words=80, classes=4), SMALL),
    (CoreSpec(33, 2, weight_bits=2, state_bits=18), Implementation("shared", "dual")),
]


@st.composite
def choices(draw: st.DrawFn) -> Choice:
    """Cores of any small size, built in any way."""
    neurons, inputs = draw(st.integers(1, 20)), draw(st.integers(0, 12))
    lanes = 1 << draw(st.integers(0, 4))
    most = (neurons + inputs) * -(-neurons // lanes)
    spec = CoreSpec(
        neurons,
        inputs,
        weight_bits=draw(st.integers(2, 16)),
        state_bits=draw(st.integers(18, 32)),
        lanes=lanes,
        parameter_sets=draw(st.integers(1, 20)),
        synapse_words=draw(st.sampled_from([0, most])),
        learning=draw(st.booleans()),
        max_delay=draw(st.integers(1, 16)),
        classes=draw(st.integers(0, neurons)),
    )
    options = Implementation.CHOICES
    return spec, Implementation(*(draw(st.sampled_from(names)) for names in options.values()))


def networks() -> st.SearchStrategy[list[Network]]:
    """A few networks for a core."""
    one = st.builds(
        Network,
        seed=st.integers(0, (1 << 32) - 1),
        rule=st.sampled_from([None, *Rule]),
        density=st.sampled_from([0.1, 0.0, 0.3]),
        rate=st.sampled_from([0.3, 0.0, 0.1, 1.0]),
        steps=st.integers(1, 12),
        terminates=st.booleans(),
    )
    return st.lists(one, min_size=1, max_size=5)


def check(build: Build, choice: Choice, found: list[Network], pauses: int) -> None:
    spec, implementation = choice
    names = dict(zip(Implementation.CHOICES, vars(implementation).values(), strict=True))
    build.run(BENCH, settings_for(spec, found, names, pauses))


def check_many(choice: Choice, examples: int, simulator: str) -> None:
    build = build_bench(Core(*choice), simulator)

    @settings(max_examples=examples)
    @given(networks(), st.integers(0, 1000))
    def examine(found: list[Network], pauses: int) -> None:
        check(build, choice, found, pauses)

    examine()


def name_of(choice: Choice) -> str:
    return repr(choice[0]).removeprefix("CoreSpec")


@pytest.mark.parametrize("choice", POOL, ids=name_of)
@pytest.mark.parametrize("simulator", [ICARUS])
def test_random_networks(simulator: str, choice: Choice) -> None:
    check_many(choice, 4, simulator)


@pytest.mark.parametrize("choice", POOL[-2:], ids=name_of)
def test_random_networks_on_verilator(choice: Choice) -> None:
    check_many(choice, 4, "verilator")


@pytest.mark.slow
@pytest.mark.parametrize("choice", POOL + MORE, ids=name_of)
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_many_random_networks(simulator: str, choice: Choice) -> None:
    check_many(choice, 25, simulator)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
@settings(max_examples=40)
@given(data=st.data())
def test_cores_of_random_sizes(simulator: str, data: st.DataObject) -> None:
    choice = data.draw(choices())
    check(build_bench(Core(*choice), simulator), choice, data.draw(networks()), 1)
