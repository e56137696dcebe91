"""Host operations in C++ give what Python gives, exceptions included."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy
from export.exported import agree, ask, export, tensor, written

from dyncc.runtime.program import Program

#: Operations on arguments i, j (int), x, y (float) and b (bool), by their result types.
OPS = {
    "int": [
        "add(%i, %j)", "sub(%i, %j)", "mul(%i, %j)", "floordiv(%i, %j)", "mod(%i, %j)", "neg(%i)",
        "abs(%i)", "pow(%i, 3)", "lshift(%i, %j)", "rshift(%i, %j)", "and(%i, %j)", "or(%i, %j)",
        "xor(%i, %j)", "invert(%i)", "min(%i, %j)", "max(%i, %j, 3)", "int(%x)", "math.floor(%x)",
        "math.ceil(%x)", "math.trunc(%x)", "round(%x)", "position(%i, %j)", "range.len(%i, %j, 2)",
        "range.len(%j, %i, -3)", "int.bit_length(%i)", "add(%b, %i)", "int(%b)", "pos(%b)",
    ],
    "float": [
        "add(%x, %y)", "sub(%x, %i)", "mul(%x, %y)", "truediv(%i, %j)", "truediv(%x, %y)",
        "floordiv(%x, %y)", "mod(%x, %y)", "pow(%x, %y)", "pow(%i, -2)", "neg(%x)", "abs(%x)",
        "min(%x, %y)", "max(%x, %y)", "float(%i)", "round(%x, 2)", "math.sqrt(%x)", "math.exp(%x)",
        "math.log(%x)", "math.log(%i)", "math.log1p(%x)", "math.log2(%x)", "math.tanh(%x)",
        "math.sin(%x)", "math.acos(%x)", "math.atan2(%x, %y)", "math.fmod(%x, %y)",
        "math.copysign(%x, %y)", "math.pow(%x, %y)", "math.cosh(%x)", "math.erf(%x)",
        "math.degrees(%x)", "math.radians(%x)",
    ],
    "bool": [
        "eq(%i, %x)", "ne(%x, %y)", "lt(%i, %x)", "le(%i, %j)", "gt(%x, %i)", "ge(%b, %i)",
        "not(%i)", "bool(%x)", "and(%b, true)", "math.isnan(%x)", "math.isfinite(%x)",
        "math.isclose(%x, %y)",
    ],
    "str": [
        "str(%x)", "repr(%i)", "str(%b)", 'format(%x, "", ".3f")', 'format(%x, "", ".2e")',
        'format(%x, "", ".1%")', 'format(%i, "", "d")', 'format(%x, "r", "")',
        'str.concat("a\\"b", "\\u00e9?")',
    ],
}  # fmt: skip
_LARGE = 2**63 - 1
NUMBERS = [
    (7, 3, 2.5, -1.25), (-7, 3, -2.5, 1.25), (7, -3, 0.5, 3.0), (-7, -3, -0.5, -3.0),
    (0, 5, 0.0, 2.0), (5, 0, 1.0, 0.0), (_LARGE, 2, 1e300, 1e10), (-_LARGE - 1, -1, -1e300, 0.5),
    (2**53 + 1, 1, 2.0**53, 1e-320), (1, 62, math.inf, 2.0), (-1, 63, -math.inf, -2.0),
    (3, 64, math.nan, 1.0), (2, -2, 1.0, math.nan), (10, 4, 0.1 + 0.2, 1e16), (-3, 7, 1e22, 1e-5),
    (3, 3, 123456789012345680.0, -0.0), (1, 1, -0.0, 0.0), (4, 9, 1.5, 1.5), (4, 9, 2.675, 1 / 3),
    (-2, 2, 1e15, 0.3), (6, 2, 700.0, 800.0), (6, 2, 710.5, -0.1),
]  # fmt: skip


def dispatcher() -> tuple[str, list[str]]:
    """A program that carries out the operation whose number is its first argument."""
    ops = [(kind, op) for kind, texts in OPS.items() for op in texts]
    names = ("i: int", "j: int", "x: float", "y: float", "b: bool")
    kinds = ["int", *(name.partition(": ")[2] for name in names)]
    lines = ['hcfg 1 "HostOps"']
    lines += [f"input a{k} = %e{k}: {kind}" for k, kind in enumerate(kinds)]

    def params(prefix: str) -> str:
        return ", ".join(f"%{prefix}{k}: {kind}" for k, kind in enumerate(kinds))

    def handed(prefix: str) -> str:
        return ", ".join(f"%{prefix}{k}" for k in range(len(kinds)))

    lines += ["", f"block ^start({params('e')}) {{", f"  jump ^t0({handed('e')})", "}"]
    for number, (kind, op) in enumerate(ops):
        used = op
        for position, letter in enumerate("ijxyb", 1):
            used = used.replace(f"%{letter}", f"%u{number}_{position}")
        mine = handed(f"t{number}_")
        rest = f"^t{number + 1}({mine})" if number + 1 < len(ops) else "^none()"
        lines += [
            "",
            f"block ^t{number}({params(f't{number}_')}) {{",
            f"  %c{number}: bool = eq(%t{number}_0, {number})",
            f'  branch %c{number} then ^d{number}({mine}) else {rest} ""',
            "}",
            "",
            f"block ^d{number}({params(f'u{number}_')}) {{",
            f"  %r{number}: {kind} = {used}",
            f"  return %r{number}",
            "}",
        ]
    lines += ["", "block ^none() {", '  raise LookupError("no such", 7)', "}"]
    return "\n".join(lines) + "\n", [op for _, op in ops]


def outcome(program: Program, arguments: list[Any]) -> Any:
    try:
        return program(*arguments)
    except (ArithmeticError, LookupError, ValueError) as error:
        return error


#: Where a library refuses what Python can do: results of more than 64 bits, and complex ones.
_REFUSED = ("OverflowError: an integer has more", "ValueError: the power is complex")


def test_numbers(tmp_path: Path) -> None:
    text, ops = dispatcher()
    program = written(tmp_path / "ops.dyncc", text)
    library = export(tmp_path / "ops.dyncc")
    calls = [
        [number, *numbers, number % 2 == 0] for number in range(len(ops) + 1) for numbers in NUMBERS
    ]
    _, *answers = ask(library, [{"run": arguments} for arguments in calls])
    refused = set()
    for arguments, answer in zip(calls, answers, strict=True):
        expected = outcome(program, arguments)
        what = f"{[*ops, 'none'][arguments[0]]} of {arguments}: {answer}, {expected!r}"
        if answer["code"] and answer["error"].startswith(_REFUSED):
            too_large = isinstance(expected, int) and not -(2**63) <= expected < 2**63
            assert too_large or isinstance(expected, complex | float | OverflowError), what
            refused.add(ops[arguments[0]].partition("(")[0])
        elif isinstance(expected, Exception):
            assert answer["code"] == 2, what
            assert answer["error"] == f"{type(expected).__name__}: {expected}", what
        else:
            assert answer["code"] == 0, what
            agree(answer["value"], expected)
    assert {"add", "mul", "pow", "lshift", "neg", "truediv"} <= refused


LISTS = """\
hcfg 1 "Lists"
input n = %n: int
input k = %k: int
input t = %t: f32[2,3]
input v = %v: i64[4]

