"""A chip of SDRAM for benches, which fails at whatever its data sheet does not allow.

Times are checked in ns between commands, from the data sheet, not from what the controller makes
of it.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from dyncc_hw.skipopu.memory.sdram_chip import FIRST_REFRESHES, Least, SdramChip
from dyncc_sim.pins import Coverage
from dyncc_sim.skipopu.bench.memory_agents import Agent, Output

NEVER = -(10**9)
#: Most ns that a row may be open.
ROW_NS = 100_000.0
#: Commands, by the pins ras_n, cas_n and we_n.
SET_MODE, REFRESH, CLOSE, OPEN, WRITE, READ, STOP, NOTHING = range(8)


class Bank:
    """A bank: its open row, and when what happened last."""

    def __init__(self) -> None:
        self.row: int | None = None
        self.opened = self.closed = self.written = self.moved = NEVER


class SdramModel(Agent):
    """The chip at the pins of a controller.

    Parameters
    ----------
    dut
        The controller, with pins that begin with ``sdram__``.
    chip, clock_hz
        The chip, and its clock.
    latency
        Cycles that the pins of a board add; they are added to what is read.
    draw
        For garbage on pins that nobody drives.

    Attributes
    ----------
    content, known
        By the address of a word: the word, and a bit for each of its bytes that was written.
    plan
        Words of the bursts that are to come, which says where bursts are interrupted.
    writes
        Words that were written since reset, as they were in each of the last cycles.
    columns
        Cycles in which words were read or written, since they were last cleared.
    lost
        Cycles without such a command around refreshes, likewise.
    """

    def __init__(
        self, dut: Any, chip: SdramChip, clock_hz: int, latency: int,
        draw: random.Random, coverage: Coverage,
    ) -> None:  # fmt: skip
        super().__init__(None)
        self._chip, self._coverage, self._noise = chip, coverage, draw
        self._period = 1e9 / clock_hz
        self._latency = latency
        names = ("cke", "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dqm", "dq_o", "dq_oe")
        self._pins = {name: getattr(dut, f"sdram__{name}") for name in names}
        self._dq = Output(dut.sdram__dq_i)
        self.content: dict[int, int] = {}
        self.known: dict[int, int] = {}
        self.banks = [Bank() for _ in range(chip.banks)]
        self.now = 0
        self._opened = self._refreshed = self._mode_set = NEVER
        self._driven = self._column = NEVER
        self._reading = False
        #: When words come that are read, as the chip's pins see it.
        self._outputs: dict[int, int] = {}
        self._inputs: dict[int, int] = {}
        self._masks: deque[int] = deque([0, 0, 0], 3)
        self.restart()

    def restart(self) -> None:
        """The controller is reset, of which the chip knows nothing: it wants to be begun with."""
        self._begun, self._refreshes, self._closed_all = self.now, 0, False
        self.cas: int | None = None
        self.plan: deque[int] = deque()
        self._left = 0
        self.total = 0
        self.writes: deque[int] = deque([0] * (self._latency + 1), self._latency + 1)
        self._counted: int | None = None
        self.columns, self.lost = 0, 0
        self.first = self.last = NEVER
        self._gap: int | None = None

    @property
    def ready(self) -> bool:
        """Whether it was begun with."""
        return self.cas is not None and self._refreshes >= FIRST_REFRESHES

    @property
    def in_burst(self) -> bool:
        """Whether words of a burst are still to come."""
        return self._left > 0

    def load(self, address: int, words: list[int]) -> None:
        """Put words there, without any cycle."""
        for place, word in enumerate(words, address):
            self.content[place], self.known[place] = word, 3

    def drive(self) -> None:
        """What the chip answers; garbage if it does not."""
        word = self._inputs.pop(self.now, None)
        self._dq.set(self._noise.getrandbits(16) if word is None else word)

    def command(self) -> int:
        """What the pins tell the chip to do."""
        pin = self._pins
        if not int(pin["cke"].value) or int(pin["cs_n"].value):
            return NOTHING
        return int(pin["ras_n"].value) << 2 | int(pin["cas_n"].value) << 1 | int(pin["we_n"].value)

    def look(self) -> None:
        """A rising edge of the chip's clock, with what is on its pins."""
        pin, command = self._pins, self.command()
        drives, answers = int(pin["dq_oe"].value), self.now in self._outputs
        self._masks.append(int(pin["dqm"].value) if command == WRITE or not self.ready else 0)
        if command not in (WRITE, NOTHING):
            assert not self.ready or not int(pin["dqm"].value), "a mask, and no write"
        if drives or answers:
            self._contention(bool(drives), answers, command)
        if command != NOTHING:
            assert self._after(self._begun, self._chip.pause_ns), "a command in the first pause"
            self._wait("a command", self._refreshed, self._chip.rfc, "a refresh")
            self._wait("a command", self._mode_set, self._chip.mrd, "the mode")
            bank, address = int(pin["ba"].value), int(pin["a"].value)
            _ACTIONS[command](self, bank, address)
        if self.ready:
            late = (self.now - self._refreshed) * self._period
            assert late <= self._chip.refi_ns, f"a refresh is late: {late} ns"
        self.writes.append(self.total)
        self.now += 1

    def _after(self, since: int, ns: float) -> bool:
        return (self.now - since) * self._period >= ns - 1e-6

    def _wait(self, what: str, since: int, least: Least, cause: str) -> None:
        passed = self.now - since
        enough = self._after(since, least.ns) and passed >= least.cycles
        assert enough, f"cycle {self.now}: {what} {passed} cycles after {cause}, needs {least}"

    def _contention(self, drives: bool, answers: bool, command: int) -> None:
        """Nobody drives the pins while the other does, or just did."""
        now = self.now
        if drives:
            assert command == WRITE, "the controller drives a word, and does not write"
            assert not answers, "both drive the word"
            assert now - 1 not in self._outputs, "the chip has just driven the word"
            self._driven = now
        if answers:
            assert self._driven != now - 1, "the controller has just driven the word"
            # A mask silences the chip two cycles later; it is never wanted.
            assert not self._masks[0], "what is read is masked"
            for old in [time for time in self._outputs if time < now - 1]:
                del self._outputs[old]

    def _idle(self, what: str) -> None:
        for number, bank in enumerate(self.banks):
            assert bank.row is None, f"{what} while bank {number} is open"
            self._wait(what, bank.closed, self._chip.rp, "a row was closed")
            self._wait(what, bank.opened, self._chip.rc, "a row was opened")

    def _set_mode(self, bank: int, address: int) -> None:
        self._idle("the mode is set")
        cas = address >> 4 & 7
        assert (bank, address) == (0, cas << 4), f"the mode {address:#x} is not single words"
        assert self._chip.cas_ns.get(cas, 1e9) <= self._period, f"CAS latency {cas} is too low"
        assert self._closed_all, "the mode is set before all rows are closed"
        self.cas, self._mode_set = cas, self.now
        self._coverage["mode set"] += 1

    def _refresh(self, bank: int, address: int) -> None:
        self._idle("a refresh")
        assert self._closed_all, "a refresh before all rows are closed"
        self._refreshed = self.now
        self._refreshes += 1
        self._coverage["refreshes"] += 1
        self._coverage["refresh within a burst"] += self._left > 0

    def _close(self, number: int, address: int) -> None:
        assert address in (0, 1 << 10), f"rows are closed with the address {address:#x}"
        if address:
            self._closed_all = True
            self._gap = self._column
        else:
            assert self.banks[number].row is not None, f"bank {number} is closed and closes"
            self._coverage["row misses"] += 1
        for bank in self.banks if address else [self.banks[number]]:
            if bank.row is not None:
                self._wait("a row is closed", bank.opened, self._chip.ras, "it was opened")
                self._wait("a row is closed", bank.written, self._chip.wr, "it was written")
                if self._after(bank.opened, ROW_NS):
                    self._lose(self.banks.index(bank))
            bank.row, bank.closed = None, self.now

    def _lose(self, number: int) -> None:
        """A row was open for too long, which may be in the pause after a reset."""
        bank, columns = self.banks[number], self._chip.columns
        assert bank.row is not None
        assert bank.opened < self._begun, "a row was open for too long"
        first = (bank.row * self._chip.banks + number) * columns
        for place in range(first, first + columns):
            self.content.pop(place, None)
            self.known.pop(place, None)
        self._coverage["rows lost"] += 1

    def _open(self, number: int, address: int) -> None:
        assert self.ready, "a row is opened before the chip is ready"
        bank, chip = self.banks[number], self._chip
        assert bank.row is None, f"bank {number} is open and opens"
        assert address < chip.rows, f"there is no row {address}"
        self._wait("a row is opened", bank.closed, chip.rp, "one was closed")
        self._wait("a row is opened", bank.opened, chip.rc, "one was opened")
        self._wait("a row is opened", self._opened, chip.rrd, "one of another bank was")
        bank.row, bank.opened, self._opened = address, self.now, self.now
        self._coverage[f"bank {number}"] += 1

    def _move(self, number: int, address: int, read: bool) -> int:
        """A word is read or written; returns its address."""
        bank, chip = self.banks[number], self._chip
        assert bank.row is not None, f"bank {number} is not open"
        assert address < chip.columns, f"there is no column {address:#x}"
        self._wait("a word", bank.opened, chip.rcd, "its row was opened")
        self._coverage["row hits"] += bank.moved > bank.opened
        if self._opened == self.now - 1 and self._column == self.now - 2:
            self._coverage["rows opened ahead"] += bank.opened != self._opened
        if read != self._reading:
            distance, name = self.now - self._column, "read to write" if not read else "back"
            self._coverage[name] += distance <= (1 if read else (self.cas or 0) + 2)
        if self._gap is not None:
            self.lost += self.now - self._gap - 1 if self.columns else 0
            self._gap = None
        if not self._left:
            assert self.plan, "a word that nobody asked for"
            self._left = self.plan.popleft()
        self._left -= 1
        self.first = self.now if not self.columns else self.first
        self.columns += 1
        self.last = self._column = bank.moved = self.now
        self._reading = read
        return (bank.row * chip.banks + number) * chip.columns + address

    def _write(self, number: int, address: int) -> None:
        assert self._driven == self.now, "a word is written that nobody drives"
        place = self._move(number, address, False)
        word, mask = int(self._pins["dq_o"].value), int(self._pins["dqm"].value)
        self.banks[number].written = self.now
        for byte in range(2):
            if not mask >> byte & 1:
                keep = self.content.get(place, 0) & ~(0xFF << 8 * byte)
                self.content[place] = keep | word & 0xFF << 8 * byte
                self.known[place] = self.known.get(place, 0) | 1 << byte
        self._coverage["masks"] += mask in (1, 2)
        self._coverage["nothing written"] += mask == 3
        self.total += 1

    def _read(self, number: int, address: int) -> None:
        assert self.cas is not None
        place = self._move(number, address, True)
        assert self.known.get(place) == 3, f"{place:#x} is read, and was never written"
        self._outputs[self.now + self.cas] = place
        self._inputs[self.now + self.cas + self._latency] = self.content[place]

    def _stop(self, number: int, address: int) -> None:
        raise AssertionError("a burst is stopped, where there are none")


_ACTIONS = {
    SET_MODE: SdramModel._set_mode, REFRESH: SdramModel._refresh, CLOSE: SdramModel._close,
    OPEN: SdramModel._open, WRITE: SdramModel._write, READ: SdramModel._read,
    STOP: SdramModel._stop,
}  # fmt: skip
