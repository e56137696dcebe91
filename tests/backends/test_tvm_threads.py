"""The threads of region libraries: results are those of one thread, whoever else runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from backends.differential import quiet
from backends.tracing import program_of, trace
from torch import Tensor

from dyncc.backends.tvm import build
from dyncc.runtime.threads import thread_count

SHAPES = ((96, 2048), (301, 777))

#: Runs in a process of its own: how many threads there are is decided when the first library is
#: loaded. Ends with the names of its threads.
SCRIPT = """
import json, os, sys, threading
from pathlib import Path
import numpy
from dyncc.runtime.tvm_library import TvmLibrary, from_external, to_numpy

def load(name):
    folder = Path(name)
    library = TvmLibrary(folder / "regions.so", json.loads((folder / "report.json").read_text()))
    files = (numpy.load(folder / f"{kind}.npy") for kind in ("argument", "answer"))
    return library.bind("shifted", [], []), *files

def run(times, regions=None):
    # One library serves one thread at a time.
    for _ in range(times):
        for call, argument, answer in regions or own:
            (result,) = call(from_external(argument))
            numpy.testing.assert_array_equal(to_numpy(result), answer)

own = [load(name) for name in sys.argv[1:]]
run(200)
others = [threading.Thread(target=run, args=(100, [load(name)]))
          for name in sys.argv[1:]]
failed = []
threading.excepthook = failed.append
for other in others:
    other.start()
run(100)
for other in others:
    other.join()
assert not failed, failed
child = os.fork()
if child == 0:
    run(50)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
run(50)
print(*(Path(f"/proc/self/task/{task}/comm").read_text().strip()
        for task in os.listdir("/proc/self/task")))
"""


def shifted(x: Tensor) -> Tensor:
    return torch.relu(x - 0.25)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two libraries, each with an argument and the answer of a thread alone."""
    found = []
    for shape in SHAPES:
        folder = tmp_path_factory.mktemp("threads")
        x = torch.randn(shape)
        report = build(program_of(trace("shifted", shifted, [x])), folder, quiet)
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
        numpy.save(folder / "argument.npy", x.numpy())
        numpy.save(folder / "answer.npy", shifted(x).numpy())
        found.append(folder)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="libraries have threads on Linux only")
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_libraries_share_threads(folders: list[Path], threads: int) -> None:
    """Also with more threads than processors, callers at the same time, and after a fork."""
    if thread_count() == 1:
        pytest.skip("kernels are not split for one processor")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, folders)],
        env=os.environ | {"DYNCC_NUM_THREADS": str(threads), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("dyncc") == threads - 1
