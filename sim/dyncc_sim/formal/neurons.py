"""Properties of the units that update a neuron."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth import Cat, Mux, Signal

from dyncc.arch.neurocorex import (
    CURRENT_BITS,
    CURRENT_FRACTION_BITS,
    FACTOR_BITS,
    CoreSpec,
    Dynamics,
    Reset,
)
from dyncc_hw.neurocorex.neuron import NeuronUnit, conclude
from dyncc_hw.neurocorex.shared_neuron import SharedNeuronUnit
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import Property, replaced, size_of

SPEC = CoreSpec(3, 2, max_delay=3)


def limited(value: Any, bits: int) -> Any:
    """`value`, or the limit of a signed integer of so many bits that is nearest to it."""
    high = (1 << (bits - 1)) - 1
    return Mux(value > high, high, Mux(value < -high - 1, -high - 1, value))


def rounded(value: Any, bits: int) -> Any:
    """The integer nearest to ``value / 2**bits``, halves up."""
    return (value + (1 << (bits - 1))) >> bits


def equations(design: Design) -> None:
    """Steps 2 to 6 of `dyncc_models.spiking.twin` in exact integers, beside the pipeline.

    Products are those of the unit, and free: what is proved is all that is done with them.
    """
    unit, spec, last = NeuronUnit(SPEC), SPEC, design.last
    inside = design.add(unit, "unit")
    design.multiplies = False
    state, now = unit.state, unit.parameters
    valid = last(unit.valid, NeuronUnit.LATENCY)
    design.claim(unit.out_valid == valid, "a result comes after the latency, and only then")

    # Two cycles after the inputs: the current, and the membrane without it.
    current, moved = design.signal(inside, "current_2"), design.signal(inside, "moved_2")
    i = rounded(now.decay_i * state.i, FACTOR_BITS) + now.gain * unit.accumulated
    design.claim(current == last(limited(i, CURRENT_BITS), 2), "the current")
    exponential = now.rest + rounded(now.decay_v * (state.v - now.rest), FACTOR_BITS)
    down, up, target = state.v - now.leak, state.v + now.leak, now.reset_to
    above, below = Mux(down < target, target, down), Mux(up > target, target, up)
    clamped = Mux(state.v > target, above, below)
    v = Mux(
        now.dynamics == Dynamics.EXPONENTIAL,
        exponential,
        Mux(now.dynamics == Dynamics.LINEAR_CLAMPED, clamped, down),
    )
    design.claim(moved == last(v + now.bias, 2), "the membrane without the current")

    # Four cycles after them: the membrane.
    v = design.signal(inside, "v_4")
    couple = design.signal(inside, "couple_2")
    design.claim(couple == last(now.couple, 2), "the part of the current that counts")
    drive = couple * current
    exact = last(moved, 2) + rounded(last(drive, 2), CURRENT_FRACTION_BITS)
    design.claim(v == limited(exact, spec.state_bits), "the membrane")

    # The result.
    then = {name: last(now[name], 4) for name in now.shape().members}
    before = {name: last(state[name], 4) for name in state.shape().members}
    fired = (v > then["threshold"]) & (before["refractory"] == 0) & then["fires"]
    subtracts = then["reset"] == Reset.BY_SUBTRACTION
    after = limited(Mux(subtracts, v - then["threshold"], then["reset_to"]), spec.state_bits)
    spikes = before["travelling"] | (fired << then["delay"])
    waiting = Mux(before["refractory"] == 0, 0, before["refractory"] - 1)
    wanted = {
        "v": Mux(fired, after, v),
        "i": last(current, 2),
        "refractory": Mux(fired, then["refractory"], waiting),
        "travelling": (spikes >> 1)[: spec.max_delay - 1],
    }
    for name, value in wanted.items():
        design.claim(~valid | (unit.out_state[name] == last(value)), f"the new {name}")
    design.claim(~valid | (unit.fired == last(fired)), "whether it fired")
    design.claim(~valid | (unit.arrives == last(spikes[0])), "what arrives")
    design.reaches(valid & unit.fired, "a spike")


def refractory(unit_class: Any) -> Callable[[Design], None]:
    """A neuron that is updated again and again; its parameters stay, all else is free."""

    def build(design: Design) -> None:
        unit = unit_class(SPEC)
        busy, fired_before = Signal(), Signal()
        quiet = Signal(9)
        state = Signal(unit.state.shape())
        parameters = design.constant(len(unit.parameters.as_value()))
        go = design.input(1, "go")
        start = go & ~busy
        design.add(
            unit, "unit", valid=start, state=state, parameters=parameters,
            tag=design.constant(len(unit.tag)),
        )  # fmt: skip
        design.multiplies = False
        with design.m.If(start):
            design.m.d.sync += busy.eq(1)
        with design.m.If(unit.out_valid):
            design.m.d.sync += [busy.eq(0), state.eq(unit.out_state)]
            with design.m.If(unit.fired):
                design.m.d.sync += [fired_before.eq(1), quiet.eq(0)]
            with design.m.Elif(quiet != (1 << len(quiet)) - 1):
                design.m.d.sync += quiet.eq(quiet + 1)

        length = unit.parameters.refractory
        spike = unit.out_valid & unit.fired
        design.claim(~(spike & fired_before) | (quiet >= length), "no spike while refractory")
        left = Mux(length > quiet, length - quiet, 0)
        design.lemma(~fired_before | (state.refractory == left), "the steps left are counted")
        flight = [design.last(start, cycles + 1) for cycles in range(unit.LATENCY)]
        design.lemma(unit.out_valid == flight[-1], "a result comes after the latency")
        design.lemma(busy == Cat(flight).any(), "busy while a neuron is under way")
        design.lemma(sum(flight) <= 1, "one neuron at a time")
        design.reaches(spike & fired_before & (length == 1), "two spikes, as close as they may be")

    return build


def cut(value: Any, bits: int) -> Any:
    """What `saturate` must not do."""
    return value[:bits].as_signed()


def hasty(unit: Any, now: Any, v: Any, left: Any, travelling: Any) -> Any:
    """A unit that lets neurons fire a step too early."""
    return conclude(unit, now, v, Mux(left == 1, 0, left), travelling)


def _refractory(name: str, unit_class: Any, module: str) -> Property:
    return Property(
        f"refractory period, {name}",
        f"{unit_class.__name__} lets no neuron fire in the refractory period after its last spike.",
        size_of(SPEC),
        refractory(unit_class),
        depth=unit_class.LATENCY + 2,
        reach=3 * (unit_class.LATENCY + 1) + 2,
        faults={"a step too early": replaced(f"dyncc_hw.neurocorex.{module}.conclude", hasty)},
    )


PROPERTIES = [
    Property(
        "neuron equations",
        "NeuronUnit computes the equations in exact integers: whatever the inputs, no sum wraps.",
        size_of(SPEC),
        equations,
        depth=NeuronUnit.LATENCY + 2,
        reach=NeuronUnit.LATENCY + 2,
        faults={"sums wrap": replaced("dyncc_hw.neurocorex.neuron.saturate", cut)},
    ),
    _refractory("parallel", NeuronUnit, "neuron"),
    _refractory("shared", SharedNeuronUnit, "shared_neuron"),
]
