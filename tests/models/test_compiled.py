"""The networks, compiled: equal to eager PyTorch and proved, over inputs that take every edge."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from importlib import import_module
from math import prod

import pytest
from models.small import Small
from torch import nn

import dyncc
from dyncc.ir.hcfg import Hcfg, RegionCall
from dyncc.ir.parser import parse
from dyncc.ir.text import to_text
from dyncc.proof import prove
from dyncc.runtime.program import Program
from dyncc.verification import ATOL, RTOL, compare, describe_edge
from dyncc_models import NETWORKS, dycl
from dyncc_models.dycl import skipnet

#: Networks whose small form is compiled with TVM in the default run.
QUICK = (
    "shallow_deep", "halting", "pointer_network", "dycl.captioning", "dycl.captioning_attention",
)  # fmt: skip
#: Operations that only move data or name it anew.
MOVES = {
    "alias", "clone", "contiguous", "copy", "detach", "expand", "flatten", "lift_fresh", "permute",
    "reshape", "select", "slice", "split", "squeeze", "t", "transpose", "unbind", "unflatten",
    "unsafe_view", "unsqueeze", "view",
}  # fmt: skip


@cache
def compiled(name: str) -> tuple[Small, nn.Module, Program]:
    """A network in its small form, with its program for the eager back end."""
    model = Small(name)
    network = model.build()
    return model, network, dyncc.compile(network, model.example_inputs(), backend="eager")


def moves_only(targets: Iterable[str]) -> bool:
    """Whether no operation of a region computes anything."""
    return all(target.split(".")[1].strip("_") in MOVES for target in targets)


def copies(program: Hcfg) -> list[str]:
    """Regions that only copy."""
    return [
        name
        for name, region in program.regions.items()
        if moves_only(op.target for op in region.ops)
    ]


def weight_elements(program: Hcfg) -> int:
    """Elements of all weights of a program that are no constants of its source."""
    return sum(
        prod(int(extent) for extent in kind.shape)
        for name, kind in program.weights.items()
        if not name.startswith("constant.")
    )


def untaken(program: Program, taken: Collection[tuple[str, int]]) -> list[str]:
    """Edges of decisions that no input took, in words.

    An exit of a Shallow-Deep Network that gives the best answer though none was sure is chosen by
    indexing a list: a decision without an ``if``. Some of them are left to forced runs.
    """
    edges = [(block, way) for block, way, _ in program.hcfg.edges()]
    found = [describe_edge(program.hcfg, edge) for edge in edges if edge not in taken]
    return [text for text in found if "`outputs[best]" not in text]


def check_program(name: str, network: nn.Module, program: Program) -> None:
    """What holds of each program at any width."""
    hcfg = program.hcfg
    assert copies(hcfg) == []
    assert parse(to_text(hcfg)) == hcfg
    # No weight is there twice: there are no more than the module has.
    state = network.state_dict().values()
    assert weight_elements(hcfg) <= sum(tensor.numel() for tensor in state)
    if name.startswith("dycl.captioning"):
        assert len(hcfg.regions) <= 5
    called = [
        op.region for block in hcfg.blocks.values() for op in block.ops if type(op) is RegionCall
    ]
    assert set(called) == set(hcfg.regions)


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_eager_on_every_edge(name: str) -> None:
    model, network, program = compiled(name)
    found = compare(network, program, model.coverage_inputs(), 0, 0)
    assert found.elements >= 2 * found.inputs
    assert untaken(program, found.counts) == []
    check_program(name, network, program)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_path_is_proved(name: str) -> None:
    model, network, program = compiled(name)
    proof = prove(network, program, model.coverage_inputs()[:2], rtol=0, atol=0)
    assert len(proof.forced.edges) == sum(1 for _ in program.hcfg.edges())
    assert proof.complete


@pytest.mark.parametrize(
    "name",
    [
        *QUICK,
        *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS if name not in QUICK),
    ],
)
def test_equal_to_eager_with_tvm(name: str) -> None:
    model = Small(name)
    network = model.build()
    program = dyncc.compile(network, model.example_inputs())
    found = compare(network, program, model.coverage_inputs(), RTOL, ATOL)
    assert untaken(program, found.counts) == []


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("onnxruntime", "halting"),
        ("onnxruntime", "pointer_network"),
        ("auto", "dycl.captioning_attention"),
        *(
            pytest.param(backend, name, marks=pytest.mark.slow)
            for backend in ("onnxruntime", "auto")
            for name in NETWORKS
        ),
    ],
)
def test_proved_with_other_back_ends(backend: str, name: str) -> None:
    pytest.importorskip("onnxruntime")
    model = Small(name)
    network = model.build()
    program = dyncc.compile(network, model.example_inputs(), backend=backend)
    proof = prove(network, program, model.coverage_inputs()[:8])
    assert len(proof.forced.edges) == sum(1 for _ in program.hcfg.edges())
    assert proof.complete


@pytest.mark.slow
@pytest.mark.parametrize("name", dycl.NETWORKS)
def test_proved_at_full_size_with_tvm(name: str) -> None:
    model = import_module(f"dyncc_models.dycl.{name}")
    network = model.build()
    program = dyncc.compile(network, model.example_inputs())
    check_program(f"dycl.{name}", network, program)
    rtol = getattr(model, "RTOL", RTOL)
    proof = prove(network, program, model.coverage_inputs(), rtol=rtol)
    edges = sum(1 for _ in program.hcfg.edges())
    assert untaken(program, proof.natural.edges) == []
    assert len(proof.forced.edges) == edges
    assert proof.complete
    assert proof.natural.tally.values > 100


def test_what_only_moves_data() -> None:
    assert moves_only(["aten.clone.default", "aten.view.default", "aten.select.int"])
    assert not moves_only(["aten.clone.default", "aten.add.Tensor"])


def test_regions_of_a_skipnet_do_not_grow_with_its_depth() -> None:
    found = []
    for layers in (14, 26, 38):
        network = skipnet.build(small=True, layers=layers)
        program = dyncc.compile(network, skipnet.example_inputs(), backend="eager").hcfg
        found.append((len(program.blocks), len(program.regions)))
    assert found == [(13, 12), (25, 12), (37, 12)]
