"""The simulators that benches run on, for `pytest.mark.parametrize`."""

from __future__ import annotations

import shutil

import pytest

ICARUS = pytest.param(
    "icarus",
    marks=pytest.mark.skipif(
        shutil.which("iverilog") is None,
        reason="iverilog was not found: apt-get install iverilog",
    ),
)
SIMULATORS = ["verilator", ICARUS]
