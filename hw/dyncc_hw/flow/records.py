"""Figures of a build: what it takes of a device, and the clock that it reaches."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dyncc.core.errors import ArtifactError, InternalError
from dyncc_hw.boards.board import Plan
from dyncc_hw.boards.systems import SystemBoard
from dyncc_hw.flow.fingerprint import fingerprint
from dyncc_hw.flow.project import Project
from dyncc_hw.flow.run import TOOLS

#: What the columns of the table are called by the tools; LUTs of AMD's families are counted.
_COLUMNS = {
    "logic": ("ICESTORM_LC", "TRELLIS_COMB", "LUT"),
    "flip_flops": ("SB_DFF", "TRELLIS_FF", "FD"),
    "memories": ("ICESTORM_RAM", "ICESTORM_SPRAM", "DP16KD", "RAMB36", "URAM288"),
    "multipliers": ("ICESTORM_DSP", "MULT18X18D", "DSP48E1", "DSP48E2"),
}
#: Look-up tables that a memory or shift register of AMD's families takes. Source: UG474 and UG574,
#: "Configurable Logic Block".
_MEMORY_LUTS = {
    "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM32M": 4, "RAM64M": 4,
    "RAM32M16": 8, "RAM64M8": 8, "RAM32X1S": 1, "RAM64X1S": 1, "SRL16E": 1, "SRLC32E": 1,
}  # fmt: skip
#: The published core on its board, placed and routed by Vivado, to compare with: Gautam et al.,
#: "NeuroCoreX", 2025, arXiv:2506.14138, and its sources.
_PUBLISHED: dict[str, Any] = {
    "board": "the published core, cmod_a7_35t",
    "sizes": {"neurons": 90, "inputs": 96, "learning": 1},
    "clock_mhz": 100,
    "fmax_mhz": 100,
    "cells": {
        "LUT": {"used": 6981},
        "FD": {"used": 11175},
        "RAMB36": {"used": 30.5},
        "DSP48E1": {"used": 8},
    },
}


def record(project: Project, plan: Plan, folder: Path) -> dict[str, Any]:
    """What is kept of a build.

    Parameters
    ----------
    folder
        What `execute` returned for the plan.

    Returns
    -------
    dict
        What was built; ``cells`` (used, and where known available, by kind); ``fmax_mhz`` and
        ``critical_path`` if it was placed and routed; ``tools``, and ``netlist``, the
        `fingerprint` of what they got.
    """
    import amaranth

    found: dict[str, Any] = {
        **described(project),
        "netlist": fingerprint(plan.files["top.il"]),
        "tools": {
            "amaranth": amaranth.__version__,
            **json.loads((folder / TOOLS).read_text(encoding="utf-8")),
        },
    }
    counted = json.loads((folder / "stat.json").read_text(encoding="utf-8"))
    cells = counted["design"]["num_cells_by_type"]
    report = folder / "report.json"
    if report.is_file():
        placed = json.loads(report.read_text(encoding="utf-8"))
        found["cells"] = {
            kind: item for kind, item in sorted(placed["utilization"].items()) if item["used"]
        }
        flip_flops = sum(count for kind, count in cells.items() if kind.startswith("SB_DFF"))
        if flip_flops:
            found["cells"]["SB_DFF"] = {"used": flip_flops}
        found |= _timing(project, placed)
    else:
        counted = _amd(cells, isinstance(project.board, SystemBoard))
        found["cells"] = {kind: {"used": count} for kind, count in counted.items()}
    return found


def described(project: Project) -> dict[str, Any]:
    """What a project is, as a record says it."""
    return {
        "design": project.design,
        "board": project.board.name,
        "sizes": project.sizes,
        "clock_mhz": project.clock_hz / 1e6,
        "baud": project.baud,
        "implementation": project.choices,
    }


def project_of(found: dict[str, Any]) -> Project:
    """The project that a record is of."""
    return Project.of(
        found["design"],
        found["board"],
        found["sizes"],
        found["clock_mhz"],
        found["baud"],
        found["implementation"],
    )


def _timing(project: Project, placed: dict[str, Any]) -> dict[str, Any]:
    """The clock reached, and what limits it."""
    wanted = project.clock_hz / 1e6
    name, clock = min(placed["fmax"].items(), key=lambda item: abs(item[1]["constraint"] - wanted))
    if abs(clock["constraint"] / wanted - 1) > 0.01:
        raise InternalError(f"no clock was timed for {wanted:g} MHz: {placed['fmax']}")
    path = next(
        item["path"]
        for item in placed["critical_paths"]
        if name in item["from"] and name in item["to"]
    )
    delays = {"routing": 0.0, "logic": 0.0}
    for part in path:
        delays["routing" if part["type"] == "routing" else "logic"] += part["delay"]
    return {
        "fmax_mhz": round(clock["achieved"], 1),
        "critical_path": {
            "from": _place(path[0]["from"]["cell"]),
            "to": _place(path[-1]["to"]["cell"]),
            **{f"{kind}_ns": round(delay, 1) for kind, delay in delays.items()},
        },
    }


def _place(cell: str) -> str:
    """The signal that a cell is named after: yosys appends how it made the cell."""
    for mark in ("_TRELLIS_FF", "_SB_", "_LUT4", "_CCU2C", "_PFUMX", "_L6MUX21"):
        cell = cell.split(mark)[0]
    return cell


def _amd(cells: dict[str, int], ultrascale: bool) -> dict[str, float]:
    """Cells of an FPGA as its makers count them.

    Parameters
    ----------
    cells
        Number of each kind, as yosys names them.
    ultrascale
        Whether it is an UltraScale+; else a 7 series.
    """
    luts = sum(cells.get(f"LUT{inputs}", 0) for inputs in range(1, 7))
    luts += sum(cells.get(kind, 0) * count for kind, count in _MEMORY_LUTS.items())
    kind = "E2" if ultrascale else "E1"
    found = {
        "LUT": luts,
        "FD": sum(count for kind, count in cells.items() if kind.startswith("FD")),
        "RAMB36": cells.get(f"RAMB36{kind}", 0) + cells.get(f"RAMB18{kind}", 0) / 2,
        f"DSP48{kind}": cells.get(f"DSP48{kind}", 0),
    }
    if ultrascale:
        found["URAM288"] = cells.get("URAM288", 0)
    return found


def read(folder: Path) -> dict[Path, dict[str, Any]]:
    """All records of a folder, by their files.

    Raises
    ------
    ArtifactError
        If there is none, or one is damaged.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"{path} is no record: {error}") from error
    if not found:
        raise ArtifactError(f"there is no record in {folder}", hint="Write one: dyncc hw report.")
    return found


