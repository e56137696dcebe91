"""ONNX models of small networks: constructs, names, refusals, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
import torch
from export.exported import quiet, written
from export.onnx_models import Session, agree, export, parts, result_tree
from torch import Tensor, nn

import dyncc
from dyncc.cli import main
from dyncc.core.errors import ConfigError, ToolError, UnsupportedError
from dyncc.export import onnx as exporting
from dyncc.runtime import artifact

STEPS = [torch.full((3,), value) for value in (-4.0, -1.0, -0.3, 0.0, 0.2, 0.7, 1.0, 2.0, 9.0)]


def while_else(self: nn.Module, x: Tensor) -> tuple[Tensor, int]:
    count = 0
    while count < 5:
        x = x * 0.5 + 0.1
        if x.sum() > 2.0:
            break
        count += 1
    else:
        x = x - 10.0
    return x, count


def nested_breaks(self: nn.Module, x: Tensor) -> dict[str, Any]:
    total = 0
    while x.sum() < 6.0:
        inner = 0
        while True:
            x = x + 0.25
            inner += 1
            if x[0] > 1.5:
                break
            if inner > 3:
                total += 100
                break
            if x[1] < -3.0:
                return {"x": x, "total": total, "ended": True}
        total += inner
        if total > 7:
            break
    return {"x": x, "total": total, "ended": False}


def skips(self: nn.Module, x: Tensor) -> tuple[Tensor, tuple[float, bool]]:
    count = 0
    for _ in range(4):
        if x.mean() > 0.5:
            x = x - 0.75
            continue
        if x.mean() < -2.0:
            x = x * -1.0
            continue
        x = x + 0.3
        count += 1
    return x, (count / 4, count > 2)


def grown(self: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    kept = [x]
    while x.sum() < 5.0:
        x = x + 1.0
        kept.append(x)
    return torch.stack(kept).mean(0), kept


def raises(self: nn.Module, x: Tensor) -> Tensor:
    if x.sum() > 3.0:
        raise ValueError("too much")
    while x.sum() > 0.0:
        x = x - 1.0
        if x[0] == 0.0:
            raise LookupError("zero")
    return x


def compiled(forward: Callable[..., Any], folder: Path, *examples: Any, **how: Any) -> Path:
    class Network(nn.Module):
        pass

    Network.forward = forward
    path = folder / "network.dyncc"
    dyncc.compile(Network(), examples or (STEPS[0],), output=path, backend="eager", **how)
    return path


@pytest.mark.parametrize("forward", [while_else, nested_breaks, skips, grown, raises])
@pytest.mark.parametrize("level", ["ORT_ENABLE_ALL", "ORT_DISABLE_ALL"])
def test_control_flow(forward: Callable[..., Any], level: str, tmp_path: Path) -> None:
    path = compiled(forward, tmp_path)
    program = dyncc.load(path)
    session = Session(export(path), level)
    ends = set()
    for x in STEPS:
        try:
            expected = program(x)
        except (ValueError, LookupError) as error:
            with pytest.raises(Exception, match=f"{type(error).__name__}: {error.args[0]}"):
                session(x)
            ends.add(type(error).__name__)
            continue
        agree(session(x), list(parts(result_tree(program), expected)), tolerance=1e-6)
    assert ends == ({"ValueError", "LookupError"} if forward is raises else set())


def numbers(self: nn.Module, n: int, flag: bool, x: Tensor) -> tuple[int, float, bool, Tensor]:
    for _ in range(n):
        x = x + 1.0
    return n * 2, x.sum().item() / 2, flag and n > 2, x


def test_numbers_as_arguments_and_results(tmp_path: Path) -> None:
    path = compiled(numbers, tmp_path, 3, True, STEPS[0])
    program = dyncc.load(path)
    session = Session(export(path))
    assert session.outputs == ["output[0]", "output[1]", "output[2]", "output[3]"]
    for n in (0, 1, 5):
        agree(session(n, n < 5, STEPS[2]), list(program(n, n < 5, STEPS[2])), tolerance=1e-6)


def test_names(tmp_path: Path) -> None:
    path = compiled(nested_breaks, tmp_path)
    model = onnx.load(export(path))
    assert [item.name for item in model.graph.input] == ["x"]
    names = ["output['x']", "output['total']", "output['ended']"]
    assert [item.name for item in model.graph.output] == names
    assert {entry.version for entry in model.opset_import} == {20}


def of_any_size(self: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, int]:
    while x.abs().mean() > 0.1:
        x = x * 0.5
    return torch.cat([x, x + 1.0]).softmax(0), x.mean(0), x.shape[0]


def test_sizes_that_calls_decide(tmp_path: Path) -> None:
    sizes = {"x": "N=1..8,3"}
    path = compiled(of_any_size, tmp_path, torch.ones(4, 3), sizes=sizes)
    program = dyncc.load(path)
    session = Session(export(path))
    assert session.shapes == [["N", 3]]
    for size in (1, 2, 3, 8):
        x = torch.linspace(0.1, 5.0, 3 * size).reshape(size, 3)
        agree(session(x), list(program(x)), tolerance=1e-5)


INPUTS = """\
hcfg 1 "Inputs"
input batch = {"x": %x: f32[2], "rest": tuple(%y: f32[2], 3)}
weight "x" : f32[2]

