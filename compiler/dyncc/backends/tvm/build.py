"""Build the region library of a program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tvm
import tvm_ffi

from dyncc.backends.refusals import FAILURES, open_regions, reason, refused, tail, translated
from dyncc.backends.tvm.importing import import_region
from dyncc.backends.tvm.lowering import Care, lower
from dyncc.backends.tvm.packing import Packer
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning.database import Database
from dyncc.backends.tvm.tuning.reuse import Found, databases
from dyncc.core.errors import ToolError
from dyncc.ir.hcfg import Hcfg, Region

#: File name of the library in an artifact.
LIBRARY = "regions.so"

_LIBRARY = "TVM"

#: Sources that become a part of each library.
_SUPPORT = Path(__file__).parent / "support"

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Imported:
    """A region as TVM sees it: the symbol it gets, its module, and how many parameters it has."""

    name: str
    entry: str
    module: tvm.IRModule
    params: int


@dataclass(frozen=True)
class _Compiled:
    """What TVM made of the regions, the recipes of each one's weight arguments, and its kernels."""

    executable: Any
    recipes: list[list[dict[str, Any]]]
    care: Care
    kernels: list[dict[str, Any]]


def import_for_tvm(region: Region, entry: str) -> Imported:
    """Import a region under the symbol `entry`; raises what torch.export and TVM raise."""
    return Imported(region.name, entry, import_region(region), len(region.params))


def lowered(
    regions: Sequence[Imported], cpu: Cpu, care: Care, found: Found | None = None
) -> tuple[tvm.IRModule, list[list[dict[str, Any]]]]:
    """Scheduled kernels and the functions that call them, and each region's weight recipes."""
    found = found or Found(cpu)
    packer = Packer(cpu, found.layouts())
    recipes = [packer.add(item.entry, item.module, item.params) for item in regions]
    return lower(packer.module(), cpu, care, found), recipes


def _compile(
    regions: Sequence[Imported], cpu: Cpu, care: Care, sources: Sequence[Database]
) -> _Compiled:
    target, found = cpu.target(), Found(cpu, sources)
    with target, tvm.transform.PassContext(opt_level=3):
        module, recipes = lowered(regions, cpu, care, found)
        kernels = [found.report(module, item.entry) for item in regions]
        return _Compiled(tvm.compile(module, target=target), recipes, care, kernels)


def with_care(compile_with: Callable[[Care], _Result]) -> _Result:
    """Compile with all schedules if code generation survives them, else with fewer."""
    for care in (Care.TRUST, Care.VERIFY):
        try:
            return compile_with(care)
        except FAILURES:
            # Schedules are an optimisation: code without them must still build.
            continue
    return compile_with(Care.PLAIN)


def _compile_somehow(
    regions: Sequence[Imported], cpu: Cpu, sources: Sequence[Database]
) -> _Compiled:
    return with_care(lambda care: _compile(regions, cpu, care, sources))


def _blame(regions: Sequence[Imported], cpu: Cpu) -> dict[str, BaseException]:
    """The regions that TVM fails to build alone, and how it fails."""
    found: dict[str, BaseException] = {}
    for item in regions:
        try:
            _compile([item], cpu, Care.PLAIN, ())
        except FAILURES as error:
            found[item.name] = error
    return found


def build(
    program: Hcfg,
    directory: Path,
    progress: Callable[[str, int, int], None],
    *,
    fallback: bool = False,
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
    fallback
        Leave regions that TVM cannot compile to PyTorch.

    Returns
    -------
    dict
        JSON-able. ``library``: file name; ``target``: what the code needs of a machine;
        ``schedules``: how far they were trusted, see `lowering.Care`; ``regions``: by name,
        ``entry`` (symbol), ``weights`` (how many the region takes), ``packed`` (a recipe for
        each weight that the compiled function takes, see `dyncc.runtime.tvm_library`),
        ``kernels`` (how many) and ``tuned`` (of which something was found, and where, see
        `dyncc.backends.tvm.tuning.reuse.Found.report`); ``torch``:
        why PyTorch runs a region, by the names of those that it does: those with sizes that depend
        on data, and with `fallback` those that TVM cannot compile.

    Raises
    ------
    ToolError
        If torch.export or TVM fails; names every region that does, and carries the tails of logs.
    ConfigError
        If a database of what searches found cannot be used.
    """
    cpu = Cpu.host()
    sources = databases()
    steps = len(program.regions) + 1
    in_torch = open_regions(program)
    found, failures = translated(
        program, in_torch, progress, steps,
        lambda index, region: import_for_tvm(region, f"region_{index}"),
    )  # fmt: skip
    imported = list(found.values())
    if failures and not fallback:
        raise refused(program, failures, _LIBRARY)
    progress("code generation", steps - 1, steps)
    compiled = None
    if imported:
        try:
            compiled = _compile_somehow(imported, cpu, sources)
        except FAILURES as error:
            blamed = _blame(imported, cpu)
            if not blamed or not fallback:
                names = {item.name: error for item in imported}
                raise refused(program, blamed or names, _LIBRARY) from error
            failures |= blamed
            imported = [item for item in imported if item.name not in blamed]
            compiled = _compile_somehow(imported, cpu, sources) if imported else None
    in_torch |= {name: reason(error, _LIBRARY) for name, error in failures.items()}
    report: dict[str, Any] = {
        "library": LIBRARY,
        "target": cpu.describe(),
        "regions": {},
        "torch": {name: in_torch[name] for name in program.regions if name in in_torch},
    }
    if compiled is None:
        return report
    report["schedules"] = compiled.care.name.lower()
    _write(compiled.executable, Path(directory) / LIBRARY)
    for item, recipes, kernels in zip(imported, compiled.recipes, compiled.kernels, strict=True):
        report["regions"][item.name] = {
            "entry": item.entry,
            "params": len(program.regions[item.name].params),
            "weights": len(program.regions[item.name].weights),
            "results": len(program.regions[item.name].results),
            "packed": recipes,
            **kernels,
        }
    return report


def _threads() -> list[str]:
    """What the compiler is told so that the library has threads of its own, where there are some.

    Without these it uses TVM's.
    """
    if sys.platform != "linux":
        return []
    headers = (tvm_ffi.libinfo.find_include_path(), Path(tvm.__file__).parent / "include")
    return ["-O2", *(f"-I{folder}" for folder in headers), str(_SUPPORT / "threads.cpp")]


def _write(executable: Any, path: Path) -> None:
    # The linker writes in place; only a finished library may carry the final name.
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.so")
    try:
        executable.export_library(str(unfinished), options=_threads())
        unfinished.replace(path)
    except FAILURES as error:
        raise ToolError(
            f"the region library {path.name} could not be linked",
            hint="TVM needs a C++ compiler: install g++.",
            log=tail(error),
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
