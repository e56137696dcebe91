"""Boards with an Artix-7; bitstreams need Vivado."""

from dataclasses import dataclass
from typing import Any

from amaranth import ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from dyncc_hw.boards.board import Board, Setup, boards_module, leds


@dataclass(frozen=True)
class Mmcm:
    """Settings of an MMCME2_BASE.

    The output is ``input * multiplier / divider``; both are multiples of 1/8. Limits are those of
    AMD's data sheet DS181 for speed grade 1.
    """

    multiplier: float
    divider: float
    input_hz: int
    output_hz: float

    @staticmethod
    def nearest(input_hz: int, wanted_hz: float) -> "Mmcm | None":
        """The settings whose output is nearest to a frequency, and their oscillator fastest."""
        found = []
        for eighths in range(512, 15, -1):
            oscillator = input_hz * eighths / 8
            if 600e6 <= oscillator <= 1200e6:
                divider = round(8 * oscillator / wanted_hz) / 8
                if 2 <= divider <= 128:
                    found.append(Mmcm(eighths / 8, divider, input_hz, oscillator / divider))
        return min(found, key=lambda mmcm: abs(mmcm.output_hz - wanted_hz), default=None)

    def clocking(self) -> Elaboratable:
        """What drives the domain ``sync``."""
        return _Clocking(self)


class _Clocking(Elaboratable):
    def __init__(self, mmcm: Mmcm) -> None:
        self._mmcm = mmcm

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        mmcm = self._mmcm
        pin = platform.request(platform.default_clk, dir="-")
        m.submodules.input = source = io.Buffer("i", pin)
        made, clock, feedback, locked = Signal(), Signal(), Signal(), Signal()
        m.submodules.mmcm = Instance(
            "MMCME2_BASE",
            p_CLKIN1_PERIOD=1e9 / mmcm.input_hz,
            p_CLKFBOUT_MULT_F=mmcm.multiplier,
            p_DIVCLK_DIVIDE=1,
            p_CLKOUT0_DIVIDE_F=mmcm.divider,
            i_CLKIN1=source.i,
            i_CLKFBIN=feedback,
            i_RST=Const(0),
            i_PWRDWN=Const(0),
            o_CLKFBOUT=feedback,
            o_CLKOUT0=made,
            o_LOCKED=locked,
        )
        m.submodules.buffer = Instance("BUFG", i_I=made, o_O=clock)
        m.d.comb += ClockSignal("sync").eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")
        return m


def _cmod_a7() -> Any:
    """The platform, which writes RTLIL too: yosys reports resources from it."""
    base: Any = boards_module("cmod_a7").CmodA7_35Platform

    class Platform(base):
        file_templates = property(
            lambda self: {**super().file_templates, "{{name}}.il": "{{emit_rtlil()}}"}
        )

    return Platform()


CMOD_A7_35T = Board(
    name="cmod_a7_35t",
    summary="Digilent CMod A7-35T, Artix-7 XC7A35T (Vivado)",
    platform=_cmod_a7,
    oscillator_hz=12_000_000,
    pll=Mmcm.nearest,
    lights=leds(("led", 0), ("led", 1)),
    serial="USB (FT2232H)",
    setups={"neurocorex": Setup(50, sizes={"neurons": 96, "inputs": 96, "learning": 1})},
    estimate="synth_xilinx -family xc7 -flatten -top top",
)