region @r (%0: f32[2]) weights (%1: f32[2]) {
  %2: f32[2] = aten.add.Tensor(%0, %1)
  yield (%2)
}

block ^b(%x: f32[2], %y: f32[2]) {
  %z: f32[2] = call @r(%x) weights ("x")
  return {"same": %x, "twice": tuple(%z, %z), "none": none, "how": "so", "two": 2}
}
"""


def test_structured_arguments_and_results(tmp_path: Path) -> None:
    program = written(tmp_path / "inputs.dyncc", INPUTS, {"x": numpy.ones(2, "float32")})
    session = Session(export(tmp_path / "inputs.dyncc"))
    assert session.inputs == ["batch['x']", "batch['rest'][0]"]
    assert session.outputs == [
        "output['same']", "output['twice'][0]", "output['twice'][1]", "output['two']"
    ]  # fmt: skip
    x, y = numpy.array([1, 2], "float32"), numpy.array([3, 4], "float32")
    expected = program({"x": x, "rest": (y, 3)})
    agree(session(x, y), list(parts(result_tree(program), expected)), tolerance=0)


REFUSED = """\
hcfg 1 "Refused"
input x = %x: f32[4]
input z = %z: complex
state "calls" = %c: int initial 0
state "torch.default_generator" = %g: u8[5056] initial none
weight "torch.default_generator" : u8[5056]

region @draw (%0: f32[4], %1: u8[5056]) weights () {
  %2: f32[4], %3: u8[5056] = aten.rand_like.default(%0, generator=%1)
  yield (%2, %3)
}

block ^start(%x: f32[4], %z: complex, %c: int, %g: u8[5056]) at "model.py":3:4 {
  %i: f32[4], %n: u8[5056] = call @draw(%x, %g) weights ()
  %a: complex = add(%z, %z) at "model.py":5:8
  %t: str = format(%c, "", "") at "model.py":6:8
  log("a", 10, %t) at "model.py":7:8
  print("seen") at "model.py":8:8
  %h: float = math.hypot(3.0, 4.0) at "model.py":9:8
  %b: bool = lt(%h, 6.0) at "model.py":10:8
  branch %b then ^one(%i, %h) else ^two(%i) "h < 6"
}

block ^one(%i1: f32[4], %h1: float) at "model.py":11:8 {
  return tuple(%i1, %h1) set "&x" = %i1
}

block ^two(%i2: f32[4]) at "model.py":12:8 {
  return %i2
}
"""


def test_everything_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = numpy.zeros(5056, "uint8")
    written(tmp_path / "refused.dyncc", REFUSED, {"torch.default_generator": state})
    assert main(["export", "--format", "onnx", str(tmp_path / "refused.dyncc")]) == 1
    error = capsys.readouterr().err
    for part in (
        "z: DY911 an argument of type complex",
        "calls: DY911 state that calls change",
        "torch.default_generator: DY911 state that calls change",
        "model.py:11:9: DY911 the argument x, which is changed in place",
        "model.py:12:9: DY911 results that differ between exits",
        "model.py:3:5: DY912 the region @draw has no ONNX graph",
        "model.py:5:9: DY913 the operation add",
        "model.py:6:9: DY913 the operation format",
        "model.py:7:9: DY913 the operation log",
        "model.py:8:9: DY913 the operation print",
        "model.py:9:9: DY913 the operation math.hypot",
    ):
        assert part in error
    assert "model.py:10" not in error
    assert not (tmp_path / "refused.onnx").exists()


IRREDUCIBLE = """\
hcfg 1 "Irreducible"
input n = %n: int
input b = %b: bool

