"""The C++ example builds with CMake and runs a library against TVM's runtime only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy
from export.exported import THREADS, written
from export.test_command import LOOP

from dyncc.cli import main
from dyncc.core.tools import Need, program

ROOT = Path(__file__).parents[2]
CMAKE = Need("cmake", "building the example", "pip install cmake")


def test_example(tmp_path: Path) -> None:
    weights = {"w": numpy.array([[1, 0.5, 0], [0, 1, 0.5], [0.5, 0, 1]], "float32")}
    loaded = written(tmp_path / "loop.dyncc", LOOP, weights)
    out = tmp_path / "out"
    command = ["export", str(tmp_path / "loop.dyncc"), "-o", str(out / "loop.so")]
    assert main([*command, "--runtime", str(out), "--headers", str(out / "include")]) == 0
    cmake = program(CMAKE).path
    assert cmake is not None
    build = tmp_path / "build"
    for step in (
        [
            cmake, "-S", ROOT / "examples" / "cpp", "-B", build, f"-DDYNCC_INCLUDE={out}/include",
            f"-DTVM_LIBRARIES={out}", "-DCMAKE_CXX_FLAGS=-Werror",
        ],
        [cmake, "--build", build],
    ):  # fmt: skip
        subprocess.run(step, check=True)
    x = numpy.arange(6, dtype="float32").reshape(2, 3)
    numpy.save(tmp_path / "x.npy", x)
    numpy.save(tmp_path / "wrong.npy", x.T.copy())

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [build / "run_exported", out / "loop.so", *arguments],
            cwd=tmp_path, env={**THREADS, "PATH": os.environ["PATH"]}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    done = run("x.npy", "--repeat", "10")
    assert done.returncode == 0, done.stderr
    first, kind, tensor, number, time = done.stdout.splitlines()
    assert first.startswith("Loop for ")
    assert kind == "tuple of 2"
    shown, wanted = loaded(x)
    numpy.testing.assert_allclose([float(n) for n in tensor.split()[1:]], shown.ravel(), 1e-6)
    numpy.testing.assert_allclose(float(number), wanted, 1e-6)
    assert time.endswith(" us a call")
    failed = run("wrong.npy")
    assert failed.returncode == 1
    assert failed.stderr == "run_exported: x: expected float32[2,3], got float32[3,2]\n"
    assert run("x.npy", "x.npy").returncode == 1
    needed = subprocess.run(
        ["readelf", "-d", build / "run_exported"], capture_output=True, text=True, check=True
    ).stdout
    assert "libtvm_runtime.so" in needed
    assert "libtvm_compiler.so" not in needed
    assert "libpython" not in needed
