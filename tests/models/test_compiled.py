"""The six networks, compiled: equal to eager PyTorch over inputs that take every edge."""

from __future__ import annotations

from importlib import import_module

import pytest

import dyncc
from dyncc.ir.parser import parse
from dyncc.ir.text import to_text
from dyncc.verification import ATOL, RTOL, compare, describe_edge
from dyncc_models import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("backend", "rtol", "atol"), [("eager", 0, 0), ("tvm", RTOL, ATOL)])
def test_equal_to_eager_on_every_edge(name: str, backend: str, rtol: float, atol: float) -> None:
    model = import_module(f"dyncc_models.{name}")
    network = model.build()
    program = dyncc.compile(network, model.example_inputs(), backend=backend)
    found = compare(network, program, model.coverage_inputs(), rtol, atol)
    assert found.elements >= 2 * found.inputs
    assert not [describe_edge(program.hcfg, edge) for edge in found.untaken(program.hcfg)]
    assert parse(to_text(program.hcfg)) == program.hcfg
