"""The designs that `dyncc hw` writes and builds, by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dyncc.arch.link import LinkSpec
from dyncc.arch.neurocorex import CoreSpec
from dyncc.arch.skipopu.spec import ARCHS
from dyncc.core.errors import ConfigError
from dyncc_hw.neurocorex.implementation import Implementation


@dataclass(frozen=True)
class Design:
    """A design.

    Attributes
    ----------
    summary
        What it is.
    sizes
        Its sizes with their defaults.
    choices
        How it can be built: what each of them may be, the default first.
    make
        Makes its component from sizes, choices and link.
    """

    summary: str
    sizes: dict[str, int]
    choices: dict[str, tuple[str, ...]]
    make: Callable[[dict[str, int], dict[str, str], LinkSpec], Any]


def spec_of(sizes: dict[str, int]) -> CoreSpec:
    """The core of some sizes, as the designs count them.

    Raises
    ------
    ConfigError
        If one is out of range.
    """
    if sizes["learning"] not in (0, 1):
        raise ConfigError(f"learning must be 0 or 1, not {sizes['learning']}")
    values: dict[str, Any] = {**sizes, "learning": bool(sizes["learning"])}
    return CoreSpec(**values)


def _device(sizes: dict[str, int], choices: dict[str, str], link: LinkSpec) -> Any:
    from dyncc_hw.neurocorex.device import Device

    return Device(spec_of(sizes), link, Implementation(**choices))


def _core(sizes: dict[str, int], choices: dict[str, str], link: LinkSpec) -> Any:
    from dyncc_hw.neurocorex.core import Core

    return Core(spec_of(sizes), Implementation(**choices))


def _overlay(sizes: dict[str, int], choices: dict[str, str], link: LinkSpec) -> Any:
    from dyncc_hw.skipopu.device import Device

    # So that a window of the longest requests is on its way while a model is loaded.
    link = replace(link, receive_bytes=4096)
    arch, memory = ARCHS[choices["arch"]], sizes["memory_mib"] << 20
    return Device(arch, choices["multiplier"], link, memory)


def _array(sizes: dict[str, int], choices: dict[str, str], link: LinkSpec) -> Any:
    from dyncc_hw.skipopu.bringup import ArrayDevice

    return ArrayDevice(ARCHS[choices["arch"]], choices["multiplier"], link)


def _axi_overlay(sizes: dict[str, int], choices: dict[str, str], link: LinkSpec) -> Any:
    from dyncc_hw.skipopu.axi_device import AxiDevice

    return AxiDevice(ARCHS[choices["arch"]], choices["multiplier"])


_SIZES = {
    "neurons": 64,
    "inputs": 16,
    "lanes": 1,
    "weight_bits": 8,
    "state_bits": 24,
    "parameter_sets": 16,
    "synapse_words": 0,
    "learning": 0,
    "max_delay": 1,
    "classes": 0,
}
DESIGNS = {
    "neurocorex": Design(
        "spiking core behind a serial line", _SIZES, Implementation.CHOICES, _device
    ),
    "skipopu": Design(
        "overlay for language models behind a serial line, with its memory",
        {"memory_mib": 32},
        {
            "arch": ("ecp5_85f", *(name for name in ARCHS if name != "ecp5_85f")),
            "multiplier": ("MULT18X18D", "DSP48E2", "SB_MAC16"),
        },
        _overlay,
    ),
    "skipopu-array": Design(
        "the overlay's PE array alone behind a serial line, to compare it with its twin",
        {},
        {"arch": ("ice40_2x2", "ecp5_85f"), "multiplier": ("SB_MAC16", "MULT18X18D")},
        _array,
    ),
    "skipopu-axi": Design(
        "overlay for language models on AXI buses",
        {},
        {"arch": tuple(ARCHS), "multiplier": ("DSP48E2", "MULT18X18D", "SB_MAC16")},
        _axi_overlay,
    ),
    "neurocorex-core": Design(
        "spiking core alone, with its bus", _SIZES, Implementation.CHOICES, _core
    ),
}


def design(name: str) -> Design:
    """The design of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name not in DESIGNS:
        raise ConfigError(f"there is no design {name!r}", hint=f"Designs: {', '.join(DESIGNS)}.")
    return DESIGNS[name]


def build(
    name: str,
    sizes: dict[str, int],
    choices: dict[str, str],
    link: LinkSpec | None = None,
) -> Any:
    """The Amaranth component of a design; what is not given is as its defaults.

    Raises
    ------
    ConfigError
        If there is no such design, it has no such size or choice, or a size is out of range.
    """
    return design(name).make(all_sizes(name, sizes), all_choices(name, choices), link or LinkSpec())


def all_choices(name: str, *given: dict[str, str]) -> dict[str, str]:
    """How a design is built: its defaults, and what is given in their place.

    Raises
    ------
    ConfigError
        If there is no such design, or it has no such choice.
    """
    known = design(name).choices
    found = {choice: options[0] for choice, options in known.items()}
    for choices in given:
        for choice, option in choices.items():
            if choice not in known:
                raise ConfigError(
                    f"{name} has no choice of {choice!r}",
                    hint=f"It has {', '.join(known) or 'none'}.",
                )
            if option not in known[choice]:
                raise ConfigError(f"{choice} must be {' or '.join(known[choice])}, not {option!r}")
            found[choice] = option
    return found


def all_sizes(name: str, *given: dict[str, int]) -> dict[str, int]:
    """The sizes of a design: its defaults, and what is given in their place.

    Raises
    ------
    ConfigError
        If there is no such design, or it has no such size.
    """
    found = dict(design(name).sizes)
    for sizes in given:
        for size, number in sizes.items():
            if size not in found:
                raise ConfigError(
                    f"{name} has no size {size!r}", hint=f"Its sizes are {', '.join(found)}."
                )
            found[size] = number
    return found
