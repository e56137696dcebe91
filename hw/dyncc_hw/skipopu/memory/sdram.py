"""A master that is the controller of an SDRAM chip itself.

A word of the port is a word of the chip. A word's address is made of row, bank and column, the
column lowest: when a row ends the next words are in another bank, whose row is opened meanwhile.
"""

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature
from dyncc_hw.skipopu.memory.sdram_banks import Banks, waits
from dyncc_hw.skipopu.memory.sdram_chip import ALL_BANKS, WORD_BYTES, SdramChip
from dyncc_hw.skipopu.memory.sdram_keeper import Keeper
from dyncc_hw.skipopu.memory.sdram_pins import sdram_signature

#: Where the mode of a chip has its CAS latency; all else is 0: single words, in order.
_CAS_PLACE = 4


class SdramController(wiring.Component):
    """Carries out bursts on an SDRAM chip.

    A command for each word, so a burst may have any length. While a burst is carried out the next
    one is known, and its row is opened as soon as its bank allows; both take one cycle of the
    words of the burst before. Rows stay open until another one of their bank is needed, or until
    a refresh, which also interrupts a burst; see `Keeper`.

    Latency: from a burst to an idle controller to its first word at the port, with an open row,
    ``4 + cas + pins_latency`` cycles; the opening of a row takes `SdramCycles.rcd` more, the
    closing of another one `SdramCycles.rp`. Throughput: a word a cycle within a row, also from a
    burst to the next if they have two words at least; two cycles less for each row; nothing while
    it refreshes. From reads to writes `SdramCycles.turn`, from writes to reads none.

    What is read waits in a FIFO; words are asked for as far as there is room in it.

    Parameters
    ----------
    geometry
        Of the port; words of `WORD_BYTES`, and bursts that fit into a row.
    chip
        The chip.
    clock_hz
        Frequency of the clock.
    pins_latency
        Registers between `sdram` and the chip, there and back; see `SdramPins.latency`.

    Members
    -------
    port
        See `bursts.burst_signature`. Words beyond the chip are answered with errors, and are not
        written.
    sdram
        See `sdram_pins.sdram_signature`.

    Raises
    ------
    ConfigError
        If the chip cannot have such words or bursts, or not this clock.
    """

    def __init__(
        self, geometry: Geometry, chip: SdramChip, clock_hz: int, pins_latency: int = 2
    ) -> None:
        if geometry.bus_bytes != WORD_BYTES:
            raise ConfigError(
                f"an SDRAM has words of {WORD_BYTES} bytes, not of {geometry.bus_bytes}"
            )
        if geometry.burst_words > chip.columns:
            raise ConfigError(
                f"a burst of {geometry.burst_words} words does not fit into a row of "
                f"{chip.columns} of {chip.name}"
            )
        if chip.words.bit_length() > geometry.word_address_bits:
            raise ConfigError(f"{chip.name} has more words than addresses")
        if not 0 <= pins_latency <= 8:
            raise ConfigError(f"pins have 0 to 8 registers, not {pins_latency}")
        self.geometry, self.chip, self.pins_latency = geometry, chip, pins_latency
        self.cycles = chip.cycles(clock_hz)
        #: Words that are asked for, and not taken by the port.
        self.depth = 16
        column, bank, row = chip.bits
        self._burst = data.StructLayout(
            {
                "write": 1, "beyond": 1, "column": column, "bank": bank, "row": row,
                "words": geometry.words,
            }
        )  # fmt: skip
        super().__init__(
            {
                "port": In(burst_signature(geometry)),
                "sdram": Out(sdram_signature(chip)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Two bursts, that choose a command in each cycle."""
        m = Module()
        m.submodules.banks = banks = Banks(self.chip, self.cycles)
        m.submodules.keeper = keeper = Keeper(self.cycles)
        stop = keeper.stop
        m.d.comb += [
            keeper.may_close.eq(banks.may_close.all()),
            keeper.may_go_on.eq(banks.may_open.all()),
            banks.refreshes.eq(keeper.refresh),
            banks.sets.eq(keeper.set_mode),
        ]
        # The burst that is carried out, whether its row is open, or another one of its bank.
        current, busy = Signal(self._burst), Signal()
        opened, other = Signal(), Signal()
        # The one after it.
        following, pending = Signal(self._burst), Signal()
        self._accept(m, following, pending)

        # Commands for the bank of the following burst, known a cycle late.
        ahead_open, ahead_close = Signal(), Signal()
        open_ahead, close_ahead, ahead = Signal(), Signal(), Signal()
        m.d.comb += [
            open_ahead.eq(ahead_open & banks.may_open.bit_select(following.bank, 1) & ~stop),
            close_ahead.eq(ahead_close & banks.may_close.bit_select(following.bank, 1) & ~stop),
            ahead.eq(open_ahead | close_ahead),
        ]
        # Commands of the current burst.
        free, open_own, close_own = Signal(), Signal(), Signal()
        moves, reads, writes, ready = Signal(), Signal(), Signal(), Signal()
        may_move = current.beyond | banks.may_move.bit_select(current.bank, 1)
        m.d.comb += [
            free.eq(busy & ~stop & ~ahead),
            close_own.eq(free & other & banks.may_close.bit_select(current.bank, 1)),
            open_own.eq(free & ~opened & ~other & banks.may_open.bit_select(current.bank, 1)),
            moves.eq(free & opened & may_move & ready),
            reads.eq(moves & ~current.write & ~current.beyond),
            writes.eq(moves & current.write & ~current.beyond),
        ]
        for bank in range(self.chip.banks):
            own, next_one = current.bank == bank, following.bank == bank
            m.d.comb += [
                banks.opens[bank].eq((open_ahead & next_one) | (open_own & own)),
                banks.closes[bank].eq((close_ahead & next_one) | (close_own & own) | keeper.close),
                banks.writes[bank].eq(writes & own),
            ]
        m.d.comb += banks.row.eq(Mux(ahead, following.row, current.row))

        # From the following burst to the current one.
        last, starts = Signal(), Signal()
        is_open, same, hit = Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq(current.words == 1),
            starts.eq(pending & (~busy | (moves & last))),
            is_open.eq(banks.open.bit_select(following.bank, 1) & ~following.beyond),
            same.eq(banks.rows[following.bank] == following.row),
            hit.eq((is_open & same & ~keeper.close) | following.beyond),
        ]
        with m.If(moves):
            m.d.sync += [
                current.column.eq(current.column + 1), current.words.eq(current.words - 1),
                busy.eq(~last),
            ]  # fmt: skip
        with m.If(keeper.close):
            m.d.sync += [opened.eq(current.beyond), other.eq(0)]
        with m.If(open_own):
            m.d.sync += opened.eq(1)
        with m.If(close_own):
            m.d.sync += other.eq(0)
        with m.If(starts):
            m.d.sync += [
                current.eq(following), busy.eq(1), pending.eq(0),
                opened.eq(hit), other.eq(is_open & ~same & ~keeper.close),
            ]  # fmt: skip
        # What is found out now holds in the next cycle if neither bursts nor rows change.
        holds = Signal()
        m.d.comb += holds.eq(
            ~starts & ~ahead & ~open_own & ~close_own & ~keeper.close
            & pending & busy & ~following.beyond & (following.bank != current.bank)
        )  # fmt: skip
        m.d.sync += [ahead_open.eq(holds & ~is_open), ahead_close.eq(holds & is_open & ~same)]

        may_write = waits(m, "to_write", (reads, self.cycles.turn))
        room, words = self._answer(m, moves & ~current.write, current.beyond), self._words(m)
        m.d.comb += [
            ready.eq(Mux(current.write, words.r_rdy & may_write, room)),
            words.r_en.eq(moves & current.write),
        ]
        self._end(m, moves & current.write & last, current.beyond)
        self._drive(m, keeper, banks, words, reads, writes)
        with m.If(ahead):
            m.d.sync += self.sdram.ba.eq(following.bank)
        with m.Elif(~stop):
            m.d.sync += self.sdram.ba.eq(current.bank)
        with m.Else():
            m.d.sync += self.sdram.ba.eq(0)
        with m.If(reads | writes):
            m.d.sync += self.sdram.a.eq(current.column)
        return m

    def _accept(self, m: Module, following: Any, pending: Any) -> None:
        """The next burst, when there is a place for it."""
        command = self.port.command
        column, bank, row = self.chip.bits
        address = command.payload.address
        m.d.comb += command.ready.eq(~pending)
        with m.If(command.ready):
            m.d.sync += [
                pending.eq(command.valid),
                following.write.eq(command.payload.write),
                following.words.eq(command.payload.words),
                Cat(following.column, following.bank, following.row).eq(address),
                following.beyond.eq(address[column + bank + row :].any()),
            ]

    def _words(self, m: Module) -> Any:
        """Words that are written, of bursts that were taken."""
        command, given = self.port.command, self.port.data
        m.submodules.words = words = fifo.SyncFIFO(width=9 * WORD_BYTES, depth=4)
        owed = Signal(range(2 * self.geometry.burst_words + 1))
        taken, more = Signal(), Signal()
        m.d.comb += [
            given.ready.eq((owed != 0) & words.w_rdy),
            taken.eq(given.valid & given.ready),
            more.eq(command.valid & command.ready & command.payload.write),
            words.w_en.eq(taken),
            words.w_data.eq(Cat(given.payload.word, given.payload.strobe)),
        ]
        m.d.sync += owed.eq(owed + Mux(more, command.payload.words, 0) - taken)
        return words

    def _answer(self, m: Module, asks: Any, beyond: Any) -> Any:
        """Words that are read; returns whether there is room for one more."""
        answer = self.port.answer
        m.submodules.answers = answers = fifo.SyncFIFO(width=8 * WORD_BYTES + 1, depth=self.depth)
        taken = answer.valid & answer.ready
        asked = Signal(range(self.depth + 1))
        m.d.sync += asked.eq(asked + asks - taken)
        # Whether a word comes, and whether it is an error, for each cycle from now on.
        comes = Signal(1 + self.cycles.cas + self.pins_latency)
        error = Signal.like(comes)
        m.d.sync += [comes.eq(Cat(asks, comes)), error.eq(Cat(beyond, error))]
        m.d.comb += [
            answers.w_en.eq(comes[-1]),
            answers.w_data.eq(Cat(self.sdram.dq_i, error[-1])),
            answer.valid.eq(answers.r_rdy),
            Cat(answer.payload.word, answer.payload.error).eq(answers.r_data),
            answers.r_en.eq(answer.ready),
        ]
        return asked != self.depth

    def _end(self, m: Module, ends: Any, beyond: Any) -> None:
        """Tell when the last word of a burst is in the chip."""
        ended = Signal(2 + self.pins_latency)
        failed = Signal.like(ended)
        m.d.sync += [ended.eq(Cat(ends, ended)), failed.eq(Cat(beyond, failed))]
        m.d.comb += [self.port.written.eq(ended[-1]), self.port.failed.eq(failed[-1])]

    def _drive(
        self, m: Module, keeper: Any, banks: Any, words: Any, reads: Any, writes: Any
    ) -> None:
        """Registers of all pins except the bank."""
        sdram = self.sdram
        opens, closes = Signal(), Signal()
        m.d.comb += [opens.eq(banks.opens.any()), closes.eq(banks.closes.any())]
        everything = keeper.refresh | keeper.set_mode
        word, strobe = words.r_data[: 8 * WORD_BYTES], words.r_data[8 * WORD_BYTES :]
        m.d.sync += [
            sdram.cke.eq(1),
            sdram.cs_n.eq(0),
            sdram.ras_n.eq(~(opens | closes | everything)),
            sdram.cas_n.eq(~(reads | writes | everything)),
            sdram.we_n.eq(~(writes | closes | keeper.set_mode)),
            sdram.a.eq(Mux(opens, banks.row, keeper.close << ALL_BANKS)),
            sdram.dq_o.eq(word),
            sdram.dq_oe.eq(writes),
            sdram.dqm.eq(Mux(keeper.ready, Mux(writes, ~strobe, 0), -1)),
        ]
        with m.If(keeper.set_mode):
            m.d.sync += sdram.a.eq(self.cycles.cas << _CAS_PLACE)
