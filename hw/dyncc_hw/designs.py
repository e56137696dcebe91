"""The designs that `dyncc hw` builds, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dyncc.arch.neurocorex import CoreSpec
from dyncc.core.errors import ConfigError


@dataclass(frozen=True)
class Design:
    """A design: what it is, its sizes with their defaults, and what makes it."""

    summary: str
    sizes: dict[str, int]
    build: Callable[..., Any]


def _neurocorex(**sizes: Any) -> Any:
    from dyncc_hw.neurocorex.core import Core

    return Core(CoreSpec(**sizes))


DESIGNS = {
    "neurocorex": Design(
        "spiking core, without link",
        {"neurons": 64, "inputs": 16, "lanes": 1, "parameter_sets": 16, "state_bits": 24},
        _neurocorex,
    )
}


def build(name: str, sizes: dict[str, int]) -> Any:
    """The Amaranth component of a design.

    Raises
    ------
    ConfigError
        If there is no such design, or it has no such size.
    """
    if name not in DESIGNS:
        raise ConfigError(f"there is no design {name!r}", hint=f"Designs: {', '.join(DESIGNS)}.")
    design = DESIGNS[name]
    for size in sizes:
        if size not in design.sizes:
            raise ConfigError(
                f"{name} has no size {size!r}", hint=f"Its sizes are {', '.join(design.sizes)}."
            )
    return design.build(**(design.sizes | sizes))
