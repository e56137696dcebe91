"""The file of a comparison: what was measured, on which machine, with what.

::

    format      1
    kind        "networks" or "operators"
    command     the command line
    date        when it began, in UTC
    machine     CPU, how many of it, memory, system
    versions    of Python and the packages
    settings    see `dyncc.bench.session.Settings`
    subjects    name, reference, inputs, paths, cases, peers, summary

A case is a path (for batches of one) with the share of inputs that it stands for, or batches as
they come. A peer has ``status`` (ok, failed, wrong), ``message``, what was measured once, and
``rounds``: for each case the nanoseconds of each round. ``summary`` is what
`dyncc.bench.results.summary` makes of them.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from dyncc.bench.results import summary
from dyncc.bench.session import Settings
from dyncc.core.errors import InputError
from dyncc.core.files import write_text

FORMAT = 1

_PACKAGES = ("dyncc", "torch", "apache-tvm", "onnxruntime", "onnx", "onnxscript", "numpy")


def begin(kind: str, command: str, settings: Settings) -> dict[str, Any]:
    """A record without subjects."""
    return {
        "format": FORMAT,
        "kind": kind,
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "machine": machine(),
        "versions": versions(),
        "settings": asdict(settings),
        "subjects": [],
    }


def add(record: dict[str, Any], subject: Mapping[str, Any]) -> None:
    """Add a subject; what errors say at length stays out."""
    peers = [
        {key: value for key, value in peer.items() if key != "details"} for peer in subject["peers"]
    ]
    complete = {**subject, "peers": peers}
    record["subjects"].append({**complete, "summary": summary(complete)})


def write(record: Mapping[str, Any], path: str | Path) -> None:
    """Write a record as JSON, a line for each list of numbers."""
    text = json.dumps(record, indent=1)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _joined(text))


def _joined(text: str) -> str:
    """JSON in which lists of numbers take one line each, so that a difference can be read."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        stripped = line.strip().rstrip(",")
        number = stripped[:1].isdigit() or stripped[:1] == "-"
        closing = stripped == "]"
        if lines and (number or (closing and inside)) and (lines[-1].endswith("[") or inside):
            lines[-1] += line.strip() if lines[-1].endswith("[") or closing else f" {line.strip()}"
            inside = not closing
        else:
            lines.append(line)
            inside = False
    return "\n".join(lines) + "\n"


def read(path: str | Path) -> dict[str, Any]:
    """A record; raises InputError if the file is none."""
    try:
        record: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(
            f"{path} is no record of dyncc bench", hint="Give a file that dyncc bench -o wrote."
        )
    found: dict[str, Any] = record
    return found


def machine() -> dict[str, Any]:
    """The machine that this process runs on."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        # Of the last minute, before anything is measured: what else the machine is doing.
        "load": round(os.getloadavg()[0], 2),
    }


def _field(file: str, name: str) -> str:
    try:
        lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that take part."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def conditions(record: Mapping[str, Any]) -> Sequence[str]:
    """The machine, the versions and the settings, in sentences."""
    here, used, settings = record["machine"], record["versions"], record["settings"]
    packages = ", ".join(f"{name} {number}" for name, number in used.items())
    threads = settings["threads"]
    busy = " It was busy with other work." if here["load"] > here["cpus"] / 2 else ""
    place = (
        f"Measured {record['date']} UTC on {here['cpu']} ({here['architecture']}), "
        f"{here['cpus']} CPUs, {here['memory_bytes'] / 2**30:.0f} GiB, {here['system']}, "
        f"load {here['load']:g} at the beginning.{busy}"
    )
    return (
        place,
        f"{packages}.",
        f"Every peer has {threads} {'thread' if threads == 1 else 'threads'}.",
    )
