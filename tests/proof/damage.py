"""Artifacts that are broken on purpose, with hashes that are right again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

from dyncc.core.errors import InternalError
from dyncc.ir.hcfg import Block, Branch, Hcfg, HostOp, Jump, Value, map_jumps
from dyncc.ir.parser import parse
from dyncc.ir.text import to_text
from dyncc.ir.types import BOOL
from dyncc.ir.verifier import verify
from dyncc.runtime.artifact import MANIFEST, PROGRAM, WEIGHTS, seal


def is_well_formed(program: Hcfg) -> bool:
    """Whether the verifier of the HCFG lets a program pass."""
    try:
        verify(program)
    except InternalError:
        return False
    return True


def change_program(artifact: Path, change: Callable[[Hcfg], Hcfg]) -> None:
    """Replace the program of an artifact."""
    file = artifact / PROGRAM
    file.write_text(to_text(change(parse(file.read_text()))))
    _seal(artifact)


def change_weight(artifact: Path, name: str, index: tuple[int, ...], by: float) -> None:
    """Add to one element of one weight."""
    weights = {key: numpy.array(value) for key, value in load_file(artifact / WEIGHTS).items()}
    weights[name][index] += by
    save_file(weights, artifact / WEIGHTS)
    _seal(artifact)


def _seal(artifact: Path) -> None:
    manifest = json.loads((artifact / MANIFEST).read_text())
    del manifest["files"]
    (artifact / MANIFEST).unlink()
    seal(artifact, manifest)


def _blocks(program: Hcfg, **changed: Block) -> Hcfg:
    return replace(program, blocks={**program.blocks, **changed})


def swap_edge(program: Hcfg, name: str) -> Hcfg:
    """Exchange the two ways of a branch whose targets take values of equal types."""
    block = program.blocks[name]
    branch = block.terminator
    assert isinstance(branch, Branch)
    new = replace(branch, then=branch.orelse, orelse=branch.then)
    return _blocks(program, **{name: replace(block, terminator=new)})


def negate(program: Hcfg, name: str) -> Hcfg:
    """Let a branch test the opposite of its condition."""
    block = program.blocks[name]
    branch = block.terminator
    assert isinstance(branch, Branch)
    opposite = Value("opposite", BOOL)
    new = replace(
        block,
        ops=(*block.ops, HostOp("not", (branch.condition,), (opposite,))),
        terminator=replace(branch, condition=opposite),
    )
    return _blocks(program, **{name: new})


def exchange(program: Hcfg, name: str, first: int, second: int) -> Hcfg:
    """Exchange two arguments on every edge into a block."""

    def change(jump: Jump) -> Jump:
        if jump.target != name:
            return jump
        args = list(jump.args)
        args[first], args[second] = args[second], args[first]
        return Jump(jump.target, tuple(args))

    blocks = {
        key: replace(block, terminator=map_jumps(block.terminator, change))
        for key, block in program.blocks.items()
    }
    return replace(program, blocks=blocks)
