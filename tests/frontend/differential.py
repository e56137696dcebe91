"""Compiles a module with the eager back end and compares it with the module itself."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

import dyncc
from dyncc.runtime.program import Program
from dyncc.verification import compare, describe_edge

Arguments = tuple[Any, ...] | dict[str, Any]


def rows(count: int = 24, size: int = 4, seed: int = 0) -> list[tuple[Tensor]]:
    """Inputs of shape (1, size) whose means and magnitudes differ widely."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-1.5, 1.0, count)
    shift = torch.randn(count, generator=generator) * scale
    values = torch.randn(count, 1, size, generator=generator)
    return [(values[i] * scale[i] + shift[i],) for i in range(count)]


def check(
    module: nn.Module,
    inputs: Iterable[Arguments] | None = None,
    *,
    example: Arguments | None = None,
    untaken: int = 0,
) -> Program:
    """Compile `module` and compare it with itself on every input, which are to take every edge.

    Parameters
    ----------
    example
        What to compile for; by default the first input.
    untaken
        Number of edges that no input can take.
    """
    cases = list(rows() if inputs is None else inputs)
    program = dyncc.compile(module.eval(), example or cases[0], backend="eager")
    found = compare(module, program, cases)
    program.reset_state()
    args, kwargs = ((), cases[0]) if isinstance(cases[0], dict) else (cases[0], {})
    expected = copy.deepcopy(module)(*copy.deepcopy(args), **copy.deepcopy(kwargs))
    same_kinds(expected, program(*args, **kwargs))
    program.reset_state()
    missed = [describe_edge(program.hcfg, edge) for edge in found.untaken(program.hcfg)]
    assert len(missed) == untaken, missed
    return program


def same_kinds(expected: Any, found: Any) -> None:
    """Check that two results are made of containers and objects of the same kinds."""
    kind = type(expected).__name__
    if not isinstance(expected, nn.Parameter):
        assert type(found).__name__ == {"Size": "tuple", "OrderedDict": "dict"}.get(kind, kind)
    if isinstance(expected, dict):
        expected, found = list(expected.values()), list(found.values())
    elif dataclasses.is_dataclass(expected):
        expected, found = list(vars(expected).values()), list(vars(found).values())
    if isinstance(expected, tuple | list):
        for left, right in zip(expected, found, strict=True):
            same_kinds(left, right)


def network(forward: Callable[..., Any], **members: Any) -> nn.Module:
    """A module with a given forward and members."""
    kind = type("Network", (nn.Module,), {"forward": forward})
    module: nn.Module = kind()
    for name, member in members.items():
        if isinstance(member, Tensor) and not isinstance(member, nn.Parameter):
            module.register_buffer(name, member)
        else:
            setattr(module, name, member)
    return module


def linear(inner: int = 4, outer: int = 4, seed: int = 0) -> nn.Linear:
    """A linear layer with weights of its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(inner, outer)


def branches(program: Program) -> int:
    """How many blocks of a program end in a branch."""
    return sum(len(list(edges)) == 2 for edges in _edges(program).values())


def _edges(program: Program) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for block, way, _ in program.hcfg.edges():
        found.setdefault(block, []).append(way)
    return found
