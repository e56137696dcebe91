"""The examples find what the page of results says, on every engine."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import networkx
import numpy
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

from dyncc.cli import main
from dyncc.cli.example_command import page_text
from dyncc.spiking import map_network
from dyncc_models.spiking.examples import (
    EXAMPLES,
    digits,
    microseer,
    mlp,
    small_world,
    termination_tradeoff,
    train_digits,
)
from dyncc_models.spiking.examples.result import Result

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "spiking-results.md"


def example(name: str) -> Any:
    return import_module(f"dyncc_models.spiking.examples.{name}")


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {name: example(name).run() for name in EXAMPLES}


# --- the page -------------------------------------------------------------------------------------


def test_the_page_is_up_to_date(results: dict[str, Result]) -> None:
    assert PAGE.read_text(encoding="utf-8") == page_text(results), (
        "write it anew: dyncc example all --output docs/spiking-results.md"
    )


def test_every_plot_is_in_the_repository(results: dict[str, Result]) -> None:
    drawn = {name for name, result in results.items() if result.plot is not None}
    assert {path.stem for path in (PAGE.parent / "figures").glob("*.svg")} >= drawn


# --- digits ---------------------------------------------------------------------------------------


def test_digits(results: dict[str, Result]) -> None:
    figures = results["digits"].figures
    assert figures["images"] == 899
    assert float(figures["accuracy"]) >= 0.95


def test_parts_of_the_digits() -> None:
    data = load_digits()
    parts = [digits.digits(part) for part in ("training", "validation", "test")]
    assert [len(part.labels) for part in parts] == [674, 224, 899]
    assert numpy.array_equal(numpy.concatenate([part.images for part in parts]), data.data)
    assert numpy.array_equal(numpy.concatenate([part.labels for part in parts]), data.target)


def test_code_of_grey_levels() -> None:
    images = numpy.arange(17)[:, None].repeat(64, axis=1)
    sixteen = digits.encode(images, 16)
    assert (sixteen[:, :, :64].sum(axis=1) == images).all()
    assert sixteen[:, :, 64].all()
    eight = digits.encode(images)
    assert (numpy.abs(eight[:, :, :64].sum(axis=1) - images / 2) < 1).all()
    # In each step about as many pixels of a grey area spike as in any other.
    assert (numpy.ptp(eight[:, :, :64].sum(axis=2), axis=1) <= 4).all()


def test_the_core_holds_the_weights_of_the_file() -> None:
    program = map_network(digits.network(), **digits.SIZES)
    spec, weights = program.image.spec, program.image.input_weights
    assert (spec.weight_bits, spec.neurons) == (8, 138)
    assert spec.parameter_sets <= 16  # as boards have
    stored = load_file(digits.WEIGHTS)["hidden.weight"]
    assert numpy.array_equal(weights[:, :128], stored)


def test_the_core_answers_as_the_float_network() -> None:
    network, stored = train_digits.SpikingNetwork(), load_file(digits.WEIGHTS)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.tensor(stored[f"{name}.weight"] * stored[f"{name}.scale"]))
        images = digits.digits("test").images[::5]
        scores = network(torch.from_numpy(digits.encode(images)).float())[0][-1].numpy()
    answers = digits.classify(images)
    assert (scores.argmax(axis=1) == answers.digits).mean() > 0.99


def test_training_gives_the_same_network_again() -> None:
    first, second = (
        train_digits.train(train_digits.SpikingNetwork, epochs=1, seed=3).arrays() for _ in range(2)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["hidden.weight"].dtype == torch.int8


@pytest.mark.slow
def test_training_reaches_the_accuracy_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digits, "WEIGHTS", tmp_path / "spiking.safetensors")
    monkeypatch.setattr(mlp, "WEIGHTS", tmp_path / "mlp.safetensors")
    train_digits.main([])
    assert float(digits.run().figures["accuracy"]) >= 0.95


def test_digits_in_hardware() -> None:
    images = digits.digits("test").images[:2]
    twin, rtl = digits.classify(images), digits.classify(images, "rtl")
    _same(twin, rtl)


@pytest.mark.slow
def test_all_digits_in_hardware() -> None:
    images = digits.digits("test").images
    _same(digits.classify(images), digits.classify(images, "rtl"))


def _same(twin: digits.Answers, rtl: digits.Answers) -> None:
    assert twin.digits.tolist() == rtl.digits.tolist()
    assert twin.steps.tolist() == rtl.steps.tolist()
    counted = {name: count for name, count in rtl.counters.items() if name != "cycles"}
    assert counted == twin.counters
    assert rtl.counters["cycles"] > 0


# --- dynamic termination --------------------------------------------------------------------------


@pytest.mark.parametrize("test", ["confidence", "margin"])
def test_dynamic_termination(results: dict[str, Result], test: str) -> None:
    figures = results["termination_tradeoff"].figures
    assert float(figures[f"{test}.saved"]) >= 0.4
    assert float(figures[f"{test}.lost_points"]) <= 0.5


def test_recorded_scores_tell_where_the_core_stops() -> None:
    part = digits.digits("validation")
    images, labels = part.images[::8], part.labels[::8]
    recorded = digits.classify(images, record=True)
    for stop in termination_tradeoff.chosen_stops().values():
        (point,) = termination_tradeoff.curve(recorded, labels, [stop])
        stopped = digits.classify(images, **stop)
        assert point.steps == stopped.steps.mean()
        assert point.correct == (stopped.digits == labels).sum()
        assert 1 < stopped.steps.mean() < 9


# --- effort ---------------------------------------------------------------------------------------


def test_perceptron_is_as_accurate_as_training_says() -> None:
    found, part = mlp.trained(), digits.digits("validation")
    answers, densities = found.classify(part.images)
    assert (answers == part.labels).mean() >= digits.classify(part.images).accuracy(part.labels)
    top = 2 ** (found.weight_bits - 1) - 1
    for layer in ("hidden", "scores"):
        assert numpy.abs(found.arrays[f"{layer}.weight"]).max() == top
    assert all(0 < density < 1 for density in densities)


# --- MicroSeer ------------------------------------------------------------------------------------


def test_microseer_graph() -> None:
    found = microseer.graph()
    assert (len(found.labels), len(found.topics)) == (84, 6)
    assert (len(found.known), len(found.asked)) == (17, 67)
    assert set(found.known) | set(found.asked) == set(range(84))
    assert networkx.is_connected(networkx.from_numpy_array(found.cites))


def test_microseer_is_better_than_guessing(results: dict[str, Result]) -> None:
    figures = results["microseer"].figures
    assert figures["papers"] == 67
    assert int(figures["correct"]) > int(figures["majority class of the asked papers"])


def test_microseer_answers_are_those_of_hops() -> None:
    found, decay = microseer.graph(), 0.5
    hops = networkx.floyd_warshall_numpy(networkx.from_numpy_array(found.cites))
    asked = found.asked[::4]
    expected = []
    for paper in asked:
        strength = numpy.zeros(len(found.topics))
        for topic in range(len(found.topics)):
            # A topic fires once in a step, however many of its papers do.
            reached = {hops[paper, other] for other in found.known if found.labels[other] == topic}
            strength[topic] = sum(decay**hop for hop in reached if hop < microseer.LAGS)
        expected.append(int(strength.argmax()))
    assert microseer.classify(asked, found.known, decay) == expected


def test_microseer_parameter_does_not_depend_on_the_asked_topics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = microseer.graph()
    chosen = microseer.choose_decay()
    labels = found.labels.copy()
    labels[list(found.asked)] = 0
    monkeypatch.setattr(microseer, "graph", lambda: replace(found, labels=labels))
    assert microseer.choose_decay.__wrapped__() == chosen


# --- STDP, small world ----------------------------------------------------------------------------


def test_stdp_curve(results: dict[str, Result]) -> None:
    figures = results["stdp_curve"].figures
    assert figures["pairs"] == 121
    assert 0 < float(figures["deviation_of_a_plus"]) < 0.01


def test_small_world(results: dict[str, Result]) -> None:
    figures = results["small_world"].figures
    alive = [figures[f"p={p:g}.alive"] for p in small_world.PROBABILITIES]
    assert alive[0] == alive[-1] == 0
    assert max(map(int, alive)) >= 8
    path = [float(figures[f"p={p:g}.path"]) for p in small_world.PROBABILITIES]
    assert path == sorted(path, reverse=True)


def test_connections_of_the_small_world() -> None:
    for probability in (0.0, 0.3, 1.0):
        found = small_world.connections(probability, 1)
        assert (found.sum(axis=1) == 6).all()
        assert not found.diagonal().any()


def test_synchrony() -> None:
    draw = numpy.random.default_rng(0)
    alone = draw.random((4000, 100)) < 0.1
    assert small_world.synchrony(alone) == pytest.approx(0.1, rel=0.1)
    together = numpy.repeat(alone[:, :1], 100, axis=1)
    assert small_world.synchrony(together) == pytest.approx(1.0)
    assert small_world.synchrony(numpy.zeros((8, 3), bool)) == 0.0


# --- engines and command line ---------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_device_gives_the_same_figures(name: str) -> None:
    assert example(name).run("link", quick=True).figures == example(name).run(quick=True).figures


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_hardware_gives_the_same_figures(name: str) -> None:
    assert example(name).run("rtl", quick=True).figures == example(name).run(quick=True).figures


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "window.svg"
    assert main(["example", "stdp_curve", "--quick", "--json", "--plot", str(plot)]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 13
    assert plot.read_text(encoding="utf-8").startswith("<?xml")
    first = plot.read_bytes()
    assert main(["example", "stdp_curve", "--quick", "--plot", str(plot)]) == 0
    assert "13 pairs" in capsys.readouterr().out
    assert plot.read_bytes() == first


def test_command_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    assert main(["example", "all", "--quick", "--output", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    for name, title in EXAMPLES.items():
        assert f"## {title}" in text
        assert (tmp_path / "figures" / f"{name}.svg").is_file() == (f"figures/{name}.svg" in text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no example 'nothing'"),
        (["all", "--plot", "x.svg"], "--plot draws one example"),
        (["effort", "--quick", "--plot", "x.svg"], "draws nothing"),
        (["digits", "--engine", "abacus"], "engine must be one of"),
    ],
)
def test_wrong_command(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["example", *arguments]) == 1
    assert message in capsys.readouterr().err
