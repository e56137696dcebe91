"""Boards with an ECP5."""

from dataclasses import dataclass
from typing import Any

from amaranth import ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.build import Attrs
from amaranth.lib import io, wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In

from dyncc.core.errors import ConfigError
from dyncc_hw.boards.board import (
    OPEN_FLOW,
    OPEN_PRODUCTS,
    STATISTICS,
    Board,
    Setup,
    boards_module,
    leds,
)
from dyncc_hw.boards.floorplan import ULX3S_ROWS, floorplan
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature
from dyncc_hw.skipopu.memory.sdram import SdramController
from dyncc_hw.skipopu.memory.sdram_chip import ULX3S_32MB, ULX3S_64MB, SdramChip
from dyncc_hw.skipopu.memory.sdram_pins import SdramPins


@dataclass(frozen=True)
class Ecp5Pll:
    """Settings of an EHXPLLL with feedback of its output.

    The output is ``input * feedback / reference``, its oscillator `divider` times as fast. Limits
    are those of Lattice's "ECP5 and ECP5-5G sysCLOCK PLL/DLL Design and Usage Guide"
    (FPGA-TN-02200).
    """

    reference: int
    feedback: int
    divider: int
    input_hz: int
    output_hz: float

    @staticmethod
    def nearest(input_hz: int, wanted_hz: float) -> "Ecp5Pll | None":
        """The settings whose output is nearest to a frequency, and whose oscillator to 600 MHz."""
        found = []
        for reference in range(1, 129):
            compared = input_hz / reference
            feedback = round(wanted_hz / compared)
            if not 3.125e6 <= compared <= 400e6 or not 1 <= feedback <= 80:
                continue
            output = compared * feedback
            divider = round(600e6 / output)
            if 1 <= divider <= 128 and 400e6 <= output * divider <= 800e6:
                found.append(Ecp5Pll(reference, feedback, divider, input_hz, output))
        return min(found, key=lambda pll: abs(pll.output_hz - wanted_hz), default=None)

    def clocking(self) -> Elaboratable:
        """What drives the domain ``sync``."""
        return _Clocking(self)


class _Clocking(Elaboratable):
    def __init__(self, pll: Ecp5Pll) -> None:
        self._pll = pll

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pll = self._pll
        pin = platform.request(platform.default_clk, dir="-")
        m.submodules.input = source = io.Buffer("i", pin)
        clock, locked = Signal(), Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            # Values of Lattice's tools for any frequency, as Project Trellis found them.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            a_FREQUENCY_PIN_CLKI=f"{pll.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{pll.output_hz / 1e6:g}",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=pll.reference,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=pll.divider,
            # In phase with the feedback.
            p_CLKOP_CPHASE=max(0, pll.divider // 2 - 1),
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_CLKFB_DIV=pll.feedback,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_CLKI=source.i,
            i_CLKFB=clock,
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock,
            o_LOCK=locked,
        )
        m.d.comb += ClockSignal("sync").eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")
        return m


