"""The PE array with what it needs beside the products: scales that wait for their block."""

from typing import Any

from amaranth import Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc_hw.skipopu.array.terms import HALF_BITS, PeArray
from dyncc_hw.skipopu.shape import EXPONENT_BITS, ArrayShape

#: Blocks whose products may be on their way.
_BLOCKS = 8


def item_layout(shape: ArrayShape) -> data.StructLayout:
    """What goes into the array in a cycle.

    Members
    -------
    weights
        Of each row and column, as of `BlockProducts`.
    activations
        Of each column.
    wide, unsigned, first, last
        As of `BlockProducts`.
    scales
        With the `last` slice of a block: of each row and lane (the lane's rows one after the other)
        and way, scale and minimum as binary16; or where `direct`, in the first lane, two signed
        numbers in their places, of which the first less the second is the exponent of a scale of
        one, in `EXPONENT_BITS`; unless the highest bit of the first is set, whose exponent is 0.
    shifts
        The accumulator's exponent less the block's.
    begins, ends
        Whether the block is the first or last of its dot products.
    """
    arch = shape.arch
    weights = data.ArrayLayout(shape.weight_bits, arch.columns)
    return data.StructLayout(
        {
            "weights": data.ArrayLayout(weights, arch.rows),
            "activations": data.ArrayLayout(signed(arch.mantissa_bits), arch.columns),
            "wide": 1, "unsigned": 1, "first": 1, "last": 1, **_scales(shape),
        }
    )  # fmt: skip


def _scales(shape: ArrayShape) -> dict[str, Any]:
    return {
        "scales": data.ArrayLayout(data.ArrayLayout(2 * HALF_BITS, shape.ways), shape.outputs),
        "shifts": data.ArrayLayout(signed(EXPONENT_BITS), shape.ways),
        "begins": 1, "ends": 1, "direct": 1,
    }  # fmt: skip


class ArrayFeed(wiring.Component):
    """The PE array; accepts an item a cycle.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    input
        Stream of `item_layout`.
    output
        As of `Terms`.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        self._array = PeArray(shape)
        self.gives = self._array.gives
        super().__init__(
            {
                "input": In(stream.Signature(item_layout(shape))),
                "output": Out(stream.Signature(self.gives)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Scales of a block go into a queue with its last slice."""
        m = Module()
        shape = self.shape
        m.submodules.array = array = self._array
        layout = data.StructLayout({**_scales(shape), "wide": 1})
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=layout.size, depth=_BLOCKS)
        given, item = self.input, self.input.payload
        put, got = data.View(layout, queue.w_data), data.View(layout, queue.r_data)
        # Scales are wanted much later, so they take a cycle of their own.
        held, waits = Signal(layout, reset_less=True), Signal()
        room = ~waits | queue.w_rdy
        fits = room | ~item.last
        m.d.comb += [
            given.ready.eq(array.input.ready & fits),
            array.input.valid.eq(given.valid & fits),
            queue.w_en.eq(waits), queue.w_data.eq(held),
            *(
                array.input.payload[name].eq(item[name])
                for name in ("weights", "activations", "wide", "unsigned", "first", "last")
            ),
            array.scales.valid.eq(queue.r_rdy),
            queue.r_en.eq(array.scales.ready),
        ]  # fmt: skip
        for row in range(shape.arch.rows):
            for way in range(shape.ways):
                raw = held.scales[row][way]
                less = Mux(held.direct, raw[HALF_BITS:][:EXPONENT_BITS], 0)
                apart = (raw[:EXPONENT_BITS] - less)[:EXPONENT_BITS]
                nothing = held.direct & raw[HALF_BITS - 1]
                m.d.comb += put.scales[row][way][:EXPONENT_BITS].eq(Mux(nothing, 0, apart))
        with m.If(room):
            m.d.sync += [
                waits.eq(given.valid & array.input.ready & item.last), held.wide.eq(item.wide),
                *(Value.cast(held[name]).eq(Value.cast(item[name])) for name in _scales(shape)),
            ]  # fmt: skip
        scales = array.scales.payload
        m.d.comb += [
            scales.first.eq(got.begins), scales.last.eq(got.ends), scales.wide.eq(got.wide),
            scales.direct.eq(got.direct), scales.shifts.eq(got.shifts),
        ]  # fmt: skip
        for bank in range(shape.outputs):
            lane, row = divmod(bank, shape.arch.rows)
            for way in range(shape.ways):
                raw = got.scales[bank][way]
                m.d.comb += [
                    scales.scales[row][lane][way].eq(raw[:HALF_BITS]),
                    scales.minima[row][lane][way].eq(raw[HALF_BITS:]),
                ]
        wiring.connect(m, array.output, wiring.flipped(self.output))
        return m
