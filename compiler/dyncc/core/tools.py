"""External programs and packages: what they are for, where they are, how to get them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Need:
    """A program or package.

    Attributes
    ----------
    name
        Name of the executable or the distribution.
    purpose
        What dyncc uses it for.
    source
        How to get it.
    required
        Whether `dyncc compile` works without it.
    package
        Whether it is a Python package.
    """

    name: str
    purpose: str
    source: str
    required: bool = False
    package: bool = False


@dataclass(frozen=True)
class Found:
    """Where a need was found: version and path, or neither."""

    need: Need
    version: str | None
    path: str | None


NEEDS = (
    Need("torch", "capturing networks; eager reference", "pip install torch==2.13.0", True, True),
    Need("apache-tvm", "compiling sub-networks", "pip install apache-tvm==0.27.0.post1", True, True),
    Need(
        "apache-tvm-ffi", "TVM's calls", "pip install apache-tvm-ffi==0.1.14.post1", True, True
    ),
    Need("numpy", "arrays", "pip install numpy", True, True),
    Need("safetensors", "weights files", "pip install safetensors", True, True),
    Need("scikit-learn", "the digits of the demonstration", "pip install 'dyncc[models]'", False, True),
    Need("g++", "linking compiled sub-networks", "your system's packages", True),
    Need("make", "make demo, make test", "your system's packages"),
)  # fmt: skip


def find(need: Need) -> Found:
    """Look for a package, or for a program: first in the environment variable of its name.

    The variable for ``g++`` is ``DYNCC_GXX``: other characters than letters and digits are
    dropped, a plus becomes X.
    """
    if need.package:
        try:
            found = metadata.distribution(need.name)
        except metadata.PackageNotFoundError:
            return Found(need, None, None)
        return Found(need, found.version, str(found.locate_file("")))
    variable = "DYNCC_" + re.sub(r"[^A-Z0-9]", "", need.name.upper().replace("+", "X"))
    path = os.environ.get(variable) or shutil.which(need.name)
    if path is None or shutil.which(path) is None:
        return Found(need, None, None)
    try:
        result = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return Found(need, None, path)
    match = re.search(r"\d+(\.\d+)+", result.stdout + result.stderr)
    return Found(need, match.group() if match else "unknown", path)
