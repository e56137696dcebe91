"""The directory that holds a mapped network: what `dyncc run` loads onto a core.

::

    manifest.json      format, core, places of inputs and outputs, sha256 of the other file
    image.safetensors  parameters, assignment, weights
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import dyncc
from dyncc.arch.neurocorex import CoreImage, CoreSpec, parameter_fields
from dyncc.core.errors import ArtifactError
from dyncc.runtime.artifact import check_files, read_manifest, replacing, seal
from dyncc.spiking.mapping import Output, SpikingProgram

FORMAT = 1
TARGET = "neurocorex"
IMAGE = "image.safetensors"
_FIELDS = {"target": str, "spec": dict, "dt": float, "inputs": dict, "outputs": dict}


def save(program: SpikingProgram, path: str | Path) -> None:
    """Write a program; an older one at `path` is replaced only when the new one is complete.

    Raises
    ------
    ConfigError
        If `path` holds something that is not an artifact.
    """
    with replacing(Path(path)) as unfinished:
        save_image(program.image, unfinished / IMAGE)
        seal(
            unfinished,
            {
                "format": FORMAT,
                "target": TARGET,
                "dyncc": dyncc.__version__,
                "spec": asdict(program.image.spec),
                "dt": float(program.dt),
                "inputs": program.inputs,
                "outputs": {name: asdict(output) for name, output in program.outputs.items()},
            },
        )


def load(path: str | Path) -> SpikingProgram:
    """Read a program.

    Raises
    ------
    ArtifactError
        If it is missing, damaged or of another format.
    """
    directory = Path(path)
    manifest = read_manifest(directory, _FIELDS, (IMAGE,), FORMAT)
    check_files(directory, manifest)
    try:
        image = load_image(directory / IMAGE, CoreSpec(**manifest["spec"]))
        outputs = {name: Output(**fields) for name, fields in manifest["outputs"].items()}
        inputs = {name: _pair(place) for name, place in manifest["inputs"].items()}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"the image is damaged: {error}",
            where=str(directory),
            hint="Compile the network again.",
        ) from error
    return SpikingProgram(image, manifest["dt"], inputs, outputs)


def save_image(image: CoreImage, path: Path) -> None:
    """Write the arrays of an image without learning."""
    arrays = {f"parameter.{name}": values for name, values in image.parameters.items()}
    arrays |= {
        "assignment": image.assignment,
        "input_weights": image.input_weights,
        "recurrent_weights": image.recurrent_weights,
    }
    save_file({name: numpy.ascontiguousarray(array) for name, array in arrays.items()}, path)


def load_image(path: Path, spec: CoreSpec) -> CoreImage:
    """Read what `save_image` wrote.

    Raises
    ------
    SafetensorError, KeyError, ConfigError
        If the file is damaged or does not fit the core.
    """
    arrays = load_file(path)
    return CoreImage(
        spec,
        {item.name: arrays[f"parameter.{item.name}"] for item in parameter_fields(spec)},
        arrays["assignment"],
        arrays["input_weights"],
        arrays["recurrent_weights"],
    )


def _pair(place: Any) -> tuple[int, int]:
    first, size = place
    return int(first), int(size)
