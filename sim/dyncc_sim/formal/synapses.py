"""Properties of the synapse unit and of the traces: weights stay within their bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth import Cat, Mux, Value

from dyncc.arch.neurocorex import WEIGHT_FRACTION_BITS, CoreSpec, Rule, synapse_fields, width
from dyncc_hw.fixed import layout_of
from dyncc_hw.neurocorex.synapses import SynapseUnit
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced, size_of

DENSE = CoreSpec(3, 2, lanes=2, learning=True)
SPARSE = CoreSpec(3, 2, lanes=2, learning=True, synapse_words=6)


def bounds(spec: CoreSpec) -> Callable[[Design], None]:
    """Any words in any order; registers stay while words are under way, as in a core."""

    def build(design: Design) -> None:
        unit = SynapseUnit(spec)
        low, high = (design.constant(unit.low.shape()) for _ in range(2))
        rule, active = design.constant(unit.rule.shape()), design.constant(1)
        inside = design.add(unit, "unit", low=low, high=high, rule=rule, active=active)
        design.assume(low <= high)
        layout, bits = layout_of(synapse_fields(spec)), width(synapse_fields(spec))
        written = design.last(unit.issue & active, SynapseUnit.LATENCY)
        design.claim(unit.write == written, "a word is written after the latency, and only then")
        for lane in range(spec.lanes):
            new = layout(unit.write_data.word_select(lane, bits))
            old = layout(design.last(unit.weights.word_select(lane, bits), 4))
            learns = written & new.plastic
            inside_bounds = (new.weight >= low) & (new.weight <= high)
            design.claim(~learns | (rule == Rule.LAGS) | inside_bounds, "a weight within bounds")
            names = [name for name in layout.members if name != "weight"]
            rest = Cat(Value.cast(old[name]) == new[name] for name in names)
            design.claim(~written | rest.all(), "all but the weight stays")
            design.claim(~written | new.plastic | (new.weight == old.weight), "it does not learn")
            delivered = design.signal(inside, f"delivered_{lane}")
            source = layout(design.last(unit.weights.word_select(lane, bits), 2))
            least, most = low >> WEIGHT_FRACTION_BITS, high >> WEIGHT_FRACTION_BITS
            within = (delivered >= least) & (delivered <= most)
            # A place of a sparse core that holds no synapse delivers nothing.
            absent = ~source.present if spec.sparse else 0
            design.claim(~(source.plastic & active) | within | absent, "delivered within bounds")
            at_bound = (rule == Rule.TRACES) & (new.weight == high)
            design.reaches(learns & at_bound, "at the upper bound")
            design.reaches(learns & (new.weight != old.weight), "a change")

    return build


def beyond(value: Any, low: Any, high: Any) -> Any:
    """What `clip` must not do: it forgets the lower bound."""
    return Mux(value > high, high, value)[: len(high)].as_signed()


PROPERTIES = [
    Property(
        f"weight bounds, {name}",
        "After any change a plastic weight is in weight_min..weight_max, and what is delivered of "
        "it too; all else in its word stays.",
        size_of(spec),
        bounds(spec),
        depth=SynapseUnit.LATENCY + 2,
        reach=SynapseUnit.LATENCY + 2,
        faults={"no lower bound": replaced("dyncc_hw.neurocorex.synapses.clip", beyond)},
    )
    for name, spec in (("dense", DENSE), ("sparse", SPARSE))
]
