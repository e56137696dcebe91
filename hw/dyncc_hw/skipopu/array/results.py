"""Results of matrix products: from accumulators to the vector buffer."""

from typing import Any

from amaranth import Array, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.arithmetic.f25 import (
    ADD,
    CODE_BITS,
    MULTIPLY,
    add,
    compose,
    compose_stages,
    multiply,
    sign_and_size,
)
from dyncc_hw.skipopu.arithmetic.functions import ONE
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit, joined
from dyncc_hw.skipopu.arithmetic.units import BASE_BITS
from dyncc_hw.skipopu.interfaces import (
    numbers,
    place_layout,
    scalar_read_signature,
    vector_read_signature,
    vector_write_signature,
)
from dyncc_hw.skipopu.shape import ArrayShape


def about_layout(shape: ArrayShape) -> data.StructLayout:
    """What belongs to the accumulators of a tile and token.

    Members
    -------
    token, word
        Whose; and the first word in the vector buffer.
    rows
        That count.
    base
        Exponent of the accumulators' lowest bit.
    wide
        Whether only the first lane has results.
    """
    place = place_layout(shape.arch)
    return data.StructLayout(
        {
            "token": place["token"].shape, "word": place["word"].shape,
            "rows": range(shape.outputs + 1), "base": signed(BASE_BITS), "wide": 1,
        }
    )  # fmt: skip


class WordReconstructor(Unit):
    """`units.Reconstructor` for a word of the vector buffer, and where it goes."""

    def __init__(self, shape: ArrayShape) -> None:
        arch = shape.arch
        self._bits = shape.accumulator_bits
        lanes = arch.vector_lanes
        along = {"place": place_layout(arch), "keep": lanes}
        super().__init__(
            {
                "accumulators": data.ArrayLayout(signed(self._bits), lanes),
                "base": signed(BASE_BITS), "scalar": CODE_BITS, "before": numbers(arch), **along,
            },
            {"numbers": numbers(arch), **along},
            1 + compose_stages(self._bits) + MULTIPLY + ADD,
        )  # fmt: skip

    def compute(self, pipe: Pipe, **given: Timed) -> dict[str, Timed]:
        """Three roundings, as in the twin `dyncc_models.skipopu.numerics.dot.reconstruct`."""
        found = []
        accumulators, before = given["accumulators"].value, given["before"].value
        for lane, accumulator in enumerate(accumulators):
            negative, size = pipe.stage(sign_and_size, Timed(accumulator))
            code = compose(pipe, negative, size, given["base"])
            product = multiply(pipe, code, given["scalar"])
            found.append(add(pipe, Timed(before[lane]), product))
        return {
            "numbers": joined(pipe, found),
            **{name: Timed(Value.cast(given[name].value)) for name in ("place", "keep")},
        }


