"""What a board is: its platform, its clock, its pins, and the designs that it can have."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from amaranth import ClockDomain, Elaboratable, Module
from amaranth.lib import io, wiring

from dyncc.core.errors import ConfigError, MissingToolError

#: Command of yosys that counts cells.
STATISTICS = "tee -q -o stat.json stat -json"
#: Options and products of the open flow. A clock that is not reached is an error of ours.
OPEN_FLOW: dict[str, Any] = {
    "verbose": True,
    "script_after_synth": STATISTICS,
    "nextpnr_opts": "--report report.json --timing-allow-fail --seed 1",
}
OPEN_PRODUCTS = ("report.json", "stat.json")


@dataclass(frozen=True)
class Plan:
    """What the tools get.

    Attributes
    ----------
    files
        Content by name.
    commands
        Programs with their arguments, in order.
    products
        Files that they make.
    settings
        Of nextpnr, which its command line lacks.
    """

    files: dict[str, str]
    commands: tuple[tuple[str, ...], ...]
    products: tuple[str, ...]
    settings: dict[str, int | float] = field(default_factory=dict)


class Pll(Protocol):
    """Settings of a phase-locked loop."""

    @property
    def output_hz(self) -> float:
        """The clock that it makes."""

    def clocking(self) -> Elaboratable:
        """What drives the domain ``sync`` with it, from the platform's default clock."""


@dataclass(frozen=True)
class Setup:
    """A design as a board has it by default.

    Attributes
    ----------
    clock_mhz, baud
        Clock of the design, and rate of the serial line.
    sizes, choices
        Where they are not those of the design.
    options
        Where those for the tools are not those of the board.
    settings
        As of `Plan`.
    check
        Raises ConfigError if all sizes and choices cannot fit, where the tools would say it less
        plainly.
    """

    clock_mhz: float
    baud: int = 1_000_000
    sizes: dict[str, int] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, int | float] = field(default_factory=dict)
    check: Callable[[dict[str, int], dict[str, str]], None] = lambda sizes, choices: None


def setup_of(name: str, setups: dict[str, Setup], design: str) -> Setup:
    """The defaults of a design on a board.

    Raises
    ------
    ConfigError
        If the board cannot have it.
    """
    if design not in setups:
        raise ConfigError(f"{name} has no {design}", hint=f"It has {', '.join(setups)}.")
    return setups[design]


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes
    ----------
    name, summary
        As given on the command line, and what it is.
    platform
        Makes Amaranth's platform for it.
    oscillator_hz
        Clock of the board.
    pll
        Settings that make the nearest clock to one, from another, both in Hz; None if nothing does.
    lights
        The pins of two LEDs of a platform, for `busy` and `fault`.
    serial
        Where the serial line is.
    setups
        The designs that it can have.
    products
        Files that the tools make; the first one is the bitstream.
    options
        Options for the tools, as the platform's `prepare` takes them.
    estimate
        Command of yosys that synthesises for the device, where the flow is not an open one.
    memory
        Makes what joins a device with a member `memory` to the board's memory by its own member
        `port`, from the platform, the device and the clock in Hz; None if there is no memory.
    """

    name: str
    summary: str
    platform: Callable[[], Any]
    oscillator_hz: int
    pll: Callable[[int, float], Pll | None]
    lights: Callable[[Any], tuple[Any, ...]]
    serial: str
    setups: dict[str, Setup]
    products: tuple[str, ...] = ("top.bit",)
    options: dict[str, Any] = field(default_factory=dict)
    estimate: str | None = None
    memory: Callable[[Any, Any, int], Any] | None = None

    def clock(self, wanted_mhz: float) -> tuple[int, Pll | None]:
        """The core's clock in Hz, and the settings that make it; None for the board's own clock.

        Raises
        ------
        ConfigError
            If no clock within 0.5 % can be made.
        """
        wanted_hz = wanted_mhz * 1e6
        if wanted_hz == self.oscillator_hz:
            return self.oscillator_hz, None
        found = self.pll(self.oscillator_hz, wanted_hz)
        if found is None or abs(found.output_hz / wanted_hz - 1) > 0.005:
            nearest = "" if found is None else f"; the nearest is {found.output_hz / 1e6:.3f} MHz"
            raise ConfigError(
                f"{self.name} cannot make {wanted_mhz:g} MHz of its "
                f"{self.oscillator_hz / 1e6:g} MHz{nearest}",
                hint=f"Choose another --clock, for example {self.oscillator_hz / 1e6:g}.",
            )
        return round(found.output_hz), found

    def plan(self, device: Any, clock_hz: int, pll: Pll | None, setup: Setup) -> Plan:
        """Files and commands for the tools, with a clock that `clock` returned.

        Raises
        ------
        MissingToolError
            If amaranth-boards is missing.
        """
        top = Top(self, device, clock_hz, pll)
        found = self.platform().prepare(top, "top", emit_src=False, **self.options | setup.options)
        unused = (".bat", ".json", ".debug.v")
        files = {name: text for name, text in found.files.items() if not name.endswith(unused)}
        if "top.il" in files:
            files["top.il"] = without_brackets(files["top.il"])
        commands = json.loads(found.files["build_top.json"])["commands"]
        return Plan(
            files, tuple(tuple(command) for command in commands), self.products, setup.settings
        )


def without_brackets(text: str) -> str:
    r"""RTLIL in which no name has brackets.

    Amaranth names elements of an array ``\array[0]``. Yosys's abc9 takes that for bit 0 of
    ``\array`` if both are left, and fails. Bits themselves are written with a space between.
    """
    return re.sub(r"\\\S+", lambda name: name[0].replace("[", ".").replace("]", ""), text)


class Top(Elaboratable):
    """A device with the pins and the clock of a board.

    Parameters
    ----------
    device
        Has the members `rx`, `tx`, `busy` and `fault`; with `memory` it is joined to the board's.
    clock_hz, pll
        Its clock, and settings for it; None for the board's own.
    """

    def __init__(self, board: Board, device: Any, clock_hz: int, pll: Pll | None) -> None:
        self._board, self._device, self._clock_hz, self._pll = board, device, clock_hz, pll

    def elaborate(self, platform: Any) -> Module:
        """Ask the platform for pins, and connect them."""
        m = Module()
        if self._pll is not None:
            m.domains.sync = ClockDomain()
            m.submodules.clocking = self._pll.clocking()
        m.submodules.device = device = self._device
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.d.comb += device.rx.eq(rx.i)
        busy, fault = self._board.lights(platform)
        outputs = {"tx": uart.tx, "busy": busy, "fault": fault}
        for name, pin in outputs.items():
            m.submodules[name] = buffer = io.Buffer("o", pin)
            m.d.comb += buffer.o.eq(getattr(device, name))
        if "memory" in device.signature.members:
            assert self._board.memory is not None, "boards without memory have no such setup"
            m.submodules.memory = memory = self._board.memory(platform, device, self._clock_hz)
            wiring.connect(m, device.memory, memory.port)
        return m


def leds(*names: tuple[str, int]) -> Callable[[Any], tuple[Any, ...]]:
    """The pins of LEDs, by name and number of their resources."""
    return lambda platform: tuple(platform.request(*name, dir="-") for name in names)


def boards_module(name: str) -> Any:
    """A module of amaranth-boards.

    Raises
    ------
    MissingToolError
        If that package is not installed.
    """
    try:
        return import_module(f"amaranth_boards.{name}")
    except ModuleNotFoundError as error:
        raise MissingToolError(
            "the package amaranth-boards was not found", hint="Get it: pip install 'dyncc[hw]'"
        ) from error
