"""Statistics of pairs of times, on times that are made up."""

from __future__ import annotations

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dyncc.bench.results import (
    best_peer,
    compare,
    geometric_mean,
    ratios,
    summary,
    weighted,
)

TIMES = st.floats(1e-6, 10.0)
ROUNDS = st.lists(TIMES, min_size=1, max_size=40)


@given(ROUNDS, st.floats(0.01, 100.0))
def test_a_peer_that_is_slower_by_a_factor_has_that_ratio_however_much_the_machine_varies(
    times: list[float], factor: float
) -> None:
    found = compare([factor * time for time in times], times)
    for value in (found.median, *found.quarters, *found.interval):
        assert math.isclose(value, factor, rel_tol=1e-9)
    assert found.rounds == len(times)


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=40))
def test_a_ratio_lies_within_its_quartiles_and_its_interval(
    pairs: list[tuple[float, float]],
) -> None:
    found = compare(*zip(*pairs, strict=True))
    assert found.quarters[0] <= found.median <= found.quarters[1]
    assert found.interval[0] <= found.interval[1]
    every = [left / right for left, right in pairs]
    slack = 1 + 1e-9
    assert min(every) / slack <= found.interval[0]
    assert found.interval[1] <= max(every) * slack


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=15).filter(lambda x: len(x) % 2))
def test_the_other_way_round_is_the_inverse(pairs: list[tuple[float, float]]) -> None:
    left, right = zip(*pairs, strict=True)
    # Of an odd number of ratios the median is one of them.
    assert math.isclose(compare(left, right).median * compare(right, left).median, 1, rel_tol=1e-9)


def test_the_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    generator = numpy.random.default_rng(1)
    held = 0
    for _ in range(200):
        machine = generator.lognormal(0.0, 0.5, 25)  # what all peers of a round see
        ours = machine * generator.lognormal(0.0, 0.1, 25)
        theirs = 2.0 * machine * generator.lognormal(0.0, 0.1, 25)
        low, high = compare(theirs, ours).interval
        held += low <= 2.0 <= high
    assert 0.88 <= held / 200 <= 1.0


@given(
    st.lists(st.tuples(TIMES, st.floats(0.01, 1.0)), min_size=1, max_size=6),
    st.integers(1, 5),
)
def test_times_are_weighted_by_the_frequency_of_paths(
    paths: list[tuple[float, float]], rounds: int
) -> None:
    times, weights = zip(*paths, strict=True)
    found = weighted([[time] * rounds for time in times], weights)
    expected = sum(t * w for t, w in paths) / sum(weights)
    assert found == pytest.approx([expected] * rounds)
    assert min(times) * 0.999 <= found[0] <= max(times) * 1.001


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=9))
def test_a_geometric_mean_does_not_care_which_side_is_divided(values: list[float]) -> None:
    inverse = geometric_mean([1 / value for value in values])
    assert math.isclose(geometric_mean(values) * inverse, 1, rel_tol=1e-9)


def _subject() -> dict[str, object]:
    def peer(name: str, rounds: list[list[int]], status: str = "ok") -> dict[str, object]:
        return {"name": name, "status": status, "rounds": rounds}

    return {
        "cases": [{"batch": 1, "weight": 0.75}, {"batch": 1, "weight": 0.25}],
        "peers": [
            peer("dyncc tvm", [[100, 200], [100, 200]]),
            peer("eager", [[300, 600], [300, 600]]),
            peer("torch.compile", [[100, 200], [500, 1000]]),
            peer("ONNX Runtime, If/Loop", [], "failed"),
        ],
    }


def test_peers_are_compared_over_all_paths() -> None:
    found = ratios(_subject(), 1, "dyncc tvm")
    assert {name: ratio.median for name, ratio in found.items()} == pytest.approx(
        {"eager": 3.0, "torch.compile": 2.0}
    )
    assert best_peer(found) == "torch.compile"
    assert ratios(_subject(), 1, "dyncc onnxruntime") == {}


def test_the_summary_has_a_line_for_each_peer_that_ran() -> None:
    lines = summary(_subject())
    assert [line["peer"] for line in lines] == ["dyncc tvm", "eager", "torch.compile"]
    assert lines[0]["ratios"] == {}
    assert lines[1]["ratios"]["dyncc tvm"]["median"] == 3.0
    assert lines[1]["median_seconds"] == pytest.approx(450e-9)
