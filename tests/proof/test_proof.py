"""``dyncc verify``: it covers every edge and loop, and catches artifacts that are broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from proof import damage

import dyncc
from dyncc.core.errors import MismatchError
from dyncc.ir.hcfg import Branch, Hcfg
from dyncc.modelfile import load_model
from dyncc.proof import Proof, prove
from dyncc.runtime.program import Program

# Rare exits: the natural inputs stay in the middle of everything.
SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))
        self.limit = 7
        self.register_buffer("seen", torch.zeros(4))

    def twist(self, h, g):
        if (h - g).max() > 40.0:
            return g, h
        return h, g + 1

    def forward(self, x):
        h, g = self.a(x), self.b(x)
        turns = 0
        outs = []
        while h.norm() > 1.0 and turns < self.limit:
            h, g = self.twist(h * 0.5, g)
            turns += 1
            outs.append(h)
            if g.sum() > 1e4:
                break
        for i in range(int(turns / 2)):
            g = g - i
        self.seen += h.detach()[0]
        if 0 < g.mean() < 1e5 or turns == 3:
            return self.c(h), g, turns, outs
        if h.abs().max() > 1e6:
            raise ValueError(f"diverged after {turns}")
        return h, g, -1, outs


def example_inputs():
    return (torch.ones(1, 4),)


def coverage_inputs():
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(1, 4, generator=generator) * 3,) for _ in range(4)]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("proof") / "net.py"
    path.write_text(SOURCE)
    return path


def compiled(model: Path, target: Path) -> Path:
    found = load_model(str(model))
    dyncc.compile(found.module, found.example_inputs() or (), target, "eager")
    return target


def proof_of(model: Path, program: Program) -> Proof:
    found = load_model(str(model))
    return prove(found.module, program, found.coverage_inputs() or [])


def test_every_edge_and_loop_is_covered_and_compared(model: Path, tmp_path: Path) -> None:
    program = dyncc.load(compiled(model, tmp_path / "net.dyncc"))
    proof = proof_of(model, program)
    assert proof.complete, (proof.unreached, proof.heads)
    assert len(proof.heads) == 2
    natural = sum(bool(proof.natural.edges.get(edge)) for edge in proof.edges)
    assert natural < len(proof.edges)
    assert all(proof.forced.edges.get(edge) for edge in proof.edges)
    assert proof.forced.tally.values > 2 * proof.forced.tally.boundaries > 100
    assert proof.forced.tally.unseen <= proof.forced.tally.values / 5
    assert proof.forced.tally.worst < 1e-5


def test_the_source_is_as_before_afterwards(model: Path, tmp_path: Path) -> None:
    program = dyncc.load(compiled(model, tmp_path / "net.dyncc"))
    found = load_model(str(model))
    kind: Any = type(found.module)
    code, names = kind.forward.__code__, set(vars(found.namespace))
    state = {key: value.clone() for key, value in found.module.state_dict().items()}
    prove(found.module, program, found.coverage_inputs() or [])
    assert kind.forward.__code__ is code
    assert set(vars(found.namespace)) == names
    assert all(value.equal(state[key]) for key, value in found.module.state_dict().items())


def branches(program: Hcfg) -> list[str]:
    return [n for n, block in program.blocks.items() if isinstance(block.terminator, Branch)]


def broken(model: Path, target: Path, change: Callable[[Hcfg], Hcfg]) -> MismatchError:
    """What verifying a broken artifact says."""
    damage.change_program(compiled(model, target), change)
    with pytest.raises(MismatchError) as caught:
        proof_of(model, dyncc.load(target))
    assert caught.value.exit_code == 5
    assert re.search(r"net\.py:\d+: .*block \^b\d+ \(net\.py:\d+\): ", str(caught.value))
    return caught.value


@pytest.mark.parametrize("weight", ["a.bias", "b.weight", "c.weight", "seen"])
def test_a_changed_weight_is_caught(model: Path, tmp_path: Path, weight: str) -> None:
    target = compiled(model, tmp_path / "net.dyncc")
    damage.change_weight(target, weight, (1,) * (2 if weight.endswith("weight") else 1), 0.01)
    with pytest.raises(MismatchError, match=r"expected .*, got .*elements differ"):
        proof_of(model, dyncc.load(target))


@pytest.mark.parametrize("number", range(9))
def test_a_negated_predicate_is_caught(model: Path, tmp_path: Path, number: int) -> None:
    def change(program: Hcfg) -> Hcfg:
        names = branches(program)
        assert len(names) == 9
        return damage.negate(program, names[number])

    error = broken(model, tmp_path / "net.dyncc", change)
    assert re.search(r"`.*` is (True|False) in the source and (True|False) in the", error.message)


def test_a_swapped_edge_is_caught(model: Path, tmp_path: Path) -> None:
    program = dyncc.load(compiled(model, tmp_path / "net.dyncc")).hcfg
    caught = 0
    for name in branches(program):
        if not damage.is_well_formed(damage.swap_edge(program, name)):
            continue
        broken(model, tmp_path / name, partial(damage.swap_edge, name=name))
        caught += 1
    assert caught


def test_an_exchanged_block_parameter_is_caught(model: Path, tmp_path: Path) -> None:
    program = dyncc.load(compiled(model, tmp_path / "net.dyncc")).hcfg
    caught = 0
    for name, block in list(program.blocks.items())[1:]:
        pairs = [
            (i, j)
            for i, left in enumerate(block.params)
            for j, right in enumerate(block.params)
            if i < j and left.type == right.type
        ]
        for i, j in pairs[:1]:
            broken(
                model,
                tmp_path / f"{name}.{i}",
                partial(damage.exchange, name=name, first=i, second=j),
            )
            caught += 1
    assert caught >= 3
