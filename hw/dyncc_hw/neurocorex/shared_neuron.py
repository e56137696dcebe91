"""Update of a neuron with one multiplier."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring

from dyncc.arch.neurocorex import (
    BUS_BITS,
    CURRENT_BITS,
    CURRENT_FRACTION_BITS,
    FACTOR_BITS,
    CoreSpec,
    Dynamics,
    parameter_fields,
)
from dyncc.core.errors import InternalError
from dyncc_hw.fixed import round_shift, saturate
from dyncc_hw.neurocorex.neuron import conclude, linear, neuron_members


class SharedNeuronUnit(wiring.Component):
    """What `NeuronUnit` does, product by product.

    Latency 9 cycles, for one neuron at a time.

    Members
    -------
    valid, tag, accumulated, state, parameters
        A neuron to update. From the cycle of `valid` on, `tag` and `state` are held for 2 cycles,
        `accumulated` for 3, and bus word k of `parameters` for ``HOLD + k``.
    out_valid, out_tag, out_state, fired, arrives
        As those of `NeuronUnit`.
    """

    LATENCY = 9
    HOLD = 5

    def __init__(self, spec: CoreSpec) -> None:
        self.spec = spec
        super().__init__(neuron_members(spec))

    def elaborate(self, platform: Any) -> Module:
        """Build the multiplier, and what is done in each cycle."""
        m = Module()
        spec, old = self.spec, self.state
        bits = spec.state_bits
        later = Signal(self.LATENCY - 1)
        m.d.sync += later.eq(Cat(self.valid, later[:-1]))
        now = [_Held(self.parameters, spec, cycle) for cycle in range(self.LATENCY)]

        left = Signal(signed(max(CURRENT_BITS, bits + 1)))
        right = Signal(signed(max(FACTOR_BITS + 2, spec.accumulator_bits)))
        product = Signal(signed(len(left) + len(right)))
        m.d.sync += product.eq(left * right)

        def multiply(one: Any, other: Any) -> list[Any]:
            """Their product comes two cycles later."""
            return [left.eq(one), right.eq(other)]

        exponential = Signal()
        still = Signal(signed(bits + 2))
        decayed_i = Signal(signed(CURRENT_BITS + 2))
        moved = Signal(signed(bits + 5))
        current, v = Signal(signed(CURRENT_BITS)), Signal(signed(bits))
        refractory = Signal(len(old.refractory))
        tag = Signal.like(self.tag)
        copies = [refractory.eq(old.refractory), tag.eq(self.tag)]
        travelling = None
        if spec.max_delay > 1:
            travelling = Signal(len(old.travelling))
            copies.append(travelling.eq(old.travelling))
        steps = [
            multiply(old.i, now[0]["decay_i"]),
            [
                *multiply(old.v - now[1]["rest"], now[1]["decay_v"]),
                exponential.eq(now[1]["dynamics"] == Dynamics.EXPONENTIAL),
                still.eq(linear(now[1], old.v)),
                *copies,
            ],
            [
                *multiply(now[2]["gain"], self.accumulated),
                decayed_i.eq(round_shift(product, FACTOR_BITS)),
            ],
            [
                moved.eq(
                    Mux(exponential, now[3]["rest"] + round_shift(product, FACTOR_BITS), still)
                    + now[3]["bias"]
                )
            ],
            [current.eq(saturate(decayed_i + product, CURRENT_BITS))],
            multiply(current, now[5]["couple"]),
            [],
            [v.eq(saturate(moved + round_shift(product, CURRENT_FRACTION_BITS), bits))],
            [
                self.out_tag.eq(tag),
                self.out_state.i.eq(current),
                *conclude(self, now[8], v, refractory, travelling),
            ],
        ]
        for reached, statements in zip([self.valid, *later], steps, strict=True):
            with m.If(reached):
                m.d.sync += statements
        m.d.sync += self.out_valid.eq(later[-1])
        return m


class _Held:
    """Parameters that are still there in a cycle, by name."""

    def __init__(self, parameters: Any, spec: CoreSpec, cycle: int) -> None:
        self._parameters, self._spec, self._cycle = parameters, spec, cycle

    def __getitem__(self, name: str) -> Any:
        first = 0
        for item in parameter_fields(self._spec):
            if item.name == name:
                break
            first += item.bits
        if self._cycle >= SharedNeuronUnit.HOLD + first // BUS_BITS:
            raise InternalError(f"{name} is used in cycle {self._cycle}, when it is gone")
        return self._parameters[name]
