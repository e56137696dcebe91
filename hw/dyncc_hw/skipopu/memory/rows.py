"""Rows of numbers from memory to the vector buffer."""

from functools import partial
from typing import Any

from amaranth import Cat, Const, Module, Mux, ResetInserter, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from dyncc.arch.skipopu.isa import COUNT_BITS, Trap
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS, compose, compose_stages, fit
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit
from dyncc_hw.skipopu.arithmetic.units import HALF_BIAS, HALF_FRACTION, from_single
from dyncc_hw.skipopu.interfaces import TRAP_BITS, place_layout, vector_write_signature
from dyncc_hw.skipopu.memory.gearbox import Collector, Serialiser

SINGLE_BYTES, HALF_BYTES = 4, 2
_WEIGHT_BITS = 8


def lane_bits(arch: ArchSpec) -> int:
    """Bits of the number of a lane; raises ConfigError unless lanes are a power of two."""
    lanes = arch.vector_lanes
    if lanes & (lanes - 1) or arch.block % lanes:
        raise ConfigError(f"{lanes} vector lanes are no power of two that divides {arch.block}")
    return int(exact_log2(lanes))


def _numbers(lanes: int) -> dict[str, Any]:
    return {"numbers": data.ArrayLayout(CODE_BITS, lanes), "bad": lanes}


class FromSingles(Unit):
    """F25s of binary32 numbers side by side, and which of them are not finite; in 1 cycle."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        super().__init__({"singles": 8 * SINGLE_BYTES * lanes}, _numbers(lanes), 1)

    def compute(self, pipe: Pipe, singles: Timed) -> dict[str, Timed]:
        """A unit for each."""
        found, bad = [], []
        for lane in range(self._lanes):
            bits = singles.value.word_select(lane, 8 * SINGLE_BYTES)
            found.append(pipe.stage(partial(from_single, pipe), Timed(bits)))
            bad.append(pipe.stage(lambda bits: bits[23:31].all(), Timed(bits)))
        return {
            "numbers": pipe.now(lambda *parts: Cat(parts), *found),
            "bad": pipe.now(lambda *parts: Cat(parts), *bad),
        }


class Dequantiser(Unit):
    """F25s of 8-bit weights times a binary16, and whether that is finite; in 3 cycles.

    Twin: `dyncc_sim.skipopu.executor.dequantise`.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._bits = _WEIGHT_BITS + HALF_FRACTION
        takes = {"weights": data.ArrayLayout(signed(_WEIGHT_BITS), lanes), "scale": 16}
        super().__init__(takes, _numbers(lanes), 1 + compose_stages(self._bits))

    def compute(self, pipe: Pipe, weights: Timed, scale: Timed) -> dict[str, Timed]:
        """A product of magnitudes, rounded once."""

        def product(weights: Any, scale: Any, lane: int) -> Any:
            weight = Value.cast(weights[lane])
            kind = scale[HALF_FRACTION:-1]
            mantissa = Cat(scale[:HALF_FRACTION], kind.any())
            size = Mux(weight[-1], -weight, weight)[:_WEIGHT_BITS]
            power = Mux(kind.any(), kind, 1) - (HALF_BIAS + HALF_FRACTION)
            return weight[-1] ^ scale[-1], (size * mantissa)[: self._bits], fit(power, 7)

        found = []
        for lane in range(self._lanes):
            parts = pipe.stage(lambda w, s, lane=lane: product(w, s, lane), weights, scale)
            found.append(compose(pipe, *parts))
        bad = pipe.stage(lambda bits: bits[HALF_FRACTION:-1].all(), scale)
        return {
            "numbers": pipe.now(lambda *parts: Cat(parts), *found),
            "bad": pipe.now(lambda bit: bit.replicate(self._lanes), bad),
        }


