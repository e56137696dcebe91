"""Multipliers that make several products at once, by the schemes of `dyncc.arch.skipopu.packing`.

The schemes' own expressions pack the operands and take the results apart; they are given signals
here that are as wide as the multiplier's ports.
"""

from typing import Any

from amaranth import Cat, Const, Value, signed
from amaranth.lib import data

from dyncc.arch.skipopu.packing import SCHEMES, MantissaPacking, Packing
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.arithmetic.f25 import fit
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit


def width_of(limits: tuple[int, int]) -> int:
    """Bits of a signed number within limits."""
    return max(limits[1], -limits[0] - 1).bit_length() + 1


def lane_bits(scheme: Packing, terms: int) -> int:
    """Bits of the sum of so many products."""
    largest = max(-edge for edge in scheme.weight_range) * max(scheme.activation_range)
    return width_of((-terms * largest, terms * largest))


def operand(scheme: Packing, *weights: Any) -> Value:
    """The packed weights, as wide as the port.

    It is what `scheme.pack_weights` gives. A negative weight takes one from the next lane, which is
    written out here: in the few bits of a weight, LUTs are fewer than with a carry chain.
    """
    fields, borrow = [], Const(0)
    ends = [*scheme.weight_offsets[1:], scheme.weight_port]
    for weight, first, end in zip(weights, scheme.weight_offsets, ends, strict=True):
        bits = []
        for bit in fit(weight, len(weight) + 1):
            bits.append(bit ^ borrow)
            borrow = borrow & ~bit
        borrow = bits[-1]
        fields.append(fit(Cat(bits).as_signed(), end - first))
    return Cat(fields).as_signed()


def other_operand(scheme: Packing, *activations: Any) -> Value:
    """The packed activations, as wide as the port."""
    return fit(scheme.pack_activations(*activations), scheme.activation_port)


def lanes_of(scheme: Packing, result: Any, terms: int) -> tuple[Value, ...]:
    """The lanes of a sum of so many products.

    Raises
    ------
    ConfigError
        If the scheme has no room for so many.
    """
    if not 1 <= terms <= scheme.terms:
        raise ConfigError(f"{scheme.name} adds up to {scheme.terms} products, not {terms}")
    bits = lane_bits(scheme, terms)
    return tuple(fit(lane, bits) for lane in scheme.unpack(fit(result, scheme.result_bits)))


def scheme_for(target: str, products: int, mantissa_bits: int) -> Packing:
    """The scheme of a multiplier for all 4-bit weights and mantissas of a width.

    Of those that fit, the one that adds most products before lanes are taken apart.

    Raises
    ------
    ConfigError
        If there is none.
    """
    limit = (1 << (mantissa_bits - 1)) - 1
    found = [
        scheme
        for scheme in SCHEMES.values()
        if scheme.target == target
        and scheme.products == products
        and scheme.weight_range[0] <= -8
        and scheme.activation_range[1] >= limit
        and len(scheme.activation_offsets) == 1
    ]
    if not found:
        raise ConfigError(
            f"no scheme makes {products} products of 4-bit weights and {mantissa_bits}-bit "
            f"mantissas in a {target}",
            hint=f"Schemes: {', '.join(SCHEMES)}.",
        )
    return max(found, key=lambda scheme: scheme.terms)


class PackedMultiplier(Unit):
    """Sums of products of a scheme, in one multiplier with an accumulator.

    Latency 4 cycles; a set of operands a cycle. Results are there for each set; a sum begins with a
    set that is `first`, and is right for up to `scheme.terms` sets.

    Parameters
    ----------
    scheme
        One of `dyncc.arch.skipopu.packing.SCHEMES`.

    Members
    -------
    input
        `weights` and `activations` within the scheme's ranges; `first`.
    output
        `sums`, in the order of the scheme's lanes.
    """

    def __init__(self, scheme: Packing) -> None:
        self.scheme = scheme
        weight = signed(width_of(scheme.weight_range))
        activation = signed(width_of(scheme.activation_range))
        lane = signed(lane_bits(scheme, scheme.terms))
        super().__init__(
            {
                "weights": data.ArrayLayout(weight, len(scheme.weight_offsets)),
                "activations": data.ArrayLayout(activation, len(scheme.activation_offsets)),
                "first": 1,
            },
            {"sums": data.ArrayLayout(lane, scheme.products)},
            4,
        )

    def compute(
        self, pipe: Pipe, weights: Timed, activations: Timed, first: Timed
    ) -> dict[str, Timed]:
        """Pack, multiply, accumulate, take apart."""
        scheme = self.scheme

        def pack(weights: Any, activations: Any) -> Any:
            return (
                operand(scheme, *(weights[i] for i in range(len(scheme.weight_offsets)))),
                other_operand(
                    scheme, *(activations[i] for i in range(len(scheme.activation_offsets)))
                ),
            )

        product = pipe.stage(lambda a, b: a * b, *pipe.stage(pack, weights, activations))
        total = pipe.accumulate(product, first, scheme.result_bits)
        return {
            "sums": pipe.stage(lambda result: Cat(lanes_of(scheme, result, scheme.terms)), total)
        }


class MantissaMultiplier(Unit):
    """Two products of unsigned mantissas with a third one, in one multiplier, in 3 cycles.

    Parameters
    ----------
    scheme
        One of `dyncc.arch.skipopu.packing.MANTISSAS`.

    Members
    -------
    input
        `first`, `second`; `other`, by which both are multiplied.
    output
        `products`, of the first and of the second.
    """

    def __init__(self, scheme: MantissaPacking) -> None:
        self.scheme = scheme
        product = data.ArrayLayout(2 * scheme.bits, 2)
        takes = dict.fromkeys(("first", "second", "other"), scheme.bits)
        super().__init__(takes, {"products": product}, 3)

    def compute(self, pipe: Pipe, first: Timed, second: Timed, other: Timed) -> dict[str, Timed]:
        """Pack, multiply, take apart; the lowest bits of a product come from LUTs."""
        scheme = self.scheme
        packed = pipe.stage(
            lambda one, two: fit(scheme.pack(one, two), scheme.weight_port), first, second
        )
        result = pipe.stage(lambda a, b: a * Cat(b, Const(0, 1)).as_signed(), packed, other)

        def take_apart(result: Any, second: Any, other: Any) -> Value:
            found = scheme.unpack(fit(result, scheme.result_bits), second, other)
            return Cat(Value.cast(product)[: 2 * scheme.bits] for product in found)

        return {"products": pipe.stage(take_apart, result, second, other)}
