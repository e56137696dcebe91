"""``dyncc export``: what it refuses and says, and that files are whole or absent."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy
import pytest
from export.exported import ask, export, quiet, tensor, written

import dyncc
from dyncc.backends.tvm.target import Cpu
from dyncc.cli import main
from dyncc.core.errors import (
    ConfigError,
    MissingToolError,
    ToolError,
    UnsupportedError,
)
from dyncc.export import shared_library, source_tree
from dyncc.export.request import Request
from dyncc.runtime import artifact

AARCH64 = "aarch64-linux-gnu"

LOOP = """\
hcfg 1 "Loop"
input x = %x: f32[2,3]

region @r0 (%0: f32[2,3]) weights (%1: f32[3,3]) {
  %2: f32[2,3] = aten.mm.default(%0, %1)
  %3: f32[] = aten.sum.default(%2)
  yield (%2, %3)
}

weight "w" : f32[3,3]

block ^start(%x: f32[2,3]) {
  jump ^turn(%x)
}

block ^turn(%a: f32[2,3]) {
  %b: f32[2,3], %s: f32[] = call @r0(%a) weights ("w")
  %f: float = item(%s)
  %c: bool = lt(%f, 100.0)
  branch %c then ^turn(%b) else ^end(%b, %f) "s < 100"
}

block ^end(%r: f32[2,3], %g: float) {
  return tuple(%r, %g)
}
"""

#: Everything that no library is made of.
REFUSED = """\
hcfg 1 "Refused"
input x = %x: f32[4]
input z = %z: complex

region @r0 (%0: f32[4]) weights () {
  %1: i64[u0,1] = aten.nonzero.default(%0)
  yield (%1)
}