class QuantisedRow(wiring.Component):
    """Numbers of a row of `WeightType.Q8_0`, in halves of 16 bits: a scale, then two weights each.

    Throughput: `lanes` numbers a cycle, none with a scale. Latency: 4 cycles. Reset it before a
    row.

    Parameters
    ----------
    block
        Weights of a group.
    lanes
        Numbers at once, 1 or 2.

    Members
    -------
    input
        Stream of halves.
    output
        Stream of `numbers` and which are `bad`.
    """

    def __init__(self, block: int, lanes: int) -> None:
        self.block, self.lanes = block, lanes
        self._unit = Dequantiser(lanes)
        super().__init__(
            {"input": In(stream.Signature(16)), "output": Out(stream.Signature(self._unit.gives))}
        )

    def elaborate(self, platform: Any) -> Module:
        """A scale is kept; weights go on."""
        m = Module()
        m.submodules.unit = unit = self._unit
        m.submodules.parts = parts = Serialiser(16, 8 * self.lanes)
        scale = Signal(16, reset_less=True)
        # Halves of the group that are left; none before its scale.
        left = Signal(range(self.block // 2 + 1))
        given = self.input
        # A scale that changes must not reach weights that wait before the unit.
        drained = Const(1) if self.lanes == 2 else ~parts.output.valid
        with m.If(left == 0):
            m.d.comb += given.ready.eq(drained)
            with m.If(given.valid & drained):
                m.d.sync += [scale.eq(given.payload), left.eq(self.block // 2)]
        with m.Else():
            m.d.comb += [parts.input.valid.eq(given.valid), given.ready.eq(parts.input.ready)]
            with m.If(given.valid & given.ready):
                m.d.sync += left.eq(left - 1)
        m.d.comb += [
            parts.input.payload.eq(given.payload),
            unit.input.valid.eq(parts.output.valid),
            parts.output.ready.eq(unit.input.ready),
            Value.cast(unit.input.payload.weights).eq(parts.output.payload),
            unit.input.payload.scale.eq(scale),
        ]
        wiring.connect(m, unit.output, wiring.flipped(self.output))
        return m


class RowWriter(wiring.Component):
    """Puts a row of memory at a place of the vector buffer, of one token or of several.

    Throughput: the bus's rate, or a word of the vector buffer in as many cycles as there are
    tokens; quantised rows two numbers a cycle at most. Latency: `done` comes a cycle after the last
    number is written.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    start
        Stream, ready if there is no row: whether it is `quantised`; its `columns`, at least 1; the
        first `word` of the vector buffer; and a bit for each of the `tokens`, one at least.
    data
        Stream of the bytes of the row, in words of the bus.
    write
        To the vector buffer.
    done, trap
        In one cycle: the row is there; or with `Trap.SHAPE`, a number of it is not finite.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self.arch = arch
        self.lane_bits = lane_bits(arch)
        lanes = arch.vector_lanes
        #: Numbers at once: plain ones, and quantised ones.
        self.plain = min(lanes, max(1, arch.bus_bytes // SINGLE_BYTES))
        self.quantised = min(lanes, 2)
        self.asks = data.StructLayout(
            {
                "quantised": 1, "columns": COUNT_BITS,
                "word": place_layout(arch).members["word"], "tokens": arch.tokens,
            }
        )  # fmt: skip
        super().__init__(
            {
                "start": In(stream.Signature(self.asks)),
                "data": In(stream.Signature(8 * arch.bus_bytes)),
                "write": vector_write_signature(arch).members["write"],
                "done": Out(1),
                "trap": Out(TRAP_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Units of the bus's words, then numbers, then writes."""
        m = Module()
        arch, bus = self.arch, 8 * self.arch.bus_bytes
        active, clear = Signal(), Signal()
        row = Signal(self.asks, reset_less=True)
        m.d.comb += [self.start.ready.eq(~active), clear.eq(~active)]
        narrow = min(bus, 8 * SINGLE_BYTES * self.plain)
        units = Serialiser(bus, narrow)
        pairs = Collector(narrow, 8 * SINGLE_BYTES * self.plain)
        halves = Serialiser(narrow, 8 * HALF_BYTES)
        singles, quantised = FromSingles(self.plain), QuantisedRow(arch.block, self.quantised)
        for name, part in {
            "units": units, "pairs": pairs, "halves": halves, "singles": singles,
            "quantised": quantised,
        }.items():  # fmt: skip
            # What is behind the last number of a row is dropped.
            m.submodules[name] = ResetInserter(clear)(part)
        m.d.comb += [
            units.input.valid.eq(self.data.valid & active),
            units.input.payload.eq(self.data.payload),
            self.data.ready.eq(units.input.ready & active),
            pairs.input.valid.eq(units.output.valid & ~row.quantised),
            pairs.input.payload.unit.eq(units.output.payload),
            halves.input.valid.eq(units.output.valid & row.quantised),
            halves.input.payload.eq(units.output.payload),
            units.output.ready.eq(Mux(row.quantised, halves.input.ready, pairs.input.ready)),
            singles.input.valid.eq(pairs.output.valid),
            singles.input.payload.singles.eq(pairs.output.payload),
            pairs.output.ready.eq(singles.input.ready),
        ]
        wiring.connect(m, halves.output, quantised.input)
        with m.If(self.start.valid & self.start.ready):
            m.d.sync += [row.eq(self.start.payload), active.eq(1)]
        self._write(m, row, active, singles.output, quantised.output)
        return m

    def _write(self, m: Module, row: Any, active: Any, plain: Any, quantised: Any) -> None:
        lanes, write = self.arch.vector_lanes, self.write
        count = Mux(row.quantised, self.quantised, self.plain)
        lane = Signal(self.lane_bits) if self.lane_bits else Const(0, 1)
        valid, bad, usable = Signal(), Signal(), Signal(lanes)
        first, rest = Signal(range(max(2, self.arch.tokens))), Signal(self.arch.tokens)
        waiting = Signal(self.arch.tokens, reset_less=True)
        begun = Signal()
        tokens = Signal(self.arch.tokens)
        m.d.comb += [
            tokens.eq(Mux(begun, waiting, row.tokens)),
            rest.eq(tokens & (tokens - 1)[: self.arch.tokens]),
            valid.eq(active & Mux(row.quantised, quantised.valid, plain.valid)),
        ]
        for number in reversed(range(self.arch.tokens)):
            with m.If(tokens[number]):
                m.d.comb += first.eq(number)
        # Which of the numbers at once belong to the row.
        for place in range(lanes):
            inside = (place < count) & (place < row.columns)
            m.d.comb += usable[place].eq(inside)
        wrong = Mux(row.quantised, quantised.payload.bad, plain.payload.bad)
        m.d.comb += [
            bad.eq(valid & (wrong & usable).any()),
            write.valid.eq(valid & ~bad),
            write.payload.place.token.eq(first),
            write.payload.place.word.eq(row.word),
            write.payload.keep.eq(usable << lane),
        ]
        for place in range(lanes):
            m.d.comb += write.payload.numbers[place].eq(
                Mux(
                    row.quantised,
                    quantised.payload.numbers[place % self.quantised],
                    plain.payload.numbers[place % self.plain],
                )
            )
        taken, final = Signal(), Signal()
        m.d.comb += [
            taken.eq(write.valid & write.ready & ~rest.any()),
            final.eq(row.columns <= count),
            plain.ready.eq(taken & ~row.quantised),
            quantised.ready.eq(taken & row.quantised),
        ]
        with m.If(write.valid & write.ready):
            m.d.sync += [waiting.eq(rest), begun.eq(rest.any())]
        with m.If(taken):
            m.d.sync += row.columns.eq(row.columns - count)
            if self.lane_bits:
                m.d.sync += [
                    lane.eq(lane + count),
                    row.word.eq(row.word + ((lane + count) >> self.lane_bits)),
                ]
            else:
                m.d.sync += row.word.eq(row.word + 1)
        ends = bad | (taken & final)
        m.d.sync += [self.done.eq(ends), self.trap.eq(Mux(bad, Trap.SHAPE, 0))]
        with m.If(ends):
            m.d.sync += [active.eq(0), begun.eq(0)]
            if self.lane_bits:
                m.d.sync += lane.eq(0)
