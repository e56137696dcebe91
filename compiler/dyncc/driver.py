"""The steps of a compilation, in order."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dyncc.core.errors import ConfigError, ModelError
from dyncc.frontend import capture
from dyncc.passes import run_passes
from dyncc.runtime import artifact
from dyncc.runtime.program import Program

BACKENDS = ("tvm", "eager")

#: Told what is done, and how far it is: (what, step, steps).
Progress = Callable[[str, int, int], None]


def compile(
    module: nn.Module,
    example_inputs: tuple[Any, ...] | list[Any] | Mapping[str, Any],
    output: str | Path | None = None,
    backend: str = "tvm",
    *,
    name: str | None = None,
    progress: Progress | None = None,
    source: Mapping[str, str] | None = None,
) -> Program:
    """Compile a module.

    Parameters
    ----------
    module
        The network; compiled as it is now (usually after ``eval()``).
    example_inputs
        Positional arguments as a tuple, or keyword arguments as a dict.
    output
        Directory for the artifact; by default a temporary one that lives as long as the result.
    backend
        ``tvm`` or ``eager``.
    name
        Name of the program, by default the class of the module.
    progress
        Called before each step.
    source
        Where the module came from, for ``dyncc verify``.

    Returns
    -------
    Program
        Called like the module.

    Raises
    ------
    UnsupportedError
        With every construct that cannot be compiled.
    ModelError, ConfigError, ToolError
        If the module, the options or the back end fail.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, not {type(module).__name__}")
    report = progress or (lambda what, step, steps: None)
    args, kwargs = (
        ((), dict(example_inputs))
        if isinstance(example_inputs, Mapping)
        else (tuple(example_inputs), {})
    )
    if output is not None:
        artifact.check_target(Path(output))
    started = time.perf_counter()
    report("capture", 0, 1)
    captured = capture(module, args, kwargs, name or type(module).__name__)
    program = run_passes(captured.program)
    weights = {
        key: _array(key, tensor)
        for key, tensor in captured.weights.items()
        if key in program.weights
    }
    build = import_module(f"dyncc.backends.{backend}").build

    def finish(path: Path) -> Program:
        extra = {
            "torch": torch.__version__,
            "source": dict(source or {}),
            "seconds": {},
        }

        def build_timed(directory: Path) -> Mapping[str, Any]:
            captured_at = time.perf_counter()
            found: Mapping[str, Any] = build(program, directory, report)
            now = time.perf_counter()
            extra["seconds"] = {
                "capture": round(captured_at - started, 3),
                "build": round(now - captured_at, 3),
            }
            return found

        artifact.write(path, program, weights, backend, build_timed, extra)
        return artifact.load(path)

    if output is not None:
        return finish(Path(output))
    with tempfile.TemporaryDirectory(prefix="dyncc.") as folder:
        # The library stays mapped after its file is gone.
        return finish(Path(folder) / "artifact")


def _array(name: str, tensor: torch.Tensor) -> Any:
    try:
        return tensor.detach().cpu().contiguous().numpy()
    except TypeError as error:
        raise ModelError(
            f"the weight {name} has the dtype {tensor.dtype}, which cannot be stored",
            hint="Convert the module, for example with .float().",
        ) from error
