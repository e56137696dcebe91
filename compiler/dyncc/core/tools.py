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


_PACKAGES = (
    ("torch", "capturing networks; eager reference", "torch==2.13.0"),
    ("apache-tvm", "compiling sub-networks", "apache-tvm==0.27.0.post1"),
    ("apache-tvm-ffi", "calling what TVM compiled", "apache-tvm-ffi==0.1.14.post1"),
    ("numpy", "arrays", "numpy"),
    ("safetensors", "weights files", "safetensors"),
    ("scikit-learn", "the digits of the demonstration", "scikit-learn"),
)

NEEDS = (
    *(
        Need(name, purpose, f"pip install {what}", name != "scikit-learn", package=True)
        for name, purpose, what in _PACKAGES
    ),
    Need("g++", "linking compiled sub-networks", "your system's packages", required=True),
    Need("make", "make demo, make test", "your system's packages"),
)


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
