"""Equal structure is one region, and each weight is stored once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from frontend.differential import network
from models.small import Small
from safetensors.numpy import load_file
from torch import Tensor, nn

import dyncc
from dyncc.ir.hcfg import RegionCall
from dyncc.runtime.artifact import WEIGHTS
from dyncc.runtime.program import Program


def calls(program: Program) -> list[RegionCall]:
    """The region calls of a program, in order."""
    blocks = program.hcfg.blocks.values()
    return [op for block in blocks for op in block.ops if isinstance(op, RegionCall)]


def layers(self: Any, x: Tensor) -> Tensor:
    for layer in self.layers:
        if x.sum() > 0:
            x = layer(x)
    return x


def three_layers() -> nn.Module:
    return network(layers, layers=nn.ModuleList(nn.Linear(4, 4) for _ in range(3)))


def stored(program_of: nn.Module, folder: Path) -> tuple[Program, set[str]]:
    """A compiled network, and the names of the weights in its artifact."""
    program = dyncc.compile(program_of, (torch.ones(1, 4),), folder / "a", backend="eager")
    return program, set(load_file(folder / "a" / WEIGHTS))


def test_equal_structure_with_other_weights_is_one_region(tmp_path: Path) -> None:
    module = three_layers()
    program, names = stored(module, tmp_path)
    linear = [call for call in calls(program) if call.weights]
    assert [call.weights for call in linear] == [
        (f"layers.{i}.weight", f"layers.{i}.bias") for i in range(3)
    ]
    assert len({call.region for call in linear}) == 1
    assert names == set(dict(module.named_parameters()))
    for sign in (1, -1):
        x = torch.full((1, 4), float(sign))
        assert torch.equal(torch.as_tensor(program(x)), module(x))


def test_other_structure_is_another_region(tmp_path: Path) -> None:
    module = network(layers, layers=nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4, bias=False)]))
    program, _ = stored(module, tmp_path)
    assert len({call.region for call in calls(program) if call.weights}) == 2


@pytest.mark.parametrize("how", ["parameter", "storage"])
def test_tied_weights_are_stored_once(how: str, tmp_path: Path) -> None:
    module = three_layers()
    first, second = module.layers[0], module.layers[1]
    if how == "parameter":
        second.weight = first.weight
    else:
        second.weight.data = first.weight.data
    program, names = stored(module, tmp_path)
    assert len(names & {"layers.0.weight", "layers.1.weight"}) == 1
    first_call, second_call, _ = (call.weights for call in calls(program) if call.weights)
    assert first_call[0] == second_call[0]
    assert first_call[1] != second_call[1]
    x = torch.ones(1, 4)
    assert torch.equal(torch.as_tensor(program(x)), module(x))


def test_weights_that_are_merely_equal_stay_apart(tmp_path: Path) -> None:
    module = three_layers()
    module.layers[1].load_state_dict(module.layers[0].state_dict())
    _, names = stored(module, tmp_path)
    assert names == set(dict(module.named_parameters()))


@pytest.mark.parametrize("name", ["dycl.captioning", "dycl.skipnet"])
def test_an_artifact_holds_each_weight_once(name: str, tmp_path: Path) -> None:
    small = Small(name)
    dyncc.compile(small.build(), small.example_inputs(), tmp_path / "a", backend="eager")
    arrays = load_file(tmp_path / "a" / WEIGHTS)
    contents = {hashlib.sha256(array.tobytes()).hexdigest() for array in arrays.values()}
    assert len(contents) == len(arrays) > 5
