"""What a component takes on an FPGA, by yosys."""

import json
from typing import Any

from amaranth.back import rtlil

from dyncc.core.errors import ConfigError
from dyncc_hw.flow.project import Plan
from dyncc_hw.flow.run import execute

#: How yosys is told to synthesise for a family, by the multiplier that it has; and the step of it
#: before which all multipliers are found.
FAMILIES = {
    "DSP48E2": ("synth_xilinx -family xcup -flatten -noiopad -top top", "map_memory"),
    "MULT18X18D": ("synth_ecp5 -top top", "map_ram"),
    "SB_MAC16": ("synth_ice40 -dsp -top top", "map_ram"),
}
_RESULT = "cells.json"


def cells(component: Any, family: str, *, multipliers_only: bool = False) -> dict[str, int]:
    """Cells of a component, by type; kept by its text.

    Parameters
    ----------
    family
        One of `FAMILIES`.
    multipliers_only
        Stop once multipliers are there, which takes seconds; other cells are not final.

    Raises
    ------
    ConfigError
        If there is no such family.
    MissingToolError, ToolError
        As `dyncc_hw.flow.run.execute`.
    """
    if family not in FAMILIES:
        raise ConfigError(f"there is no family {family!r}", hint=f"Known: {', '.join(FAMILIES)}.")
    command, step = FAMILIES[family]
    if multipliers_only:
        command += f" -run begin:{step}"
    script = f"read_rtlil top.il\n{command}\nflatten\ntee -q -o {_RESULT} stat -json\n"
    files = {
        "top.il": rtlil.convert(component, name="top", emit_src=False),
        "script.ys": script,
    }
    plan = Plan(files, (("yosys", "-q", "-s", "script.ys"),), (_RESULT,))
    found = json.loads((execute(plan) / _RESULT).read_text(encoding="utf-8"))
    counts: dict[str, int] = found["design"]["num_cells_by_type"]
    return counts
