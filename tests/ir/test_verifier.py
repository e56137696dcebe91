"""Each rule of the verifier finds the program that breaks it, and no other rule objects."""

from __future__ import annotations

import pytest

from dyncc.core.errors import ArtifactError, InternalError
from dyncc.ir.parser import parse
from dyncc.ir.verifier import verify

GOOD = """\
hcfg 1 "small"
input x = %x: f32[1,4]
input n = 3 optional
state "count" = %n0: int initial 0
state "w" = %w0: f32[4] initial none
weight "w" : f32[4]

region @r0 (%a: f32[1,4]) weights (%b: f32[4]) {
  %c: f32[1,4] = aten.add.Tensor(%a, %b, alpha=1)
  %d: f32[] = aten.sum.default(%c)
  yield (%c, %d)
}

block ^b0(%x: f32[1,4], %n0: int, %w0: f32[4]) {
  %y: f32[1,4], %s: f32[] = call @r0(%x) weights ("w")
  %t: float = item(%s)
  %p: bool = gt(%t, 0.5)
  branch %p then ^b1(%y, %n0) else ^b2() "x > 0"
}

block ^b1(%z: f32[1,4], %m: int) {
  %k: int = add(%m, 1)
  return tuple(%z, %k) set "count" = %k set "&x" = %z
}

block ^b2() {
  raise ValueError("no")
}
"""


def test_a_good_program_passes() -> None:
    verify(parse(GOOD))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("^b0(%x: f32[1,4], %n0: int,", "^b0(%n0: int, %x: f32[1,4],", "the entry's parameters"),
        ('state "w" =', 'state "v" =', "state 'v' has no initial value among the weights"),
        ("%k: int = add(%m, 1)", "%m: int = add(%m, 1)\n  %k: int = add(%m, 1)", "%m is defined"),
        ("  yield", "  %b: f32[] = aten.sum.default(%c)\n  yield", "%b is defined"),
        ("%c: f32[1,4] = aten.add.Tensor(%a, %b, alpha=1)\n", "", "%c is used before"),
        ("%t: float = item(%s)\n", "", "%t is used before"),
        ('set "count" = %k', 'set "count" = %n0', "%n0 is used"),
        ("call @r0(%x)", "call @r9(%x)", "it calls @r9, which does not exist"),
        ("call @r0(%x)", "call @r0(%x, %x)", "arguments: 2 given for 1"),
        ("call @r0(%x)", "call @r0(%w0)", "argument 0 is f32[4], not f32[1,4]"),
        ("%y: f32[1,4], %s: f32[] =", "%y: f32[1,4], %s: i64[] =", "result 1 is i64[]"),
        ('weights ("w")', 'weights ("v")', "there is no weight 'v'"),
        ('weights ("w")', "weights ()", "@r0 takes 1 weights, not 0"),
        ('weight "w" : f32[4]', 'weight "w" : f32[5]', "the weight 'w' is f32[5], not f32[4]"),
        (
            "%t: float = item(%s)",
            '%y2: f32[1,4], %s2: f32[] = call @r0(%x) weights ("w")\n  %t: float = item(%s)',
            "it calls 2 regions",
        ),
        ("%t: float = item(%s)", "%t: int = item(%s)", "item gives float"),
        ("%k: int = add(%m, 1)", "%k: int = plus(%m, 1)", "there is no host operation 'plus'"),
        ("%k: int = add(%m, 1)", "%k: int = add(%z, 1)", "add takes scalars"),
        ("then ^b1(%y, %n0)", "then ^b1(%y)", "^b1 arguments: 1 given for 2"),
        ("then ^b1(%y, %n0)", "then ^b1(%n0, %n0)", "^b1 argument 0 is int, not f32[1,4]"),
        ("else ^b2()", "else ^b7()", "it goes to ^b7, which does not exist"),
        ("branch %p", "branch %t", "it branches on a float"),
        ('set "count"', 'set "total"', "it updates the unknown state 'total'"),
        ('set "&x"', 'set "&y"', "it updates the unknown state '&y'"),
        ("raise ValueError", "raise Trouble", "it raises Trouble, which is no builtin exception"),
        ("else ^b2()", "else ^b1(%y, %n0)", "^b2 is never reached"),
    ],
)
def test_each_rule(old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1 or old.startswith("state")
    with pytest.raises((InternalError, ArtifactError)) as caught:
        verify(parse(GOOD.replace(old, new, 1)))
    assert message in str(caught.value)
