"""Several products in one multiplier: weights share an operand, and their products a result.

A scheme packs weights :math:`w_i` at bit offsets :math:`s_i` into one operand, sometimes
activations into the other, multiplies once, and adds up so many *terms* before the lanes are taken
apart. The expressions use only ``+ - & << >>``, so that the same ones run on integers, on NumPy
arrays, on Amaranth values and on the bit vectors of an SMT solver: the twin, the hardware and the
proof have one definition. Lanes are signed; without care the upper one is off by one whenever the
lower is negative (Sommer, Özkan, Keszocze and Teich, "DSP-Packing", FPL 2022, arXiv:2203.11028).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dyncc.core.errors import ConfigError


@dataclass(frozen=True)
class Packing:
    """A scheme for signed weights and activations.

    Attributes
    ----------
    name
        Name of the scheme.
    target
        The multiplier.
    weight_offsets, activation_offsets
        Bit offset of each operand that is packed; lanes are all sums of the two.
    weight_range, activation_range
        Smallest and largest value of each.
    terms
        Products that may be added before the lanes are taken apart.
    weight_port, activation_port, result_bits
        Widths of the multiplier's operands and its result or accumulator, all signed.
    """

    name: str
    target: str
    weight_offsets: tuple[int, ...]
    activation_offsets: tuple[int, ...]
    weight_range: tuple[int, int]
    activation_range: tuple[int, int]
    terms: int
    weight_port: int
    activation_port: int
    result_bits: int

    @property
    def lanes(self) -> tuple[int, ...]:
        """Bit offset of each product in the result, from the lowest."""
        return tuple(
            activation + weight
            for activation in self.activation_offsets
            for weight in self.weight_offsets
        )

    @property
    def products(self) -> int:
        """Products of one multiplication."""
        return len(self.lanes)

    def pack_weights(self, *weights: Any) -> Any:
        """The operand that holds the weights."""
        return _packed(self.weight_offsets, weights)

    def pack_activations(self, *activations: Any) -> Any:
        """The operand that holds the activations."""
        return _packed(self.activation_offsets, activations)

    def unpack(self, result: Any) -> tuple[Any, ...]:
        """The sums of the lanes, in the order of `lanes`: weights of the first activation first."""
        found = []
        for low, high in zip(self.lanes, self.lanes[1:], strict=False):
            half = 1 << (high - low - 1)
            lane = ((result + half) & ((1 << (high - low)) - 1)) - half
            found.append(lane)
            result = (result - lane) >> (high - low)
        return (*found, result)


@dataclass(frozen=True)
class MantissaPacking:
    """Unsigned mantissas whose lanes overlap; the overlap is found from a product modulo 2^k.

    With :math:`p_i = m_i b` and the result :math:`p_1 + p_2 2^s`, the lowest bits of :math:`p_2`,
    as many as overlap, come from a small multiplication apart; what the result's differ by from
    them is the upper part of :math:`p_1`.

    Attributes
    ----------
    bits
        Width of a mantissa.
    offset
        Bit offset :math:`s` of the second one.
    """

    name: str
    target: str
    bits: int
    offset: int
    weight_port: int
    activation_port: int
    result_bits: int

    @property
    def overlap(self) -> int:
        """Bits by which a product reaches into the next lane."""
        return 2 * self.bits - self.offset

    def pack(self, first: Any, second: Any) -> Any:
        """The operand that holds both mantissas."""
        return first + (second << self.offset)

    def unpack(self, result: Any, second: Any, other: Any) -> tuple[Any, Any]:
        """Both products, from the result and the operands of the second one."""
        mask = (1 << self.overlap) - 1
        known = ((second & mask) * (other & mask)) & mask
        upper = result >> self.offset
        carried = (upper - known) & mask
        low = result & ((1 << self.offset) - 1)
        return low + (carried << self.offset), upper - carried


def _packed(offsets: tuple[int, ...], values: tuple[Any, ...]) -> Any:
    if len(values) != len(offsets):
        raise ConfigError(f"the scheme packs {len(offsets)} values, not {len(values)}")
    packed = values[0]
    for value, offset in zip(values[1:], offsets[1:], strict=True):
        packed = packed + (value << offset)
    return packed


_INT4, _INT4_SYMMETRIC = (-8, 7), (-7, 7)
#: Mantissas of block floating point are symmetric, see `dyncc.arch.skipopu.formats`.
_BFP8, _BFP12 = (-127, 127), (-2047, 2047)

#: The schemes by name. The ports are those of the vendors' guides: DSP48E2 27 x 18 bits and a
#: 48-bit accumulator (UG579), MULT18X18D 18 x 18 (FPGA-TN-02205), SB_MAC16 16 x 16 (FPGA-TN-02007).
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Packing("dsp48e2_int4_bfp12", "DSP48E2", (0, 22), (0,), _INT4, _BFP12, 128, 27, 18, 48),
        Packing("dsp48e2_int4_bfp8", "DSP48E2", (0, 11, 22), (0,), _INT4, _BFP8, 1, 27, 18, 48),
        Packing("ecp5_int4_bfp8", "MULT18X18D", (0, 13), (0,), _INT4, _BFP8, 4, 18, 18, 36),
        Packing("ecp5_symmetric_bfp8", "MULT18X18D", (0, 14), (0,), _INT4_SYMMETRIC, _BFP8, 9,
                18, 18, 36),
        Packing("ecp5_int4_int4", "MULT18X18D", (0, 7), (0, 14), _INT4_SYMMETRIC, _INT4_SYMMETRIC,
                1, 18, 18, 36),
        Packing("ice40_symmetric_bfp8", "SB_MAC16", (0, 12), (0,), _INT4_SYMMETRIC, _BFP8, 2,
                16, 16, 32),
        Packing("ice40_int4_bfp8", "SB_MAC16", (0, 11), (0,), _INT4, _BFP8, 1, 16, 16, 32),
    )
}  # fmt: skip
MANTISSAS = {
    scheme.name: scheme
    for scheme in (MantissaPacking("dsp48e2_binary16", "DSP48E2", 11, 15, 27, 18, 48),)
}
