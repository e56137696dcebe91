"""From a component to figures, through yosys and nextpnr; results are kept by their inputs."""

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from dyncc.core.errors import ToolError
from dyncc.core.files import write_text
from dyncc.core.tools import NEXTPNR_ECP5, YOSYS, program

#: Where results are kept.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dyncc" / "hw"

_YOSYS = "read_rtlil top.il; synth_ecp5 -top top -json top.json"
_NEXTPNR = [
    "--85k", "--package", "CABGA756", "--json", "top.json", "--lpf-allow-unconstrained",
    "--out-of-context", "--timing-allow-fail", "--report", "report.json", "--seed", "1", "--quiet",
]  # fmt: skip


def verilog_of(component: Any) -> str:
    """The component as Verilog."""
    from amaranth.back import verilog

    text: str = verilog.convert(component, name="top", emit_src=False)
    return text


def ecp5_report(component: Any, clock_mhz: int = 50) -> dict[str, Any]:
    """Resources and clock of a component alone on an ECP5-85F, placed and routed.

    Parameters
    ----------
    clock_mhz
        The clock to aim at; the report says what was reached.

    Returns
    -------
    dict
        ``fmax_mhz``, ``clock_mhz``, ``used`` (cells by kind) and ``tools`` (versions).

    Raises
    ------
    MissingToolError, ToolError
        If yosys or nextpnr is missing or fails.
    """
    from amaranth.back import rtlil

    text = rtlil.convert(component, name="top", emit_src=False)
    yosys, nextpnr = program(YOSYS), program(NEXTPNR_ECP5)
    tools = {"yosys": yosys.version, "nextpnr": nextpnr.version}
    settings = json.dumps([tools, _YOSYS, _NEXTPNR, clock_mhz])
    digest = hashlib.sha256(f"{settings}\n{text}".encode()).hexdigest()[:24]
    kept = CACHE / f"{digest}.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    with tempfile.TemporaryDirectory(prefix="dyncc.") as folder:
        place = Path(folder)
        (place / "top.il").write_text(text, encoding="utf-8")
        _run([str(yosys.path), "-q", "-p", _YOSYS], place)
        _run([str(nextpnr.path), *_NEXTPNR, "--freq", str(clock_mhz)], place)
        report = json.loads((place / "report.json").read_text(encoding="utf-8"))
    (clock,) = report["fmax"].values()
    result = {
        "fmax_mhz": round(clock["achieved"], 1),
        "clock_mhz": clock_mhz,
        "used": {
            name: item["used"]
            for name, item in sorted(report["utilization"].items())
            if item["used"]
        },
        "tools": tools,
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_text(kept, json.dumps(result))
    return result


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(
            f"{Path(command[0]).name} failed with exit code {done.returncode}",
            log=(done.stdout + done.stderr)[-2000:],
        )