block ^start(%n: int, %k: int, %t: f32[2,3], %v: i64[4]) {
  %e: list<int> = list.of()
  %s: list<f32[2,3]> = list.of(%t)
  jump ^head(%e, %s, %n, %k, %t, %v)
}

block ^head(%a: list<int>, %b: list<f32[2,3]>, %n1: int, %k1: int, %t1: f32[2,3], %v1: i64[4]) {
  %l: int = list.len(%a)
  %c: bool = lt(%l, %n1)
  branch %c then ^body(%a, %b, %n1, %k1, %t1, %v1) else ^end(%a, %b, %k1, %v1) "loop"
}

block ^body(%a2: list<int>, %b2: list<f32[2,3]>, %n2: int, %k2: int, %t2: f32[2,3], %v2: i64[4]) {
  %l2: int = list.len(%a2)
  %q: int = mul(%l2, %l2)
  %a3: list<int> = list.append(%a2, %q)
  %b3: list<f32[2,3]> = list.append(%b2, %t2)
  jump ^head(%a3, %b3, %n2, %k2, %t2, %v2)
}

block ^end(%f: list<int>, %g: list<f32[2,3]>, %k3: int, %v3: i64[4]) {
  %w: list<int> = tensor.list(%v3)
  %h: list<int> = list.concat(%f, %w)
  %g1: int = list.get(%h, %k3)
  %h1: list<int> = list.set(%h, 1, %k3)
  %h2: list<int> = list.slice(%h1, %k3, none, -1)
  %h3: list<int> = list.insert(%h2, %k3, 77)
  %h4: list<int> = list.reverse(%h3)
  %h5: list<int>, %p: int = list.pop(%h4, 0)
  %m: int = list.max(%h)
  %i: int = list.sum(%h5)
  %o: bool = list.contains(%f, %k3)
  %x: f32[u0,2,3] = list.stack(%g, 0)
  %y: f32[2,u1] = list.cat(%g, 1)
  %z: f32[2,u2,3] = list.stack(%g, -2)
  %d: int = dim(%y, -1)
  %r: f32[] = tensor(%k3, dtype:f32)
  %u: i32[u3] = list.tensor(%h5, dtype:i32)
  return {"all": each(%h), "rows": each(tuple(%h, %h)), "one": %g1, "rest": each(%h5), "p": %p, "m": %m, "sum": %i, "in": %o, "x": %x, "y": %y, "z": %z, "d": %d, "r": %r, "u": %u, "none": none}
}
"""  # noqa: E501


def test_lists_and_tensors(tmp_path: Path) -> None:
    program = written(tmp_path / "lists.dyncc", LISTS)
    library = export(tmp_path / "lists.dyncc")
    array = numpy.arange(6, dtype="float32").reshape(2, 3)
    ints = numpy.array([5, -1, 2**40, 9])
    calls = [(n, k) for n in (0, 1, 5) for k in (-9, -3, 0, 2, 3, 8)]
    small = numpy.array([5, -1, 40, 9])
    steps = [(n, k, array, which) for n, k in calls for which in (small, ints)]
    _, *answers = ask(library, [{"run": [n, k, tensor(t), tensor(v)]} for n, k, t, v in steps])
    codes = set()
    for arguments, answer in zip(steps, answers, strict=True):
        expected = outcome(program, list(arguments))
        codes.add(answer["code"])
        if isinstance(expected, Exception):
            assert answer["code"] == 2, (answer, expected)
            assert answer["error"].startswith(type(expected).__name__)
        else:
            assert answer["code"] == 0, (answer, expected)
            agree(answer["value"], expected)
    assert codes == {0, 2}


STATE = """\
hcfg 1 "State"
input x = %x: f32[3]
state "sum" = %s: f32[3] initial none
state "calls" = %c: int initial 0
weight "sum" : f32[3]

