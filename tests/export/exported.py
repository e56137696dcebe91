"""Exports artifacts, and calls the libraries in processes that have neither dyncc nor torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from dyncc.backends.tvm.build import build
from dyncc.backends.tvm.target import Cpu
from dyncc.export import shared_library
from dyncc.export.request import Request
from dyncc.export.tree import library_folders
from dyncc.ir.parser import parse
from dyncc.runtime import artifact
from dyncc.runtime.hostlist import HostList

CLIENT = Path(__file__).with_name("client.py")

#: Threads of TVM's yield many times before they sleep or end, which takes minutes where others
#: want the processor.
THREADS = {
    "TVM_NUM_THREADS": "2",
    "TVM_THREAD_POOL_SPIN_COUNT": "100",
    "OPENBLAS_NUM_THREADS": "1",
}


def quiet(what: str, step: int, steps: int) -> None:
    """Progress for nobody."""


def export(path: Path) -> Path:
    """The library of an artifact, beside it."""
    library = path.with_suffix(".so")
    shared_library.export(Request(artifact.read(path), Cpu.host()), library, quiet)
    return library


def written(
    path: Path, text: str, weights: Mapping[str, numpy.ndarray] | None = None
) -> artifact.Program:
    """An artifact of a program that is given as text."""
    program = parse(text)
    artifact.write(
        path, program, weights or {}, "tvm", lambda folder: build(program, folder, quiet), {}
    )
    return artifact.load(path)


def tensor(array: Any, **how: Any) -> dict[str, Any]:
    """A tensor argument for `ask`; see `client.tensor_value`."""
    found = numpy.asarray(array)
    return {
        "data": found.reshape(-1).tolist(),
        "dtype": str(found.dtype),
        "shape": list(found.shape),
        **how,
    }


def ask(library: Path, steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The answers of the client: first what the library says of itself."""
    places = os.pathsep.join(str(folder) for folder in library_folders())
    done = subprocess.run(
        [sys.executable, "-I", str(CLIENT), str(library)],
        input=json.dumps(list(steps)),
        env={**THREADS, "LD_LIBRARY_PATH": places},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    # What the network prints comes when the process ends.
    line = next(line for line in done.stdout.splitlines() if line.startswith("[{"))
    answers: list[dict[str, Any]] = json.loads(line)
    return answers


def agree(shown: Any, expected: Any, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Fail unless what the client shows is what the artifact returned."""
    if isinstance(expected, float):
        numpy.testing.assert_equal(float.fromhex(shown["float"]), expected)
    elif isinstance(expected, list | HostList):
        parts = shown["list"]
        assert len(parts) == len(expected)
        for part, wanted in zip(parts, expected, strict=True):
            agree(part, wanted, rtol, atol)
    elif isinstance(expected, dict):
        assert [key for key, _ in shown["dict"]] == [str(key) for key in expected]
        for (_, part), wanted in zip(shown["dict"], expected.values(), strict=True):
            agree(part, wanted, rtol, atol)
    elif isinstance(expected, tuple):
        assert len(shown["tuple"]) == len(expected)
        for part, wanted in zip(shown["tuple"], expected, strict=True):
            agree(part, wanted, rtol, atol)
    elif expected is None or isinstance(expected, bool | int | str):
        assert type(shown) is type(expected)
        assert shown == expected
    else:
        wanted = numpy.asarray(expected)
        found = numpy.frombuffer(bytes.fromhex(shown["data"]), shown["dtype"])
        assert found.dtype == wanted.dtype
        assert shown["shape"] == list(wanted.shape)
        numpy.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol, atol)
