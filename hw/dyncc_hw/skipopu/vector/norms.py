"""Norms and routes of vectors: sums of 16-bit mantissas."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.isa import COUNT_BITS
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.arithmetic.f25 import CODE_BITS
from dyncc_hw.skipopu.arithmetic.normaliser import Normaliser
from dyncc_hw.skipopu.arithmetic.reductions import COUNT_BITS as MOST_COUNT_BITS
from dyncc_hw.skipopu.arithmetic.reductions import WIDE_BITS, InverseRms, Reducer
from dyncc_hw.skipopu.interfaces import numbers

_ROUTES = ("attention", "mlp")


class Norms(wiring.Component):
    """Scalars and routes of vectors.

    Throughput: a word in each cycle while the vector comes; then a cycle for each of its blocks, in
    which the next vector's first block may come. Latency: `LATENCY` cycles and one for each block,
    from the last word.

    Parameters
    ----------
    arch
        The instance.

    Members
    -------
    columns, eps
        Numbers of a vector, and eps as an F25.
    input
        Stream of words `a`, and whether they are the `last` of a token.
    word, enable, weights, exponents
        Of the router, see `router_store.RouterStore`.
    output
        Stream of a token's `scalar`, and whether it runs `attention` and `mlp`.
    """

    def __init__(self, arch: ArchSpec) -> None:
        self._arch = arch
        lanes, block = arch.vector_lanes, arch.block
        self._words = -(-arch.route_columns // lanes)
        self._normaliser = Normaliser(block, WIDE_BITS, lanes)
        serial = arch.norm_turns > 1
        self._reducer = Reducer(block, -(-arch.route_columns // block), lanes, serial=serial)
        self._rms = InverseRms(self._reducer.bits - 1, dict.fromkeys(_ROUTES, 1))
        verdict = data.StructLayout({"scalar": CODE_BITS, **dict.fromkeys(_ROUTES, 1)})
        sums = self._reducer.takes.members
        super().__init__(
            {
                "columns": In(COUNT_BITS),
                "eps": In(CODE_BITS),
                "input": In(stream.Signature(data.StructLayout({"a": numbers(arch), "last": 1}))),
                "word": Out(range(max(2, self._words))),
                "enable": Out(1),
                "weights": In(sums["weights"]),
                "exponents": In(sums["weight_exponents"]),
                "output": Out(stream.Signature(verdict)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Mantissas wait a cycle for the router's weights."""
        m = Module()
        m.submodules.normaliser = normaliser = self._normaliser
        m.submodules.reducer = reducer = self._reducer
        m.submodules.rms = rms = self._rms
        given, mantissas, sums = self.input, normaliser.output, reducer.input
        found = reducer.output
        full, begins = Signal(), Signal(init=1)
        kept = Signal(mantissas.payload.shape(), reset_less=True)
        word = Signal.like(self.word)
        m.d.comb += [
            normaliser.input.valid.eq(given.valid),
            given.ready.eq(normaliser.input.ready),
            normaliser.input.payload.codes.eq(given.payload.a),
            normaliser.input.payload.last.eq(given.payload.last),
            mantissas.ready.eq(~full | sums.ready),
            self.enable.eq(mantissas.valid & mantissas.ready),
            self.word.eq(word),
        ]
        with m.If(mantissas.ready):
            m.d.sync += full.eq(mantissas.valid)
        with m.If(self.enable):
            m.d.sync += [kept.eq(mantissas.payload), word.eq(word + 1)]
            with m.If(mantissas.payload.last):
                m.d.sync += word.eq(0)
        with m.If(sums.valid & sums.ready):
            m.d.sync += begins.eq(kept.ends)
        m.d.comb += [
            sums.valid.eq(full),
            sums.payload.mantissas.eq(kept.mantissas),
            sums.payload.weights.eq(self.weights),
            sums.payload.exponent.eq(kept.exponent),
            sums.payload.weight_exponents.eq(self.exponents),
            sums.payload.begins.eq(begins),
            sums.payload.ends.eq(kept.ends),
            sums.payload.last.eq(kept.last),
            # Exponents of weights come less the largest.
            sums.payload.top.eq(0),
            rms.input.valid.eq(found.valid),
            found.ready.eq(rms.input.ready),
            rms.input.payload.squares.eq(found.payload.squares),
            rms.input.payload.base.eq(found.payload.base),
            rms.input.payload.count.eq(self.columns[:MOST_COUNT_BITS]),
            rms.input.payload.eps.eq(self.eps),
            self.output.valid.eq(rms.output.valid),
            rms.output.ready.eq(self.output.ready),
            self.output.payload.scalar.eq(rms.output.payload.result),
        ]
        for name in _ROUTES:
            m.d.comb += [
                rms.input.payload[name].eq(found.payload[name]),
                self.output.payload[name].eq(rms.output.payload[name]),
            ]
        return m