block ^start(%x: f32[3], %s: f32[3], %c: int) {
  %d: int = add(%c, 1)
  %t: str = str(%d)
  print("seen\\n")
  return tuple(%d, %x, %t) set "sum" = %x set "calls" = %d set "&x" = %s
}
"""


def test_state_is_kept_reset_and_apart_from_arguments(tmp_path: Path) -> None:
    weights = {"sum": numpy.array([7, 8, 9], "float32")}
    program = written(tmp_path / "state.dyncc", STATE, weights)
    library = export(tmp_path / "state.dyncc")
    arrays = [numpy.full(3, value, "float32") for value in (1, 2, 3)]
    steps = [{"run": [tensor(array)]} for array in arrays]
    steps[1:1] = [{"run": [tensor(arrays[0], strided=True)]}]
    _, *answers, reset, last = ask(library, [*steps, {"reset": True}, steps[0]])
    program.reset_state()
    for array, answer in zip([arrays[0], *arrays], answers, strict=True):
        given = array.copy()
        number, same, text = program(given)
        agree(answer["value"], (number, array, text))
        assert answer["arguments"] == [given.tolist()]
        assert same is not given or same.tolist() == given.tolist()
    assert reset == {"code": 0}
    assert last == answers[0]


def test_scalars_are_checked(tmp_path: Path) -> None:
    text = 'hcfg 1 "One"\ninput x = %x: float\n\nblock ^b(%x: float) {\n  return %x\n}\n'
    written(tmp_path / "one.dyncc", text)
    _, *answers = ask(export(tmp_path / "one.dyncc"), [{"run": [v]} for v in (1, 0.5, True)])
    agree(answers[0]["value"], 1.0)
    agree(answers[1]["value"], 0.5)
    assert answers[2] == {"code": 1, "error": "x: expected a float"}
