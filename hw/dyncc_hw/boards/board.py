"""What a board is: its platform, its clock, its pins, and the core that it has by default."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from amaranth import ClockDomain, Elaboratable, Module
from amaranth.lib import io

from dyncc.arch.neurocorex import CoreSpec
from dyncc.core.errors import ConfigError, MissingToolError
from dyncc_hw.neurocorex.implementation import STANDARD, Implementation

#: Command of yosys that counts cells.
STATISTICS = "tee -q -o stat.json stat -json"
#: Options and products of the open flow. A clock that is not reached is an error of ours.
OPEN_FLOW: dict[str, Any] = {
    "verbose": True,
    "script_after_synth": STATISTICS,
    "nextpnr_opts": "--report report.json --timing-allow-fail --seed 1",
}
OPEN_PRODUCTS = ("report.json", "stat.json")


class Pll(Protocol):
    """Settings of a phase-locked loop."""

    @property
    def output_hz(self) -> float:
        """The clock that it makes."""

    def clocking(self) -> Elaboratable:
        """What drives the domain ``sync`` with it, from the platform's default clock."""


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
    sizes
        Sizes of the core that it has by default, where they are not those of the design.
    clock_mhz, baud
        Clock of the core and rate of the serial line that it has by default.
    implementation
        How the core is built by default.
    products
        Files that the tools make; the first one is the bitstream.
    options
        Options for the tools, as the platform's `prepare` takes them.
    check
        Raises ConfigError if a core cannot fit, where the tools would say it less plainly.
    estimate
        Command of yosys that synthesises for the device, where the flow is not an open one.
    """

    name: str
    summary: str
    platform: Callable[[], Any]
    oscillator_hz: int
    pll: Callable[[int, float], Pll | None]
    lights: Callable[[Any], tuple[Any, ...]]
    serial: str
    sizes: dict[str, int]
    clock_mhz: float
    baud: int = 1_000_000
    implementation: Implementation = STANDARD
    products: tuple[str, ...] = ("top.bit",)
    options: dict[str, Any] = field(default_factory=dict)
    check: Callable[[CoreSpec, Implementation], None] = lambda spec, implementation: None
    estimate: str | None = None

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
                hint=f"Choose another --clock, for example {self.clock_mhz:g}.",
            )
        return round(found.output_hz), found


class Top(Elaboratable):
    """A device with the pins and the clock of a board.

    Parameters
    ----------
    device
        Has the members `rx`, `tx`, `busy` and `fault`.
    pll
        Settings for its clock; None for the board's own.
    """

    def __init__(self, board: Board, device: Any, pll: Pll | None) -> None:
        self._board, self._device, self._pll = board, device, pll

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
