"""``dyncc export --format onnx``: models agree with artifacts in plain ONNX Runtime."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from export.onnx_models import Session, agree, export, parts, result_tree
from models.small import Small
from models.test_compiled import untaken

import dyncc
from dyncc_models import NETWORKS, dycl


def check(name: str, network: Any, examples: Any, inputs: Any, folder: Path) -> None:
    path = folder / f"{name}.dyncc"
    program = dyncc.compile(network, examples, output=path, backend="eager")
    session = Session(export(path))
    tree = result_tree(program)
    with program.trace() as counts:
        expected = [list(parts(tree, program(*arguments))) for arguments in inputs]
    assert untaken(program, counts) == []
    for arguments, wanted in zip(inputs, expected, strict=True):
        # PyTorch's convolutions round otherwise.
        agree(session(*arguments), wanted, tolerance=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "shallow_deep" else ())
        for name in NETWORKS
    ],
)
def test_small_networks(name: str, tmp_path: Path) -> None:
    model = Small(name)
    check(name, model.build(), model.example_inputs(), model.coverage_inputs(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", dycl.NETWORKS)
def test_networks_at_full_size(name: str, tmp_path: Path) -> None:
    model = import_module(f"dyncc_models.dycl.{name}")
    check(name, model.build(), model.example_inputs(), model.coverage_inputs(), tmp_path)
