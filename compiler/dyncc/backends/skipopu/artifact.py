"""The directory that holds a decoder for the overlay.

::

    manifest.json          format, architecture, plan, memory map, report, sha256 of other files
    program.hcfg           the program that was compiled, as text
    token.bin, token.s     the overlay's program that leaves the most likely token, and its text
    logits.bin, logits.s   the one that leaves all logits
    memory.bin             what memory holds from the manifest's `image` address on
    tokenizer.json         text to tokens, if the model file has a tokenizer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

import dyncc
from dyncc.arch.skipopu.assembler import disassemble
from dyncc.arch.skipopu.formats import KvType
from dyncc.arch.skipopu.isa import decode
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.backends.skipopu.image import MemoryMap, Region
from dyncc.backends.skipopu.plan import DecoderPlan, LayerPlan
from dyncc.backends.skipopu.weights import Rounding
from dyncc.core.errors import ArtifactError, ConfigError
from dyncc.runtime.artifact import PROGRAM, check_files, read_manifest, replacing, seal

FORMAT = 1
TARGET = "skipopu"
IMAGE = "memory.bin"
TOKENIZER = "tokenizer.json"
#: Programs: what each leaves in memory.
PROGRAMS = {"token": "the most likely token", "logits": "all logits"}
_FIELDS = {
    "target": str, "name": str, "arch": dict, "plan": dict, "memory": dict, "image": dict,
    "matrices": list,
}  # fmt: skip


@dataclass(frozen=True)
class Text:
    """Text to tokens.

    Attributes
    ----------
    json
        The tokenizer, as the library ``tokenizers`` writes it.
    end
        The token that ends a text.
    chat_form
        A conversation around ``{question}``, or None.
    """

    json: str
    end: int
    chat_form: str | None


@dataclass(frozen=True)
class Overlay:
    """A decoder for the overlay.

    Attributes
    ----------
    name
        Of the program.
    arch
        The instance that it is for.
    plan
        What it computes.
    memory
        The memory map.
    image_address, image
        What memory holds from an address on: uint8.
    programs
        Words, by the names of `PROGRAMS`.
    matrices
        How each was rounded.
    hcfg
        The program that it came from, as text.
    text
        The tokenizer, if there is one.
    about
        Further facts: versions, the model file, seconds of the compilation.
    """

    name: str
    arch: ArchSpec
    plan: DecoderPlan
    memory: MemoryMap
    image_address: int
    image: NDArray[numpy.uint8]
    programs: Mapping[str, tuple[int, ...]]
    matrices: tuple[Rounding, ...]
    hcfg: str
    text: Text | None
    about: Mapping[str, Any]

    @property
    def routers(self) -> int:
        """Sublayers that a router decides on."""
        return sum(
            router is not None
            for layer in self.plan.layers
            for router in (layer.router_attention, layer.router_mlp)
        )


def save(overlay: Overlay, path: str | Path) -> None:
    """Write a decoder; an older one at `path` is replaced only when the new one is complete.

    Raises
    ------
    ConfigError
        If `path` holds something that is not an artifact.
    """
    with replacing(Path(path)) as unfinished:
        overlay.image.tofile(unfinished / IMAGE)
        (unfinished / PROGRAM).write_text(overlay.hcfg, encoding="utf-8")
        for name, words in overlay.programs.items():
            numpy.array(words, "<u8").tofile(unfinished / f"{name}.bin")
            text = disassemble(decode(word) for word in words)
            (unfinished / f"{name}.s").write_text(text, encoding="utf-8")
        text_facts = None
        if overlay.text is not None:
            (unfinished / TOKENIZER).write_text(overlay.text.json, encoding="utf-8")
            text_facts = {"end": overlay.text.end, "chat_form": overlay.text.chat_form}
        seal(
            unfinished,
            {
                "format": FORMAT,
                "target": TARGET,
                "dyncc": dyncc.__version__,
                "name": overlay.name,
                "arch": asdict(overlay.arch) | {"kv": overlay.arch.kv.name},
                "plan": asdict(overlay.plan),
                "memory": {
                    "size": overlay.memory.size,
                    "slots": overlay.memory.slots,
                    "regions": [asdict(region) for region in overlay.memory.regions.values()],
                },
                "image": {"address": overlay.image_address, "size": overlay.image.size},
                "matrices": [asdict(item) for item in overlay.matrices],
                "text": text_facts,
                "about": dict(overlay.about),
            },
        )


def load(path: str | Path, arch: ArchSpec | None = None) -> Overlay:
    """Read a decoder.

    Parameters
    ----------
    arch
        The instance that it must be for, if that matters.

    Raises
    ------
    ArtifactError
        If it is missing, damaged or of another format.
    ConfigError
        If it is for another instance; shows the parameters that differ.
    """
    directory = Path(path)
    names = [f"{name}.{kind}" for name in PROGRAMS for kind in ("bin", "s")]
    manifest = read_manifest(directory, _FIELDS, (PROGRAM, IMAGE, *names), FORMAT)
    if manifest["target"] != TARGET:
        raise ArtifactError(f"it is for {manifest['target']}, not {TARGET}", where=str(directory))
    check_files(directory, manifest)
    try:
        spec = manifest["arch"]
        found = ArchSpec(**spec | {"kv": KvType[spec["kv"]]})
        plan = manifest["plan"]
        memory = manifest["memory"]
        regions = [Region(**region) for region in memory["regions"]]
        overlay = Overlay(
            manifest["name"],
            found,
            DecoderPlan(**plan | {"layers": tuple(LayerPlan(**item) for item in plan["layers"])}),
            MemoryMap({region.name: region for region in regions}, memory["slots"], memory["size"]),
            int(manifest["image"]["address"]),
            numpy.fromfile(directory / IMAGE, numpy.uint8),
            {name: _words(directory / f"{name}.bin") for name in PROGRAMS},
            tuple(Rounding(**item) for item in manifest["matrices"]),
            (directory / PROGRAM).read_text(encoding="utf-8"),
            _text(directory, manifest.get("text")),
            manifest.get("about", {}),
        )
    except (KeyError, TypeError, ValueError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(
            f"the manifest is damaged: {what}",
            where=str(directory),
            hint="Compile the model again.",
        ) from error
    if overlay.image.size != manifest["image"]["size"]:
        raise ArtifactError(
            f"{IMAGE} has {overlay.image.size} bytes, not {manifest['image']['size']}",
            where=str(directory),
        )
    if arch is not None and arch != found:
        raise ConfigError(
            _other(found, arch), where=str(directory), hint="Compile it for that one."
        )
    return overlay


def _words(path: Path) -> tuple[int, ...]:
    return tuple(numpy.fromfile(path, "<u8").tolist())


def _text(directory: Path, facts: Mapping[str, Any] | None) -> Text | None:
    if facts is None:
        return None
    return Text((directory / TOKENIZER).read_text(encoding="utf-8"), **facts)


def _other(image: ArchSpec, arch: ArchSpec) -> str:
    """That an image is for another instance."""
    differ = [
        item.name
        for item in fields(ArchSpec)
        if item.name != "name" and getattr(image, item.name) != getattr(arch, item.name)
    ]

    def told(spec: ArchSpec) -> str:
        values = asdict(spec) | {"kv": spec.kv.name}
        parts = (f"{name} {values[name]}" for name in differ)
        return f"{spec.name} ({', '.join(parts)})" if differ else spec.name

    return f"the image is for {told(image)}, not {told(arch)}"
