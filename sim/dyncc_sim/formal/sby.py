"""Runs SymbiYosys on a design; results are kept by their inputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

from dyncc.core.errors import ToolError
from dyncc.core.tools import FORMAL_TOOLS, Found, program
from dyncc_hw.flow import cache
from dyncc_sim.formal.design import FREE, Design

#: What proves: yosys-smtbmc, which unrolls the design, with z3.
ENGINE = "smtbmc z3"
_RESULT, _LOG, _TRACE = "result.json", "log.txt", "trace.vcd"


class Mode(Enum):
    """What is asked of a design."""

    PROVE = "prove"
    """Claims hold in every cycle, by induction over as many cycles as the depth says."""
    BOUNDED = "bmc"
    """Claims hold in the first cycles from reset, as many as the depth says."""
    COVER = "cover"
    """Situations that must be possible occur within so many cycles."""


@dataclass(frozen=True)
class Verdict:
    """What SymbiYosys found.

    Attributes
    ----------
    status
        ``PASS``; ``FAIL`` if a claim does not hold, or a situation does not occur; ``UNKNOWN`` if
        induction is not enough.
    reason
        The claim or situation, and where it is written.
    seconds
        Time that it took, at the first time.
    folder
        Where its log is and, if there is one, a trace as a VCD file.
    """

    status: str
    reason: str
    seconds: float
    folder: str

    @property
    def trace(self) -> Path | None:
        """A trace that shows what does not hold."""
        found = Path(self.folder) / _TRACE
        return found if found.is_file() else None


@dataclass(frozen=True)
class Task:
    """A question about a design, ready to be asked.

    Attributes
    ----------
    script
        What SymbiYosys is told.
    text
        The design, without where it is written: what the answer follows from.
    located
        The same, with where it is written: what reports need.
    """

    script: str
    text: str
    located: str


def task(design: Design, mode: Mode, depth: int) -> Task:
    """A question about a design.

    Parameters
    ----------
    depth
        In cycles.
    """
    return Task(
        _script(design, mode, depth), design.rtlil(locations=False), design.rtlil(locations=True)
    )


def run(asked: Task) -> Verdict:
    """Ask, unless the answer is known.

    Raises
    ------
    MissingToolError
        If SymbiYosys or what it calls is missing.
    ToolError
        If it fails, which is not the same as a claim that does not hold.
    """
    tools = _tools()
    versions = json.dumps({name: tool.version for name, tool in tools.items()})
    key = cache.key_of("formal", versions, asked.script, asked.text)
    kept = cache.look_up(key)
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="dyncc.") as folder:
            kept = _run(asked, {name: str(tool.path) for name, tool in tools.items()}, folder, key)
    found = json.loads((kept / _RESULT).read_text(encoding="utf-8"))
    log = (kept / _LOG).read_text(encoding="utf-8")
    return Verdict(found["status"], _reason(log, asked.located), found["seconds"], str(kept))


@lru_cache(maxsize=1)
def _tools() -> dict[str, Found]:
    return {name: program(need) for name, need in FORMAL_TOOLS.items()}


def _script(design: Design, mode: Mode, depth: int) -> str:
    cuts = [f"cutpoint a:{FREE}"]
    if not design.multiplies:
        cuts.append("cutpoint t:$mul")
    return "\n".join(
        [
            "[options]", f"mode {mode.value}", f"depth {depth}",
            "[engines]", ENGINE,
            "[script]", "read_rtlil design.il", "prep -flatten -top top", *cuts, "opt_clean -purge",
            "[files]", "design.il", "",
        ]
    )  # fmt: skip


def _run(asked: Task, tools: dict[str, str], folder: str, key: str) -> Path:
    place = Path(folder)
    (place / "design.il").write_text(asked.located, encoding="utf-8")
    (place / "task.sby").write_text(asked.script, encoding="utf-8")
    # SymbiYosys calls its programs by these names.
    names = place / "bin"
    names.mkdir()
    for name, path in tools.items():
        (names / name).symlink_to(path)
    begun = time.monotonic()
    done = subprocess.run(
        [str(names / "sby"), "-f", "task.sby"],
        cwd=place, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{names}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    seconds = time.monotonic() - begun
    log = place / _LOG
    log.write_text(done.stdout + done.stderr, encoding="utf-8")
    status_file = place / "task" / "status"
    status = status_file.read_text(encoding="utf-8").split()[0] if status_file.is_file() else ""
    if status not in ("PASS", "FAIL", "UNKNOWN"):
        raise ToolError(
            f"sby failed with exit code {done.returncode}", log=(done.stdout + done.stderr)[-3000:]
        )
    result = {"status": status, "seconds": round(seconds, 1)}
    (place / _RESULT).write_text(json.dumps(result), encoding="utf-8")
    files = {_RESULT: place / _RESULT, _LOG: log}
    traces = sorted((place / "task").glob("engine_*/trace*.vcd"))
    if traces and status != "PASS":
        files[_TRACE] = traces[0]
    return cache.keep(key, files)


def _reason(log: str, design: str) -> str:
    """What failed, by what it says and where it is written."""
    says = dict(re.findall(r'cell \$check \$(\d+)\n\s*parameter \\FORMAT "(.*)"', design))
    found = []
    for place, cell in re.findall(
        r"(?:Assert failed in \S+:|Unreached cover statement at \S+:) (\S+) \(\S*?(\d+)\)", log
    ):
        found.append(f"{says.get(cell, 'a lemma of Amaranth')} ({Path(place).name})")
    if "PREUNSAT" in log:
        found.append("the assumptions exclude each other")
    return "; ".join(dict.fromkeys(found))
