"""The traces of STDP: how they move, and by how much synapses grow and shrink."""

from typing import Any

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import (
    FACTOR_BITS,
    LAGS,
    TRACE_BITS,
    TRACE_FRACTION_BITS,
    WEIGHT_FRACTION_BITS,
    CoreSpec,
    Rule,
)
from dyncc_hw.fixed import round_shift
from dyncc_hw.neurocorex.synapses import growth_shape, index_bits

TRACE_MAX = (1 << TRACE_BITS) - 1
SHIFT = 2 * TRACE_FRACTION_BITS - WEIGHT_FRACTION_BITS


def _decayed(product: Any, less: Any) -> Any:
    """A trace times a factor, to the nearest integer, but down by at least one.

    Parameters
    ----------
    product
        Trace times factor.
    less
        The trace less one. A factor below one gives at most that before it is rounded: rounded up
        it would be the trace again.
    """
    whole = product[FACTOR_BITS:]
    return whole + (product[FACTOR_BITS - 1] & (whole != less))


class TraceUnit(wiring.Component):
    """The trace of a source and that of a neuron a cycle, by `dyncc_models.spiking.learning`.

    Latency 5 cycles, no stalls.

    Members
    -------
    valid, index, pre, arrived, post, fired
        Traces of source and neuron number `index`, whether the source's spike was delivered and
        the neuron fired.
    pre_valid, pre_index, new_pre
        The source's trace after the step.
    growth_valid, growth_index, growth
        By how much synapses of the source grow towards neurons that fired.
    post_valid, post_index, new_post
        The neuron's trace after the step.
    depression_valid, depression_index, depression
        By how much spikes to the neuron depress in the next step.
    """

    LATENCY = 5

    def __init__(self, spec: CoreSpec, control: dict[str, Any]) -> None:
        self.spec, self._control = spec, control
        index = unsigned(index_bits(spec.sources))
        trace = unsigned(TRACE_BITS)
        self.growth_shape = growth_shape(spec)
        super().__init__(
            {
                "valid": In(1),
                "index": In(index),
                "pre": In(trace),
                "arrived": In(1),
                "post": In(trace),
                "fired": In(1),
                "pre_valid": Out(1),
                "pre_index": Out(index),
                "new_pre": Out(trace),
                "growth_valid": Out(1),
                "growth_index": Out(index),
                "growth": Out(self.growth_shape),
                "post_valid": Out(1),
                "post_index": Out(index),
                "new_post": Out(trace),
                "depression_valid": Out(1),
                "depression_index": Out(index),
                "depression": Out(17),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the pipeline; the numbers are cycles after `valid`."""
        m = Module()
        control = self._control
        rule = control["rule"]
        windows, lags = rule == Rule.WINDOWS, rule == Rule.LAGS
        count = 0

        def register(value: Any) -> Any:
            nonlocal count
            count += 1
            kept = Signal(value.shape(), name=f"stage_{count}")
            m.d.sync += kept.eq(value)
            return kept

        # 1: the source's trace decays, counts down or shifts; the neuron's is bumped.
        product = register(control["decay_pre"] * self.pre)
        less = register((self.pre - 1)[:TRACE_BITS])
        down = Mux(self.pre == 0, 0, self.pre - 1)
        shifted = ((self.pre << 1) | self.arrived)[:LAGS]
        other = register(
            Mux(lags, shifted, Mux(self.arrived, control["bump_pre"], down))[:TRACE_BITS]
        )
        bump = register(Mux(self.arrived, control["bump_pre"], 0))
        raised = self.post + Mux(self.fired, control["bump_post"], 0)
        bumped = register(Mux(raised > TRACE_MAX, TRACE_MAX, raised)[:TRACE_BITS])
        counted = register(
            Mux(self.fired, control["bump_post"], Mux(self.post == 0, 0, self.post - 1))
        )
        untouched = register(self.post)
        valid, index = register(self.valid), register(self.index)

        # 2: the source's new trace; the neuron's decays.
        summed = _decayed(product, less) + bump
        decayed = Mux(summed > TRACE_MAX, TRACE_MAX, summed)[:TRACE_BITS]
        pre = register(Mux(windows | lags, other, decayed)[:TRACE_BITS])
        product = register(control["decay_post"] * bumped)
        less = register((bumped - 1)[:TRACE_BITS])
        counted, untouched = register(counted), register(untouched)
        valid, index = register(valid), register(index)
        m.d.comb += [self.pre_valid.eq(valid), self.pre_index.eq(index), self.new_pre.eq(pre)]

        # 3: what the source's trace is worth; the neuron's new trace.
        one = 1 << TRACE_FRACTION_BITS
        worth = register(control["rate_plus"] * Mux(windows, Mux(pre == 0, 0, one), pre))
        gains = [Mux(pre[lag], control[f"lag_{lag}"], 0) for lag in range(LAGS)]
        half = LAGS // 2
        lower = register(sum(gains[1:half], gains[0]))
        upper = register(sum(gains[half + 1 :], gains[half]))
        kept = _decayed(product, less)
        post = register(Mux(windows, counted, Mux(lags, untouched, kept))[:TRACE_BITS])
        valid, index = register(valid), register(index)
        m.d.comb += [self.post_valid.eq(valid), self.post_index.eq(index), self.new_post.eq(post)]

        # 4: potentiation.
        growth = register(
            Mux(lags, lower + upper, round_shift(worth, SHIFT))[: self.growth_shape.width]
        )
        cost = register(control["rate_minus"] * Mux(windows, Mux(post == 0, 0, one), post))
        valid, index = register(valid), register(index)
        m.d.comb += [
            self.growth_valid.eq(valid),
            self.growth_index.eq(index),
            self.growth.eq(growth.as_signed()),
        ]

        # 5: depression.
        depression = register(Mux(lags, 0, round_shift(cost, SHIFT))[:17])
        valid, index = register(valid), register(index)
        m.d.comb += [
            self.depression_valid.eq(valid),
            self.depression_index.eq(index),
            self.depression.eq(depression),
        ]
        return m
