"""The artifact directory: what is in it, and how it is written and read without surprises.

::

    manifest.json        format, versions, back end and its report, sha256 of every other file
    program.hcfg         the program as text
    places.json          where blocks and values come from in the source, for ``dyncc verify``
    weights.safetensors  every weight once
    regions.so           compiled regions (back end ``tvm``)
    region_0.onnx ...    regions (back end ``onnxruntime``)
    batch.hcfg           regions for several samples, as text (if compiled for batches)
    batch_...            these, compiled
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import dyncc
from dyncc.core.errors import ArtifactError, ConfigError
from dyncc.ir.hcfg import Hcfg
from dyncc.ir.parser import parse
from dyncc.ir.places import Places
from dyncc.ir.text import FORMAT, to_text
from dyncc.runtime import batchfile
from dyncc.runtime.batches import Batching
from dyncc.runtime.batchfile import read_regions
from dyncc.runtime.mixed import Home, MixedRegions
from dyncc.runtime.program import Program

MANIFEST = "manifest.json"
PROGRAM = "program.hcfg"
PLACES = "places.json"
WEIGHTS = "weights.safetensors"
#: What is in every artifact; the other files are its back end's.
OWN_FILES = (MANIFEST, PROGRAM, PLACES, WEIGHTS)


def write(
    path: Path,
    program: Hcfg,
    weights: Mapping[str, numpy.ndarray],
    backend: str,
    build: Callable[[Path], Mapping[str, Any]],
    extra: Mapping[str, Any],
    places: Places | None = None,
) -> None:
    """Write an artifact; an older one at `path` is replaced only when the new one is complete.

    Parameters
    ----------
    build
        Writes the back end's files into a directory and returns its report.
    extra
        Further fields of the manifest.
    places
        Where the program's blocks and values come from.

    Raises
    ------
    ConfigError
        If `path` holds something that is not an artifact.
    """
    with replacing(Path(path)) as unfinished:
        report = build(unfinished)
        (unfinished / PROGRAM).write_text(to_text(program), encoding="utf-8")
        text = json.dumps((places or Places()).to_json(), separators=(",", ":"))
        (unfinished / PLACES).write_text(text, encoding="utf-8")
        save_file(dict(weights), unfinished / WEIGHTS)
        manifest = {
            "format": FORMAT,
            "name": program.name,
            "dyncc": dyncc.__version__,
            "backend": backend,
            "report": report,
            **extra,
        }
        seal(unfinished, manifest)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new directory that replaces `path` if the block ends well, and is removed if it fails."""
    check_target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        _replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def seal(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest with the hash of every other file."""
    hashes = {item.name: _sha256(item) for item in sorted(directory.iterdir()) if item.is_file()}
    text = json.dumps({**manifest, "files": hashes}, indent=1)
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def check_files(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Compare every file with its hash; raises ArtifactError."""
    for name, digest in manifest["files"].items():
        file = directory / name
        if not file.is_file():
            raise ArtifactError(
                f"the file {name} is missing", where=str(directory), hint="Compile the model again."
            )
        if _sha256(file) != digest:
            raise ArtifactError(
                f"the file {name} is damaged: its hash differs from the manifest's",
                where=str(directory),
                hint="Copy the artifact again, or compile the model again.",
            )


def check_target(path: Path) -> None:
    """Raise ConfigError if an artifact may not be written to `path`."""
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise ConfigError(
            f"{path} exists and is not an artifact, so it is not replaced",
            hint="Give another directory with -o, or remove this one.",
        )
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file", hint="Give a directory with -o.")


def _replace(source: Path, target: Path) -> None:
    if not target.exists():
        source.rename(target)
        return
    old = target.with_name(f".{target.name}.old.{os.getpid()}")
    target.rename(old)
    try:
        source.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Contents:
    """What the files of an artifact say, before anything is bound to this machine."""

    manifest: Mapping[str, Any]
    program: Hcfg
    weights: Mapping[str, numpy.ndarray]
    places: Places


def load(path: str | os.PathLike[str]) -> Program:
    """Load an artifact.

    Raises
    ------
    ArtifactError
        If it is missing, damaged, of another format, or compiled for another machine.
    """
    found = read(path)
    main, homes = _regions(Path(path), found.program, found.manifest)
    batching = None
    if found.manifest.get("batch") is not None:
        variants = _variants(Path(path), found.manifest["batch"])
        batching = Batching(
            found.manifest["batch"], MixedRegions(main, homes | variants), found.weights
        )
    regions = (
        MixedRegions(main, homes) if any(home is not main for home in homes.values()) else main
    )
    return Program(found.program, regions, found.weights, found.manifest, found.places, batching)


def read(path: str | os.PathLike[str]) -> Contents:
    """Read an artifact without its compiled code.

    Raises
    ------
    ArtifactError
        If it is missing, damaged or of another format.
    """
    directory = Path(path)
    fields = {"name": str, "backend": str, "report": dict}
    manifest = read_manifest(directory, fields, (PROGRAM, PLACES, WEIGHTS), FORMAT)
    check_files(directory, manifest)
    program = parse((directory / PROGRAM).read_text(encoding="utf-8"))
    try:
        weights = load_file(directory / WEIGHTS)
    except SafetensorError as error:
        raise ArtifactError(f"{WEIGHTS} cannot be read: {error}", where=str(directory)) from error
    missing = sorted(set(program.weights) - set(weights))
    if missing:
        raise ArtifactError(f"{WEIGHTS} lacks {', '.join(missing)}", where=str(directory))
    try:
        places = Places.from_json(json.loads((directory / PLACES).read_text(encoding="utf-8")))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{PLACES} is damaged: {error!r}", where=str(directory), hint="Compile the model again."
        ) from error
    return Contents(manifest, program, weights, places)


