"""From a program to a decoder for the overlay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.backends.skipopu.artifact import PROGRAMS, Overlay, Text
from dyncc.backends.skipopu.emit import Emitter, buffers
from dyncc.backends.skipopu.image import contents, memory_map
from dyncc.backends.skipopu.match import match
from dyncc.backends.skipopu.weights import store
from dyncc.core.errors import ConfigError
from dyncc.ir.hcfg import Hcfg
from dyncc.ir.text import to_text


def build(
    program: Hcfg,
    weights: Mapping[str, NDArray[Any]],
    arch: ArchSpec,
    *,
    quantised: Mapping[str, Any],
    slots: int | None,
    text: Text | None,
    about: Mapping[str, Any],
    report: Callable[[str, int, int], None],
) -> Overlay:
    """A decoder.

    Parameters
    ----------
    weights
        Arrays by name.
    quantised
        Matrices as they are to be stored; those that are left out are rounded here.
    slots
        Keys and values that there is room for: those of one token in one layer take one. None for
        all layers and positions.
    report
        Told what is done, and how far it is.

    Raises
    ------
    UnsupportedError
        If the program is no decoder that the overlay runs; names the layer.
    ConfigError
        If it does not fit the instance, or what was given does not fit it.
    """
    report("match", 0, 4)
    plan = match(program, weights)
    buffers(plan, arch)
    if slots is not None and not 1 <= slots <= len(plan.layers) * plan.context:
        raise ConfigError(
            f"slots must be in 1..{len(plan.layers) * plan.context}, that is layers times "
            f"positions, not {slots}"
        )
    report("store matrices", 1, 4)
    matrices, rounded = store(plan, arch, weights, quantised)
    report("memory image", 2, 4)
    places = memory_map(plan, arch, matrices, slots)
    parts = dict(contents(plan, arch, places, matrices, weights))
    regions = [places.regions[name] for name in parts]
    first = min(region.address for region in regions)
    image = numpy.zeros(max(r.address + r.size for r in regions) - first, numpy.uint8)
    for name, content in parts.items():
        start = places.address(name) - first
        image[start : start + len(content)] = numpy.frombuffer(content, numpy.uint8)
    report("programs", 3, 4)
    programs = {
        name: tuple(
            instruction.encode()
            for instruction in Emitter(plan, arch, places, matrices, name == "logits").program()
        )
        for name in PROGRAMS
    }
    return Overlay(
        program.name, arch, plan, places, first, image, programs, tuple(rounded), to_text(program),
        text, about,
    )  # fmt: skip
