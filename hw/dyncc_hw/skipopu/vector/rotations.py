"""Rotations of tokens' positions: from memory, as F25, pair by pair."""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import COUNT_BITS, Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.blockmemory import ANY_ON_COLLISION, clocked_read
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS
from dyncc_hw.skipopu.arithmetic.units import SINGLE_FRACTION, FromSingle
from dyncc_hw.skipopu.interfaces import ADDRESS_BITS, TRAP_BITS, read_signature
from dyncc_hw.skipopu.vector.lanes import turn_signature

_SINGLE = 4


class HeadCheck(wiring.Component):
    """Whether heads fit a vector, and where rotations of a position are, bit by bit.

    Latency: `COUNT_BITS` + 2 cycles from `begin`, whatever the numbers are.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    begin
        Begin. The other inputs must stay.
    head, columns, memory, position
        As of the instruction.
    done, trap
        The check is over, until the next one begins; and what is wrong with the head's size.
    address, beyond
        ``memory + 4 * head * position``, and whether it is beyond all addresses.
    """

    def __init__(self, arch: ArchSpec) -> None:
        #: A head has a multiple of this, and at most `most`, numbers.
        self.unit, self.most = max(2, arch.vector_lanes), arch.kv_width
        super().__init__(
            {
                "begin": In(1),
                "head": In(COUNT_BITS),
                "columns": In(COUNT_BITS),
                "memory": In(ADDRESS_BITS),
                "position": In(COUNT_BITS),
                "done": Out(1),
                "trap": Out(TRAP_BITS),
                "address": Out(ADDRESS_BITS),
                "beyond": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A product and a remainder, from the highest bit on."""
        m = Module()
        head = self.head[: self.most.bit_length()]
        position, columns = (Signal(COUNT_BITS, reset_less=True) for _ in range(2))
        total, rest = Signal(ADDRESS_BITS, reset_less=True), Signal.like(head, reset_less=True)
        beyond, left = Signal(), Signal(range(COUNT_BITS + 2))
        turning, ready = Signal(), Signal()
        longer = Signal(len(rest) + 1)
        less = Signal(len(rest) + 2)
        doubled = Mux(turning, total << 1, total)[: ADDRESS_BITS + 1]
        own = Mux(position[-1], Cat(Const(0, 2), head), 0)
        found = Signal(ADDRESS_BITS + 2)
        m.d.comb += [
            turning.eq(left != 1),
            longer.eq(Cat(columns[-1], rest)),
            less.eq(longer - head),
            found.eq(doubled + Mux(turning, own, self.memory)),
            self.address.eq(total),
            self.beyond.eq(beyond),
            self.done.eq(ready),
        ]
        unit, most = self.unit, self.most
        wrong = (self.head == 0) | (self.head % unit != 0) | (self.head > most) | (rest != 0)
        m.d.comb += self.trap.eq(Mux(wrong, Trap.SHAPE, Trap.NONE))
        with m.If(left != 0):
            m.d.sync += [
                left.eq(left - 1),
                total.eq(found),
                beyond.eq(beyond | found[ADDRESS_BITS:].any()),
                position.eq(position << 1),
            ]
            with m.If(turning):
                m.d.sync += [rest.eq(Mux(less[-1], longer, less)), columns.eq(columns << 1)]
            with m.Else():
                m.d.sync += ready.eq(1)
        with m.If(self.begin):
            m.d.sync += [
                left.eq(COUNT_BITS + 1), ready.eq(0), total.eq(0), rest.eq(0), beyond.eq(0),
                position.eq(self.position), columns.eq(self.columns),
            ]  # fmt: skip
        return m


class Rotations(wiring.Component):
    """Cosines and sines of the batch's tokens, in order, from memory.

    Those of a token are `head` binary32 numbers, cosines first. While they are used, the next
    token's come in, `width` numbers a cycle at most.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    begin
        Begin with the first of the tokens of `active`. The other inputs must stay.
    active, head
        Tokens, and numbers of a head, of which `HeadCheck` found nothing wrong.
    address, beyond
        From `HeadCheck`.
    read
        To the port, see `interfaces.read_signature`.
    trap
        In some cycle: an address is beyond all addresses, or a number is not finite.
    turn
        From `vector_lanes.Operands`.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self._arch = arch
        self._pairs = max(1, arch.vector_lanes // 2)
        self.width = max(1, min(self._pairs, arch.bus_bytes // _SINGLE))
        super().__init__(
            {
                "begin": In(1),
                "active": In(arch.tokens),
                "head": In(COUNT_BITS),
                "address": In(ADDRESS_BITS),
                "beyond": In(1),
                "read": Out(read_signature(arch.bus_bytes)),
                "trap": Out(TRAP_BITS),
                "turn": In(turn_signature(arch.vector_lanes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Requests; words to numbers; a memory of two halves."""
        m = Module()
        self._requests(m, self._store(m))
        return m

    def _requests(self, m: Module, strange: Value) -> None:
        """One for each active token, as fast as the port takes them."""
        request = self.read.request
        left, beyond = Signal(self._arch.tokens), Signal()
        address, after = Signal(ADDRESS_BITS, reset_less=True), Signal(ADDRESS_BITS + 1)
        m.d.comb += [
            after.eq(address + (self.head << 2)),
            request.payload.address.eq(address),
            request.payload.bytes.eq(self.head << 2),
            request.valid.eq(left[0] & ~beyond),
            self.trap.eq(Mux(left[0] & beyond, Trap.MEMORY, Mux(strange, Trap.SHAPE, Trap.NONE))),
        ]
        with m.If(left.any() & (~left[0] | (request.valid & request.ready))):
            m.d.sync += [
                left.eq(left >> 1), address.eq(after), beyond.eq(beyond | after[ADDRESS_BITS]),
            ]  # fmt: skip
        with m.If(self.begin):
            m.d.sync += [
                left.eq(self.active), address.eq(self.address), beyond.eq(self.beyond),
            ]  # fmt: skip

    def _store(self, m: Module) -> Value:
        """Numbers as they come into one half, pairs out of the other.

        Returns
        -------
        Value
            Whether a number comes that is not finite.
        """
        width, pairs, turn = self.width, self._pairs, self.turn
        free, ends = Signal(), Signal()
        singles, took = self._singles(m, free, ends)
        lines = max(2, self._arch.kv_width // (2 * pairs))
        line_bits = (lines - 1).bit_length()
        runs = pairs // width
        # What is written comes a cycle after it was taken, from the conversion.
        converters = [FromSingle() for _ in range(width)]
        for index, unit in enumerate(converters):
            m.submodules[f"convert_{index}"] = unit
            m.d.comb += [
                unit.input.valid.eq(took), unit.input.payload.single.eq(singles[index]),
                unit.output.ready.eq(1),
            ]  # fmt: skip
        place = Signal((max(2, lines * runs) - 1).bit_length())
        sine, into_half = Signal(), Signal()
        # Halves that are being filled or whole, and those that are whole.
        full, whole = Signal(2), Signal(2)
        part_ends = Signal()
        shift = (2 * width).bit_length() - 1
        m.d.comb += [
            part_ends.eq(place == (self.head >> shift) - 1),
            ends.eq(part_ends & sine),
            free.eq(~full.bit_select(into_half, 1)),
        ]
        with m.If(took):
            m.d.sync += place.eq(Mux(part_ends, 0, place + 1))
            with m.If(part_ends):
                m.d.sync += sine.eq(~sine)
            with m.If(ends):
                m.d.sync += into_half.eq(~into_half)
        written, now = Signal(), Signal(len(place) + 3)
        m.d.sync += [written.eq(took), now.eq(Cat(place, into_half, sine, ends))]
        was_place, was_half = now[: len(place)], now[len(place)]
        was_sine, was_end = now[-2], now[-1]
        # The halves are read in turn.
        out_half, word = Signal(), Signal(line_bits)
        word_shift = (2 * pairs).bit_length() - 1
        filled, used = Signal(2), Signal(2)
        m.d.comb += [
            filled.eq(Mux(written & was_end, Cat(~was_half, was_half), 0)),
            used.eq(Mux(turn.enable & turn.last, Cat(~out_half, out_half), 0)),
            turn.ready.eq(whole.bit_select(out_half, 1)),
        ]
        m.d.sync += [
            full.eq((full | Mux(took & ends, Cat(~into_half, into_half), 0)) & ~used),
            whole.eq((whole | filled) & ~used),
        ]
        with m.If(turn.enable):
            m.d.sync += word.eq(Mux(word == (self.head >> word_shift) - 1, 0, word + 1))
            with m.If(turn.last):
                m.d.sync += [word.eq(0), out_half.eq(~out_half)]
        for name, wanted in (("cosines", ~was_sine), ("sines", was_sine)):
            m.submodules[name] = store = memory.Memory(
                shape=data.ArrayLayout(CODE_BITS * width, runs), depth=2 << line_bits, init=[],
                attrs=ANY_ON_COLLISION,
            )  # fmt: skip
            into = store.write_port(granularity=1)
            out = clocked_read(m, store, Cat(word, out_half), turn.enable)
            run = was_place % runs
            m.d.comb += [
                into.addr.eq(Cat((was_place // runs)[:line_bits], was_half)),
                into.en.eq(Mux(written & wanted, Const(1, runs) << run, 0)),
                Value.cast(getattr(turn, name)).eq(Value.cast(out)),
            ]
            for index in range(runs):
                m.d.comb += into.data[index].eq(
                    Cat(unit.output.payload.result for unit in converters)
                )
        return took & Cat(single[SINGLE_FRACTION:-1].all() for single in singles).any()

    def _singles(self, m: Module, free: Value, ends: Value) -> tuple[list[Any], Value]:
        """So many numbers as are converted in a cycle, and whether they are taken in this one.

        Parameters
        ----------
        free
            Whether they may be.
        ends
            Whether they are the last of a token; behind them is nothing.
        """
        given, size = self.read.data, 8 * _SINGLE
        took = Signal()
        if self._arch.bus_bytes < _SINGLE:
            low, half = Signal(size // 2, reset_less=True), Signal()
            m.d.comb += [given.ready.eq(~half | free), took.eq(half & given.valid & free)]
            with m.If(given.valid & given.ready):
                m.d.sync += [low.eq(given.payload.word), half.eq(~half)]
            return [Cat(low, given.payload.word)], took
        parts = self._arch.bus_bytes // (_SINGLE * self.width)
        part = Signal(range(max(2, parts)))
        final = ends | (part == parts - 1)
        m.d.comb += [given.ready.eq(free & final), took.eq(given.valid & free)]
        with m.If(took):
            m.d.sync += part.eq(Mux(final, 0, part + 1))
        chosen = Signal(size * self.width)
        m.d.comb += chosen.eq(given.payload.word.word_select(part, size * self.width))
        return [chosen.word_select(index, size) for index in range(self.width)], took
