"""Update of one neuron a cycle."""

from typing import Any

from amaranth import Const, Module, Mux, Signal, signed, unsigned
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
        self.state_layout = layout_of(state_fields(spec))
        self.parameter_layout = layout_of(parameter_fields(spec))
        tag = unsigned(max(1, (spec.neurons - 1).bit_length()))
        super().__init__(
            {
                "valid": In(1),
                "tag": In(tag),
                "accumulated": In(signed(spec.accumulator_bits)),
                "state": In(self.state_layout),
                "parameters": In(self.parameter_layout),
                "out_valid": Out(1),
                "out_tag": Out(tag),
                "out_state": Out(self.state_layout),
                "fired": Out(1),
                "arrives": Out(1),
            }
        )

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
        now = register(now, "parameters_1", self.parameter_layout)
        old = register(old, "state_1", self.state_layout)

        # 2: current, and the membrane without its drive.
        current = register(
            saturate(round_shift(decayed_i, FACTOR_BITS) + gained, CURRENT_BITS), "current_2"
        )
        exponential = now.rest + round_shift(decayed_v, FACTOR_BITS)
        down, up = old.v - now.leak, old.v + now.leak
        clamped = Mux(
            old.v > now.reset_to,
            Mux(down > now.reset_to, down, now.reset_to),
            Mux(up < now.reset_to, up, now.reset_to),
        )
        width = signed(bits + 20)
        moved = Signal(width)
        with m.Switch(now.dynamics):
            with m.Case(Dynamics.EXPONENTIAL):
                m.d.comb += moved.eq(exponential)
            with m.Case(Dynamics.LINEAR_CLAMPED):
                m.d.comb += moved.eq(clamped)
            with m.Default():
                m.d.comb += moved.eq(down)
        moved = register(moved + now.bias, "moved_2")
        valid, tag = register(valid, "valid_2"), register(tag, "tag_2")
        for name in ("couple", "threshold", "reset_to", "reset", "refractory", "fires", "delay"):
            along[name] = register(now[name], f"{name}_2", now[name].shape())
        left = register(old.refractory, "left_2")
        delayed = spec.max_delay > 1
        travelling = register(old.travelling, "travelling_2") if delayed else Const(0)

        # 3: the current's part for the membrane.
        drive = register(along.pop("couple") * current, "drive_3")
        current, moved = register(current, "current_3"), register(moved, "moved_3")
        valid, tag = register(valid, "valid_3"), register(tag, "tag_3")
        along = {name: register(value, f"{name}_3") for name, value in along.items()}
        left = register(left, "left_3")
        travelling = register(travelling, "travelling_3") if delayed else travelling

        # 4: the membrane.
        v = register(saturate(moved + round_shift(drive, CURRENT_FRACTION_BITS), bits), "v_4")
        current = register(current, "current_4")
        valid, tag = register(valid, "valid_4"), register(tag, "tag_4")
        along = {name: register(value, f"{name}_4") for name, value in along.items()}
        left = register(left, "left_4")
        travelling = register(travelling, "travelling_4") if delayed else travelling

        # 5: fire, count the refractory period, reset.
        fired = (v > along["threshold"]) & (left == 0) & along["fires"]
        after = Mux(
            along["reset"] == Reset.BY_SUBTRACTION, v - along["threshold"], along["reset_to"]
        )
        spikes = fired
        if delayed:
            spikes = travelling | (fired << along["delay"])
            m.d.sync += self.out_state.travelling.eq(spikes >> 1)
        m.d.sync += [
            self.out_valid.eq(valid),
            self.out_tag.eq(tag),
            self.fired.eq(fired),
            self.arrives.eq(spikes[0]),
            self.out_state.v.eq(Mux(fired, saturate(after, bits), v)),
            self.out_state.i.eq(current),
            self.out_state.refractory.eq(
                Mux(fired, along["refractory"], Mux(left == 0, 0, left - 1))
            ),
        ]
        return m
