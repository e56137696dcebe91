"""Runs the tools of a plan, once for each plan."""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dyncc.core.errors import ConfigError, ToolError
from dyncc.core.tools import FPGA_TOOLS, program
from dyncc_hw.boards.board import Plan
from dyncc_hw.flow import cache

#: Called about every second with what is done, the step, and the number of steps.
Progress = Callable[[str, int, int], None]

LOG = "build.log"
#: Versions of the tools that ran.
TOOLS = "tools.json"
_STAGES = {
    "yosys": "synthesis",
    "nextpnr-ecp5": "placement and routing",
    "nextpnr-ice40": "placement and routing",
    "vivado": "synthesis, placement and routing",
}
_TAIL_LINES = 30


def execute(plan: Plan, progress: Progress | None = None) -> Path:
    """Run the tools, unless they ran on the same plan before.

    Returns
    -------
    Path
        A folder in the cache that holds `plan.products`, `LOG` and `TOOLS`.

    Raises
    ------
    MissingToolError, ToolError
        If a tool is missing or fails; the error shows the end of its log, and where all of it is.
    ConfigError
        If the device has too little of something.
    """
    names = dict.fromkeys(command[0] for command in plan.commands)
    tools = {name: program(FPGA_TOOLS[name]) for name in names}
    versions = json.dumps({name: tool.version or "unknown" for name, tool in tools.items()})
    files = (f"{name}\0{content}" for name, content in sorted(plan.files.items()))
    key = cache.key_of(json.dumps([plan.commands, plan.settings]), versions, *files)
    kept = cache.look_up(key)
    if kept is not None:
        return kept
    log = cache.log_of(key)
    with tempfile.TemporaryDirectory(prefix="dyncc.") as place:
        folder = Path(place)
        for name, content in {**plan.files, TOOLS: versions}.items():
            (folder / name).write_text(content, encoding="utf-8")
        with log.open("w", encoding="utf-8") as output:
            for step, (name, *arguments) in enumerate(plan.commands):
                if name.startswith("nextpnr") and plan.settings:
                    _give_settings(folder / arguments[arguments.index("--json") + 1], plan.settings)
                print("$", name, *arguments, file=output, flush=True)
                say = _say(progress, _STAGES.get(name, name), step, len(plan.commands))
                if _run([str(tools[name].path), *arguments], folder, output, say):
                    raise _failure(f"{name} failed", log)
        found = {name: folder / name for name in (TOOLS, *plan.products)}
        for name, path in found.items():
            if not path.is_file():
                raise _failure(f"the tools ended without making {name}", log)
        kept = cache.keep(key, {LOG: log, **found})
    log.unlink()
    return kept


def _give_settings(path: Path, settings: dict[str, int | float]) -> None:
    """Write settings of nextpnr into a netlist, as nextpnr itself does when it writes one."""
    netlist = json.loads(path.read_text(encoding="utf-8"))
    netlist["modules"]["top"]["settings"] = {
        name: f"{value:032b}" if isinstance(value, int) else str(value)
        for name, value in settings.items()
    }
    path.write_text(json.dumps(netlist), encoding="utf-8")


def _say(progress: Progress | None, stage: str, step: int, steps: int) -> Callable[[float], None]:
    def say(seconds: float) -> None:
        if progress is not None:
            progress(f"{stage} ({seconds:.0f} s)" if seconds >= 1 else stage, step, steps)

    return say


def _run(command: list[str], folder: Path, output: Any, say: Callable[[float], None]) -> int:
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        while True:
            say(time.monotonic() - begun)
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                continue
    finally:
        process.kill()
        process.wait()


def _failure(message: str, log: Path) -> Exception:
    text = log.read_text(encoding="utf-8", errors="replace")
    lacking = {
        kind: (int(used), int(there))
        for kind, used, there in re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s", text, re.M)
        if int(used) > int(there)
    }
    if lacking:
        shown = ", ".join(f"{used} {kind} of {there}" for kind, (used, there) in lacking.items())
        return ConfigError(
            f"the design does not fit: it needs {shown}",
            hint=f"Choose smaller sizes (dyncc hw list). The whole log: {log}",
        )
    return ToolError(
        message,
        hint=f"The whole log: {log}",
        log="\n".join(text.splitlines()[-_TAIL_LINES:]),
    )
