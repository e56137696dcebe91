"""A network on several cores does the same as on one."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dyncc.arch.fields import unpack, width
from dyncc.arch.neurocorex import CoreImage, CoreSpec, Rule, Space
from dyncc.arch.neurocorex.cluster import (
    ADDRESS_EVENT,
    CLUSTER_ADDRESS_BITS,
    MAX_CORES,
    WORD,
    ClusterImage,
    ClusterSpace,
    ClusterSpec,
    cluster_address,
    route_fields,
    route_words,
)
from dyncc.arch.reference import code_table, layout_table
from dyncc.core.errors import ConfigError
from dyncc.spiking.cluster_core import ClusterCore
from dyncc.spiking.partition import partition
from dyncc.spiking.placement import place_neurons
from dyncc.spiking.twin_core import TwinCore
from dyncc_models.spiking.cluster import ClusterTwin
from dyncc_models.spiking.random_images import quiet_image, random_image
from dyncc_models.spiking.twin import CoreTwin

PAGE = Path(__file__).parents[2] / "docs" / "neurocorex-cluster.md"


@st.composite
def clusters(draw: st.DrawFn) -> tuple[CoreImage, ClusterImage]:
    """A random network, and the same at random places of a cluster of different cores."""
    neurons = draw(st.integers(1, 24))
    learning, delay = draw(st.booleans()), draw(st.sampled_from([1, 2, 5]))
    spec = CoreSpec(
        neurons,
        draw(st.integers(0, 6)),
        lanes=draw(st.sampled_from([1, 4])),
        parameter_sets=9,
        synapse_words=draw(st.sampled_from([0, 900])),
        learning=learning,
        max_delay=delay,
        classes=draw(st.integers(0, min(neurons, 3))),
    )
    image = random_image(spec, draw(st.integers(0, 999)), draw(st.sampled_from(list(Rule))))
    count = draw(st.integers(1, 5))
    core = numpy.array(
        draw(st.lists(st.integers(0, count - 1), min_size=neurons, max_size=neurons))
    )
    if image.termination is not None:
        first = image.termination.first_class
        core[first : first + image.termination.class_count] = core[first]
    cores = [
        CoreSpec(
            max(1, int((core == number).sum())) + draw(st.integers(0, 2)),
            spec.inputs + neurons,
            lanes=draw(st.sampled_from([1, 2])),
            parameter_sets=10,
            synapse_words=draw(st.sampled_from([0, 900])),
            learning=learning,
            max_delay=delay,
        )
        for number in range(count)
    ]
    cores = [replace(own, classes=min(own.neurons, 3)) for own in cores]
    return image, partition(image, cores, core)


@settings(max_examples=150)
@given(clusters(), st.integers(0, 99))
def test_a_cluster_equals_one_core(case: tuple[CoreImage, ClusterImage], seed: int) -> None:
    image, split = case
    one, many = CoreTwin(image), ClusterTwin(split)
    rows = numpy.random.default_rng(seed).random((20, image.spec.inputs)) < 0.3
    for row in rows:
        assert many.step(row).tolist() == one.step(row).tolist()
        for name in ("v", "i", "refractory", "arriving"):
            assert getattr(many, name).tolist() == getattr(one, name).tolist(), name
        assert many.decided == one.decided
        if one.decided:
            assert many.winner == one.winner
    assert (many.weights == one.synapses.weights).all()
    assert many.report()["spikes"] == one.counters.spikes
    assert sum(found["dropped"] for found in many.traffic) == 0
    # Traces of input lines are those of the sources they stand for.
    lines = numpy.concatenate((split.input_lines, split.neuron_lines))
    for source, number in numpy.argwhere(lines >= 0):
        on_core = many.cores[number].synapses
        assert on_core.pre[lines[source, number]] == one.synapses.pre[source]


def test_what_the_property_is_about_happens() -> None:
    """Spikes between cores, late ones, and learning."""
    spec = CoreSpec(20, 5, learning=True, max_delay=4)
    many = ClusterTwin(partition(random_image(spec, 3), [replace(spec, neurons=7, inputs=25)] * 3))
    before = many.weights
    for row in numpy.random.default_rng(0).random((50, 5)) < 0.3:
        many.step(row)
    assert min(traffic["sent"] for traffic in many.traffic) > 20
    assert any((core.travelling > 0).any() for core in many.cores)
    assert (many.weights != before).sum() > 20


@pytest.mark.parametrize(("rule", "seed"), [(Rule.TRACES, 22), (Rule.WINDOWS, 12), (Rule.LAGS, 22)])
def test_a_cluster_as_a_core(rule: Rule, seed: int) -> None:
    """All that the twin of one core says in runs that decide, the cluster says too."""
    spec = CoreSpec(12, 4, learning=True, max_delay=3, classes=2)
    image = random_image(spec, seed, rule)
    parts = [replace(spec, neurons=size, inputs=20) for size in (5, 8, 2)]
    one, many = TwinCore(spec), ClusterCore(spec, parts)
    for core in (one, many):
        with pytest.raises(ConfigError, match="not programmed"):
            core.rest()
        core.program(image)
    for again in range(3):
        lines = numpy.random.default_rng(again).random((40, 4)) < 0.4
        wanted, found = one.run(lines, [1, 11, 4]), many.run(lines, [1, 11, 4])
        assert 3 < len(wanted.spikes) < 40
        assert (found.spikes == wanted.spikes).all()
        assert (found.potentials == wanted.potentials).all()
        assert (found.decided, found.winner) == (wanted.decided, wanted.winner)
        assert (many.weights() == one.weights()).all()
        assert many.counters()["spikes"] == one.counters()["spikes"]
        with pytest.raises(ConfigError, match="ended the run"):
            many.run(lines)
        one.rest()
        many.rest()
        assert (many.weights() == one.weights()).all()
    with pytest.raises(ConfigError, match="the image is for a core with neurons=3"):
        many.program(quiet_image(CoreSpec(3)))


# --- placing --------------------------------------------------------------------------------------


def communities(seed: int, groups: int = 4, size: int = 24) -> tuple[Any, Any]:
    """Synapses of shuffled groups, with few between them; and the group of each neuron."""
    draw = numpy.random.default_rng(seed)
    group = draw.permutation(numpy.repeat(numpy.arange(groups), size))
    inside = (group[:, None] == group) & (draw.random((len(group),) * 2) < 0.3)
    return inside | (draw.random(inside.shape) < 0.002), group


def lines_of(used: Any, core: Any) -> int:
    return sum(
        int((used[:, core == number].any(axis=1) & (core != number)).sum())
        for number in range(core.max() + 1)
    )


@pytest.mark.parametrize("seed", range(3))
def test_groups_that_are_connected_stay_together(seed: int) -> None:
    used, group = communities(seed)
    core = place_neurons(used, [CoreSpec(24, 96)] * 4, numpy.zeros(96, bool))
    assert numpy.bincount(core).tolist() == [24] * 4
    assert lines_of(used, core) == lines_of(used, group)
    assert lines_of(used, group) < lines_of(used, numpy.arange(96) // 24) / 3


def test_neurons_are_spread_by_the_sizes_of_cores() -> None:
    used = numpy.zeros((36, 36), bool)
    cores = [CoreSpec(10), CoreSpec(40), CoreSpec(10)]
    core = place_neurons(used, cores, numpy.zeros(36, bool))
    assert numpy.bincount(core).tolist() == [6, 24, 6]


@pytest.mark.parametrize("first", [0, 3, 5, 12])
def test_neurons_that_are_watched_are_on_one_core(first: int) -> None:
    together = numpy.zeros(16, bool)
    together[first : first + 4] = True
    used = numpy.random.default_rng(0).random((16, 16)) < 0.3
    for sizes in ([5, 5, 6], [3, 3, 10], [12, 4]):
        core = place_neurons(used, [CoreSpec(size, 16) for size in sizes], together)
        assert len(set(core[together])) == 1
        assert (numpy.bincount(core, minlength=len(sizes)) <= sizes).all()


def test_neurons_move_to_where_input_lines_are_left() -> None:
    """Core 1 has few lines: the blocks of the order need more than it has."""
    used, _ = communities(5, groups=2)
    used[:, 24:] |= numpy.random.default_rng(0).random((48, 24)) < 0.05
    cores = [CoreSpec(30, 48), CoreSpec(30, 12)]
    core = place_neurons(used, cores, numpy.zeros(48, bool))
    assert (used[:, core == 1].any(axis=1) & (core != 1)).sum() <= 12


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "cores", "message"),
    [
        ({"neurons": 12}, [{"neurons": 5}] * 2,
         "the network needs 12 neurons, the 2 cores have 10"),
        ({"neurons": 12}, [{"neurons": 6, "inputs": 8}, {"neurons": 6, "inputs": 4}],
         "core 0 needs 9 input lines, has 8; core 1 needs 9 input lines, has 4"),
        ({"neurons": 4}, [{"neurons": 4, "inputs": 9, "state_bits": 30}],
         "core 0 needs potentials of 24 bits, has 30"),
        ({"neurons": 4}, [{"neurons": 4, "inputs": 9, "weight_bits": 9}],
         "core 0 needs weights of 8 bits, has 9"),
        ({"neurons": 4, "max_delay": 3}, [{"neurons": 4, "inputs": 9, "max_delay": 2}],
         "core 0 needs 3 steps of delay, has 2"),
        ({"neurons": 4}, [{"neurons": 4, "inputs": 9, "parameter_sets": 2}],
         "core 0: the network needs 4 parameter sets, the core has 2"),
        ({"neurons": 4}, [{"neurons": 4, "inputs": 9, "synapse_words": 20}],
         "core 0: the network needs 28 words of synapses, the core has 20"),
        ({"neurons": 4, "learning": True}, [{"neurons": 4, "inputs": 9}],
         "core 0: the network learns, and the core has no STDP engine"),
        ({"neurons": 4, "classes": 1}, [{"neurons": 4, "inputs": 9}],
         "core 0 needs 1 classes, has 0"),
        ({"neurons": 4, "classes": 4}, [{"neurons": 3, "inputs": 9, "classes": 3}] * 2,
         "4 neurons must be on one core, and the largest has 3"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    network: dict[str, Any], cores: list[dict[str, Any]], message: str
) -> None:
    spec = CoreSpec(**{"inputs": 3, "parameter_sets": 30} | network)
    image = random_image(spec, 4)
    image.assignment = numpy.arange(spec.neurons)
    image.parameters["delay"][0] = spec.max_delay - 1
    if image.termination is not None:
        image.termination = replace(image.termination, class_count=spec.classes, first_class=0)
    with pytest.raises(ConfigError, match=re.escape(message)):
        partition(image, [CoreSpec(**{"parameter_sets": 30} | core) for core in cores])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ([0, 0, 1], "assignment must be integers of shape (4,)"),
        ([0.0, 0, 1, 1], "assignment must be integers of shape (4,)"),
        ([0, 0, 1, 2], "assignment must be in 0..1, and spans 0..2"),
        ([0, 1, 1, 1], "has them on cores 0, 1"),
        ([1, 1, 1, 1], "core 1 needs 4 neurons, has 3"),
    ],
)
def test_bad_assignments(assignment: list[Any], message: str) -> None:
    image = random_image(CoreSpec(4, 1, classes=2), 0)
    assert image.termination is not None
    image.termination = replace(image.termination, class_count=2, first_class=0)
    with pytest.raises(ConfigError, match=re.escape(message)):
        partition(image, [CoreSpec(3, 9, classes=2)] * 2, assignment)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": ()}, "the images are not those of the cores"),
        ({"index": numpy.arange(3)}, "index must have shape (4,), not (3,)"),
        ({"reports": numpy.ones(3, bool)}, "reports must have shape (4,), not (3,)"),
        ({"index": numpy.array([0, 0, 0, 1])}, "two of the neurons of core 0 are the same"),
        ({"index": numpy.array([0, 2, 0, 1])}, "core 0 has 2 neurons, and 0..2 are used"),
        ({"core": numpy.array([0, 0, 1, 2])}, "neurons are on cores 0..2, the cluster has 2"),
        ({"input_lines": numpy.array([[0, 5]])}, "core 1 has 5 input lines, and"),
        ({"input_lines": numpy.array([[1, 0]])}, "two of the input lines of core 0 are the same"),
    ],
)
def test_bad_cluster_images(changes: dict[str, Any], message: str) -> None:
    split = partition(quiet_image(CoreSpec(4, 1)), [CoreSpec(2, 5)] * 2)
    with pytest.raises(ConfigError, match=re.escape(message)):
        replace(split, **changes)


def test_a_neuron_has_no_line_on_its_own_core() -> None:
    split = partition(quiet_image(CoreSpec(4, 1)), [CoreSpec(2, 5)] * 2)
    lines = split.neuron_lines.copy()
    lines[0, split.core[0]] = 4
    with pytest.raises(ConfigError, match="leads to an input line of its own core"):
        replace(split, neuron_lines=lines)


def test_sizes_of_clusters() -> None:
    with pytest.raises(ConfigError, match=r"a cluster has 1..16 cores, not 17"):
        ClusterSpec((CoreSpec(1),) * 17)
    with pytest.raises(ConfigError, match=r"a cluster has 1..16 cores, not 0"):
        ClusterSpec(())
    with pytest.raises(TypeError, match="cores must be a tuple of CoreSpec"):
        ClusterSpec((3,))  # type: ignore[arg-type]
    split = partition(quiet_image(CoreSpec(4, 1)), [CoreSpec(2, 5)] * 2)
    with pytest.raises(ValueError, match=r"inputs must have shape \(1,\), not \(2,\)"):
        ClusterTwin(split).step([1, 0])


# --- layouts --------------------------------------------------------------------------------------


def test_layouts() -> None:
    assert width(WORD) == 24
    assert width(ADDRESS_EVENT) == 16
    assert not {int(space) for space in ClusterSpace} & {int(space) for space in Space}
    top = cluster_address(MAX_CORES - 1, ClusterSpace.TRAFFIC, (1 << 22) - 1, 31)
    assert top < 1 << CLUSTER_ADDRESS_BITS


def test_the_page_has_the_layouts() -> None:
    page = PAGE.read_text(encoding="utf-8")
    two = ClusterSpec((CoreSpec(64, 128),) * 2)
    for text in (
        *(layout_table(layout) for layout in (WORD, ADDRESS_EVENT, route_fields(two, 0))),
        code_table(ClusterSpace),
    ):
        assert text in page


def test_routes_say_where_spikes_go() -> None:
    split = partition(
        random_image(CoreSpec(20, 3, max_delay=4), 0), [CoreSpec(7, 23, max_delay=4)] * 3
    )
    split.reports[split.core == 1] = False
    for core in range(3):
        layout = route_fields(split.spec, core)
        found = [unpack(layout, word) for word in route_words(split, core)]
        on_core = split.images[core]
        for neuron in split.neurons_of(core):
            route = found[split.index[neuron]]
            assert route["report"] == (core != 1)
            assert (
                route["delay"]
                == on_core.parameters["delay"][on_core.assignment[split.index[neuron]]]
            )
            for other in split.spec.others(core):
                line = split.neuron_lines[neuron, other]
                assert route[f"to_{other}"] == (line >= 0)
                assert route[f"line_{other}"] == max(line, 0)
        # A neuron that is not used goes nowhere.
        assert all(not any(route.values()) for route in found[len(split.neurons_of(core)) :])


def test_the_example_of_the_page() -> None:
    programs = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert programs
    for program in programs:
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
