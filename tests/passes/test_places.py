"""Places stay true while passes change a program, so that `dyncc verify` still sees all of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from frontend.differential import network
from torch import Tensor, nn

from dyncc.backends.eager import EagerRegions
from dyncc.core.errors import MismatchError
from dyncc.frontend import capture
from dyncc.ir.hcfg import Block, BlockOp, Branch, Hcfg, HostOp, reachable
from dyncc.ir.places import Either, Places, Stand, idle
from dyncc.ir.settling import settle
from dyncc.passes import stages
from dyncc.proof import prove
from dyncc.runtime.program import Program


def settled(
    module: nn.Module, example: Tensor, damage: Callable[[Hcfg], Hcfg] | None = None
) -> Program:
    """A network after all passes, before which its program may be damaged."""
    captured = capture(module, (example,), {}, "net")
    program, places = captured.program, captured.places
    if damage is not None:
        program = damage(program)
    for _, after in stages(program):
        program, places = after, settle(places, program, after)
    weights = {name: captured.weights[name].numpy() for name in program.weights}
    return Program(program, EagerRegions(program), weights, {}, places)


def sides(self: Any, x: Tensor) -> Tensor:
    if x.sum() > 0:
        y = x * 2
    else:
        y = x * 3
    return y + 1


def no_difference(self: Any, x: Tensor) -> Tensor:
    for _ in range(3):
        if x.sum() > 0:
            y = x.abs() * 2
        else:
            y = x.abs() * 2
        x = y - 1
    return x


def passed_of(program: Program) -> list[Any]:
    """Everything that is passed, in blocks and on edges."""
    places = program.places
    every = [*(point.passed for point in places.blocks.values()), *places.edges.values()]
    return [item for passed in every for item in passed]


def test_a_branch_without_a_difference_goes_and_is_still_led_both_ways() -> None:
    program = settled(network(no_difference), torch.ones(4))
    ends = [block.terminator for block in program.hcfg.blocks.values()]
    assert [end.text for end in ends if isinstance(end, Branch)] == ["for _ in range(3)"]
    (decision,) = idle(program.places)
    assert decision[3] == "x.sum() > 0"
    proof = prove(network(no_difference), program, [(torch.ones(4),)])
    assert proof.complete


def test_a_wrong_claim_of_no_difference_is_caught() -> None:
    def one_side(program: Hcfg) -> Hcfg:
        def lead(block: Block) -> Block:
            end = block.terminator
            if isinstance(end, Branch):
                return replace(block, terminator=replace(end, orelse=end.then))
            return block

        blocks = {name: lead(block) for name, block in program.blocks.items()}
        reached = reachable(blocks)
        return replace(program, blocks={name: blocks[name] for name in blocks if name in reached})

    module = network(sides)
    program = settled(module, torch.ones(4), one_side)
    assert idle(program.places)
    # The one input takes the side that is right.
    with pytest.raises(MismatchError):
        prove(module, program, [(torch.ones(4),)])


def test_places_are_what_their_json_says() -> None:
    program = settled(network(no_difference), torch.ones(4))
    assert any(isinstance(item, Either) for item in passed_of(program))
    text = json.dumps(program.places.to_json())
    assert Places.from_json(json.loads(text)) == program.places


def mapped_anew(self: Any, x: Tensor) -> Tensor:
    h = torch.zeros(64)
    while h.sum() < 100:
        h = h + self.layer(x).abs().sum(0) + 1
    return h


def test_what_is_before_a_loop_is_compared_as_its_first_turn_was() -> None:
    module = network(mapped_anew, layer=nn.Linear(64, 64))
    example = torch.ones(64, 64)
    program = settled(module, example)
    (new,) = (block for name, block in program.hcfg.blocks.items() if name.endswith(".0"))
    (head,) = (
        block for block in program.hcfg.blocks.values() if isinstance(block.terminator, Branch)
    )
    assert new.loc == head.loc
    assert program.places.blocks[new.name].functions == program.places.blocks[head.name].functions
    assert [program.places.values[param.name][1] for param in new.params] == ["h", "x"]
    proof = prove(module, program, [(example,), (-example,)])
    assert proof.complete
    assert proof.forced.turns == {head.name: {0, 1, 3}}


def twice(self: Any, x: Tensor) -> Tensor:
    h = torch.zeros(64)
    while h.sum() < 100:
        y = self.layer(x)
        if h.sum() > 50:
            h = h + 1
        h = h + self.layer(y).abs().sum(0) + 1
    return h


def test_all_blocks_before_a_loop_are_compared() -> None:
    module = network(twice, layer=nn.Linear(64, 64))
    example = torch.ones(64, 64)
    program = settled(module, example)
    new = [block for name, block in program.hcfg.blocks.items() if "." in name]
    assert len(new) == 2
    for block in new:
        assert program.places.blocks[block.name].functions
        assert "h" in [program.places.values.get(p.name, (0, ""))[1] for p in block.params]
    assert prove(module, program, [(example,)]).complete


def counted(self: Any, x: Tensor) -> Tensor:
    h = torch.zeros(64)
    step = 0
    while h.sum() < 100:
        h = h + self.layer(x).abs().sum(0) + 1
        if step > 3:
            h = h * 2
        step = step + 1
    return h


def same_twice(self: Any, x: Tensor) -> Tensor:
    n = int(x.abs().sum())
    m = n
    k = n + 1
    while x.sum() < 10:
        x = x.abs() + 1 + n
        x = x + m * k
    return x


def wrongly(module: nn.Module, example: Tensor, wrong: Callable[[Hcfg, Hcfg], Hcfg]) -> Program:
    """A network after passes up to one that goes wrong, which makes of each program what it may."""
    captured = capture(module, (example,), {}, "net")
    program, places = captured.program, captured.places
    for _, after in stages(program):
        made = wrong(program, after)
        program, places = made, settle(places, program, made)
        if made != after:
            break
    else:
        raise AssertionError("no pass went wrong")
    weights = {name: captured.weights[name].numpy() for name in program.weights}
    return Program(program, EagerRegions(program), weights, {}, places)


def with_ops(program: Hcfg, name: str, change: Callable[[BlockOp], BlockOp]) -> Hcfg:
    """A program with other operations in one block."""
    block = program.blocks[name]
    ops = tuple(map(change, block.ops))
    return replace(program, blocks={**program.blocks, name: replace(block, ops=ops)})


def test_what_a_pass_took_for_a_constant_is_compared() -> None:
    module, example = network(counted, layer=nn.Linear(64, 64)), torch.ones(64, 64)
    program = settled(module, example)
    ((name, (stand,)),) = program.places.stands.items()
    assert (stand.path, stand.literal, stand.param) == ((0, "step"), 0, None)
    assert prove(module, program, [(example,)]).complete

    def another_constant(before: Hcfg, after: Hcfg) -> Hcfg:
        if name not in before.blocks or before.blocks[name].params == after.blocks[name].params:
            return after
        return with_ops(
            after,
            name,
            lambda op: replace(op, args=(1,)) if isinstance(op, HostOp) and op.args == (0,) else op,
        )

    with pytest.raises(MismatchError, match=r"variable step: expected 0, got 1; .* to be 1"):
        prove(module, wrongly(module, example, another_constant), [(example,)])


def test_what_a_pass_took_for_a_duplicate_is_compared() -> None:
    module, example = network(same_twice), torch.ones(4)
    program = settled(module, example)
    ((name, (stand,)),) = program.places.stands.items()
    params = program.hcfg.blocks[name].params
    variables = {program.places.values[param.name]: param for param in params}
    left = next(path for path, param in variables.items() if param.name == stand.param)
    assert {stand.path, left} == {(0, "n"), (0, "m")}
    assert prove(module, program, [(example,)]).complete
    gone, other = stand.path, variables[0, "k"]

    def another_value(before: Hcfg, after: Hcfg) -> Hcfg:
        captured = capture(module, (example,), {}, "net").places
        ours = [v for v in before.blocks[name].params if captured.values.get(v.name) == gone]
        if not ours or ours[0] in after.blocks[name].params:
            return after
        used = {op.results for op in before.blocks[name].ops if ours[0] in op.args}

        def change(op: BlockOp) -> BlockOp:
            args = tuple(other if arg == variables[left] else arg for arg in op.args)
            return replace(op, args=args) if op.results in used else op

        return with_ops(after, name, change)

    with pytest.raises(MismatchError, match=rf"variable {gone[1]}: .* to be %{other.name}"):
        prove(module, wrongly(module, example, another_value), [(example,)])


def test_stands_are_what_their_json_says() -> None:
    literals = (True, 3, -0.0, math.inf, 2 - 1j, "a", "1")
    stands = (*(Stand((0, "n"), literal) for literal in literals), Stand((1, "m", 0), param="v3"))
    places = Places(stands={"b1": stands})
    assert repr(Places.from_json(json.loads(json.dumps(places.to_json())))) == repr(places)
