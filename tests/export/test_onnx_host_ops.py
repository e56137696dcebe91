"""Host operations in ONNX give what Python gives, or fail where it raises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from export.exported import quiet
from export.onnx_models import Session
from export.test_host_ops import NUMBERS, OPS
from passes.test_meaning import exact

from dyncc.backends.eager import EagerRegions
from dyncc.core.errors import UnsupportedError
from dyncc.export.onnx.model import whole_model
from dyncc.ir.parser import parse
from dyncc.runtime.hostlist import HostList
from dyncc.runtime.onnx_library import FAILURES
from dyncc.runtime.program import Program

#: Operations of which ONNX Runtime would give another number, or none; some of certain operands.
REFUSED = {
    "add", "pow", "lshift", "rshift", "invert", "int.bit_length", "floordiv", "mod", "round",
    "math.exp", "math.log", "math.log1p", "math.log2", "math.tanh", "math.sin", "math.acos",
    "math.atan2", "math.fmod", "math.copysign", "math.pow", "math.cosh", "math.erf",
    "math.degrees", "math.radians", "math.isclose",
}  # fmt: skip
#: What `OPS` takes.
ARGUMENTS = ("%i: int", "%j: int", "%x: float", "%y: float", "%b: bool")


def program_of(body: str, *arguments: str) -> str:
    """A program of one block."""
    inputs = [f"input {text.partition(':')[0][1:]} = {text}" for text in arguments]
    head = f"block ^b({', '.join(arguments)}) {{"
    return "\n".join(['hcfg 1 "Ops"', *inputs, "", head, body, "}", ""])


def compare(text: str, calls: list[tuple[Any, ...]], folder: Path) -> set[str]:
    """Run a program in both; the results that need more than 64 bits may fail."""
    hcfg = parse(text)
    made = whole_model(hcfg, lambda *_: onnx.TensorProto(), quiet)
    file = folder / "ops.onnx"
    file.write_bytes(made.SerializeToString())
    session = Session(file)
    program = Program(hcfg, EagerRegions(hcfg), {}, {})
    ends = set()
    for arguments in calls:
        what = f"{text} of {arguments}"
        try:
            expected: Any = program(*arguments)
        except (ArithmeticError, LookupError, ValueError, RecursionError) as error:
            expected = error
        try:
            (found,) = session(*arguments)
        except FAILURES as error:
            assert isinstance(expected, Exception) or "OverflowError" in str(error), what
            ends.add("failed")
            continue
        assert not isinstance(expected, Exception), what
        if isinstance(expected, list | HostList):
            assert [exact(item) for item in found.tolist()] == [exact(item) for item in expected]
        else:
            assert exact(found.item()) == exact(expected), what
        ends.add("returned")
    return ends


@pytest.mark.parametrize("kind", OPS)
def test_numbers(kind: str, tmp_path: Path) -> None:
    refused = set()
    calls = [(*numbers, turn % 2 == 0) for turn, numbers in enumerate(NUMBERS)]
    for op in OPS[kind]:
        text = program_of(f"  %r: {kind} = {op}\n  return %r", *ARGUMENTS)
        try:
            assert "returned" in compare(text, calls, tmp_path)
        except UnsupportedError as refusal:
            assert {problem.code for problem in refusal.diagnostics} <= {"DY911", "DY913"}
            refused.add(op.partition("(")[0])
    assert refused <= REFUSED or kind == "str"
    assert len(refused) < len(OPS[kind]) or kind == "str"


@pytest.mark.parametrize(
    "op",
    [
        "list.append(%l, %i)", "list.concat(%l, %l)", "list.set(%l, %i, 7)", "list.reverse(%l)",
        "list.slice(%l, %i, none, 1)", "list.slice(%l, none, %i, 2)", "list.slice(%l, 1, %i, -1)",
        "list.slice(%l, %i, none, -2)", "list.len(%l)", "list.get(%l, %i)", "list.sum(%l)",
        "list.min(%l)", "list.max(%l)", "list.contains(%l, %i)", "list.pop(%l, %i)",
        "list.push(%l, %i)", "list.insert(%l, %i, 3)",
    ],
)  # fmt: skip
def test_lists(op: str, tmp_path: Path) -> None:
    name = op.partition("(")[0]
    numbers = {"list.len", "list.get", "list.sum", "list.min", "list.max"}
    kind = "int" if name in numbers else "bool" if name == "list.contains" else "list<int>"
    left = f"%r: {kind}, %q: int" if name == "list.pop" else f"%r: {kind}"
    result = "each(%r)" if kind == "list<int>" else "%r"
    for length in range(4):
        items = ", ".join(str(3 - item) for item in range(length))
        body = f"  %l: list<int> = list.of({items})\n  {left} = {op}\n  return {result}"
        calls = [(index,) for index in range(-5, 6)]
        if op in ("list.insert(%l, %i, 3)", "list.slice(%l, %i, none, -2)"):
            with pytest.raises(UnsupportedError, match=f"DY913 the operation {name}"):
                compare(program_of(body, "%i: int"), calls, tmp_path)
        else:
            compare(program_of(body, "%i: int"), calls, tmp_path)
