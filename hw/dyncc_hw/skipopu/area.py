"""What a component takes on an FPGA, by yosys; and what it would take with floats.

``python -m dyncc_hw.skipopu.area [PART ...]`` prints it for the parts of the ULX3S's machine, from
which docs/skipopu-hardware.md has its figures. All parts take some ten minutes the first time.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.back import rtlil

from dyncc.arch.skipopu.csr import READERS, WRITERS
from dyncc.arch.skipopu.spec import ARCHS, ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.boards.board import Plan
from dyncc_hw.flow.run import execute
from dyncc_hw.skipopu.arithmetic.f25 import ADD, CODE_BITS, MULTIPLY, add, multiply
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit
from dyncc_hw.skipopu.array.terms import PeArray
from dyncc_hw.skipopu.control.control import ControlledMachine
from dyncc_hw.skipopu.control.front import Front
from dyncc_hw.skipopu.kv.engine import KvEngine
from dyncc_hw.skipopu.kv.history import History
from dyncc_hw.skipopu.memory.load import LoadEngine
from dyncc_hw.skipopu.memory.port import Port
from dyncc_hw.skipopu.memory.store import StoreEngine
from dyncc_hw.skipopu.shape import ArrayShape
from dyncc_hw.skipopu.vector.buffer import VectorBuffer
from dyncc_hw.skipopu.vector.engine import VectorEngine

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


_FAMILY = "MULT18X18D"
#: Parts of the machine, by name, for an instance.
PARTS: dict[str, Callable[[ArchSpec], Any]] = {
    "array": lambda arch: PeArray(ArrayShape(arch, _FAMILY)),
    "vector engine": VectorEngine,
    "vector buffer": VectorBuffer,
    "kv engine": KvEngine,
    "history": History,
    "load engine": LoadEngine,
    "store engine": StoreEngine,
    "memory port": lambda arch: Port(arch, READERS, WRITERS, READERS[-1]),
    "front": Front,
    "machine": lambda arch: ControlledMachine(arch, _FAMILY),
}
_SHOWN = ("LUT4", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4", _FAMILY, "DP16KD")


def main() -> int:
    """Print the cells of parts of `ecp5_85f`."""
    parser = argparse.ArgumentParser(
        prog="python -m dyncc_hw.skipopu.area",
        description="Cells of parts of the machine of a ULX3S on an ECP5, by yosys.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}: {', '.join(PARTS)}")
    sys.stdout.write(f"{'':14}{'LUTs':>8}" + "".join(f"{name:>17}" for name in _SHOWN) + "\n")
    for name in chosen:
        found = cells(PARTS[name](ARCHS["ecp5_85f"]), _FAMILY)
        counts = "".join(f"{found.get(kind, 0):17,}" for kind in _SHOWN)
        sys.stdout.write(f"{name:14}{luts(found):8,}{counts}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
