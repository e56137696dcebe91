"""Back end auto: what is measured, what is chosen, pins, and artifacts of several back ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from backends.tracing import program_of, trace
from torch import Tensor, nn

import dyncc
from dyncc.backends import selection
from dyncc.backends.measuring import Sample, call_times, samples
from dyncc.backends.selection import EXCHANGE, MARGIN, choose, pinned
from dyncc.core.errors import ArtifactError, ConfigError, MissingToolError
from dyncc.runtime.summary import runners, summary

pytest.importorskip("onnxruntime")


class Looking(nn.Module):
    """Looks words up until they are worth enough; an index that is made up would not do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(5, 4)
        self.score = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        print("looking")  # noqa: T201
        total = torch.zeros(1, 1)
        turns = 0
        while total.sum() < 3.0 and turns < 4:
            total = total + self.score(self.words(x)).sigmoid()
            x = (x + 1) % 5
            turns += 1
        return total, turns


X = (torch.tensor([3]),)


def check(program: Any) -> None:
    network = Looking()
    for index in range(5):
        with torch.no_grad():
            total, turns = network(torch.tensor([index]))
        found, count = program(torch.tensor([index]))
        torch.testing.assert_close(found, total)
        assert count == turns


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose regions are pinned to ONNX Runtime."""
    path = tmp_path_factory.mktemp("pinned") / "looking.dyncc"
    dyncc.compile(Looking(), X, path, "tvm", pins={"*": "onnxruntime"})
    return path


def test_auto_measures_every_region_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    program = dyncc.compile(Looking(), X, backend="auto")
    assert "looking" not in capsys.readouterr().out
    assert program.manifest["backend"] == "auto"
    report = program.manifest["report"]
    assert set(report["choices"]) == set(program.hcfg.regions)
    for name, choice in report["choices"].items():
        assert set(choice["seconds"]) == {"tvm", "onnxruntime", "eager"}
        assert all(0 < seconds < 1 for seconds in choice["seconds"].values())
        assert choice["calls"] > 0
        assert name in report["parts"][choice["backend"]]["regions"]
    assert "for auto (" in summary(program)
    check(program)


def test_regions_of_three_libraries_in_one_program() -> None:
    names = list(dyncc.compile(Looking(), X, backend="eager").hcfg.regions)
    homes = dict(zip(names, ["tvm", "onnxruntime", "eager"] * len(names), strict=False))
    program = dyncc.compile(Looking(), X, backend="auto", pins=homes)
    assert runners(program) == homes
    check(program)


def test_an_artifact_holds_what_its_regions_need(artifact: Path) -> None:
    program = dyncc.load(artifact)
    assert set(program.manifest["report"]["parts"]) == {"onnxruntime"}
    assert not (artifact / "regions.so").exists()
    models = {
        entry["model"]
        for entry in program.manifest["report"]["parts"]["onnxruntime"]["regions"].values()
    }
    assert {file.name for file in artifact.glob("*.onnx")} == models
    check(program)


def load_without(artifact: Path, *modules: str) -> subprocess.CompletedProcess[str]:
    """Load an artifact where modules cannot be imported."""
    code = f"""
