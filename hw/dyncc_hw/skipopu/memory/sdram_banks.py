"""Banks of an SDRAM: which rows are open, and what each bank allows in a cycle."""

from typing import Any

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dyncc_hw.skipopu.memory.sdram_chip import SdramChip, SdramCycles


def waits(m: Module, name: str, *causes: tuple[Any, int]) -> Value:
    """Whether enough cycles have passed since the last of some events.

    Parameters
    ----------
    name
        Of the register.
    causes
        An event, and how many cycles after it at the earliest something may happen.

    Returns
    -------
    Value
        From a register, or constant. In the cycle of an event it does not know of it.
    """
    # As many ones as cycles are left: of two waits the longer one is their union.
    left = Signal(max(cycles for _, cycles in causes) - 1, name=name)
    if not len(left):
        return Value.cast(1)
    more = left >> 1
    for event, cycles in causes:
        more = more | (event.replicate(cycles - 1) if cycles > 1 else 0)
    m.d.sync += left.eq(more)
    return ~left[0]


class Banks(wiring.Component):
    """Keeps what a controller has to know of each bank.

    Nothing that is told in a cycle is seen before the next one. Throughput: an event of each kind
    in each cycle.

    Parameters
    ----------
    chip
        The chip.
    cycles
        Its times.

    Members
    -------
    opens, closes, writes
        A bit for each bank: a row is opened, closed, or written in this cycle.
    refreshes, sets
        The chip is refreshed, or its mode is set, in this cycle.
    row
        Which one is opened.
    may_open, may_close, may_move
        A bit for each bank: a row may be opened; the open one may be closed, or it may be read and
        written. From registers.
    open
        A bit for each bank: a row is open.
    rows
        Which one.
    """

    def __init__(self, chip: SdramChip, cycles: SdramCycles) -> None:
        self._chip, self._cycles = chip, cycles
        banks, rows = chip.banks, chip.bits[2]
        super().__init__(
            {
                "opens": In(banks), "closes": In(banks), "writes": In(banks),
                "refreshes": In(1), "sets": In(1), "row": In(rows),
                "may_open": Out(banks), "may_close": Out(banks), "may_move": Out(banks),
                "open": Out(banks), "rows": Out(data.ArrayLayout(rows, banks)),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Three counters for each bank."""
        m = Module()
        cycles = self._cycles
        everywhere = ((self.refreshes, cycles.rfc), (self.sets, cycles.mrd))
        for bank in range(self._chip.banks):
            opens, closes = self.opens[bank], self.closes[bank]
            others = Cat(bit for other, bit in enumerate(self.opens) if other != bank).any()
            before_open = ((opens, cycles.rc), (others, cycles.rrd), (closes, cycles.rp))
            before_close = ((opens, cycles.ras), (self.writes[bank], cycles.wr))
            m.d.comb += [
                self.may_open[bank].eq(waits(m, f"to_open_{bank}", *before_open, *everywhere)),
                self.may_close[bank].eq(waits(m, f"to_close_{bank}", *before_close, *everywhere)),
                self.may_move[bank].eq(waits(m, f"to_move_{bank}", (opens, cycles.rcd))),
            ]
            with m.If(opens):
                m.d.sync += [self.open[bank].eq(1), self.rows[bank].eq(self.row)]
            with m.If(closes):
                m.d.sync += self.open[bank].eq(0)
        return m
