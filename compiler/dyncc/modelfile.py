"""Loads the network of a Python file, and example inputs written on a command line."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dyncc.core.errors import ConfigError, DynccError, ModelError
from dyncc.ir.sizes import merged, parse_shape

_SPEC = re.compile(r"(?P<name>\w+):(?P<dtype>\w+)\[(?P<shape>[^\[\]]*)\]$")
_DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclass(frozen=True)
class ModelFile:
    """A network and what its file says about it.

    Attributes
    ----------
    path
        The file.
    name
        What was selected in it.
    module
        The network, in evaluation mode unless the file put it in training mode after building it.
    namespace
        The executed file.
    """

    path: Path
    name: str
    module: nn.Module
    namespace: types.ModuleType

    def example_inputs(self) -> tuple[Any, ...] | dict[str, Any] | None:
        """What ``example_inputs()`` of the file gives, or None without it."""
        found = getattr(self.namespace, "example_inputs", None)
        if not callable(found):
            return None
        inputs = self._run(found, "example_inputs()")
        if isinstance(inputs, torch.Tensor):
            return (inputs,)
        if not isinstance(inputs, tuple | list | dict):
            raise ModelError(
                f"example_inputs() gives a {type(inputs).__name__}",
                hint="Return a tuple of arguments or a dict of keyword arguments.",
                where=str(self.path),
            )
        return dict(inputs) if isinstance(inputs, dict) else tuple(inputs)

    def coverage_inputs(self) -> list[tuple[Any, ...]] | None:
        """What ``coverage_inputs()`` of the file gives, or None without it."""
        found = getattr(self.namespace, "coverage_inputs", None)
        return list(self._run(found, "coverage_inputs()")) if callable(found) else None

    def rtol(self) -> float | None:
        """``RTOL`` of the file, or None without it: for `dyncc.proof.prove`.

        For networks whose own roundings come to more than the usual bound, as those of untrained
        ones may.

        Raises
        ------
        ModelError
            If it is not a number between 0 and 1.
        """
        found = getattr(self.namespace, "RTOL", None)
        if found is None:
            return None
        if not isinstance(found, int | float) or not 0 <= found < 1:
            raise ModelError(
                f"RTOL is {found!r}",
                hint="Give a number between 0 and 1, such as 1e-3.",
                where=str(self.path),
            )
        return float(found)

    def quantised(self) -> dict[str, Any]:
        """What ``quantised()`` of the file gives: matrices as they are to be stored.

        By the name of the parameter an object with ``kind`` (``Q4_1``, ``Q8_0``, or another that
        is not used), ``shape`` and ``data``, the bytes of its groups of 32 as in GGUF files, uint8
        of shape (rows, bytes). Nothing without that function.
        """
        found = getattr(self.namespace, "quantised", None)
        if not callable(found):
            return {}
        matrices = self._run(found, "quantised()")
        if not isinstance(matrices, Mapping):
            raise ModelError(
                f"quantised() gives a {type(matrices).__name__}",
                hint="Return a dict of matrices by the name of their parameter.",
                where=str(self.path),
            )
        return dict(matrices)

    def tokenizer(self) -> Any:
        """What ``tokenizer()`` of the file gives, or None without it.

        An object with ``json``, the text of the library ``tokenizers``, ``end``, the token that
        ends a text, and ``chat_form``, a text with ``{question}``, or None.
        """
        found = getattr(self.namespace, "tokenizer", None)
        return self._run(found, "tokenizer()") if callable(found) else None

    def _run(self, function: Callable[[], Any], what: str) -> Any:
        return _guarded(function, what, self.path)


def load_model(reference: str) -> ModelFile:
    """Load ``model.py`` or ``model.py:name``.

    Without a name, the function ``build()`` of the file makes the network; without that, the file
    must hold exactly one module, or one module class that can be made without arguments.

    Raises
    ------
    ModelError
        If the file is missing or broken, or holds no network or several.
    """
    path_text, separator, name = reference.rpartition(":")
    if not separator or "/" in name or name.endswith(".py"):
        path_text, name = reference, ""
    path = Path(path_text)
    if not path.is_file():
        raise ModelError(f"there is no file {path}", hint="Give the path of a Python file.")
    namespace = _execute(path)
    if name:
        if not hasattr(namespace, name):
            raise ModelError(
                f"{path} defines no {name!r}",
                hint=f"It has {', '.join(_candidates(namespace)) or 'no modules'}.",
            )
        selected = getattr(namespace, name)
    elif callable(getattr(namespace, "build", None)):
        name, selected = "build", namespace.build
    else:
        names = _candidates(namespace)
        if len(names) != 1:
            what = "no torch.nn.Module" if not names else f"several modules: {', '.join(names)}"
            raise ModelError(
                f"{path} holds {what}",
                hint=f"Define build(), or choose with {path}:NAME.",
            )
        name = names[0]
        selected = getattr(namespace, name)
    module = selected
    if not isinstance(module, nn.Module):
        if not callable(selected):
            raise ModelError(f"{path}:{name} is no module and cannot be called to make one")
        module = _guarded(selected, f"{name}()", path)
    if not isinstance(module, nn.Module):
        raise ModelError(f"{path}:{name} gives a {type(module).__name__}, not a torch.nn.Module")
    if name != "build":
        module.eval()
    return ModelFile(path, name, module, namespace)


def _execute(path: Path) -> types.ModuleType:
    # In full, for the place of an error must not depend on the current directory.
    spec = importlib.util.spec_from_file_location(f"dyncc_model_{path.stem}", path.resolve())
    assert spec is not None
    assert spec.loader is not None
    namespace = importlib.util.module_from_spec(spec)
    # Registered, so that classes find their module; the folder, so that it finds its neighbours.
    sys.modules[namespace.__name__] = namespace
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        with _UserCode("importing the file", path):
            spec.loader.exec_module(namespace)
    finally:
        sys.path.pop(0)
    return namespace


def _guarded(function: Callable[[], Any], what: str, path: Path) -> Any:
    with _UserCode(what, path):
        return function()


class _UserCode:
    """Turns whatever the user's code raises into a ModelError at the line it came from.

    Errors of dyncc say by themselves what is wrong, such as that a package is missing.
    """

    def __init__(self, what: str, path: Path) -> None:
        self._what = what
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | MemoryError | DynccError):
            return
        if isinstance(error, SyntaxError):
            raise ModelError(
                f"syntax error: {error.msg}",
                where=f"{error.filename}:{error.lineno}:{error.offset}",
                hint="Correct the file.",
            ) from error
        where = str(self._path)
        while trace is not None:
            if Path(trace.tb_frame.f_code.co_filename) == self._path.resolve():
                where = f"{self._path}:{trace.tb_lineno}"
            trace = trace.tb_next
        raise ModelError(
            f"{self._what} raises {type(error).__name__}: {error}",
            where=where,
            hint="Correct the file; run it with python to see the traceback.",
        ) from error


def _candidates(namespace: types.ModuleType) -> list[str]:
    """Names of the modules, or else of the module classes, that a file itself defines."""
    content = vars(namespace)
    instances = [name for name, value in content.items() if isinstance(value, nn.Module)]
    if instances:
        return instances
    classes = {
        name: value
        for name, value in content.items()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == namespace.__name__
    }
    # A class that others are built from or derive from is rarely the network itself.
    return [name for name in classes if _without_arguments(classes[name])]


def _without_arguments(kind: type) -> bool:
    import inspect

    parameters = list(inspect.signature(kind).parameters.values())
    return all(
        p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters
    )


@dataclass(frozen=True)
class Inputs:
    """Arguments as they are written on a command line.

    Attributes
    ----------
    examples
        A random tensor for each argument.
    shapes
        The shapes of those some of whose sizes may differ from call to call, as
        `dyncc.driver.compile` takes them.
    """

    examples: dict[str, torch.Tensor]
    shapes: dict[str, str]


def parse_inputs(texts: Iterable[str]) -> Inputs:
    """Arguments as in ``x:float32[1,3,32,32]`` or ``x:float32[1..8,3,H,W]``.

    Raises
    ------
    ConfigError
        If a text is not of this form.
    """
    kinds: dict[str, torch.dtype] = {}
    shapes: dict[str, str] = {}
    for text in texts:
        match = _SPEC.match(text.strip())
        if match is None or match["dtype"] not in _DTYPES:
            raise ConfigError(
                f"--input {text!r} is not NAME:DTYPE[SHAPE]",
                hint="For example x:float32[1,3,32,32], or x:float32[1..8,3,H,W] for sizes that "
                f"may differ; dtypes are {', '.join(_DTYPES)}.",
            )
        kinds[match["name"]] = getattr(torch, match["dtype"])
        shapes[match["name"]] = match["shape"]
    parsed = {name: parse_shape(shape, name) for name, shape in shapes.items()}
    sizes = merged(table for _, table in parsed.values())
    examples = {
        name: random_tensor(
            [sizes[dim].example if isinstance(dim, str) else dim for dim in dims], kinds[name]
        )
        for name, (dims, _) in parsed.items()
    }
    return Inputs(examples, {name: shapes[name] for name, (_, own) in parsed.items() if own})


def random_tensor(
    shape: list[int], dtype: torch.dtype, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Normal values for floats, 0 or 1 for other types."""
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)
