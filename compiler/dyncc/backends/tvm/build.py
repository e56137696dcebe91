"""Build the region library of a program."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from dyncc.backends.tvm.importing import import_region
from dyncc.backends.tvm.lowering import Care, lower
from dyncc.backends.tvm.packing import Packer
from dyncc.backends.tvm.target import Cpu
from dyncc.core.errors import ToolError
from dyncc.ir.hcfg import Hcfg, Region, is_static

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


@dataclass(frozen=True)
class _Imported:
    """A region as TVM sees it."""

    name: str
    entry: str
    module: tvm.IRModule
    params: int


@dataclass(frozen=True)
class _Compiled:
    """What TVM made of the regions, and the recipes of each one's weight arguments."""

    executable: Any
    recipes: list[list[dict[str, Any]]]
    care: Care


def _import(region: Region, entry: str) -> _Imported:
    try:
        return _Imported(region.name, entry, import_region(region), len(region.params))
    except _FAILURES as error:
        raise ToolError(
            f"TVM cannot take region {region.name!r}",
            hint="Compile with the eager back end, or report the operation to dyncc.",
            log=_tail(error),
        ) from error


def _compile(regions: Sequence[_Imported], cpu: Cpu, care: Care) -> _Compiled:
    packer = Packer(cpu)
    recipes = [packer.add(item.entry, item.module, item.params) for item in regions]
    target = cpu.target()
    with target, tvm.transform.PassContext(opt_level=3):
        module = lower(packer.module(), cpu, care)
        return _Compiled(tvm.compile(module, target=target), recipes, care)


def _compile_or_blame(regions: Sequence[_Imported], cpu: Cpu) -> _Compiled:
    for care in (Care.TRUST, Care.VERIFY):
        try:
            return _compile(regions, cpu, care)
        except (RuntimeError, ValueError):
            # Schedules are an optimisation: code without them must still build.
            continue
    try:
        return _compile(regions, cpu, Care.PLAIN)
    except _FAILURES as error:
        failure = error
    for item in regions:
        try:
            _compile([item], cpu, Care.PLAIN)
        except _FAILURES as error:
            raise ToolError(
                f"TVM failed to build region {item.name!r}",
                hint="Compile with the eager back end.",
                log=_tail(error),
            ) from error
    raise ToolError(
        f"TVM failed to build the regions {', '.join(item.name for item in regions)} together",
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
        JSON-able. ``library``: file name; ``target``: what the code needs of a machine;
        ``schedules``: how far they were trusted, see `lowering.Care`; ``regions``: by name,
        ``entry`` (symbol), ``weights`` (how many the region takes) and ``packed`` (a recipe for
        each weight that the compiled function takes, see `dyncc.runtime.tvm_library`); ``torch``:
        names of regions with sizes that depend on data, which PyTorch runs.

    Raises
    ------
    ToolError
        If torch.export or TVM fails; names the region and carries the tail of the log.
    """
    cpu = Cpu.host()
    steps = len(program.regions) + 1
    imported: list[_Imported] = []
    # TVM builds some with open extents, and gives tensors of wrong sizes for a mixture of experts.
    sized = [name for name, region in program.regions.items() if not is_static(region)]
    for index, (name, region) in enumerate(program.regions.items()):
        if name in sized:
            continue
        progress(f"region {name}", index, steps)
        imported.append(_import(region, f"region_{index}"))
    progress("code generation", steps - 1, steps)
    report: dict[str, Any] = {
        "library": LIBRARY, "target": cpu.describe(), "regions": {}, "torch": sized,
    }  # fmt: skip
    if not imported:
        return report
    compiled = _compile_or_blame(imported, cpu)
    report["schedules"] = compiled.care.name.lower()
    _write(compiled.executable, Path(directory) / LIBRARY)
    for item, recipes in zip(imported, compiled.recipes, strict=True):
        report["regions"][item.name] = {
            "entry": item.entry,
            "weights": len(program.regions[item.name].weights),
            "packed": recipes,
        }
    return report


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
