"""What attention knows of each head so far: largest score, sum, output; and how tiles merge."""

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import ConfigError
from dyncc_hw.blockmemory import ANY_ON_COLLISION
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS, exponent, significand
from dyncc_hw.skipopu.arithmetic.functions import ONE, PowerOfTwo, Reciprocal
from dyncc_hw.skipopu.arithmetic.softmax import SCORE_BITS
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS
from dyncc_hw.skipopu.array.attention_units import MergeLanes
from dyncc_hw.skipopu.interfaces import place_layout, vector_write_signature
from dyncc_hw.skipopu.shape import ArrayShape


class _Kind(enum.Enum, shape=2):  # type: ignore[call-arg]  # Amaranth has no types
    """What an item of the lanes is."""

    SUM = 0
    OUTPUT = 1
    FINAL = 2


class AttentionState(wiring.Component):
    """State of all heads and tokens, and the merging of a tile into that of one of them.

    For a head: `begin` with `m` and `d` of the tile and whether it is `fresh`; then the
    accumulators of its outputs in `sums`, in order, `merge_lanes` of the array's rows a cycle. Or
    `finish`: its outputs go to the vector buffer, divided by the sum.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    begin, finish
        Start; not while `busy`.
    token, head, words
        Whose; and words of `merge_lanes` numbers of its outputs. They stay, as what follows does.
    state
        First word of its outputs in the memory of a token.
    m, d, base
        Of the tile; `base` is the exponent of accumulators, and may change with `sums`.
    place
        First word of its outputs in the vector buffer.
    sums
        Stream of accumulators of rows, with their `base`.
    vector
        Client of the vector buffer.
    busy
        Whether it is at work.
    clear
        Forget all heads.

    Raises
    ------
    ConfigError
        If lanes do not divide the rows, or each other.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        arch = shape.arch
        lanes = arch.merge_lanes
        if arch.rows % lanes or lanes % arch.vector_lanes:
            raise ConfigError(
                f"{arch.rows} rows are no multiple of {lanes} merge lanes, or these none of "
                f"{arch.vector_lanes} vector lanes"
            )
        self._words = -(-arch.route_columns // lanes)
        rows = data.ArrayLayout(signed(shape.accumulator_bits), arch.rows)
        sums = data.StructLayout({"accumulators": rows, "base": signed(BASE_BITS)})
        words = range(max(2, self._words + 1))
        super().__init__(
            {
                "begin": In(1), "finish": In(1), "clear": In(1), "busy": Out(1),
                "token": In(range(max(2, arch.tokens))), "head": In(range(max(2, arch.heads))),
                "words": In(words), "state": In(words),
                "m": In(signed(SCORE_BITS)), "d": In(CODE_BITS),
                "place": In(place_layout(arch)["word"].shape),
                "sums": In(stream.Signature(sums)),
                "vector": Out(vector_write_signature(arch)),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Factors first; then the sum, then the outputs, through the same lanes."""
        m = Module()
        shape, arch = self.shape, self.shape.arch
        lanes, narrow = arch.merge_lanes, arch.vector_lanes
        m.submodules.outputs = outputs = memory.Memory(
            shape=data.ArrayLayout(CODE_BITS, lanes), depth=arch.tokens * self._words, init=[],
            attrs=ANY_ON_COLLISION,
        )  # fmt: skip
        kept = data.StructLayout({"m": signed(SCORE_BITS), "d": CODE_BITS})
        m.submodules.sums_so_far = summary = memory.Memory(
            shape=kept, depth=arch.tokens * arch.heads, init=[]
        )
        into, read = outputs.write_port(), outputs.read_port(domain="comb")
        kept_into, kept_read = summary.write_port(), summary.read_port()
        known = Signal(arch.tokens * arch.heads)
        places = max(arch.tokens * max(self._words, arch.heads), 1 << len(self.place))
        along = data.StructLayout({"word": range(places), "kind": _Kind})
        m.submodules.lanes = unit = MergeLanes(shape.accumulator_bits, lanes, along.size)
        m.submodules.power = power = PowerOfTwo()
        m.submodules.reciprocal = reciprocal = Reciprocal()
        which = (self.token * arch.heads if arch.tokens > 1 else 0) + self.head
        owner = (self.token * self._words if arch.tokens > 1 else 0) + self.state
        fresh = Signal()
        mine_d, mine_m = kept_read.data.d, kept_read.data.m
        mine_factor, factor = Signal(CODE_BITS), Signal(CODE_BITS)
        top = Signal(signed(SCORE_BITS))
        word, next_word = Signal(len(self.words)), Signal(len(self.words))
        run = Signal(range(max(2, arch.rows // lanes)))
        part = Signal(range(max(2, lanes // narrow)))
        finishing, asked = Signal(), Signal()
        larger = fresh | (self.m > mine_m)
        out, given = unit.output, unit.input
        entry, gone = Signal(along), data.View(along, out.payload.along)
        accepted = given.valid & given.ready
        flying = Signal(range(unit.latency + 2))
        m.d.sync += flying.eq(flying + accepted - (out.valid & out.ready))
        busy = flying.any()
        m.d.comb += [
            fresh.eq(~known.bit_select(which, 1)),
            kept_read.addr.eq(which), kept_read.en.eq(1),
            next_word.eq(word),
            read.addr.eq(owner + next_word),
            power.input.payload.fixed.eq(Mux(larger, mine_m - self.m, self.m - mine_m)),
            power.output.ready.eq(1),
            reciprocal.input.payload.a.eq(mine_d),
            reciprocal.output.ready.eq(1),
            given.payload.mine_factor.eq(mine_factor),
            given.payload.factor.eq(factor),
            given.payload.along.eq(entry),
        ]  # fmt: skip
        with m.If(self.clear):
            m.d.sync += known.eq(0)
        rows = self.sums.payload.accumulators
        runs = Array(
            Cat(Value.cast(item) for item in list(rows)[first : first + lanes])
            for first in range(0, arch.rows, lanes)
        )
        # Synthesis takes it into the block RAM. Words that are written were read long before.
        read_word = Signal(lanes * CODE_BITS, reset_less=True)
        m.d.sync += read_word.eq(read.data)
        parts = Array(
            read_word[first * CODE_BITS : (first + narrow) * CODE_BITS]
            for first in range(0, lanes, narrow)
        )
        state = Mux(fresh, 0, read_word)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"), m.If(self.begin | self.finish):
                m.d.sync += [
                    word.eq(0), run.eq(0), part.eq(0), finishing.eq(self.finish), asked.eq(0),
                ]  # fmt: skip
                m.next = "READ"
            with m.State("READ"):
                m.next = "FACTORS"
            with m.State("FACTORS"):
                m.d.comb += [
                    power.input.valid.eq(~asked & ~finishing),
                    reciprocal.input.valid.eq(~asked & finishing),
                ]
                m.d.sync += asked.eq(1)
                with m.If(power.output.valid):
                    m.d.sync += [
                        mine_factor.eq(Mux(larger, power.output.payload.result, ONE)),
                        factor.eq(Mux(larger, ONE, power.output.payload.result)),
                        top.eq(Mux(larger, self.m, mine_m)),
                    ]
                    m.next = "SUM"
                with m.If(reciprocal.output.valid):
                    m.d.sync += [mine_factor.eq(reciprocal.output.payload.result), factor.eq(0)]
                    m.next = "FINAL"
            with m.State("SUM"):
                m.d.comb += [
                    given.valid.eq(1),
                    given.payload.mine[0].eq(Mux(fresh, 0, mine_d)),
                    given.payload.accumulators[0].eq(significand(self.d)),
                    given.payload.base.eq(exponent(self.d)),
                    entry.kind.eq(_Kind.SUM), entry.word.eq(which),
                ]  # fmt: skip
                with m.If(accepted):
                    m.next = "OUTPUTS"
            with m.State("OUTPUTS"):
                m.d.comb += [
                    given.valid.eq(self.sums.valid),
                    Value.cast(given.payload.mine).eq(state),
                    Value.cast(given.payload.accumulators).eq(runs[run]),
                    given.payload.base.eq(self.sums.payload.base),
                    entry.kind.eq(_Kind.OUTPUT), entry.word.eq(owner + word),
                    self.sums.ready.eq(given.ready & (run == len(runs) - 1)),
                ]  # fmt: skip
                with m.If(accepted):
                    m.d.comb += next_word.eq(word + 1)
                    m.d.sync += [word.eq(word + 1), run.eq(run + 1)]
                    with m.If(run == len(runs) - 1):
                        m.d.sync += run.eq(0)
                    with m.If(word == self.words - 1):
                        m.next = "WAIT"
            with m.State("FINAL"):
                m.d.comb += [
                    given.valid.eq(1),
                    Value.cast(given.payload.mine).eq(Mux(fresh, 0, parts[part])),
                    entry.kind.eq(_Kind.FINAL),
                    entry.word.eq(self.place + word * len(parts) + part),
                ]
                with m.If(accepted):
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == len(parts) - 1):
                        m.d.comb += next_word.eq(word + 1)
                        m.d.sync += [part.eq(0), word.eq(word + 1)]
                        with m.If(word == self.words - 1):
                            m.next = "WAIT"
            with m.State("WAIT"), m.If(~busy):
                m.next = "IDLE"
        final = gone.kind == _Kind.FINAL
        results = Value.cast(out.payload.results)
        m.d.comb += [
            into.addr.eq(gone.word), Value.cast(into.data).eq(results),
            into.en.eq(out.valid & (gone.kind == _Kind.OUTPUT)),
            kept_into.addr.eq(gone.word), kept_into.data.m.eq(top),
            kept_into.data.d.eq(results[:CODE_BITS]),
            kept_into.en.eq(out.valid & (gone.kind == _Kind.SUM)),
            self.vector.write.valid.eq(out.valid & final),
            self.vector.write.payload.place.token.eq(self.token),
            self.vector.write.payload.place.word.eq(gone.word),
            Value.cast(self.vector.write.payload.numbers).eq(results[: narrow * CODE_BITS]),
            self.vector.write.payload.keep.eq(-1),
            out.ready.eq(~final | self.vector.write.ready),
        ]  # fmt: skip
        # Not before the head is done: until then it counts as fresh or not.
        with m.If(fsm.ongoing("WAIT") & ~finishing & ~busy):
            m.d.sync += known.bit_select(which, 1).eq(1)
        return m
