"""Boards with an iCE40UP5K."""

from dataclasses import dataclass
from itertools import product
from typing import Any

from amaranth import (
    ClockDomain,
    ClockSignal,
    Const,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib.cdc import FFSynchronizer

from dyncc.arch.neurocorex import Space, memory_bits, memory_depth
from dyncc_hw.boards.board import OPEN_FLOW, OPEN_PRODUCTS, Board, Setup, boards_module, leds
from dyncc_hw.designs import spec_of
from dyncc_hw.neurocorex.implementation import Implementation
from dyncc_hw.neurocorex.memories import sprams

#: Time after configuration in which block memories read as zeros; Amaranth waits as long.
SETTLE_S = 15e-6


@dataclass(frozen=True)
class Ice40Pll:
    """Settings of an SB_PLL40_PAD with feedback of its oscillator.

    The output is ``input * (feedback + 1) / (reference + 1) / 2**power``. Limits are those of
    Lattice's "iCE40 sysCLOCK PLL Design and Usage Guide" (FPGA-TN-02052).
    """

    reference: int
    feedback: int
    power: int
    range: int
    output_hz: float

    @staticmethod
    def nearest(input_hz: int, wanted_hz: float) -> "Ice40Pll | None":
        """The settings whose output is nearest to a frequency."""
        found = []
        for reference in range(16):
            compared = input_hz / (reference + 1)
            if not 10e6 <= compared <= 133e6:
                continue
            limits = (17e6, 26e6, 44e6, 66e6, 101e6)
            filtered = 1 + sum(compared >= limit for limit in limits)
            for feedback, power in product(range(128), range(1, 7)):
                oscillator = compared * (feedback + 1)
                output = oscillator / 2**power
                if 533e6 <= oscillator <= 1066e6 and 16e6 <= output <= 275e6:
                    found.append(Ice40Pll(reference, feedback, power, filtered, output))
        return min(found, key=lambda pll: abs(pll.output_hz - wanted_hz), default=None)

    def clocking(self) -> Elaboratable:
        """What drives the domain ``sync``."""
        return _Clocking(self)


class _Clocking(Elaboratable):
    def __init__(self, pll: Ice40Pll) -> None:
        self._pll = pll

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pll = self._pll
        pin = platform.request(platform.default_clk, dir="-")
        clock, locked = Signal(), Signal()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(pll.reference, 4),
            p_DIVF=Const(pll.feedback, 7),
            p_DIVQ=Const(pll.power, 3),
            p_FILTER_RANGE=Const(pll.range, 3),
            io_PACKAGEPIN=pin.io,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
        )
        # The domain of the power-on reset has no reset itself.
        m.domains.start = ClockDomain(reset_less=True, local=True)
        steady, ready = Signal(), Signal()
        wait = Signal(range(int(SETTLE_S * pll.output_hz) + 1), init=int(SETTLE_S * pll.output_hz))
        m.submodules.steady = FFSynchronizer(locked, steady, o_domain="start")
        m.d.comb += [
            ClockSignal("start").eq(clock),
            ClockSignal("sync").eq(clock),
            ResetSignal("sync").eq(~ready),
        ]
        with m.If(wait == 0):
            m.d.start += ready.eq(1)
        with m.Elif(steady):
            m.d.start += wait.eq(wait - 1)
        return m


def _weights_fit(sizes: dict[str, int], choices: dict[str, str]) -> None:
    spec = spec_of(sizes)
    if Implementation(**choices).single:
        sprams(memory_bits(spec, Space.WEIGHTS), memory_depth(spec, Space.WEIGHTS))


ICEBREAKER = Board(
    name="icebreaker",
    summary="1BitSquared iCEBreaker, iCE40UP5K",
    platform=lambda: boards_module("icebreaker").ICEBreakerPlatform(),
    oscillator_hz=12_000_000,
    pll=Ice40Pll.nearest,
    lights=leds(("led_g", 0), ("led_r", 0)),
    serial="USB (second port of the FT2232H)",
    setups={
        "neurocorex": Setup(
            18,
            sizes={"neurons": 256, "inputs": 16, "lanes": 2},
            choices={"multipliers": "shared", "memories": "single"},
            check=_weights_fit,
        ),
        "skipopu-array": Setup(18, choices={"arch": "ice40_2x2", "multiplier": "SB_MAC16"}),
    },
    products=("top.bin", *OPEN_PRODUCTS),
    options=OPEN_FLOW | {"synth_opts": "-dsp"},
)