block ^start(%x: f32[4], %z: complex) at "model.py":3:4 {
  %i: i64[u1,1] = call @r0(%x) weights ()
  %a: complex = add(%z, %z) at "model.py":5:8
  %t: str = format(%x, "", "") at "model.py":6:8
  log("a", 10, %t) at "model.py":7:8
  %h: float = math.hypot(3.0, 4.0) at "model.py":8:8
  return tuple(%i, %a, %h)
}
"""


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loop") / "loop.dyncc"
    weights = {"w": numpy.array([[1, 0.5, 0], [0, 1, 0.5], [0.5, 0, 1]], "float32")}
    written(path, LOOP, weights)
    return path


def test_arguments_are_checked(loop: Path) -> None:
    program = dyncc.load(loop)
    library = export(loop)
    good = numpy.arange(6, dtype="float32").reshape(2, 3)
    bad = {
        "x: expected float32[2,3], got float32[3,2]": tensor(good.reshape(3, 2)),
        "x: expected float32[2,3], got float64[2,3]": tensor(good.astype("float64")),
        "x: expected float32[2,3], got a null pointer": tensor(good, null="tensor"),
        "x: expected float32[2,3], got a tensor without data": tensor(good, null="data"),
        "x: expected float32[2,3], got no tensor": 3.0,
        "x: the tensor is not in the memory of the CPU": tensor(good, device=2),
    }
    steps = [tensor(good), tensor(good, strided=True), *bad.values()]
    about, whole, strided, *answers = ask(library, [{"run": [step]} for step in steps])
    assert about["inputs"] == [{"name": "x", "kind": 5, "bits": 32, "shape": [2, 3]}]
    assert [answer["error"] for answer in answers] == list(bad)
    assert {answer["code"] for answer in answers} == {1}
    assert whole["value"] == strided["value"]
    _, number = program(good)
    assert float.fromhex(whole["value"]["tuple"][1]["float"]) == pytest.approx(number, rel=1e-6)


def test_the_command(loop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library, headers = tmp_path / "lib.so", tmp_path / "include"
    assert main(["export", str(loop), "-o", str(library), "--headers", str(headers)]) == 0
    out = capsys.readouterr()
    assert "Loop for this machine" in out.out
    assert "kernels" in out.err
    assert (headers / "dyncc" / "model.hpp").is_file()
    assert (headers / "dlpack" / "dlpack.h").is_file()
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    assert [line.split()[-1] for line in symbols.stdout.splitlines()] == ["dyncc_get_api"]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["include", "lib.so"]


def test_everything_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "refused.dyncc", REFUSED)
    assert main(["export", str(tmp_path / "refused.dyncc")]) == 1
    error = capsys.readouterr().err
    for part in (
        "z: DY911 an argument of type complex",
        "model.py:3:5: DY912 the region @r0 runs in PyTorch",
        "model.py:5:9: DY913 the operation add",
        "model.py:6:9: DY913 the operation format",
        "model.py:7:9: DY913 the operation log",
        "model.py:8:9: DY913 the operation math.hypot",
    ):
        assert part in error
    assert not (tmp_path / "refused.so").exists()


def test_the_eager_back_end_is_refused(loop: Path) -> None:
    found = artifact.read(loop)
    eager = artifact.Contents(
        {**found.manifest, "backend": "eager"}, found.program, found.weights, found.places
    )
    with pytest.raises(UnsupportedError, match="compiled with the eager back end"):
        Request(eager, Cpu.host()).check()


def test_no_compiler(loop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNCC_GXX", "/nowhere/g++")
    with pytest.raises(MissingToolError, match=r"g\+\+ was not found"):
        shared_library.export(Request(artifact.read(loop), Cpu.host()), tmp_path / "a.so", quiet)
    monkeypatch.setenv("PATH", "/nowhere")
    request = Request(artifact.read(loop), Cpu.cross(AARCH64))
    with pytest.raises(MissingToolError, match="--format source"):
        shared_library.export(request, tmp_path / "a.so", quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_compiler_leaves_the_old_library(
    loop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("DYNCC_GXX", str(broken))
    output = tmp_path / "out" / "a.so"
    output.parent.mkdir()
    output.write_bytes(b"old")
    with pytest.raises(ToolError, match="no room"):
        shared_library.export(Request(artifact.read(loop), Cpu.host()), output, quiet)
    assert output.read_bytes() == b"old"
    assert list(output.parent.iterdir()) == [output]


def test_places_that_are_not_written_to(loop: Path, tmp_path: Path) -> None:
    request = Request(artifact.read(loop), Cpu.host())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a directory"):
        shared_library.export(request, tmp_path, quiet)
    with pytest.raises(ConfigError, match="is not replaced"):
        source_tree.export(request, tmp_path, quiet)
    with pytest.raises(ConfigError, match="is not replaced"):
        source_tree.export(request, tmp_path / "file", quiet)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("triple", ["aarch64", "vax-dec-ultrix", ""])
def test_unknown_targets(triple: str) -> None:
    with pytest.raises(ConfigError, match="no code is generated"):
        Cpu.cross(triple)


def test_options(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(loop), "--mcpu", "cortex-a72"]) == 1
    assert "--mcpu goes with --target" in capsys.readouterr().err
    assert main(["export", str(loop), "--target", "cuda"]) == 1
    assert "no library for GPUs is made" in capsys.readouterr().err
    assert main(["export", str(loop / "nothing")]) == 1


def test_source_for_another_machine(loop: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    command = ["export", str(loop), "--format", "source", "--target", AARCH64, "-o", str(tree)]
    assert main([*command, "--mcpu", "cortex-a72"]) == 0
    header = subprocess.run(
        ["readelf", "-h", tree / "kernels.o"], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"Machine: +AArch64", header)
    assert re.search(r"Type: +REL", header)
    table = subprocess.run(
        ["readelf", "-sW", tree / "kernels.o"], capture_output=True, text=True, check=True
    ).stdout
    defined = {
        line.split()[-1]
        for line in table.splitlines()
        if " GLOBAL " in line and " UND " not in line
    }
    source = (tree / "program.cpp").read_text()
    called = set(re.findall(r"^dyncc_host::Kernel (\w+);", source, re.M))
    assert called
    assert called <= defined
    assert '"aarch64 cortex-a72"' in source
    # Nothing of this machine is asked for, and the sources are complete: they compile here, too.
    assert "avx" not in source
    subprocess.run(
        ["g++", "-std=c++17", "-fsyntax-only", "-Iinclude", "-Isupport", "program.cpp"],
        cwd=tree,
        check=True,
    )
    assert main(command) == 0  # replaces its own
    assert sorted(item.name for item in tmp_path.iterdir()) == ["tree"]