class ResultWriter(wiring.Component):
    """Turns accumulators of a tile into numbers, and writes them.

    Throughput: a word of the vector buffer a cycle.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    about
        Stream of `about_layout`, of each tile and token in order.
    sums
        As `Terms.output`.
    scaled, scalar, add
        What to do with all of them; to stay until `idle`.
    scalars
        See `interfaces.scalar_read_signature`.
    before, vector
        Clients of the vector buffer.
    idle
        Whether everything that `about` told is written.

    Raises
    ------
    ConfigError
        If lanes do not divide the array's rows.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        arch = shape.arch
        if arch.rows % arch.vector_lanes:
            raise ConfigError(
                f"{arch.rows} rows are no multiple of {arch.vector_lanes} vector lanes"
            )
        self._unit = WordReconstructor(shape)
        sums = data.StructLayout(
            {
                "accumulators": data.ArrayLayout(signed(shape.accumulator_bits), arch.rows),
                "lane": range(max(2, arch.products)),
            }
        )
        super().__init__(
            {
                "about": In(stream.Signature(about_layout(shape))),
                "sums": In(stream.Signature(sums)),
                "scaled": In(1), "scalar": In(3), "add": In(1),
                "scalars": Out(scalar_read_signature(arch)),
                "before": Out(vector_read_signature(arch)),
                "vector": Out(vector_write_signature(arch)),
                "idle": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Words of a lane one after the other; a queue until what was there before has come."""
        m = Module()
        arch, lanes = self.shape.arch, self.shape.arch.vector_lanes
        m.submodules.unit = unit = self._unit
        about, sums = self.about, self.sums
        told = about.payload
        runs = arch.rows // lanes
        run, word = Signal(range(max(2, runs))), Signal(range(self.shape.outputs // lanes + 1))
        # Rows that are left from this word on.
        begun, kept_left = Signal(), Signal(signed(len(told.rows) + 1))
        left = Mux(begun, kept_left, told.rows)
        counts = left > 0
        last_lane = told.wide | (sums.payload.lane == arch.products - 1)
        entry = data.StructLayout(
            {
                "accumulators": data.ArrayLayout(signed(self.shape.accumulator_bits), lanes),
                "base": signed(BASE_BITS), "scalar": CODE_BITS, "place": place_layout(arch),
                "keep": lanes,
            }
        )  # fmt: skip
        m.submodules.queue = queue = fifo.SyncFIFO(width=entry.size, depth=4)
        put, got = data.View(entry, queue.w_data), data.View(entry, queue.r_data)
        going, moves = Signal(), Signal()
        words = Array(
            Value.cast(Signal.like(put.accumulators, name=f"run_{i}")) for i in range(runs)
        )
        for index in range(runs):
            for lane in range(lanes):
                part = words[index].word_select(lane, self.shape.accumulator_bits)
                m.d.comb += part.eq(sums.payload.accumulators[index * lanes + lane])
        m.d.comb += [
            going.eq(about.valid & sums.valid),
            Value.cast(put.accumulators).eq(words[run]),
            put.base.eq(told.base),
            self.scalars.scalar.eq(self.scalar),
            self.scalars.token.eq(told.token),
            put.scalar.eq(Mux(self.scaled, self.scalars.value, ONE)),
            put.place.token.eq(told.token),
            put.place.word.eq(told.word + word),
            self.before.place.valid.eq(going & counts & self.add & queue.w_rdy),
            self.before.place.payload.eq(put.place),
            queue.w_en.eq(going & counts & (self.before.place.ready | ~self.add)),
            moves.eq(~counts | (queue.w_rdy & (self.before.place.ready | ~self.add))),
        ]
        for lane in range(lanes):
            m.d.comb += put.keep[lane].eq(left > lane)
        ends_lane = run == runs - 1
        with m.If(going & moves):
            m.d.sync += [
                begun.eq(1), kept_left.eq(Mux(counts, left - lanes, 0)), run.eq(run + 1),
                word.eq(word + 1),
            ]  # fmt: skip
            with m.If(ends_lane):
                m.d.sync += run.eq(0)
                m.d.comb += sums.ready.eq(1)
                with m.If(last_lane):
                    m.d.sync += [word.eq(0), begun.eq(0)]
                    m.d.comb += about.ready.eq(1)
        ready = self.before.numbers.valid | ~self.add
        m.d.comb += [
            unit.input.valid.eq(queue.r_rdy & ready),
            queue.r_en.eq(unit.input.ready & ready),
            self.before.numbers.ready.eq(unit.input.ready & queue.r_rdy & self.add),
            *(
                Value.cast(unit.input.payload[name]).eq(Value.cast(got[name]))
                for name in entry.members
            ),
            Value.cast(unit.input.payload.before).eq(
                Mux(self.add, Value.cast(self.before.numbers.payload), Const(0))
            ),
        ]
        out = unit.output
        m.d.comb += [
            self.vector.write.valid.eq(out.valid),
            out.ready.eq(self.vector.write.ready),
            self.vector.write.payload.place.eq(out.payload.place),
            Value.cast(self.vector.write.payload.numbers).eq(Value.cast(out.payload.numbers)),
            self.vector.write.payload.keep.eq(out.payload.keep),
        ]
        # Words in the queue and the pipeline.
        waiting = Signal(range(4 + unit.latency + 2))
        m.d.sync += waiting.eq(waiting + (queue.w_en & queue.w_rdy) - (out.valid & out.ready))
        m.d.comb += self.idle.eq(~about.valid & (waiting == 0))
        return m
