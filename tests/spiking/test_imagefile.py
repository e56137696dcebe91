"""Image files: every kind of core comes back as it was; what is damaged or unknown is refused."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from dyncc import spiking
from dyncc.arch.neurocorex import CoreImage, CoreSpec, Rule, memory_words
from dyncc.cli import main
from dyncc.core.errors import ArtifactError, ConfigError
from dyncc.spiking.imagefile import FORMAT, IMAGE, PLACES, load_image, save_image
from dyncc_models.spiking.random_images import random_image


def equal(first: CoreImage, second: CoreImage) -> None:
    assert memory_words(first) == memory_words(second)
    for name, values in vars(first).items():
        found = getattr(second, name)
        if name == "parameters":
            assert all((found[key] == value).all() for key, value in values.items())
        elif isinstance(values, numpy.ndarray):
            assert found.dtype.kind == values.dtype.kind
            assert (found == values).all(), name
        else:
            assert found == values, name


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_every_kind_of_image_comes_back(seed: int) -> None:
    draw = numpy.random.default_rng(seed)
    sparse, learning = draw.random(2) < 0.5
    spec = CoreSpec(
        int(draw.integers(1, 20)), int(draw.integers(0, 9)), int(draw.integers(2, 17)),
        int(draw.integers(18, 33)), int(2 ** draw.integers(0, 4)), int(draw.integers(1, 6)),
        1000 if sparse else 0, bool(learning), int(draw.integers(1, 17)), 0,
    )  # fmt: skip
    spec = CoreSpec(**asdict(spec) | {"classes": int(draw.integers(0, spec.neurons + 1))})
    image = random_image(spec, seed, list(Rule)[int(draw.integers(1, 4))])
    image.initial_v = draw.integers(-100, 100, spec.neurons)
    image.initial_i = draw.integers(-100, 100, spec.neurons)
    image.initial_refractory = draw.integers(0, 256, spec.neurons)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.safetensors"
        save_image(image, path)
        equal(load_image(path), image)
        equal(load_image(path, spec), image)
        other = CoreSpec(spec.neurons + 1)
        with pytest.raises(ConfigError, match=f"and the core is .*neurons={spec.neurons + 1},"):
            load_image(path, other)


def program() -> spiking.SpikingProgram:
    """One with everything: delays, relays, learning, termination, spare neurons and lines."""
    network = spiking.Network(1e-3)
    network.input("x", 5)
    network.population("a", "lif", 6, tau=0.02)
    network.population("b", "cuba_lif", 4, tau=0.02, tau_syn=0.005, bias=0.1)
    network.population("scores", "li", 3, tau=0.05)
    network.connect("x", "a", spiking.fixed_probability(0.6, 4.0, seed=1))
    network.connect("a", "b", spiking.all_to_all(1.0), plastic=True, delay=[0, 1, 2, 3, 4, 9])
    network.connect("x", "b", spiking.all_to_all(1.0), delay=2)
    network.connect("b", "scores", spiking.all_to_all(0.5))
    rule = spiking.TraceStdp(
        w_min=0.0, w_max=2.0, tau_plus=0.02, tau_minus=0.02, a_plus=0.05, a_minus=0.05
    )
    network.learn(rule)
    network.classify("scores", confidence=0.9, alpha=0.1, least_steps=20)
    network.output("spikes", "b")
    network.output("scores", "scores")
    return spiking.map_network(network, neurons=80, inputs=9, max_delay=4, lanes=2)


def test_programs_come_back(tmp_path: Path) -> None:
    saved = program()
    spikes = numpy.random.default_rng(0).random((60, 5)) < 0.3
    spiking.save(saved, tmp_path / "net")
    found = spiking.load(tmp_path / "net")
    equal(found.image, saved.image)
    for name in ("dt", "inputs", "outputs", "report", "readout"):
        assert getattr(found, name) == getattr(saved, name), name
    assert found.describe() == saved.describe()
    for first, second in zip(found.places, saved.places, strict=True):
        assert (first.rows == second.rows).all()
        assert (first.source, first.target, first.first, first.unit) == (
            second.source, second.target, second.first, second.unit,
        )  # fmt: skip
    expected = saved.run(spikes)
    assert expected["spikes"].sum() > 5
    for name, values in found.run(spikes).items():
        assert (values == expected[name]).all()


def test_learnt_weights_are_saved(tmp_path: Path) -> None:
    saved = program()
    with spiking.open_core("twin", saved.image) as core:
        core.run(saved.lines(numpy.random.default_rng(0).random((60, 5)) < 0.3))
        learnt = core.weights()
    assert (learnt >> 8 != saved.image.weights).any()
    spiking.save(saved.with_weights(learnt, learning=False), tmp_path / "net")
    found = spiking.load(tmp_path / "net")
    assert (found.image.weights == learnt >> 8).all()
    assert found.image.learning is None


def test_files_that_are_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    spiking.save(program(), folder)
    for file in ("manifest.json", IMAGE, PLACES):
        content = (folder / file).read_bytes()
        for damaged in (content[:-9], content[:100], b"", content[:50] + b"\0" + content[51:]):
            (folder / file).write_bytes(damaged)
            with pytest.raises(ArtifactError, match=file):
                spiking.load(folder)
        (folder / file).unlink()
        with pytest.raises(ArtifactError, match=file):
            spiking.load(folder)
        (folder / file).write_bytes(content)
    spiking.load(folder)


def test_images_that_are_damaged(tmp_path: Path) -> None:
    """Without the manifest and its hashes, as benches use them: the file is named all the same."""
    path = tmp_path / "image.safetensors"
    save_image(program().image, path)
    content = path.read_bytes()
    for size in (0, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ArtifactError, match=r"image\.safetensors: the image is damaged"):
            load_image(path)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"image\.safetensors: the image is damaged: .*No such"):
        load_image(path)


def changed(path: Path, arrays: dict[str, Any] | None = None, **facts: Any) -> None:
    """Change what an image file says."""
    with safe_open(path, "numpy") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        told = json.loads(file.metadata()["neurocorex"])
    for name, values in (arrays or {}).items():
        if values is None:
            del found[name]
        else:
            found[name] = numpy.asarray(values)
    save_file(found, path, {"neurocorex": json.dumps(told | facts)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": FORMAT + 1}, f"has format {FORMAT + 1}, and this dyncc reads {FORMAT}"),
        ({"spec": {"neurons": 3, "colour": 1}}, "unexpected keyword argument 'colour'"),
        ({"spec": {"neurons": 3}}, "must have shape"),
        ({"spec": {"neurons": 5000}}, "neurons must be an integer in 1"),
        ({"learning": {"rule": 9, "lags": []}}, "9 is not a valid Rule"),
        ({"termination": {"test": 1, "table": []}}, "missing 3 required"),
        ({"arrays": {"parameter.leak": None}}, "parameter.leak"),
        ({"arrays": {"assignment": [0, 99]}}, "assignment must have shape"),
        ({"arrays": {"source": numpy.array([99], numpy.int32)}}, "could not be broadcast|index 99"),
        ({"arrays": {"weights": numpy.zeros(3, numpy.int16)}}, "shape mismatch"),
    ],
)
def test_images_that_say_something_else(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "image.safetensors"
    save_image(program().image, path)
    changed(path, **change)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_image(path)
    assert "image.safetensors" in str(caught.value)


def test_older_formats_are_refused(tmp_path: Path) -> None:
    spiking.save(program(), tmp_path / "net")
    manifest = tmp_path / "net" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"format": {FORMAT}', '"format": 1'))
    with pytest.raises(ArtifactError, match=f"has format 1, and this dyncc reads {FORMAT}"):
        spiking.load(tmp_path / "net")


def test_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = program()
    spiking.save(saved, tmp_path / "net")
    assert main(["inspect", str(tmp_path / "net")]) == 0
    text = capsys.readouterr().out
    assert saved.report is not None
    for line in [
        "80 neurons, 9 input lines",
        "input x: lines 0..4",
        "output scores: potentials of neurons",
        "learning: traces, 24 plastic synapses, weights in 0..",
        "termination: softmax of neurons",
        f"{saved.report.relays} of them relays",
    ]:
        assert line in text
    assert saved.report.relays > 0
    assert re.search(r"a -> b +24 +24 +0\.\.9 +0\.", text)
    assert main(["inspect", str(tmp_path / "net"), "--svg", "x.svg"]) == 1
    assert "no control-flow graph" in capsys.readouterr().err
