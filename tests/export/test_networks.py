"""Libraries of networks agree with the artifacts that they were made of, on every edge."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from export.exported import agree, ask, export, tensor
from models.small import Small
from models.test_compiled import untaken

import dyncc
from dyncc_models import dycl


def check(name: str, network: Any, examples: Any, inputs: Any, folder: Path) -> None:
    path = folder / f"{name}.dyncc"
    program = dyncc.compile(network, examples, output=path)
    library = export(path)
    with program.trace() as counts:
        expected = [program(*(x.numpy() for x in arguments)) for arguments in inputs]
    assert untaken(program, counts) == []
    steps = [{"run": [tensor(x.numpy()) for x in arguments]} for arguments in inputs]
    about, *answers = ask(library, steps)
    assert about["name"] == program.hcfg.name
    for answer, wanted in zip(answers, expected, strict=True):
        assert answer["code"] == 0, answer
        # The code was generated twice, from the same schedules.
        agree(answer["value"], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "halting",
        "pointer_network",
        pytest.param("shallow_deep", marks=pytest.mark.slow),
        *(pytest.param(f"dycl.{name}", marks=pytest.mark.slow) for name in dycl.NETWORKS),
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
