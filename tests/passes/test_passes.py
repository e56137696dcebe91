"""Passes keep the meaning of a program and do what they are for."""

from __future__ import annotations

from importlib import import_module
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from ir.programs import programs

from dyncc.backends.eager import EagerRegions
from dyncc.frontend import capture
from dyncc.ir.hcfg import Hcfg
from dyncc.ir.parser import parse
from dyncc.ir.text import to_text
from dyncc.ir.verifier import verify
from dyncc.passes import PASSES, run_passes, stages
from dyncc.passes.drop_dead_values import drop_dead_values
from dyncc.passes.forward_jumps import forward_jumps
from dyncc.passes.merge_blocks import merge_blocks
from dyncc.runtime.program import Program
from dyncc.verification import compare
from dyncc_models import NETWORKS


@given(programs())
@settings(max_examples=100)
def test_passes_keep_the_rules_and_have_nothing_left_to_do_when_repeated(program: Hcfg) -> None:
    for run in PASSES:
        after = run(program)
        verify(after)
        assert run(after) == after
        assert run_passes(program).signature == program.signature


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_mean_the_same_before_and_after(name: str) -> None:
    model = import_module(f"dyncc_models.{name}")
    network = model.build()
    captured = capture(network, model.example_inputs(), {}, name)
    weights = {key: tensor.numpy() for key, tensor in captured.weights.items()}
    programs = captured.program, run_passes(captured.program)
    for hcfg in programs:
        with torch.no_grad():
            program = Program(hcfg, EagerRegions(hcfg), weights, {})
            assert compare(network, program, model.coverage_inputs(), 0, 0).max_abs_error == 0
    # The one new block is before a loop that maps an image to the same in all its turns.
    new = programs[1].blocks.keys() - programs[0].blocks.keys()
    assert len(new) == (name == "dycl.captioning_attention")


def test_empty_blocks_are_bypassed_but_empty_loops_stay() -> None:
    program = parse(
        """\
hcfg 1 "p"
input n = %n: int
block ^b0(%n: int) {
  %p: bool = gt(%n, 0)
  branch %p then ^b1(%n, %p) else ^b3() ""
}
block ^b1(%a: int, %b: bool) {
  jump ^b2(%b, %a)
}
block ^b2(%c: bool, %d: int) {
  return %d
}
block ^b3() {
  jump ^b3()
}
"""
    )
    text = to_text(forward_jumps(program))
    assert "^b1" not in text
    assert "branch %p then ^b2(%p, %n) else ^b3()" in text
    assert "jump ^b3()" in text


def test_dead_values_go_around_loops_but_what_may_raise_stays() -> None:
    program = parse(
        """\
hcfg 1 "p"
input n = %n: int
block ^b0(%n: int) {
  %zero: int = const(0)
  jump ^b1(%n, %zero, %n)
}
block ^b1(%i: int, %dead: int, %also: int) {
  %more: int = add(%dead, %also)
  %raises: int = floordiv(%i, %n2)
  %j: int = sub(%i, 1)
  %p: bool = gt(%j, 0)
  branch %p then ^b1(%j, %more, %also) else ^b2(%j) ""
}
block ^b2(%k: int) {
  return %k
}
""".replace("%n2", "%also")
    )
    text = to_text(drop_dead_values(program))
    assert "%dead" not in text
    assert "%more" not in text
    assert "%zero" not in text
    assert "%raises: int = floordiv(%i, %also)" in text
    assert "then ^b1(%j, %also)" in text


def test_chains_are_merged_up_to_one_region_call() -> None:
    program = parse(
        """\
hcfg 1 "p"
input x = %x: f32[4]
region @r0 (%a: f32[4]) weights () {
  %b: f32[4] = aten.neg.default(%a)
  yield (%b)
}
block ^b0(%x: f32[4]) {
  %one: int = const(1)
  jump ^b1(%x, %one)
}
block ^b1(%y: f32[4], %n: int) {
  %z: f32[4] = call @r0(%y) weights ()
  jump ^b2(%z, %n)
}
block ^b2(%p: f32[4], %m: int) {
  %k: int = add(%m, 1)
  jump ^b3(%p, %k)
}
block ^b3(%q: f32[4], %j: int) {
  %w: f32[4] = call @r0(%q) weights ()
  return tuple(%w, %j)
}
"""
    )
    after = merge_blocks(program)
    verify(after)
    assert list(after.blocks) == ["b0", "b3"]
    text = to_text(after)
    assert "%z: f32[4] = call @r0(%x)" in text
    assert "%k: int = add(%one, 1)\n  jump ^b3(%z, %k)" in text


def test_a_constant_on_both_sides_is_not_moved_to_and_fro() -> None:
    program = parse(
        """\
hcfg 1 "p"
input n = %n: int
block ^b0(%n: int) {
  %p: bool = gt(%n, 0)
  branch %p then ^b1() else ^b2(%n) ""
}
block ^b1() {
  %a: int = const(1)
  jump ^b3(%a, %a)
}
block ^b2(%m: int) {
  %b: int = const(1)
  %c: int = add(%m, 1)
  jump ^b3(%b, %c)
}
block ^b3(%d: int, %e: int) {
  %s: int = add(%d, %e)
  %q: bool = lt(%s, 10)
  branch %q then ^b3(%s, %e) else ^b4(%s) ""
}
block ^b4(%f: int) {
  return %f
}
"""
    )
    assert len(list(islice(stages(program), 20))) < 20
