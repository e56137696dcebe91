"""The engine of matrix products and attention: the PE array and all that feeds it."""

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import Engine, Op
from dyncc_hw.skipopu.array.activations import ActivationBuffer
from dyncc_hw.skipopu.array.attention import AttentionEngine
from dyncc_hw.skipopu.array.feed import ArrayFeed
from dyncc_hw.skipopu.array.matrix_engine import MatrixEngine
from dyncc_hw.skipopu.array.results import ResultWriter
from dyncc_hw.skipopu.array.tiles import TileStore
from dyncc_hw.skipopu.interfaces import (
    block_write_signature,
    group_layout,
    history_signature,
    matrix_signature,
    scalar_read_signature,
    vector_read_signature,
    vector_write_signature,
    work_signature,
)
from dyncc_hw.skipopu.shape import ArrayShape


class PeEngine(wiring.Component):
    """GEMV, GEMM and ATTN.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    work
        From the sequencer.
    stream
        Matrices, from the load engine.
    blocks
        To the activation buffer, from the vector engine.
    scalars
        From the vector engine.
    before, vector
        Clients of the vector buffer.
    history
        Keys and values.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        arch = shape.arch
        super().__init__(
            {
                "work": In(work_signature(Engine.PE, arch)),
                "stream": In(matrix_signature(group_layout(arch))),
                "blocks": In(block_write_signature(arch)),
                "scalars": Out(scalar_read_signature(arch)),
                "before": Out(vector_read_signature(arch)),
                "vector": Out(vector_write_signature(arch)),
                "history": Out(history_signature(arch)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Matrix products and attention take turns at the array, an instruction each."""
        m = Module()
        shape = self.shape
        m.submodules.tiles = tiles = TileStore(shape)
        m.submodules.buffer = buffer = ActivationBuffer(shape)
        m.submodules.feed = feed = ArrayFeed(shape)
        m.submodules.matrix = matrix = MatrixEngine(shape, tiles)
        m.submodules.results = results = ResultWriter(shape)
        m.submodules.attention = attention = AttentionEngine(shape)
        wiring.connect(m, wiring.flipped(self.stream), tiles.stream)
        wiring.connect(m, wiring.flipped(self.blocks.write), buffer.write)
        wiring.connect(m, tiles.tile, matrix.tile)
        wiring.connect(m, matrix.about, results.about)
        wiring.connect(m, results.scalars, wiring.flipped(self.scalars))
        wiring.connect(m, results.before, wiring.flipped(self.before))
        wiring.connect(m, attention.history, wiring.flipped(self.history))
        kept = Signal.like(self.work.start.payload)
        busy, attends, begins = Signal(), Signal(), Signal()
        one, other = attention.activations, matrix.activations
        m.d.comb += [
            self.work.start.ready.eq(~busy),
            matrix.work.eq(kept), attention.work.eq(kept),
            matrix.begin.eq(begins & ~attends), attention.begin.eq(begins & attends),
            self.work.done.eq(matrix.ends | attention.ends),
            self.work.trap.eq(Mux(attends, attention.trap, matrix.trap)),
            self.work.starved.eq(matrix.starved),
            # Tiles.
            tiles.line.eq(matrix.line), tiles.part.eq(matrix.part), tiles.enable.eq(matrix.fetch),
            matrix.nibbles.eq(tiles.nibbles), matrix.halves.eq(tiles.halves),
            # Activations.
            *(
                getattr(buffer.read, name).eq(
                    Mux(attends, getattr(one, name), getattr(other, name))
                )
                for name in ("token", "block", "slice", "enable")
            ),
            *(
                getattr(reader, name).eq(getattr(buffer.read, name))
                for reader in (one, other) for name in ("mantissas", "exponents")
            ),
            # The array.
            feed.input.valid.eq(Mux(attends, attention.item.valid, matrix.item.valid)),
            feed.input.payload.eq(Mux(attends, attention.item.payload, matrix.item.payload)),
            matrix.item.ready.eq(feed.input.ready & ~attends),
            attention.item.ready.eq(feed.input.ready & attends),
            # Results.
            results.sums.valid.eq(feed.output.valid & ~attends),
            attention.sums.valid.eq(feed.output.valid & attends),
            results.sums.payload.eq(feed.output.payload),
            attention.sums.payload.eq(feed.output.payload),
            feed.output.ready.eq(Mux(attends, attention.sums.ready, results.sums.ready)),
            results.scaled.eq(kept.scaled), results.scalar.eq(kept.scalar),
            results.add.eq(kept.add), matrix.idle.eq(results.idle),
            self.vector.write.valid.eq(
                Mux(attends, attention.vector.write.valid, results.vector.write.valid)
            ),
            self.vector.write.payload.eq(
                Mux(attends, attention.vector.write.payload, results.vector.write.payload)
            ),
            results.vector.write.ready.eq(self.vector.write.ready & ~attends),
            attention.vector.write.ready.eq(self.vector.write.ready & attends),
        ]  # fmt: skip
        m.d.sync += begins.eq(0)
        with m.If(self.work.start.valid & ~busy):
            m.d.sync += [
                kept.eq(self.work.start.payload), busy.eq(1), begins.eq(1),
                attends.eq(self.work.start.payload.op == Op.ATTN),
            ]  # fmt: skip
        with m.If(self.work.done):
            m.d.sync += busy.eq(0)
        return m