def read_manifest(
    directory: Path, fields: Mapping[str, type], files: tuple[str, ...], number: int
) -> dict[str, Any]:
    """The manifest of an artifact.

    Parameters
    ----------
    fields
        Fields that it must have, and their types.
    files
        Files of which it must have the hash.
    number
        The format that is read.

    Raises
    ------
    ArtifactError
        If it is missing or damaged, or of another format.
    """
    file = directory / MANIFEST
    if not file.is_file():
        raise ArtifactError(
            f"{directory} is not an artifact: it has no {MANIFEST}",
            hint="Give a directory that `dyncc compile` wrote.",
        )
    try:
        manifest: Any = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{MANIFEST} is damaged: {error}", where=str(directory), hint="Compile the model again."
        ) from error
    for field, kind in {"format": int, "files": dict, **fields}.items():
        if not isinstance(manifest, dict) or not isinstance(manifest.get(field), kind):
            raise ArtifactError(
                f"{MANIFEST} has no valid field {field!r}",
                where=str(directory),
                hint="Compile the model again.",
            )
    for name in files:
        if name not in manifest["files"]:
            raise ArtifactError(
                f"{MANIFEST} has no hash of {name}",
                where=str(directory),
                hint="Compile the model again.",
            )
    if manifest["format"] != number:
        raise ArtifactError(
            f"the artifact has format {manifest['format']}, and this dyncc reads {number}",
            where=str(directory),
            hint="Load it with the dyncc that wrote it, or compile the model again.",
        )
    found: dict[str, Any] = manifest
    return found


def _regions(
    directory: Path, program: Hcfg, manifest: Mapping[str, Any]
) -> tuple[Home, dict[str, Home]]:
    """The library of most regions, and that of each region."""
    name, report = manifest["backend"], manifest["report"]
    if name == "eager":
        main = _torch_regions(directory, program)
        return main, dict.fromkeys(program.regions, main)
    parts = report["parts"] if name == "auto" else {name: report}
    libraries = {part: open_library(part, directory, parts[part]) for part in parts}
    homes = {region: libraries[part] for part in parts for region in parts[part]["regions"]}
    if report.get("torch") or not libraries:
        libraries["eager"] = _torch_regions(directory, program)
        homes |= dict.fromkeys(report.get("torch", ()), libraries["eager"])
    return libraries[report["main"] if name == "auto" else name], homes


def _variants(directory: Path, report: Mapping[str, Any]) -> dict[str, Home]:
    """The library of each variant of a region; see `dyncc.backends.variants.build`."""
    found: dict[str, Home] = {}
    for name, part in report["parts"].items():
        found |= dict.fromkeys(part["regions"], open_library(name, directory, part))
    if report["torch"]:
        regions = _torch_regions(directory, read_regions(directory / batchfile.FILE))
        found |= dict.fromkeys(report["torch"], regions)
    return found


def open_library(name: str, directory: Path, report: Mapping[str, Any]) -> Any:
    """The regions that a back end compiled.

    Only the library that runs them is imported: an artifact needs those of its back ends.

    Parameters
    ----------
    name
        The back end, ``tvm`` or ``onnxruntime``.
    directory
        Where its ``build`` wrote its files.
    report
        What it returned.

    Returns
    -------
    TvmLibrary or OnnxLibrary
        Has `bind`, `from_external` and `to_numpy`, and `tensor`, the class of its tensors.

    Raises
    ------
    ArtifactError
        If the back end is unknown or not installed, or its files are damaged.
    """
    try:
        if name == "tvm":
            from dyncc.runtime.tvm_library import TvmLibrary

            return TvmLibrary(directory / report["library"], report)
        if name == "onnxruntime":
            from dyncc.runtime.onnx_library import OnnxLibrary

            return OnnxLibrary(directory, report)
    except ImportError as error:
        package = {"tvm": "apache-tvm", "onnxruntime": "onnxruntime"}[name]
        raise ArtifactError(
            f"its regions were compiled for {name}, which cannot be imported: {error}",
            where=str(directory),
            hint=f"Install it: pip install {package}",
        ) from error
    raise ArtifactError(
        f"the artifact is for the back end {name!r}, which this dyncc does not know",
        where=str(directory),
    )


def _torch_regions(directory: Path, program: Hcfg) -> Any:
    # The one back end that runs on torch itself; nothing else of the runtime imports it.
    from importlib import import_module

    try:
        return import_module("dyncc.backends.eager").EagerRegions(program)
    except ImportError as error:
        raise ArtifactError(
            f"some of its regions run in PyTorch, which cannot be imported: {error}",
            where=str(directory),
            hint="Install torch, or give the network tensors whose sizes do not depend on data.",
        ) from error
