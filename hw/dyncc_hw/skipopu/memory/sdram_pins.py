"""Pins of an SDRAM: as a controller sees them, and as they are on a board."""

from typing import Any

from amaranth import ClockDomain, ClockSignal, Module, Signal
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from dyncc_hw.skipopu.memory.sdram_chip import WORD_BYTES, SdramChip

#: Pins that say what to do, with their names in boards of amaranth-boards; those of which the
#: names end in _n here are inverted by the board there.
_COMMANDS = {
    "cke": "clk_en", "cs_n": "cs", "ras_n": "ras", "cas_n": "cas", "we_n": "we",
    "ba": "ba", "a": "a", "dqm": "dqm",
}  # fmt: skip


def sdram_signature(chip: SdramChip) -> wiring.Signature:
    """From a controller to a chip, all in the clock domain of the controller.

    Members
    -------
    cke, cs_n, ras_n, cas_n, we_n, ba, a, dqm
        Inputs of the chip; from registers.
    dq_o, dq_oe
        A word to the chip, and whether the pins are driven; from registers.
    dq_i
        A word from the chip, as many cycles later as there are registers on the way.
    """
    return wiring.Signature(
        {
            "cke": Out(1), "cs_n": Out(1, init=1), "ras_n": Out(1, init=1),
            "cas_n": Out(1, init=1), "we_n": Out(1, init=1), "ba": Out(chip.bits[1]),
            "a": Out(chip.address_pins), "dqm": Out(WORD_BYTES),
            "dq_o": Out(8 * WORD_BYTES), "dq_oe": Out(1), "dq_i": In(8 * WORD_BYTES),
        }
    )  # fmt: skip


class SdramPins(wiring.Component):
    """Buffers between `sdram_signature` and the pins of a board.

    All outputs come from registers. The chip's clock is the inverted clock, so that what the chip
    sees has been there for half a cycle, and stays for another half. What it answers to an edge of
    its clock is seen a cycle after that edge, at the falling edge of the clock here: with half a
    cycle less, at 50 MHz, nothing would be left after the delays of the clock's pin, of the chip
    (6 ns) and of the way back.

    Parameters
    ----------
    chip
        The chip.
    ports
        I/O ports of the board by the names of the resource ``sdram`` of amaranth-boards: what
        ``platform.request("sdram", dir={...: "-"})`` gives; see `request`.

    Members
    -------
    sdram
        See `sdram_signature`.
    """

    #: Registers on the way to the chip and back, in cycles from a command to its answer, without
    #: those of the chip.
    latency = 2

    def __init__(self, chip: SdramChip, ports: Any) -> None:
        self._ports = ports
        super().__init__({"sdram": In(sdram_signature(chip))})

    @staticmethod
    def request(platform: Any) -> Any:
        """The ports of a board's SDRAM."""
        names = ("clk", "dq", *_COMMANDS.values())
        return platform.request("sdram", dir=dict.fromkeys(names, "-"))

    def elaborate(self, platform: Any) -> Module:
        """A buffer for each pin."""
        m = Module()
        sdram, ports = self.sdram, self._ports
        for name, outside in _COMMANDS.items():
            buffer = io.FFBuffer("o", getattr(ports, outside))
            m.submodules[name] = buffer
            value = getattr(sdram, name)
            m.d.comb += buffer.o.eq(~value if name.endswith("_n") else value)

        m.submodules.clk = clock = io.DDRBuffer("o", ports.clk)
        m.d.comb += [clock.o[0].eq(0), clock.o[1].eq(1)]

        # A buffer of Amaranth has no register for the falling edge, so these are outside of it.
        m.domains.falling = falling = ClockDomain(clk_edge="neg", reset_less=True, local=True)
        m.d.comb += falling.clk.eq(ClockSignal())
        m.submodules.dq = dq = io.Buffer("io", ports.dq)
        seen = Signal.like(sdram.dq_i, reset_less=True)
        m.d.sync += [dq.o.eq(sdram.dq_o), dq.oe.eq(sdram.dq_oe), sdram.dq_i.eq(seen)]
        m.d.falling += seen.eq(dq.i)
        return m
