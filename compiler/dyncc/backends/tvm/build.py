"""Build the region library of a program."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from dyncc.backends.tvm.importing import import_region
from dyncc.backends.tvm.lowering import lower
from dyncc.backends.tvm.packing import Packed, pack_weights
from dyncc.backends.tvm.target import Cpu
from dyncc.core.errors import ToolError
from dyncc.ir.hcfg import Hcfg, Region

#: File name of the library in an artifact.
LIBRARY = "regions.so"

#: What torch.export, TVM's front end, TVM's passes and the linker raise.
_FAILURES = (
    RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError,
    AssertionError, OSError, ArithmeticError,
)  # fmt: skip

_LOG_LINES = 25


def _tail(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    return "\n".join(text.splitlines()[-_LOG_LINES:])


def _import(region: Region, cpu: Cpu) -> Packed:
    try:
        return pack_weights(import_region(region), len(region.params), cpu)
    except _FAILURES as error:
        raise ToolError(
            f"TVM cannot take region {region.name!r}",
            hint="Compile with the eager back end, or report the operation to dyncc.",
            log=_tail(error),
        ) from error


def _compile(functions: Mapping[str, relax.Function], cpu: Cpu, scheduled: bool) -> Any:
    module = tvm.IRModule(
        {name: function.with_attr("global_symbol", name) for name, function in functions.items()}
    )
    target = cpu.target()
    with target, tvm.transform.PassContext(opt_level=3):
        return tvm.compile(lower(module, cpu, scheduled), target=target)


def _compile_or_blame(
    functions: Mapping[str, relax.Function], names: Mapping[str, str], cpu: Cpu
) -> Any:
    try:
        return _compile(functions, cpu, scheduled=True)
    except _FAILURES:
        # Our schedules are an optimisation: code without them must still build.
        try:
            return _compile(functions, cpu, scheduled=False)
        except _FAILURES as error:
            failure = error
    for entry, function in functions.items():
        try:
            _compile({entry: function}, cpu, scheduled=False)
        except _FAILURES as error:
            raise ToolError(
                f"TVM failed to build region {names[entry]!r}",
                hint="Compile with the eager back end.",
                log=_tail(error),
            ) from error
    raise ToolError(
        f"TVM failed to build the regions {', '.join(names.values())} together",
        hint="Compile with the eager back end.",
        log=_tail(failure),
    ) from failure


def build(
    program: Hcfg, directory: Path, progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Compile every region of a program into one library.

    Parameters
    ----------
    program
        The program.
    directory
        Existing directory that gets `LIBRARY`.
    progress
        Called with the name of what is done next, its index, and the number of steps.

    Returns
    -------
    dict
        JSON-able: ``library``, ``target`` (what the code needs of a machine) and ``regions``, by
        name: ``entry`` (symbol), ``weights`` (how many the region takes) and ``packed`` (a recipe
        for each weight that the compiled function takes, see `dyncc.runtime.tvm_library`).

    Raises
    ------
    ToolError
        If torch.export or TVM fails; names the region and carries the tail of the log.
    """
    cpu = Cpu.host()
    steps = len(program.regions) + 1
    functions: dict[str, relax.Function] = {}
    report: dict[str, Any] = {}
    for index, (name, region) in enumerate(program.regions.items()):
        progress(f"region {name}", index, steps)
        packed = _import(region, cpu)
        entry = f"region_{index}"
        functions[entry] = packed.function
        report[name] = {
            "entry": entry,
            "weights": len(region.weights),
            "packed": packed.recipes,
        }
    progress("code generation", steps - 1, steps)
    if functions:
        names = dict(zip(functions, program.regions, strict=True))
        executable = _compile_or_blame(functions, names, cpu)
        _write(executable, Path(directory) / LIBRARY)
    return {"library": LIBRARY, "target": cpu.describe(), "regions": report}


def _write(executable: Any, path: Path) -> None:
    # The linker writes in place; only a finished library may carry the final name.
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.so")
    try:
        executable.export_library(str(unfinished))
        unfinished.replace(path)
    except _FAILURES as error:
        raise ToolError(
            f"the region library {path.name} could not be linked",
            hint="TVM needs a C++ compiler: install g++.",
            log=_tail(error),
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