def has_neurons(found: dict[str, Any]) -> bool:
    """Whether a record is of a spiking core."""
    return "neurons" in found["sizes"]


def table(records: Iterable[dict[str, Any]]) -> str:
    """The records as tables in Markdown.

    The first is of the designs with neurons, and its last row the published core; the second, of
    all others, is there if there are any.
    """
    kept = list(records)
    cores = sorted(
        filter(has_neurons, kept), key=lambda item: (item["board"], item["sizes"]["neurons"])
    )
    others = sorted(
        (item for item in kept if not has_neurons(item)),
        key=lambda item: (item["board"], item["design"]),
    )
    found = _lines(
        ["Board", "Neurons", "Inputs", "Learns"],
        [
            [
                item["board"],
                str(item["sizes"]["neurons"]),
                str(item["sizes"]["inputs"]),
                "yes" if item["sizes"]["learning"] else "no",
                *_figures(item),
            ]
            for item in (*cores, _PUBLISHED)
        ],
    )
    if others:
        rows = [[item["board"], item["design"], *_figures(item)] for item in others]
        found += "\n" + _lines(["Board", "Design"], rows, left=2)
    return found


def _lines(heads: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A table whose last columns are `_figures`; the first `left` columns hold words."""
    heads = [
        *heads, "Clock, MHz", "Reached, MHz",
        "LUTs or logic cells", "Flip-flops", "Memories", "Multipliers",
    ]  # fmt: skip
    ruler = ["--"] * left + ["--:"] * (len(heads) - left)
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, ruler, *rows))


def _figures(item: dict[str, Any]) -> list[str]:
    """Clocks and cells of a record."""
    fmax = item.get("fmax_mhz")
    return [
        f"{item['clock_mhz']:g}",
        "not placed" if fmax is None else f"{fmax:.1f}",
        *(_cells(item["cells"], column) for column in _COLUMNS),
    ]


def _cells(cells: dict[str, Any], column: str) -> str:
    shown = []
    for kind in _COLUMNS[column]:
        if kind not in cells:
            continue
        text = f"{cells[kind]['used']:,}"
        if "available" in cells[kind]:
            text += f" of {cells[kind]['available']:,}"
        shown.append(text if column not in ("memories", "multipliers") else f"{text} {kind}")
    return ", ".join(shown)
