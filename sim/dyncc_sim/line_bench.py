"""Lets a program outside of the simulator speak with a device over its pins."""

from __future__ import annotations

from typing import Any

import cocotb

from dyncc_sim.simulated_line import serve


@cocotb.test()
async def run(dut: Any) -> None:
    """Serve a program."""
    await serve(dut)
