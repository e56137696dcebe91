"""Properties of the controller of an SDRAM: distances of commands, refreshes, room for answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

from amaranth import Cat, Mux, Signal, Value

from dyncc_hw.skipopu.memory.bursts import Geometry
from dyncc_hw.skipopu.memory.sdram import SdramController
from dyncc_hw.skipopu.memory.sdram_banks import Banks, waits
from dyncc_hw.skipopu.memory.sdram_chip import ULX3S_32MB, SdramCycles
from dyncc_hw.skipopu.memory.sdram_keeper import Keeper
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced

CHIP = replace(ULX3S_32MB, banks=2, rows=2, columns=4)
#: Short, as all that may go wrong has to do so within few cycles.
CYCLES = SdramCycles(rc=5, ras=2, rcd=2, rp=2, rfc=3, rrd=3, wr=2, mrd=2, pause=3, refi=15, cas=2)
#: The same where it does not matter when the first refreshes are.
SOON = replace(CYCLES, pause=1, refi=18)
#: Words that may be asked for.
DEPTH = 4
GEOMETRY = Geometry(bus_bytes=2, burst_bytes=8, requests=2, latency=4)
#: Refreshes before the mode is set, so that it is soon over.
FIRST = 2
_SIZE = f"{CHIP.banks} banks of {CHIP.rows} rows, {CYCLES}, {FIRST} refreshes before the mode"
#: From when on all times are over, and the most cycles from when a refresh is due to it.
_LONG = max(CYCLES.rc, CYCLES.ras, CYCLES.rfc, CYCLES.turn) + 1
_CLOSE = max(CYCLES.ras, CYCLES.wr)
_DELAY = max(_CLOSE + CYCLES.rp, CYCLES.rc)
#: The same of the refreshes before the mode.
_MORE = _DELAY + (FIRST - 1) * CYCLES.rfc


class Ages:
    """Ghosts: cycles since events of each bank and of the chip, up to `_LONG`."""

    def __init__(self, design: Design, banks: Any) -> None:
        self._design = design
        each = range(CHIP.banks)
        self.opened = [self._age(banks.opens[bank]) for bank in each]
        self.closed = [self._age(banks.closes[bank]) for bank in each]
        self.written = [self._age(banks.writes[bank]) for bank in each]
        self.refreshed = self._age(banks.refreshes, CYCLES.refi + 1)
        self.set = self._age(banks.sets)

    def _age(self, event: Any, most: int = _LONG) -> Any:
        found = Signal(range(most + 1), init=most)
        with self._design.m.If(event):
            self._design.m.d.sync += found.eq(1)
        with self._design.m.Elif(found != most):
            self._design.m.d.sync += found.eq(found + 1)
        self._design.lemma(found <= most, "an age")
        return found

    def read(self, event: Any) -> Any:
        """Another event."""
        return self._age(event)

    def whole_chip(self) -> Any:
        """Whether a refresh and the setting of the mode are over."""
        return (self.refreshed >= CYCLES.rfc) & (self.set >= CYCLES.mrd)

    def may_open(self, bank: int) -> Any:
        """Whether the data sheet allows that a row is opened."""
        others = [age >= CYCLES.rrd for other, age in enumerate(self.opened) if other != bank]
        own = (self.opened[bank] >= CYCLES.rc) & (self.closed[bank] >= CYCLES.rp)
        return own & Cat(others).all() & self.whole_chip()

    def may_close(self, bank: int) -> Any:
        """Whether it allows that a row is closed."""
        own = (self.opened[bank] >= CYCLES.ras) & (self.written[bank] >= CYCLES.wr)
        return own & self.whole_chip()

    def may_move(self, bank: int) -> Any:
        """Whether it allows that a word is read or written."""
        return (self.opened[bank] >= CYCLES.rcd) & self.whole_chip()

    def lemmas(self, inside: Any) -> None:
        """Registers of `waits` are what follows from these ages."""
        chip = [(self.refreshed, CYCLES.rfc), (self.set, CYCLES.mrd)]
        for bank in range(CHIP.banks):
            own = self.opened[bank]
            others = [age for other, age in enumerate(self.opened) if other != bank]
            known = {
                "to_open": [
                    (own, CYCLES.rc), (self.closed[bank], CYCLES.rp),
                    *((age, CYCLES.rrd) for age in others), *chip,
                ],
                "to_close": [(own, CYCLES.ras), (self.written[bank], CYCLES.wr), *chip],
                "to_move": [(own, CYCLES.rcd)],
            }  # fmt: skip
            for name, causes in known.items():
                follows(self._design, self._design.signal(inside, f"{name}_{bank}"), causes)


def follows(design: Design, left: Any, causes: list[tuple[Any, int]]) -> None:
    """A register of `waits` says how long it is until all causes are old enough."""
    for place, bit in enumerate(left):
        young = Cat(age + place < cycles for age, cycles in causes).any()
        design.lemma(bit == young, "what is waited for")


def first_refreshes(number: int) -> Any:
    """Fewer of them."""
    return patch("dyncc_hw.skipopu.memory.sdram_keeper.FIRST_REFRESHES", number)


def refreshes(design: Design) -> None:
    """The keeper and the banks, and anybody who gives commands as they allow."""
    with first_refreshes(FIRST):
        keeper, banks = Keeper(CYCLES), Banks(CHIP, CYCLES)
        opens, closes = design.input(CHIP.banks, "opens"), design.input(CHIP.banks, "closes")
        writes = design.input(CHIP.banks, "writes")
        inside = design.add(
            keeper, "keeper",
            may_close=banks.may_close.all(), may_go_on=banks.may_open.all(),
        )  # fmt: skip
        within = design.add(
            banks, "banks", opens=opens, closes=closes | keeper.close.replicate(CHIP.banks),
            writes=writes, refreshes=keeper.refresh, sets=keeper.set_mode,
        )  # fmt: skip
    design.assume(((opens | closes | writes) == 0) | ~keeper.stop)
    design.assume((opens & (banks.open | ~banks.may_open)) == 0)
    design.assume((closes & (~banks.open | ~banks.may_close)) == 0)
    design.assume((writes & ~banks.open) == 0)
    ages = Ages(design, banks)
    ages.lemmas(within)
    since, ready = ages.refreshed, keeper.ready
    each = range(CHIP.banks)
    quiet = Cat(ages.may_open(bank) for bank in each).all() & ~banks.open.any()
    design.claim(~keeper.refresh | quiet, "all rows are closed, and long enough, for a refresh")
    design.claim(~keeper.set_mode | quiet, "and for the mode")
    closable = Cat(~banks.open[bank] | ages.may_close(bank) for bank in each).all()
    design.claim(~keeper.close | closable, "rows are closed when they may be")
    design.claim(~ready | (since <= CYCLES.refi), "no refresh is late")

    pause, work = design.state(inside, "PAUSE"), design.state(inside, "WORK")
    close, refresh = design.state(inside, "CLOSE"), design.state(inside, "REFRESH")
    mode = design.state(inside, "SET")
    timer, due = design.signal(inside, "timer"), design.signal(inside, "due")
    left = design.signal(inside, "left")
    period = CYCLES.refresh_period
    # Cycles since a refresh became due.
    phase = Signal(range(period))
    design.m.d.comb += phase.eq(period - 1 - timer)

    def at(where: Any, condition: Any, says: str) -> None:
        design.lemma(~where | condition, says)

    first, early = refresh & ~ready & (left == FIRST), pause | (close & ~ready)
    later = (refresh & ~ready & (left < FIRST)) | mode
    design.lemma(design.states(inside), "a state")
    # Before the first refresh of all.
    at(~(pause & ~due), timer < period, "the counter's range")
    at(pause, timer < max(period, CYCLES.pause), "the counter's range in the pause")
    at(pause & due, phase == 0, "it is due at the end of the pause")
    at(early, ~ready & (left == FIRST), "all refreshes are left")
    at(early | first, since == CYCLES.refi + 1, "there was no refresh")
    at(early | first | later, ages.set == _LONG, "there was no mode")
    at(close & ~ready, phase == 1, "rows are closed at once")
    at(ready, (left == 0) & ~pause & ~mode, "it is ready")
    at(~ready, ~work & ~banks.open.any(), "it is not")
    at(mode, (left == 0) & ~ready, "the mode is set once")
    at(later, (since <= CYCLES.rfc) & (since + CYCLES.rp + 1 <= phase), "a refresh after the other")
    at(refresh & ~ready, (left != 0) & (left <= FIRST), "refreshes are left")
    at(later, phase <= since + _DELAY + (FIRST - 1 - left) * CYCLES.rfc, "and soon")
    # How many cycles ago the last refresh was, by when the next one is due.
    ago = Mux(work & ~due, phase, phase + period)
    regular = ready & (work | close | refresh)
    at(regular, since + 1 + CYCLES.rp <= ago, "a refresh was not before it was due")
    at(regular, ago <= since + _MORE, "and not long after")
    at(work & due, phase == 0, "it has just become due")
    at(~(work | pause), ~due, "nothing is due while something is done")
    at(close, (phase >= 1) & (phase <= _CLOSE), "rows are closed soon")
    at((refresh & ready) | first, (phase >= 2) & (phase <= _DELAY), "a refresh is soon")
    at(close | refresh, ages.set >= CYCLES.mrd, "the mode was set before")
    at(pause | refresh | mode, ~banks.open.any(), "no row is open")
    for bank in each:
        opened, closed, written = ages.opened[bank], ages.closed[bank], ages.written[bank]
        rest = (opened == _LONG) & (written == _LONG)
        at(~ready, rest, "no row was opened before there is a mode")
        at(early, closed == _LONG, "nor closed")
        at(close | refresh, (opened >= phase) | (opened == _LONG), "no row is opened any more")
        at(close, (written >= phase) | (written == _LONG), "nor written")
        at((refresh & ready) | first, closed + _CLOSE >= phase, "closed soon")
        at((refresh & ready) | first, closed < phase, "closed after it was due")
        at(later, closed >= CYCLES.rp, "closed long ago")
    regular_one = keeper.refresh & ready
    design.reaches(regular_one & (phase == _DELAY), "a refresh that waits for all it may wait for")
    design.reaches(regular_one & (phase == 1 + CYCLES.rp), "one that waits for nothing")


def encoded(m: Any, banks: Any, keeper: Any, moves: Any, writes: Any) -> Any:
    """What the pins have to say in the cycle after events: ras_n, cas_n, we_n, lowest last."""
    found = Signal(3, init=0b111)
    with m.If(banks.opens.any()):
        m.d.sync += found.eq(0b011)
    with m.Elif(banks.closes.any()):
        m.d.sync += found.eq(0b010)
    with m.Elif(keeper.refresh):
        m.d.sync += found.eq(0b001)
    with m.Elif(keeper.set_mode):
        m.d.sync += found.eq(0b000)
    with m.Elif(moves):
        m.d.sync += found.eq(Mux(writes, 0b100, 0b101))
    with m.Else():
        m.d.sync += found.eq(0b111)
    return found


def commands(design: Design) -> None:
    """The controller with any bursts, and answers that are taken at any time."""
    controller = SdramController(GEOMETRY, CHIP, 50_000_000, pins_latency=1)
    controller.cycles, controller.depth = SOON, DEPTH
    with first_refreshes(1):
        inside = design.add(controller, "controller")
        banks, keeper = inside.submodules.banks, inside.submodules.keeper
        within, kept = design.submodule(inside, "banks"), design.submodule(inside, "keeper")
    signal = design.signal
    reads, writes = signal(inside, "reads"), signal(inside, "writes")
    current, following = signal(inside, "current"), signal(inside, "following")
    busy, pending = signal(inside, "busy"), signal(inside, "pending")
    opened, other = signal(inside, "opened"), signal(inside, "other")
    command = controller.port.command
    design.assume(~command.valid | command.payload.words.any())
    ages = Ages(design, banks)
    read = ages.read(reads)
    ages.lemmas(within)
    follows(design, signal(inside, "to_write"), [(read, CYCLES.turn)])
    each = range(CHIP.banks)

    moved = Cat((reads | writes) & (current.bank == bank) for bank in each)
    events = Cat(banks.opens, keeper.refresh, keeper.set_mode, reads, writes)
    alone = sum(events) + banks.closes.any()
    design.claim(alone <= 1, "a command in a cycle")
    for bank in each:
        is_open, row = banks.open[bank], banks.rows[bank]
        opens, closes = banks.opens[bank], banks.closes[bank]
        design.claim(~opens | (~is_open & ages.may_open(bank)), "a row is opened when it may be")
        design.claim(~closes | ~is_open | ages.may_close(bank), "and closed")
        fits = is_open & ages.may_move(bank) & (row == current.row)
        design.claim(~moved[bank] | fits, "a word is of an open row, and not too soon")
        quiet = ages.may_open(bank) & ~is_open
        design.claim(~keeper.refresh | quiet, "rows are closed for a refresh")
        design.claim(~keeper.set_mode | quiet, "and for the mode")
        design.lemma(~is_open | ages.whole_chip(), "a row was opened after the last refresh")
    design.claim(~writes | (read >= CYCLES.turn), "the pins are free for a write")

    sdram = controller.sdram
    pins = Cat(sdram.we_n, sdram.cas_n, sdram.ras_n)
    says = encoded(design.m, banks, keeper, reads | writes, writes)
    design.claim(pins == says, "the pins say what is done")
    design.claim(sdram.dq_oe == design.last(writes), "they are driven for a write")
    bank = Signal.like(sdram.ba)
    design.m.d.comb += bank.eq(Mux(signal(inside, "ahead"), following.bank, current.bank))
    one = banks.opens.any() | (banks.closes.any() & ~keeper.close) | reads | writes
    design.claim(~design.last(one) | (sdram.ba == design.last(bank)), "of this bank")
    row_or_column = Mux(banks.opens.any(), banks.row, current.column)
    named = design.last(banks.opens.any() | reads | writes)
    design.claim(~named | (sdram.a == design.last(row_or_column)), "of this row or column")
    low = design.last(banks.closes.any())
    design.claim(~low | (sdram.a[10] == design.last(keeper.close)), "of one bank, or of all")

    # Answers have room.
    answers = inside.submodules.answers
    asked, comes = signal(inside, "asked"), signal(inside, "comes")
    design.claim(~answers.w_en | answers.w_rdy, "there is room for a word that comes")
    design.lemma(asked == answers.level + sum(comes), "words that are asked for")
    design.lemma(asked <= controller.depth, "not too many words")

    # What the two bursts know of their banks.
    there, here = banks.open.bit_select(current.bank, 1), banks.rows[current.bank] == current.row
    lemma = design.lemma
    lemma(~busy | current.beyond | (opened == (there & here)), "its row is open")
    lemma(~busy | current.beyond | (other == (there & ~here)), "another one is")
    lemma(~busy | ~current.beyond | (opened & ~other), "no row is needed")
    lemma(~busy | current.words.any(), "something is left")
    lemma(~pending | following.words.any(), "something is to come")
    ahead_open, ahead_close = signal(inside, "ahead_open"), signal(inside, "ahead_close")
    ahead = ahead_open | ahead_close
    apart = busy & pending & (following.bank != current.bank) & ~following.beyond
    lemma(~ahead | apart, "banks differ")
    known = banks.open.bit_select(following.bank, 1)
    lemma(~ahead | (ahead_close == known), "what is ahead is known")
    lemma(~(ahead_open & ahead_close), "one or the other")
    still = Cat(design.state(kept, name) for name in ("PAUSE", "REFRESH", "SET")).any()
    lemma(~still | ~banks.open.any(), "no row is open")
    lemma(design.states(kept), "a state")
    lemma(keeper.ready | ~banks.open.any(), "no row is open before there is a mode")
    lemma(keeper.ready | ~design.state(kept, "WORK"), "there is a mode")
    design.reaches(design.last(reads, 2) & design.last(banks.opens.any()) & reads, "a row ahead")
    design.reaches(writes & (read == CYCLES.turn), "a write as soon as it may be")
    design.reaches(keeper.close & keeper.ready & busy & opened, "a refresh within a burst")
    design.reaches(asked == controller.depth, "no room for more")


def _shorter(m: Any, name: str, *causes: tuple[Any, int]) -> Value:
    """All is waited for, but a cycle less until a row is closed."""
    if name.startswith("to_close"):
        causes = tuple((event, cycles - 1) for event, cycles in causes)
    return waits(m, name, *causes)


PROPERTIES = [
    Property(
        "skipopu_sdram_refresh",
        "No refresh of an SDRAM is late, whatever else it does; all rows are closed for it.",
        _SIZE,
        refreshes,
        depth=2,
        reach=27,
        faults={
            "the time that a refresh takes comes on top": replaced(
                "dyncc_hw.skipopu.memory.sdram_chip.SdramCycles.refresh_period",
                property(lambda cycles: cycles.refi + cycles.rfc),
            )
        },
    ),
    Property(
        "skipopu_sdram_commands",
        "No command to an SDRAM comes sooner than its data sheet allows (tRC, tRAS, tRCD, tRP, "
        "tRFC, tRRD, tWR, tMRD, turns of the pins), words are those of open rows, and there is "
        "room for what is read.",
        f"{CHIP.banks} banks of {CHIP.rows} rows, {SOON}, {DEPTH} words asked for",
        commands,
        depth=2,
        reach=20,
        faults={
            "a row is closed a cycle early": replaced(
                "dyncc_hw.skipopu.memory.sdram_banks.waits", _shorter
            )
        },
    ),
]
