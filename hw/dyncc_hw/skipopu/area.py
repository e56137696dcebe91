"""What a component takes on an FPGA, by yosys; and what it would take with floats."""

import json
from dataclasses import dataclass
from typing import Any

from amaranth.back import rtlil

from dyncc.core.errors import ConfigError
from dyncc_hw.boards.board import Plan
from dyncc_hw.flow.run import execute
from dyncc_hw.skipopu.arithmetic.f25 import ADD, CODE_BITS, MULTIPLY, add, multiply
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit
from dyncc_hw.skipopu.array.terms import PeArray
from dyncc_hw.skipopu.shape import ArrayShape

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


def luts(counts: dict[str, int]) -> int:
    """Look-up tables among cells; a carry cell of an ECP5 takes two, one of an iCE40 its own."""
    return sum(
        count * (2 if kind == "CCU2C" else 1)
        for kind, count in counts.items()
        if kind.startswith("LUT") or kind in ("CCU2C", "SB_LUT4")
    )


class FloatLane(Unit):
    """What a lane of an array of floats needs: ``result = before + a * b``, in 7 cycles."""

    def __init__(self) -> None:
        takes = dict.fromkeys(("a", "b", "before"), CODE_BITS)
        super().__init__(takes, {"result": CODE_BITS}, MULTIPLY + ADD)

    def compute(self, pipe: Pipe, a: Timed, b: Timed, before: Timed) -> dict[str, Timed]:
        """In F25, which is smaller than binary32."""
        return {"result": add(pipe, before, multiply(pipe, a, b))}


@dataclass(frozen=True)
class Comparison:
    """Look-up tables and multipliers for each product in a cycle.

    Attributes
    ----------
    lanes
        Products of the array in a cycle.
    array_luts, array_multipliers
        Of the whole array, with scales and accumulators.
    float_luts, float_multipliers
        Of one lane of floats.
    """

    lanes: int
    array_luts: int
    array_multipliers: int
    float_luts: int
    float_multipliers: int

    @property
    def saving(self) -> float:
        """The part of the look-up tables that the array saves."""
        return 1 - self.array_luts / (self.lanes * self.float_luts)


def compare(shape: ArrayShape) -> Comparison:
    """A PE array, and as many lanes of floats on the same device.

    Raises
    ------
    MissingToolError, ToolError
        As `dyncc_hw.flow.run.execute`.
    """
    array, lane = cells(PeArray(shape), shape.target), cells(FloatLane(), shape.target)
    return Comparison(
        shape.arch.macs_per_cycle,
        luts(array), array.get(shape.target, 0), luts(lane), lane.get(shape.target, 0),
    )  # fmt: skip
