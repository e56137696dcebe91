"""What an SDRAM needs by itself: the beginning, and refreshes."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc_hw.skipopu.memory.sdram_chip import FIRST_REFRESHES, SdramCycles


class Keeper(wiring.Component):
    """Says when to close all rows, to refresh, and to set the mode.

    From reset: a pause, all rows are closed, `FIRST_REFRESHES` refreshes, the mode. Then a refresh
    each `SdramCycles.refresh_period`, before which all rows are closed. That is begun at once when
    it is due, also in the middle of a burst, so that no refresh comes later than
    `SdramCycles.refi` cycles after the one before.

    Parameters
    ----------
    cycles
        Times of the chip.

    Members
    -------
    may_close
        All rows may be closed.
    may_go_on
        Whatever was begun in any bank is over, if no row is open.
    stop
        Nobody else may give a command. From a register.
    close, refresh, set_mode
        In one cycle, while `stop`: do it.
    ready
        The mode is set.
    """

    def __init__(self, cycles: SdramCycles) -> None:
        self._cycles = cycles
        inputs = dict.fromkeys(("may_close", "may_go_on"), In(1))
        outputs = dict.fromkeys(("stop", "close", "refresh", "set_mode", "ready"), Out(1))
        super().__init__(inputs | outputs)

    def elaborate(self, platform: Any) -> Module:
        """One counter for the pause and for the period."""
        m = Module()
        pause, period = self._cycles.pause, self._cycles.refresh_period
        timer = Signal(range(max(pause, period)), init=pause - 1)
        left = Signal(range(FIRST_REFRESHES + 1), init=FIRST_REFRESHES)
        due, ends = Signal(), Signal()
        m.d.comb += ends.eq(timer == 0)
        m.d.sync += timer.eq(timer - 1)
        with m.If(ends):
            m.d.sync += [timer.eq(period - 1), due.eq(1)]
        with m.FSM():
            with m.State("PAUSE"):
                m.d.comb += self.stop.eq(1)
                with m.If(due):
                    m.d.sync += due.eq(0)
                    m.next = "CLOSE"
            with m.State("WORK"), m.If(due):
                m.d.sync += due.eq(0)
                m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += [self.stop.eq(1), self.close.eq(self.may_close)]
                with m.If(self.close):
                    m.next = "REFRESH"
            with m.State("REFRESH"):
                m.d.comb += [self.stop.eq(1), self.refresh.eq(self.may_go_on)]
                with m.If(self.refresh):
                    with m.If(self.ready):
                        m.next = "WORK"
                    with m.Else():
                        m.d.sync += left.eq(left - 1)
                        with m.If(left == 1):
                            m.next = "SET"
            with m.State("SET"):
                m.d.comb += [self.stop.eq(1), self.set_mode.eq(self.may_go_on)]
                with m.If(self.set_mode):
                    m.d.sync += self.ready.eq(1)
                    m.next = "WORK"
        return m
