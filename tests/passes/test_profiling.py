"""Compiling by profile: what is fused, what is kept, what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from frontend.differential import network
from torch import Tensor, nn

import dyncc
from dyncc import profiling
from dyncc.cli import main
from dyncc.core.errors import ConfigError, InputError
from dyncc.ir.hcfg import RegionCall
from dyncc.ir.profile import Profile
from dyncc.ir.text import to_text
from dyncc.proof import prove
from dyncc.runtime.program import Program

Times = Callable[[Mapping[str, Any], float], dict[str, float]]


def exits(self: Any, x: Tensor) -> tuple[Tensor, int]:
    x = self.a(x)
    if x.sum() > 0:
        x = self.b(x)
        if x.sum() > 100:
            return x * 2, 2
        return self.a(x), 1
    return x - 1, 0


def build() -> nn.Module:
    torch.manual_seed(0)
    return network(exits, a=nn.Linear(4, 4), b=nn.Linear(4, 4))


def calls(program: Program, *inputs: Tensor) -> int:
    """Region calls of runs."""
    profile = Profile(len(inputs), counted(program, *inputs))
    return sum(
        count * isinstance(op, RegionCall)
        for name, count in profile.entered(program.hcfg).items()
        for op in program.hcfg.blocks[name].ops
    )


def counted(program: Program, *inputs: Tensor) -> dict[tuple[str, int], int]:
    with program.trace() as counts:
        for x in inputs:
            program(x)
    return counts


def positive(module: nn.Module, count: int) -> list[Tensor]:
    """Inputs that take the first way of the first branch."""
    torch.manual_seed(1)
    found = (torch.randn(1, 4) for _ in range(1000))
    return [x for x in found if module.a(x).sum() > 0][:count]


def timed(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[str], float]) -> None:
    """Let a region take what `seconds` says of its text."""

    def times(calls: Mapping[str, Any], budget: float) -> dict[str, float]:
        for call in calls.values():
            call()
        return {body: seconds(body) for body in calls}

    monkeypatch.setattr(profiling, "call_times", times)


def test_likely_paths_are_fused_and_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, lambda body: 2e-6)
    module = build()
    inputs = positive(module, 20)
    plain = dyncc.compile(module, (inputs[0],), backend="eager")
    program = dyncc.compile(module, (inputs[0],), backend="eager", profile=[(x,) for x in inputs])
    assert calls(program, *inputs) < calls(plain, *inputs)
    for x in (*inputs, -inputs[0], 1000 * inputs[0]):
        for found, expected in zip(program(x), module(x), strict=True):
            assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))
    proof = prove(module, program, [(inputs[0],)])
    assert proof.complete
    ends = [getattr(block.terminator, "text", "") for block in program.hcfg.blocks.values()]
    assert {"x.sum() > 0", "x.sum() > 100"} <= set(ends)
    profile = Profile.from_json(program.manifest["profile"])
    assert profile.inputs == 20
    assert profile.edges == counted(program, *inputs)
    assert profile.before is not None
    assert profile.expected(program.hcfg) < profile.before


def test_what_is_slower_when_measured_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, lambda body: 1e-4 if body.count("addmm") > 1 else 2e-6)
    module = build()
    inputs = positive(module, 20)
    plain = dyncc.compile(module, (inputs[0],), backend="eager")
    program = dyncc.compile(module, (inputs[0],), backend="eager", profile=[(x,) for x in inputs])
    assert to_text(program.hcfg) == to_text(plain.hcfg)
    assert program.manifest["profile"]["before"] is None
    assert "profile" not in plain.manifest


def test_costly_sides_are_not_run_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, lambda body: 1e-3)
    module = build()
    inputs = positive(module, 20)
    plain = dyncc.compile(module, (inputs[0],), backend="eager")
    program = dyncc.compile(module, (inputs[0],), backend="eager", profile=[(x,) for x in inputs])
    assert to_text(program.hcfg) == to_text(plain.hcfg)


def test_pinned_regions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, lambda body: 2e-6)
    module = build()
    inputs = positive(module, 5)
    plain = dyncc.compile(module, (inputs[0],), backend="eager")
    pins = dict.fromkeys(plain.hcfg.regions, "eager")
    program = dyncc.compile(
        module, (inputs[0],), backend="eager", pins=pins, profile=[(x,) for x in inputs]
    )
    assert to_text(program.hcfg) == to_text(plain.hcfg)


@pytest.mark.parametrize("backend", ["tvm", "onnxruntime"])
def test_files_of_back_ends_are_delivered(
    backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    timed(monkeypatch, lambda body: 2e-6)
    module = build()
    inputs = positive(module, 5)
    dyncc.compile(module, (inputs[0],), tmp_path / "a", backend, profile=[(x,) for x in inputs])
    program = dyncc.load(tmp_path / "a")
    assert program.manifest["profile"]["before"] is not None
    for x in inputs:
        found, expected = program(x), module(x)
        assert found[1] == expected[1]
        assert torch.allclose(found[0], expected[0], atol=1e-5)


def test_inputs_that_do_not_fit_are_named() -> None:
    module = build()
    example = (torch.ones(1, 4),)
    with pytest.raises(InputError) as caught:
        dyncc.compile(module, example, backend="eager", profile={"first": (torch.ones(2, 4),)})
    assert "does not fit" in caught.value.message
    assert caught.value.where is not None
    assert caught.value.where.startswith("first: x")
    with pytest.raises(ConfigError, match="at least one input"):
        dyncc.compile(module, example, backend="eager", profile=[])


MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def forward(self, x):
        y = x * 2
        if y.sum() > 0:
            return y.exp()
        return y


def example_inputs():
    return (torch.ones(4),)
"""


def test_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    timed(monkeypatch, lambda body: 2e-6)
    Path("model.py").write_text(MODEL)
    Path("inputs").mkdir()
    common = ("compile", "model.py", "--backend", "eager", "--profile")
    assert main((*common, "inputs")) == 1
    assert "there is no .npz file in inputs" in capsys.readouterr().err
    for number in range(5):
        numpy.savez(f"inputs/{number}.npz", x=numpy.full(4, 1 + number, "float32"))
    numpy.savez("other.npz", x=numpy.full(4, -1, "float32"))
    numpy.savez("wrong.npz", y=numpy.ones(4, "float32"))
    assert main((*common, "inputs", "--profile", "wrong.npz")) == 1
    assert "wrong.npz" in capsys.readouterr().err
    assert main((*common, "none.npz")) == 1
    assert main((*common, "inputs", "--profile", "other.npz")) == 0
    capsys.readouterr()
    assert main(("inspect", "model.dyncc")) == 0
    out = capsys.readouterr().out
    assert "#   profile of 6 inputs: 2 µs in regions a call; 3.67 µs before paths were fused" in out
    assert "1 times a call; `y.sum() > 0` true 5, false 1" in out
