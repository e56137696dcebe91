"""Update of one neuron a cycle."""

from typing import Any

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.neurocorex import (
    CURRENT_BITS,
    CURRENT_FRACTION_BITS,
    FACTOR_BITS,
    CoreSpec,
    Dynamics,
    Reset,
    parameter_fields,
    state_fields,
)
from dyncc_hw.fixed import layout_of, round_shift, saturate


def neuron_members(spec: CoreSpec) -> dict[str, Any]:
    """Members of what updates a neuron."""
    state, tag = layout_of(state_fields(spec)), unsigned(max(1, (spec.neurons - 1).bit_length()))
    return {
        "valid": In(1),
        "tag": In(tag),
        "accumulated": In(signed(spec.accumulator_bits)),
        "state": In(state),
        "parameters": In(layout_of(parameter_fields(spec))),
        "out_valid": Out(1),
        "out_tag": Out(tag),
        "out_state": Out(state),
        "fired": Out(1),
        "arrives": Out(1),
    }


class NeuronUnit(wiring.Component):
    """The steps 2 to 6 of `dyncc_models.spiking.twin`, in a pipeline.

    Latency 5 cycles, a neuron a cycle, no stalls. Reset clears the valid bits.

    Members
    -------
    valid, tag, accumulated, state, parameters
        A neuron to update: its number, its sum of weights, what it is.
    out_valid, out_tag, out_state, fired
        The same neuron after the step.
    arrives
        Whether a spike of it reaches synapses in the next step.
    """

    LATENCY = 5

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        super().__init__(neuron_members(spec))

    def elaborate(self, platform: Any) -> Module:
        """Build the pipeline; stage names are those of the twin's steps."""
        m = Module()
        spec = self.spec
        bits = spec.state_bits

        def register(value: Any, name: str, shape: Any = None) -> Any:
            """`value` a cycle later."""
            kept = Signal(value.shape() if shape is None else shape, name=name)
            m.d.sync += kept.eq(value)
            return kept

        # The tag, validity and what later stages need go along.
        valid, tag = self.valid, self.tag
        now, old = self.parameters, self.state
        along: dict[str, Any] = {}

        # 1: products of the old state.
        decayed_i = register(now.decay_i * old.i, "decayed_i")
        gained = register(now.gain * self.accumulated, "gained")
        decayed_v = register(now.decay_v * (old.v - now.rest), "decayed_v")
        valid, tag = register(valid, "valid_1"), register(tag, "tag_1")
        now = register(now, "parameters_1")
        old = register(old, "state_1")

        # 2: current, and the membrane without its drive.
        current = register(
            saturate(round_shift(decayed_i, FACTOR_BITS, gained), CURRENT_BITS), "current_2"
        )
        exponential = round_shift(decayed_v, FACTOR_BITS, now.rest)
        moved = Mux(now.dynamics == Dynamics.EXPONENTIAL, exponential, linear(now, old.v))
        moved = register(moved + now.bias, "moved_2")
        valid, tag = register(valid, "valid_2"), register(tag, "tag_2")
        for name in ("couple", "threshold", "reset_to", "reset", "refractory", "fires", "delay"):
            along[name] = register(now[name], f"{name}_2", now[name].shape())
        left = register(old.refractory, "left_2")
        delayed = spec.max_delay > 1
        travelling = register(old.travelling, "travelling_2") if delayed else None

        # 3: the current's part for the membrane.
        drive = register(along.pop("couple") * current, "drive_3")
        current, moved = register(current, "current_3"), register(moved, "moved_3")
        valid, tag = register(valid, "valid_3"), register(tag, "tag_3")
        along = {name: register(value, f"{name}_3") for name, value in along.items()}
        left = register(left, "left_3")
        travelling = register(travelling, "travelling_3") if delayed else travelling

        # 4: the membrane.
        v = register(saturate(round_shift(drive, CURRENT_FRACTION_BITS, moved), bits), "v_4")
        current = register(current, "current_4")
        valid, tag = register(valid, "valid_4"), register(tag, "tag_4")
        along = {name: register(value, f"{name}_4") for name, value in along.items()}
        left = register(left, "left_4")
        travelling = register(travelling, "travelling_4") if delayed else travelling

        # 5: fire, count the refractory period, reset.
        m.d.sync += [
            self.out_valid.eq(valid),
            self.out_tag.eq(tag),
            self.out_state.i.eq(current),
            *conclude(self, along, v, left, travelling),
        ]
        return m


def linear(now: Any, v: Any) -> Any:
    """The membrane of a linear dynamics, without bias and current.

    Parameters
    ----------
    now
        Parameters, by name.
    v
        The old potential.
    """
    down, up = v - now["leak"], v + now["leak"]
    target = now["reset_to"]
    clamped = Mux(v > target, Mux(down > target, down, target), Mux(up < target, up, target))
    return Mux(now["dynamics"] == Dynamics.LINEAR_CLAMPED, clamped, down)


def conclude(unit: Any, now: Any, v: Any, left: Any, travelling: Any) -> list[Any]:
    """Let a neuron fire, and count its refractory period: assigns the outputs of a unit.

    Parameters
    ----------
    unit
        The unit.
    now
        Parameters, by name.
    v, left, travelling
        The potential, refractory steps left, spikes on their way; the last is None without delays.
    """
    fired = (v > now["threshold"]) & (left == 0) & now["fires"]
    after = Mux(now["reset"] == Reset.BY_SUBTRACTION, v - now["threshold"], now["reset_to"])
    state = unit.out_state
    statements = [
        unit.fired.eq(fired),
        state.v.eq(Mux(fired, saturate(after, len(v)), v)),
        state.refractory.eq(Mux(fired, now["refractory"], Mux(left == 0, 0, left - 1))),
    ]
    if travelling is None:
        return [*statements, unit.arrives.eq(fired)]
    spikes = travelling | (fired << now["delay"])
    return [*statements, unit.arrives.eq(spikes[0]), state.travelling.eq(spikes >> 1)]
