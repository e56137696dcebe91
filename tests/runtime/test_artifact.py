"""Artifacts: what is written, what is refused, and that nothing is lost or half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

import dyncc
from dyncc.backends import eager
from dyncc.core.errors import ArtifactError, ConfigError, UserError
from dyncc.ir.text import FORMAT
from dyncc_models import halting

X = torch.ones(1, 4)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.same = self.layer

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = self.same(x)
        return self.layer(x)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "small.dyncc"
    dyncc.compile(Small(), (X,), path, "eager")
    return path


def test_what_is_in_it(artifact: Path) -> None:
    assert sorted(item.name for item in artifact.iterdir()) == [
        "manifest.json",
        "places.json",
        "program.hcfg",
        "weights.safetensors",
    ]
    weights = load_file(artifact / "weights.safetensors")
    assert sorted(weights) == ["layer.bias", "layer.weight"]  # shared tensors are stored once
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert manifest["torch"] == torch.__version__
    assert set(manifest["files"]) == {"places.json", "program.hcfg", "weights.safetensors"}


@pytest.mark.parametrize(
    "name", ["manifest.json", "places.json", "program.hcfg", "weights.safetensors"]
)
@pytest.mark.parametrize("fault", ["missing", "empty", "cut", "flipped"])
def test_damage_is_found(artifact: Path, name: str, fault: str) -> None:
    file = artifact / name
    content = file.read_bytes()
    middle = len(content) // 2
    if fault == "missing":
        file.unlink()
    elif fault == "empty":
        file.write_bytes(b"")
    elif fault == "cut":
        file.write_bytes(content[:middle])
    else:
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    with pytest.raises(ArtifactError) as caught:
        dyncc.load(artifact)
    assert caught.value.exit_code == 1
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", FORMAT + 1, f"has format {FORMAT + 1}, and this dyncc reads {FORMAT}"),
        ("format", "1", "no valid field 'format'"),
        ("backend", "cuda", "'cuda', which this dyncc does not know"),
        ("files", {}, "no hash of program.hcfg"),
        ("files", [], "no valid field 'files'"),
        ("report", None, "no valid field 'report'"),
    ],
)
def test_a_strange_manifest(artifact: Path, field: str, value: Any, message: str) -> None:
    file = artifact / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(ArtifactError, match=message):
        dyncc.load(artifact)


def test_weights_that_lack_a_tensor(artifact: Path) -> None:
    import hashlib

    file = artifact / "weights.safetensors"
    save_file({"layer.weight": numpy.zeros((4, 4), "float32")}, file)
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["files"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"lacks layer\.bias"):
        dyncc.load(artifact)


def test_a_directory_that_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is not an artifact: it has no manifest\.json"):
        dyncc.load(tmp_path)


def test_a_failing_build_keeps_the_old_artifact_and_leaves_nothing(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {item.name: item.read_bytes() for item in artifact.iterdir()}

    def fail(program: object, directory: Path, progress: object, *, fallback: bool) -> None:
        (directory / "half").write_text("half")
        raise RuntimeError("out of luck")

    monkeypatch.setattr(eager, "build", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        dyncc.compile(Small(), (X,), artifact, "eager")
    assert {item.name: item.read_bytes() for item in artifact.iterdir()} == before
    assert list(artifact.parent.iterdir()) == [artifact]


def test_an_artifact_replaces_an_older_one(artifact: Path) -> None:
    old = dyncc.load(artifact)
    module = Small()
    dyncc.compile(module, (X,), artifact, "eager")
    torch.testing.assert_close(dyncc.load(artifact)(X), module(X).detach())
    assert not old(X).equal(module(X))
    assert list(artifact.parent.iterdir()) == [artifact]


def test_nothing_but_an_artifact_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("diary")
    (tmp_path / "file").write_text("")
    for name in ("letters", "file"):
        with pytest.raises(ConfigError, match=name):
            dyncc.compile(Small(), (X,), tmp_path / name, "eager")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "diary"


def test_an_output_place_is_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        dyncc.compile(Small(), (), tmp_path / "file", "eager")  # the arguments do not fit either


CHILD = """
import sys, numpy
sys.path[:0] = {path!r}
sys.modules["torch"] = None  # importing it fails, as where it is not installed
import dyncc
assert "tvm" not in sys.modules, "importing dyncc loads a library"
program = dyncc.load({artifact!r})
mean, steps, ponder = program(numpy.load({given!r}))
assert "tvm" not in sys.modules, "running loads TVM's compiler"
numpy.savez({result!r}, mean=mean, steps=steps, ponder=ponder)
loaded = [name for name in sys.modules if name.startswith((
    "dyncc.frontend", "dyncc.passes", "dyncc.backends", "dyncc.driver", "sklearn",
))]
print(len(loaded), *loaded[:5])
"""


def test_running_needs_neither_torch_nor_any_stage_of_the_compiler(tmp_path: Path) -> None:
    network = halting.build()
    (x,) = halting.example_inputs()
    dyncc.compile(network, (x,), tmp_path / "halting.dyncc")
    numpy.save(tmp_path / "x.npy", x.numpy())
    code = CHILD.format(
        path=[entry for entry in sys.path if entry],
        artifact=str(tmp_path / "halting.dyncc"),
        given=str(tmp_path / "x.npy"),
        result=str(tmp_path / "out.npz"),
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"
    with torch.no_grad():
        mean, steps, ponder = network(x)
    found = numpy.load(tmp_path / "out.npz")
    numpy.testing.assert_allclose(found["mean"], mean, rtol=1e-4, atol=1e-5)
    numpy.testing.assert_allclose(found["ponder"], ponder, rtol=1e-4, atol=1e-5)
    assert int(found["steps"]) == steps


def test_outputs_share_no_memory_with_later_calls(artifact: Path) -> None:
    program = dyncc.load(artifact)
    first = program(X)
    kept = first.clone()
    program(X * 3)
    assert first.equal(kept)
    first.add_(1)
    assert program(X).equal(kept)
