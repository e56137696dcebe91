"""Update of a neuron with one multiplier."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

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


class Multiplier(wiring.Component):
    """A product of signed numbers, put together from those of 16-bit halves.

    That is what the multipliers of an iCE40UP take. All registers around them are plain, so that
    they become registers of the multipliers: the tools time no path through one without.

    Members
    -------
    left, right, product
        Factors, and their product `LATENCY` cycles later.
    """

    LATENCY = 3
    DIGIT = 16

    def __init__(self, left: int, right: int) -> None:
        super().__init__(
            {
                "left": In(signed(left)),
                "right": In(signed(right)),
                "product": Out(signed(left + right)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Multiply the halves, then add."""
        m = Module()
        left = Signal.like(self.left, reset_less=True)
        right = Signal.like(self.right, reset_less=True)
        m.d.sync += [left.eq(self.left), right.eq(self.right)]
        parts = []
        for low, one in self._digits(left):
            for high, other in self._digits(right):
                part = Signal((one * other).shape(), name=f"part_{low}_{high}", reset_less=True)
                m.d.sync += part.eq(one * other)
                parts.append(part << (low + high))
        m.d.sync += self.product.eq(sum(parts[1:], parts[0]))
        return m

    def _digits(self, number: Any) -> list[tuple[int, Any]]:
        """Each with its position; the highest has the sign."""
        starts = range(0, len(number), self.DIGIT)
        found = [(start, number[start : start + self.DIGIT]) for start in starts]
        return [*found[:-1], (found[-1][0], found[-1][1].as_signed())]


class SharedNeuronUnit(wiring.Component):
    """What `NeuronUnit` does, product by product.

    Latency 11 cycles, for one neuron at a time.

    Members
    -------
    valid, tag, accumulated, state, parameters
        A neuron to update. From the cycle of `valid` on, `tag` and `state` are held for 2 cycles,
        `accumulated` for 3, and bus word k of `parameters` for ``HOLD + k``.
    out_valid, out_tag, out_state, fired, arrives
        As those of `NeuronUnit`.
    """

    LATENCY = 11
    HOLD = 7

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

        m.submodules.multiplier = multiplier = Multiplier(
            max(CURRENT_BITS, bits + 1), max(FACTOR_BITS + 2, spec.accumulator_bits)
        )
        product = multiplier.product

        def multiply(left: Any, right: Any) -> list[Any]:
            return [multiplier.left.eq(left), multiplier.right.eq(right)]

        exponential = Signal()
        still = Signal(signed(bits + 2))
        decayed_i = Signal(signed(CURRENT_BITS + FACTOR_BITS + 2))
        moved = Signal(signed(bits + 5))
        current, v = Signal(signed(CURRENT_BITS)), Signal(signed(bits))
        refractory = Signal(len(old.refractory))
        tag = Signal.like(self.tag)
        copies = [refractory.eq(old.refractory), tag.eq(self.tag)]
        travelling = None
        if spec.max_delay > 1:
            travelling = Signal(len(old.travelling))
            copies.append(travelling.eq(old.travelling))
        # A product is there `Multiplier.LATENCY` cycles after its factors.
        factors = {
            0: multiply(old.i, now[0]["decay_i"]),
            1: multiply(old.v - now[1]["rest"], now[1]["decay_v"]),
            2: multiply(now[2]["gain"], self.accumulated),
            6: multiply(current, now[6]["couple"]),
        }
        steps = [
            [],
            [
                exponential.eq(now[1]["dynamics"] == Dynamics.EXPONENTIAL),
                still.eq(linear(now[1], old.v)),
                *copies,
            ],
            [],
            [decayed_i.eq(product)],
            [
                moved.eq(
                    Mux(exponential, round_shift(product, FACTOR_BITS, now[4]["rest"]), still)
                    + now[4]["bias"]
                )
            ],
            [current.eq(saturate(round_shift(decayed_i, FACTOR_BITS, product), CURRENT_BITS))],
            [],
            [],
            [],
            [v.eq(saturate(round_shift(product, CURRENT_FRACTION_BITS, moved), bits))],
            [
                self.out_tag.eq(tag),
                self.out_state.i.eq(current),
                *conclude(self, now[10], v, refractory, travelling),
            ],
        ]
        cycles = [self.valid, *later]
        for reached, statements in zip(cycles, steps, strict=True):
            with m.If(reached):
                m.d.sync += statements
        for cycle, statements in factors.items():
            with m.If(cycles[cycle]):
                m.d.comb += statements
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
