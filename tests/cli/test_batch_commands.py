"""Batches on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest

import dyncc
from dyncc.cli import main

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        y = self.layer(x)
        if x.sum() > 0:
            return {"y": y, "sum": y.sum(), "late": y[:, :1]}
        return {"y": torch.relu(y), "sum": y.sum()}

def build():
    torch.manual_seed(0)
    return Net().eval()

def example_inputs():
    return (torch.ones(1, 3),)
"""


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    target, inputs, outputs = (str(tmp_path / name) for name in ("a", "in.npz", "out.npz"))
    model = str(tmp_path / "net.py")
    assert main(["compile", model, "--backend", "eager", "--batch", "4", "-o", target]) == 0
    assert "for batches of up to 4" in capsys.readouterr().out
    x = numpy.random.default_rng(0).normal(size=(7, 3)).astype("float32")
    numpy.savez(inputs, x=x)
    assert main(["run", target, "--batch", "--input", inputs, "--output", outputs]) == 0
    program = dyncc.load(target)
    with numpy.load(outputs) as found:
        assert found["y"].shape == (7, 2)
        assert found["sum"].shape == (7,)
        late = [i for i in range(7) if "late" in program(x[i : i + 1])]
        assert 0 < len(late) < 7
        assert {f"late.{i}" for i in late} == set(found.files) - {"y", "sum"}
        for i in range(7):
            numpy.testing.assert_allclose(
                found["y"][i : i + 1], program(x[i : i + 1])["y"], rtol=1e-5, atol=1e-6
            )
    capsys.readouterr()
    assert main(["verify", target, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batches"]["elements"] > 100
    numpy.savez(inputs, x=numpy.float32(1))
    assert main(["run", target, "--batch", "--input", inputs, "--output", outputs]) == 1
