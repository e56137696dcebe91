"""``--format so``: one shared library with the control flow, the kernels and the weights."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from dyncc.core.errors import ConfigError, MissingToolError, ToolError
from dyncc.core.tools import Need, program
from dyncc.export import tree
from dyncc.export.request import Progress, Request

_LOG_LINES = 25
#: Seconds that a compiler may take.
_PATIENCE = 1800


def compiler(triple: str | None) -> str:
    """The C++ compiler for a target, by default for this machine.

    Raises
    ------
    MissingToolError
        If there is none.
    """
    name = "g++" if triple is None else f"{triple}-g++"
    need = Need(name, "linking exported libraries", "your system's packages", required=True)
    try:
        path = program(need).path
    except MissingToolError as error:
        if triple is None:
            raise
        raise MissingToolError(
            error.message,
            hint=f"{error.hint}. Or give --format source, and build the library with CMake on "
            "the machine it is for.",
        ) from error
    assert path is not None
    return path


def export(request: Request, output: Path, progress: Progress) -> None:
    """Write the library; `output` is replaced only by a complete one.

    Raises
    ------
    MissingToolError, ToolError
        If there is no C++ compiler for the target, or it fails.
    """
    if output.is_dir():
        raise ConfigError(f"{output} is a directory", hint="Give a file with -o.")
    # Before what takes long.
    path = compiler(request.cpu.triple)
    request.check()
    with tempfile.TemporaryDirectory(prefix="dyncc.") as name:
        folder = Path(name)
        request.write_tree(folder, progress)
        progress("linking", 2, 3)
        built = folder / "library.so"
        _build(path, folder, built, native=request.cpu.triple is None)
        _place(built, output)


def _build(path: str, folder: Path, built: Path, *, native: bool) -> None:
    inputs = [tree.PROGRAM, tree.DATA_ASSEMBLY]
    if (folder / tree.KERNELS).is_file():
        inputs.append(tree.KERNELS)
    folders = tree.library_folders() if native else [_stand_ins(path, folder)]
    command = [
        path, *tree.COMPILE_OPTIONS, "-Iinclude", "-Isupport", *inputs, *tree.LINK_OPTIONS,
        f"-Wl,--version-script={tree.EXPORTS}", "-Wl,-z,noexecstack",
        *(f"-L{place}" for place in folders), *(f"-l{name}" for name in tree.LIBRARIES),
        "-o", built.name,
    ]  # fmt: skip
    if not native:
        command.remove("-Wl,--no-undefined")
    _run(command, folder)


def _stand_ins(path: str, folder: Path) -> Path:
    """Empty libraries of the names of TVM's, for a machine whose TVM is not here."""
    place = folder / "stand-ins"
    place.mkdir()
    for name in tree.LIBRARIES:
        file = f"lib{name}.so"
        (place / "empty.cpp").write_text("", encoding="ascii")
        _run([path, "-shared", "-fPIC", "empty.cpp", f"-Wl,-soname,{file}", "-o", file], place)
    return place


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{command[0]} failed: {error}") from error
    if done.returncode != 0:
        log = (done.stdout + done.stderr).splitlines()
        raise ToolError(
            f"{command[0]} could not build the library",
            hint="It takes a C++17 compiler with <charconv> for floats, such as GCC 11.",
            log="\n".join(log[:_LOG_LINES]),
        )


def _place(built: Path, output: Path) -> None:
    """Put a finished file where it belongs, which may be on another disk."""
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built, unfinished)
        unfinished.chmod(0o755)
        unfinished.replace(output)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