import sys
sys.path[:0] = {[entry for entry in sys.path if entry]!r}
sys.modules.update(dict.fromkeys({modules!r}))
import dyncc, numpy
print(dyncc.load({str(artifact)!r})(numpy.array([3]))[1])
"""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_has_to_be_installed(artifact: Path) -> None:
    others = ("tvm", "tvm_ffi", "torch", "onnx", "onnxscript")
    assert load_without(artifact, *others).stdout.splitlines() == ["looking", "4"]
    failing = load_without(artifact, "onnxruntime").stderr
    assert "ArtifactError" in failing
    assert "compiled for onnxruntime, which cannot be imported" in failing
    assert "pip install onnxruntime" in failing


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_a_model_file_is_checked(artifact: Path, tmp_path: Path, fault: str) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in artifact.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    model = next(copy.glob("*.onnx"))
    if fault == "missing":
        model.unlink()
    else:
        model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ArtifactError, match=f"the file {model.name} is {fault}"):
        dyncc.load(copy)


def test_wrong_pins() -> None:
    with pytest.raises(ConfigError, match=r"pinned to tvm, onnxruntime, eager, not to 'cuda'"):
        dyncc.compile(Looking(), X, pins={"r0": "cuda"})
    with pytest.raises(ConfigError, match="no region 'missing' to pin") as caught:
        dyncc.compile(Looking(), X, pins={"missing": "tvm"})
    assert "The regions are r" in str(caught.value.hint)


def test_a_pin_to_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(selection.PACKAGES, "onnxruntime", ("surely_not_installed",))
    with pytest.raises(MissingToolError, match="onnxruntime needs surely_not_installed"):
        dyncc.compile(Looking(), X, pins={"*": "onnxruntime"})
    report = dyncc.compile(Looking(), X, backend="auto").manifest["report"]
    assert set(report["parts"]) == {"tvm"}


def test_patterns_and_the_last_that_fits() -> None:
    regions = [trace(name, torch.neg, [torch.ones(2)]) for name in ("r0", "r1", "q")]
    program = program_of(*regions)
    assert pinned(program, {"r*": "tvm", "r1": "eager"}) == {"r0": "tvm", "r1": "eager"}


def test_arguments_of_the_run_are_what_is_measured() -> None:
    network = Looking()
    program = dyncc.compile(network, X, backend="eager")
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    weights |= {
        name: numpy.zeros(kind.shape, "float32")
        for name, kind in program.hcfg.weights.items()
        if name not in weights
    }
    found = samples(program.hcfg, weights, [X], {})
    assert set(found) == set(program.hcfg.regions)
    assert any((array == 3).all() for sample in found.values() for array in sample.arguments)
    # What the run does not reach gets indices of anything: no arguments at all reach nothing.
    made_up = samples(program.hcfg, weights, [()], {})
    assert all(sample.calls == 0 for sample in made_up.values())
    indices = [a for s in made_up.values() for a in s.arguments if a.dtype == numpy.int64]
    assert indices
    assert not any(array.any() for array in indices)


def test_calls_take_turns_within_the_time() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    found = call_times(calls, seconds=0)
    assert set(found) == {"a", "b"}
    assert order == ["a", "a", "a", "b", "b", "b"] * 3


def chosen(
    times: Mapping[str, Mapping[str, float]],
    calls: int = 1,
    pins: Mapping[str, str] | None = None,
    eager: bool = False,
) -> tuple[str, dict[str, str]]:
    """What `choose` says of regions that are equal but for their times; eager is always timed."""
    program = program_of(*(trace(name, torch.neg, [torch.ones(2)]) for name in times))
    observed = {name: Sample([], (), calls) for name in times}
    runners = {name: [home for home in found if home != "eager"] for name, found in times.items()}
    return choose(program, observed, times, runners, pins or {}, eager=eager)


def test_another_back_end_has_to_gain_more_than_the_margin_and_the_exchange() -> None:
    slow = {"tvm": 10.0, "onnxruntime": 30.0}
    near = {"tvm": 1.0, "onnxruntime": 1.0 / (1 + MARGIN / 2)}
    far = {"tvm": 1.0, "onnxruntime": 1.0 / (1 + 2 * MARGIN)}
    assert chosen({"r0": slow, "r1": near, "r2": far}) == (
        "tvm",
        {"r0": "tvm", "r1": "tvm", "r2": "onnxruntime"},
    )
    quick = {"tvm": 2 * EXCHANGE, "onnxruntime": EXCHANGE}
    assert chosen({"r0": slow, "r1": quick})[1]["r1"] == "tvm"


def test_pins_failures_and_pytorch() -> None:
    times = {
        "r0": {"tvm": 1.0, "onnxruntime": 2.0, "eager": 0.1},
        "r1": {"onnxruntime": 1.0, "eager": 5.0},
    }
    assert chosen(times) == ("tvm", {"r0": "tvm", "r1": "onnxruntime"})
    assert chosen(times, pins={"r0": "onnxruntime"})[1]["r0"] == "onnxruntime"
    assert chosen(times, eager=True)[1] == {"r0": "eager", "r1": "onnxruntime"}
    assert chosen({}) == ("eager", {})


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dyncc.cli import main

    model = tmp_path / "model.py"
    model.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x * 2 if x.sum() > 0 else x - 1\n"
        "def example_inputs():\n"
        "    return (torch.ones(3),)\n"
    )
    out = str(tmp_path / "out")
    command = ["compile", str(model), "-o", out, "--backend", "onnxruntime"]
    assert main([*command, "--pin", "r*=tvm", "--pin", "r0=eager"]) == 0
    capsys.readouterr()
    assert main(["inspect", out, "--json"]) == 0
    regions = json.loads(capsys.readouterr().out)["regions"]
    assert {entry["choice"]["backend"] for entry in regions.values() if entry["choice"]} == {"tvm"}
    assert [name for name, entry in regions.items() if entry["torch"]] == ["r0"]
    assert main(["inspect", out]) == 0
    assert "; pinned to tvm (" in capsys.readouterr().out
    for wrong, message in (("r0", "takes REGION=BACKEND"), ("r9=tvm", "The regions are r0, r1")):
        assert main([*command, "--pin", wrong]) != 0
        assert message in capsys.readouterr().err