block ^start(%n: int, %b: bool) at "model.py":1:0 {
  branch %b then ^one(%n) else ^two(%n) "b"
}

block ^one(%i: int) at "model.py":2:0 {
  %j: int = add(%i, 1)
  jump ^two(%j)
}

block ^two(%k: int) at "model.py":3:0 {
  %c: bool = lt(%k, 5)
  branch %c then ^one(%k) else ^end(%k) "k < 5"
}

block ^end(%r: int) {
  return %r
}
"""

RAISES = """\
hcfg 1 "Raises"
input n = %n: int

block ^start(%n: int) at "model.py":1:0 {
  raise ValueError(%n)
}
"""


def test_many_exits_and_branches(tmp_path: Path) -> None:
    """More than a reader of Protobuf takes as Ifs within each other."""
    lines = ['hcfg 1 "Deep"', "input n = %n: int", "input m = %m: int", ""]
    count = 70
    lines += ["block ^start(%n: int, %m: int) {", "  jump ^a0(%n, %m)", "}"]
    for k in range(count):
        lines += [
            "",
            f"block ^a{k}(%n{k}: int, %m{k}: int) {{",
            f"  %c{k}: bool = eq(%n{k}, {k})",
            f'  branch %c{k} then ^out{k}(%m{k}) else ^b{k}(%n{k}, %m{k}) "exit"',
            "}",
            "",
            f"block ^out{k}(%o{k}: int) {{",
            f"  %q{k}: int = add(%o{k}, {1000 * k})",
            f"  return %q{k}",
            "}",
            "",
            f"block ^b{k}(%u{k}: int, %v{k}: int) {{",
            f"  %d{k}: bool = gt(%v{k}, {k})",
            f'  branch %d{k} then ^g{k}(%u{k}, %v{k}) else ^a{k + 1}(%u{k}, %v{k}) "gate"',
            "}",
            "",
            f"block ^g{k}(%x{k}: int, %y{k}: int) {{",
            f"  %z{k}: int = add(%y{k}, -1)",
            f"  jump ^a{k + 1}(%x{k}, %z{k})",
            "}",
        ]
    lines += ["", f"block ^a{count}(%e: int, %f: int) {{", "  return %f", "}", ""]
    program = written(tmp_path / "deep.dyncc", "\n".join(lines))
    session = Session(export(tmp_path / "deep.dyncc"))
    for n in (0, 1, 19, 20, 21, 45, 69, 70):
        for m in (-5, 3, 33, 99):
            assert session(n, m)[0] == program(n, m)


@pytest.mark.parametrize(
    ("text", "what"), [(IRREDUCIBLE, "entered at two places"), (RAISES, "does not return")]
)
def test_control_flow_that_is_refused(text: str, what: str, tmp_path: Path) -> None:
    written(tmp_path / "flow.dyncc", text)
    with pytest.raises(UnsupportedError, match=rf"model.py:\d:1: DY914 .*{what}"):
        export(tmp_path / "flow.dyncc")


def test_large_weights_stand_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "inputs.dyncc", INPUTS, {"x": numpy.array([5, 7], "float32")})
    whole = Session(export(tmp_path / "inputs.dyncc"))
    monkeypatch.setattr(exporting, "LARGE", 4)
    model = export(tmp_path / "inputs.dyncc")
    assert (tmp_path / "inputs.onnx.weights").stat().st_size == 8
    x = numpy.array([1, 2], "float32")
    for one, other in zip(whole(x, x), Session(model)(x, x), strict=True):
        numpy.testing.assert_array_equal(one, other)


def test_files_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "inputs.dyncc", INPUTS, {"x": numpy.ones(2, "float32")})
    contents = artifact.read(tmp_path / "inputs.dyncc")
    output = tmp_path / "out" / "model.onnx"
    output.parent.mkdir()
    output.write_bytes(b"old")

    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such operator")

    monkeypatch.setattr("onnxruntime.InferenceSession", broken)
    with pytest.raises(ToolError, match="no such operator"):
        exporting.export(contents, output, quiet)
    assert output.read_bytes() == b"old"
    assert list(output.parent.iterdir()) == [output]
    with pytest.raises(ConfigError, match="is a directory"):
        exporting.export(contents, output.parent, quiet)


@pytest.mark.parametrize("option", ["--target", "--headers", "--runtime"])
def test_options_of_libraries(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--format", "onnx", option, "here", str(tmp_path)]) == 1
    assert f"{option} is for libraries" in capsys.readouterr().err
