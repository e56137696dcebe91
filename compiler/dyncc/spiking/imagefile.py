"""The directory that holds a mapped network: what `dyncc run` loads onto a core.

::

    manifest.json       format, places of inputs and outputs, report, sha256 of the other files
    image.safetensors   what the core is programmed with; complete by itself
    places.safetensors  where each projection's synapses are
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

import dyncc
from dyncc.arch.neurocorex import (
    CoreImage,
    CoreSpec,
    Learning,
    Rule,
    Termination,
    Test,
    parameter_fields,
)
from dyncc.core.errors import ArtifactError, ConfigError
from dyncc.runtime.artifact import check_files, read_manifest, replacing, seal
from dyncc.spiking.program import Output, SpikingProgram, SynapsePlaces
from dyncc.spiking.report import MappingReport

FORMAT = 2
TARGET = "neurocorex"
IMAGE = "image.safetensors"
PLACES = "places.safetensors"
_FIELDS = {
    "target": str, "dt": float, "inputs": dict, "outputs": dict, "places": list, "report": dict
}  # fmt: skip
_ARRAYS = ("assignment", "initial_v", "initial_i", "initial_refractory")
#: Type of weights in a file: a weight has 16 bits at most.
_WEIGHT = numpy.int16


def save(program: SpikingProgram, path: str | Path) -> None:
    """Write a program; an older one at `path` is replaced only when the new one is complete.

    Raises
    ------
    ConfigError
        If `path` holds something that is not an artifact.
    """
    report = program.report or MappingReport((), (), 0, 0, 0, 0)
    with replacing(Path(path)) as unfinished:
        save_image(program.image, unfinished / IMAGE)
        rows = {
            str(number): places.rows.astype(numpy.int32)
            for number, places in enumerate(program.places)
        }
        save_file(rows, unfinished / PLACES)
        seal(
            unfinished,
            {
                "format": FORMAT,
                "target": TARGET,
                "dyncc": dyncc.__version__,
                "dt": float(program.dt),
                "inputs": program.inputs,
                "outputs": {name: asdict(output) for name, output in program.outputs.items()},
                "readout": None if program.readout is None else asdict(program.readout),
                "places": [
                    {name: getattr(places, name) for name in ("source", "target", "first", "unit")}
                    for places in program.places
                ],
                "report": report.to_dict(),
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
    manifest = read_manifest(directory, _FIELDS, (IMAGE, PLACES), FORMAT)
    check_files(directory, manifest)
    image = load_image(directory / IMAGE)
    try:
        rows = load_file(directory / PLACES)
        readout = manifest.get("readout")
        return SpikingProgram(
            image,
            manifest["dt"],
            {name: _pair(place) for name, place in manifest["inputs"].items()},
            {name: Output(**fields) for name, fields in manifest["outputs"].items()},
            tuple(
                SynapsePlaces(rows=rows[str(number)].astype(numpy.int64), **fields)
                for number, fields in enumerate(manifest["places"])
            ),
            MappingReport.from_dict(manifest["report"]),
            None if readout is None else Output(**readout),
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(directory, error) from error


def save_image(image: CoreImage, path: Path) -> None:
    """Write an image to a file that `load_image` reads."""
    arrays: dict[str, Any] = {
        f"parameter.{name}": values for name, values in image.parameters.items()
    }
    arrays |= {name: getattr(image, name) for name in _ARRAYS}
    weights = image.weights.astype(_WEIGHT)
    if image.spec.sparse:
        source, neuron = numpy.nonzero(image.present)
        arrays |= {
            "source": source.astype(numpy.int32),
            "neuron": neuron.astype(numpy.int32),
            "weights": weights[source, neuron],
            "plastic": image.plastic[source, neuron],
        }
    else:
        arrays |= {"weights": weights, "plastic": image.plastic}
    facts = {
        "format": FORMAT,
        "spec": asdict(image.spec),
        "learning": None if image.learning is None else asdict(image.learning),
        "termination": None if image.termination is None else asdict(image.termination),
    }
    save_file(
        {name: numpy.ascontiguousarray(array) for name, array in arrays.items()},
        path,
        {TARGET: json.dumps(facts)},
    )


def load_image(path: Path, spec: CoreSpec | None = None) -> CoreImage:
    """Read what `save_image` wrote.

    Parameters
    ----------
    spec
        The core that it must be for, if that matters.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged or of another format; names it.
    ConfigError
        If it is for another core.
    """
    try:
        with safe_open(path, "numpy") as file:
            facts = json.loads((file.metadata() or {})[TARGET])
            if facts["format"] != FORMAT:
                raise ArtifactError(
                    f"the image has format {facts['format']}, and this dyncc reads {FORMAT}",
                    where=str(path),
                    hint="Compile the network again.",
                )
            found = CoreSpec(**facts["spec"])
            image = CoreImage(
                found,
                {
                    item.name: file.get_tensor(f"parameter.{item.name}")
                    for item in parameter_fields(found)
                },
                learning=_learning(facts["learning"]),
                termination=_termination(facts["termination"]),
                **_synapses(file, found),
                **{name: file.get_tensor(name) for name in _ARRAYS},
            )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise _damaged(path, error) from error
    if spec is not None and found != spec:
        raise ConfigError(f"the image is for {found}, and the core is {spec}", where=str(path))
    return image


def _synapses(file: Any, spec: CoreSpec) -> dict[str, Any]:
    """Weights and plastic synapses: matrices, or of a sparse core lists in a file."""
    weights, plastic = (file.get_tensor(name) for name in ("weights", "plastic"))
    if spec.sparse:
        place = file.get_tensor("source"), file.get_tensor("neuron")
        lists, shape = (weights, plastic), (spec.sources, spec.neurons)
        weights, plastic = numpy.zeros(shape, _WEIGHT), numpy.zeros(shape, bool)
        weights[place], plastic[place] = lists
    weights = weights.astype(numpy.int64)
    return {
        "input_weights": weights[: spec.inputs],
        "recurrent_weights": weights[spec.inputs :],
        "input_plastic": plastic[: spec.inputs],
        "recurrent_plastic": plastic[spec.inputs :],
    }


def _learning(fields: dict[str, Any] | None) -> Learning | None:
    if fields is None:
        return None
    return Learning(**fields | {"rule": Rule(fields["rule"]), "lags": tuple(fields["lags"])})


def _termination(fields: dict[str, Any] | None) -> Termination | None:
    if fields is None:
        return None
    return Termination(**fields | {"test": Test(fields["test"]), "table": tuple(fields["table"])})


def _damaged(path: Path, error: Exception) -> ArtifactError:
    what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
    return ArtifactError(
        f"the image is damaged: {what}", where=str(path), hint="Compile the network again."
    )


def _pair(place: Any) -> tuple[int, int]:
    first, size = place
    return int(first), int(size)