def _orangecrab(device: str) -> Any:
    """The board has no USB serial bridge: the line is on the pins that a Feather has it on."""
    base: Any = getattr(boards_module("orangecrab_r0_2"), f"OrangeCrabR0_2_{device}Platform")

    class Platform(base):
        # Without the suffix of dfu-util, another program to install: dfu-util loads a file without.
        command_templates = property(lambda self: super().command_templates[:-1])

    platform = Platform()
    uart = boards_module("resources").UARTResource
    line = uart(0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33"))
    platform.add_resources([line])
    return platform


def _rgb(platform: Any) -> tuple[Any, Any]:
    light = platform.request("rgb_led", 0, dir="-")
    return light.g, light.r


#: Spiking cores of devices with 84k and with 24k look-up tables.
_LARGE = {"neurons": 512, "inputs": 64, "lanes": 4, "max_delay": 8, "classes": 16}
_MEDIUM = _LARGE | {"neurons": 256}


class _Sdram(wiring.Component):
    """The SDRAM of a board, behind its controller."""

    def __init__(self, geometry: Geometry, chip: SdramChip, clock_hz: int, ports: Any) -> None:
        self._pins = SdramPins(chip, ports)
        self._controller = SdramController(geometry, chip, clock_hz, SdramPins.latency)
        super().__init__({"port": In(burst_signature(geometry))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.pins, m.submodules.controller = self._pins, self._controller
        wiring.connect(m, wiring.flipped(self.port), self._controller.port)
        wiring.connect(m, self._controller.sdram, self._pins.sdram)
        return m


#: Chips of the ULX3S by the size of memory in MiB.
_ULX3S_CHIPS = {chip.bytes >> 20: chip for chip in (ULX3S_32MB, ULX3S_64MB)}


def _ulx3s_memory(platform: Any, device: Any, clock_hz: int) -> _Sdram:
    chip = _ULX3S_CHIPS[device.memory_bytes >> 20]
    return _Sdram(Geometry.of(device.arch), chip, clock_hz, SdramPins.request(platform))


def _ulx3s_has(sizes: dict[str, int], choices: dict[str, str]) -> None:
    if sizes["memory_mib"] not in _ULX3S_CHIPS:
        raise ConfigError(
            f"a ULX3S has {' or '.join(map(str, _ULX3S_CHIPS))} MiB of memory, "
            f"not {sizes['memory_mib']}"
        )


#: For a design that leaves the router little room on an LFE5U-85F.
_FULL = {
    # A sum of several numbers becomes a chain of adders; compressors have twice the wires.
    "script_after_read": "synth_ecp5 -top top -run begin:map_ram\nmaccmap -unmap c:*pipe*",
    "synth_opts": "-run map_ram:",
    "script_after_synth": "\n".join((*floorplan(ULX3S_ROWS, 4), STATISTICS)),
    # The other router takes hours.
    "nextpnr_opts": f"{OPEN_FLOW['nextpnr_opts']} --router router2",
}
#: What router2 charges for a wire that others want too. By default that grows without end: nets
#: make long detours around crowded places, and crowd others; the wires that are wanted twice become
#: some thousands, and then more again. Here it is the history of a wire that counts.
_PATIENT = {
    "router2/bbMargin/x": 12,
    "router2/bbMargin/y": 12,
    "router2/initCurrCongWeight": 5.0,
    "router2/currCongWeightMult": 0.25,
    "router2/histCongWeight": 2.0,
    "router2/estimateWeight": 1.0,
}

ULX3S_85F = Board(
    name="ulx3s_85f",
    summary="ULX3S, ECP5 LFE5U-85F",
    platform=lambda: boards_module("ulx3s").ULX3S_85F_Platform(),
    oscillator_hz=25_000_000,
    memory=_ulx3s_memory,
    pll=Ecp5Pll.nearest,
    lights=leds(("led", 0), ("led", 1)),
    serial="USB (FT231X)",
    setups={
        "neurocorex": Setup(50, sizes=_LARGE),
        "skipopu": Setup(
            25,
            sizes={"memory_mib": 32},
            choices={"arch": "ulx3s_4x4"},
            options=_FULL,
            settings=_PATIENT,
            check=_ulx3s_has,
        ),
    },
    products=("top.bit", *OPEN_PRODUCTS),
    options=OPEN_FLOW,
)
ORANGECRAB_85F = Board(
    name="orangecrab_85f",
    summary="OrangeCrab r0.2, ECP5 LFE5U-85F",
    platform=lambda: _orangecrab("85F"),
    oscillator_hz=48_000_000,
    pll=Ecp5Pll.nearest,
    lights=_rgb,
    serial="pins 0 (to the board) and 1 (from it), 3.3 V",
    setups={"neurocorex": Setup(48, sizes=_LARGE)},
    products=("top.bit", *OPEN_PRODUCTS),
    options=OPEN_FLOW,
)
ORANGECRAB_25F = Board(
    name="orangecrab_25f",
    summary="OrangeCrab r0.2, ECP5 LFE5U-25F",
    platform=lambda: _orangecrab("25F"),
    oscillator_hz=48_000_000,
    pll=Ecp5Pll.nearest,
    lights=_rgb,
    serial="pins 0 (to the board) and 1 (from it), 3.3 V",
    setups={"neurocorex": Setup(48, sizes=_MEDIUM)},
    products=("top.bit", *OPEN_PRODUCTS),
    options=OPEN_FLOW,
)
