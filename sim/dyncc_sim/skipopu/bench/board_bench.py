"""Bench of a whole board: its line is another program's, its memory is the model of a chip."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from dyncc_hw.skipopu.memory import sdram_chip
from dyncc_hw.skipopu.memory.sdram_pins import SdramPins
from dyncc_sim.line_bench import Server, serve
from dyncc_sim.pins import Coverage
from dyncc_sim.runner import settings
from dyncc_sim.skipopu.bench.board_rig import DUMP, RESET, SILENCE, pin_widths
from dyncc_sim.skipopu.bench.sdram_model import NOTHING, SdramModel

#: Cycles that the model looks back on: longer than words are on their way.
_MEMORY = 16
#: Cycles in which a burst is waited for.
_LONGEST = 50_000


class BoardChip(SdramModel):
    """The chip at the pins of a `BoardRig`, which holds anything where nobody wrote."""

    def __init__(self, dut: Any, name: str, clock_hz: int, coverage: Coverage) -> None:
        chip = getattr(sdram_chip, name)
        self._dut, self._garbage = dut, random.Random(name)
        self._word = -1
        self._fields: dict[str, tuple[Any, int, int]] = {}
        held, place = SimpleNamespace(sdram__dq_i=dut.dq_i), 0
        for pin, width in pin_widths(chip).items():
            value = SimpleNamespace(value=0)
            setattr(held, f"sdram__{pin}", value)
            self._fields[pin] = value, place, (1 << width) - 1
            place += width
        self._width, self._answered = place, True
        #: Cycles in which nothing happened; the one before which there is another refresh.
        self._quiet = self._due = 0
        self._most = int(chip.refi_ns * clock_hz / 1e9)
        super().__init__(held, chip, clock_hz, SdramPins.latency, self._garbage, coverage)

    def drive(self) -> None:
        """What the chip answers; garbage, but not always another, if it does not."""
        if self._answered or self.now in self._inputs:
            self._answered = self.now in self._inputs
            super().drive()

    def look(self) -> None:
        """A rising edge of the chip's clock."""
        word = int(self._dut.pins.value)
        if word == self._word and self._quiet > _MEMORY and self.now < self._due:
            # Nothing for longer than the model remembers single cycles, and no refresh is late.
            self.now += 1
            return
        if word != self._word:
            self._word, self._quiet = word, 0
            for held, place, mask in self._fields.values():
                held.value = word >> place & mask
        if taken := word >> self._width:
            self.plan.append(taken)
        super().look()
        works = taken or self.command() != NOTHING or self._pins["dq_oe"].value
        self._quiet = 0 if works else self._quiet + 1
        self._due = self._refreshed + self._most if self.ready else 1 << 62

    def restart(self) -> None:
        """The controller is reset."""
        self._quiet, self._due = 0, 0
        super().restart()

    def _move(self, number: int, address: int, read: bool) -> int:
        place = super()._move(number, address, read)
        if read and self.known.get(place) != 3:
            known = self.known.get(place, 0)
            mask = (0xFF if known & 1 else 0) | (0xFF00 if known & 2 else 0)
            kept = self.content.get(place, 0) & mask
            self.load(place, [kept | self._garbage.getrandbits(16) & ~mask])
            self._coverage["words that nobody wrote"] += 1
        return place


class BoardServer(Server):
    """The board's end of the line, and whoever holds the chip and the reset."""

    def __init__(self, dut: Any, line: socket.socket) -> None:
        super().__init__(dut, line)
        options = settings()
        self._path = Path(options["report"])
        self._coverage: Coverage = Coverage()
        self._chip = BoardChip(dut, options["chip"], options["link"]["clk_hz"], self._coverage)
        self._restarts = False

    async def start(self) -> None:
        """Clock and reset, line and chip."""
        self.dut.silent.value = 0
        cocotb.start_soon(self._hold())
        await super().start()

    async def _hold(self) -> None:
        """The chip, in each cycle: in its middle, when all is settled, so that one look will do."""
        middle, chip, first = FallingEdge(self.dut.clk), self._chip, True
        while True:
            await middle
            chip.drive()
            # Before the first reset the pins are anything.
            if not first:
                chip.look()
            if self._restarts or first:
                chip.restart()
            self._restarts = first = False

    async def other(self, command: bytes, number: int) -> None:
        """Reset, silence, and reports."""
        dut = self.dut
        if command == RESET:
            for _ in range(_LONGEST):
                await RisingEdge(dut.clk)
                if self._chip.in_burst:
                    self._coverage["resets within a burst"] += 1
                    break
            dut.rst.value = 1
            # In this cycle the chip still gets the last command.
            self._restarts = True
            await ClockCycles(dut.clk, number)
            dut.rst.value = 0
        elif command == SILENCE:
            await RisingEdge(dut.clk)
            dut.silent.value = number
        elif command == DUMP:
            report = {"words": self._chip.content, "coverage": self._coverage}
            self._path.write_text(json.dumps(report), encoding="utf-8")
        else:
            await super().other(command, number)


@cocotb.test()
async def run(dut: Any) -> None:
    """A board, from its line to its memory."""
    await serve(dut, BoardServer)
