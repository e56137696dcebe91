"""What is compared on: a network from a file, a module of a package, or one operation."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dyncc.bench.arguments import Arguments, mapped, to_array, to_tensor
from dyncc.core.errors import ConfigError, ModelError
from dyncc.ir.text import FORMAT
from dyncc.modelfile import load_model
from dyncc.runtime.artifact import MANIFEST, read_manifest

#: What begins the reference of an operation of `dyncc.bench.operators`.
OPERATOR = "operator:"


@dataclass(frozen=True)
class Source:
    """A network and its natural inputs.

    Attributes
    ----------
    module
        In evaluation mode.
    inputs
        Arguments of calls, torch tensors among them.
    """

    module: nn.Module
    inputs: list[Arguments]


def open_source(reference: str) -> Source:
    """The network and the inputs that a reference stands for.

    Parameters
    ----------
    reference
        ``model.py``, ``model.py:Net``, ``package.module``, or ``operator:NAME``.

    Raises
    ------
    ModelError, ConfigError
        If there is no such network, or it has no inputs.
    """
    if reference.startswith(OPERATOR):
        from dyncc.bench.operators import find

        operator = find(reference.removeprefix(OPERATOR))
        return Source(operator.build().eval(), [arguments(operator.inputs())])
    model = load_model(reference if _is_path(reference) else _file_of(reference))
    inputs = model.coverage_inputs()
    if inputs is None:
        example = model.example_inputs()
        if example is None:
            raise ModelError(
                f"{reference} has no inputs",
                hint="Define coverage_inputs(), which gives a list of tuples of arguments.",
            )
        inputs = [example]  # type: ignore[list-item]
    return Source(model.module, [arguments(each) for each in inputs])


def manifest_of(reference: str) -> dict[str, Any] | None:
    """The manifest if a reference is the folder of an artifact, else None.

    Raises
    ------
    ArtifactError
        If the manifest is damaged.
    ModelError
        If it does not say which file the artifact was compiled from.
    """
    folder = Path(reference)
    if not (folder / MANIFEST).is_file():
        return None
    found = read_manifest(folder, {"backend": str}, (), FORMAT)
    if "model" not in found.get("source", {}):
        raise ModelError(
            f"{folder} does not say which file it came from",
            hint="Measure the model file instead, or compile it with dyncc compile.",
        )
    return found


def arguments(given: tuple[Any, ...] | Mapping[str, Any]) -> Arguments:
    """Arguments of a call from torch tensors; their path is not known yet."""
    if isinstance(given, Mapping):
        named = {name: mapped(value, to_array) for name, value in given.items()}
        return Arguments((), named, 0)
    return Arguments(tuple(mapped(value, to_array) for value in given), {}, 0)


def tensors(given: Arguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with torch tensors, of memory of their own."""
    named = {name: mapped(value, to_tensor) for name, value in given.named.items()}
    return tuple(mapped(value, to_tensor) for value in given.positional), named


def answer_of(module: nn.Module, given: Arguments) -> Any:
    """What a module gives in PyTorch."""
    positional, named = tensors(given)
    with torch.inference_mode():
        return module(*positional, **named)


def _is_path(reference: str) -> bool:
    return (
        "/" in reference
        or reference.rpartition(":")[0].endswith(".py")
        or (reference.endswith(".py"))
    )


def _file_of(name: str) -> str:
    """The file of a module of a package."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise ConfigError(
            f"there is no module {name!r}",
            hint="Give a file such as model.py, or a module such as dyncc_models.halting.",
        )
    return found.origin
