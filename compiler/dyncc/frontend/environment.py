"""What depends on the world outside of the network: functions, and what a process is told.

Functions that read or change it, such as clocks and files, are refused. Environment variables and
the command line may differ where the compiled network runs, so the user's own code may not read
them. Installed packages read them to see how they are set up, such as whether to log; refusing that
would refuse the package. There they are what they were when the network was compiled, and the
artifact says so.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import types
from typing import TYPE_CHECKING, Any

import torch

from dyncc.frontend.decisions import Unsupported

if TYPE_CHECKING:
    from dyncc.frontend.interpreter import Interpreter

_READ: dict[int, tuple[str, Any]] = {
    id(item): (name, item)
    for name, item in {
        "os.environ": os.environ,
        "os.environb": getattr(os, "environb", None),
        "os.getenv": os.getenv,
        "os.getenvb": getattr(os, "getenvb", None),
        "sys.argv": sys.argv,
    }.items()
    if item is not None
}

_INSTALLED = tuple(
    os.path.realpath(sysconfig.get_paths()[key]) + os.sep
    for key in ("stdlib", "platstdlib", "purelib", "platlib")
)


def is_environment(value: Any) -> bool:
    """Whether a value belongs to the process, or is a function that reads its environment."""
    found = _READ.get(id(value))
    return found is not None and found[1] is value


def note_environment(run: Interpreter, value: Any) -> None:
    """Refuse that the user's code gets at a value that `is_environment`, or note where it is read.

    Raises
    ------
    Unsupported
        Outside of installed packages.
    """
    name, _ = _READ[id(value)]
    where = run.loc
    file = os.path.realpath(where.file)
    installed = file.startswith(_INSTALLED) or "site-packages" in file or "dist-packages" in file
    if not installed and not where.file.startswith("<frozen "):
        raise Unsupported(
            "DY601",
            f"`{name}`",
            "it belongs to the process, and compiled code would keep what it was at compile time",
            "Read it in __init__, or outside of forward, and pass the result in.",
        )
    run.machine.frozen[f"{name} at {where.file}:{where.line}"] = None


#: Modules whose functions depend on or change the world outside.
_IMPURE_MODULES = frozenset(
    {
        "datetime", "genericpath", "getpass", "glob", "io", "os", "pathlib", "posix", "random",
        "secrets", "shutil", "socket", "subprocess", "sys", "tempfile", "threading", "time", "uuid",
        "logging", "warnings",
    }
)  # fmt: skip
#: Modules of libraries of which that is true.
_IMPURE_PARTS = ("numpy.random", "torch.random")
_IMPURE_FUNCTIONS = frozenset(
    {
        input, open, eval, exec, id, torch.Generator, os.path.abspath, os.path.expanduser,
        os.path.expandvars, os.path.islink, os.path.lexists, os.path.realpath,
    }
)  # fmt: skip


def is_impure(function: Any) -> bool:
    """Whether a call acts on the world outside of the network, or depends on it."""
    try:
        if function in _IMPURE_FUNCTIONS:
            return True
    except TypeError:
        return False
    owner = getattr(function, "__self__", None)
    if isinstance(owner, torch.Generator):
        return True
    owners = (function, type(owner), owner if isinstance(owner, type | types.ModuleType) else None)
    names = {str(getattr(item, "__module__", None) or "") for item in owners}
    if isinstance(owner, types.ModuleType):
        names.add(owner.__name__)
    return any(
        name.split(".")[0].lstrip("_") in _IMPURE_MODULES or name.startswith(_IMPURE_PARTS)
        for name in names
    )
