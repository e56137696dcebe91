"""Sizes and widths of a PE array, from an instance and the multipliers that it is built of."""

from dataclasses import dataclass

from dyncc.arch.skipopu.formats import GUARD
from dyncc.arch.skipopu.packing import Packing
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.arithmetic.packed import scheme_for, width_of

#: A scale or a minimum: a signed integer, from the 11 bits of a binary16's significand.
NUMBER_BITS = 12
#: Signed exponents, and differences of them.
EXPONENT_BITS = 12
NIBBLE = 4


@dataclass(frozen=True)
class ArrayShape:
    """A PE array.

    Parameters
    ----------
    arch
        The instance.
    target
        Its multipliers: ``DSP48E2``, ``MULT18X18D`` or ``SB_MAC16``.

    Raises
    ------
    ConfigError
        If its columns and blocks do not go into each other, or no packing fits.
    """

    arch: ArchSpec
    target: str

    def __post_init__(self) -> None:
        columns, block = self.arch.columns, self.arch.block
        if columns % block and block % columns:
            raise ConfigError(f"{columns} columns and blocks of {block} do not go into each other")
        scheme_for(self.target, self.arch.products, self.arch.mantissa_bits)

    @property
    def scheme(self) -> Packing:
        """How 4-bit weights share a multiplier."""
        return scheme_for(self.target, self.arch.products, self.arch.mantissa_bits)

    @property
    def ways(self) -> int:
        """Blocks that a slice of the columns holds."""
        return max(1, self.arch.columns // self.arch.block)

    @property
    def span(self) -> int:
        """Columns of a block in a slice."""
        return self.arch.columns // self.ways

    @property
    def slices(self) -> int:
        """Slices of a block."""
        return max(1, self.arch.block // self.arch.columns)

    @property
    def outputs(self) -> int:
        """Rows of a matrix of 4-bit weights that are worked on together."""
        return self.arch.rows * self.arch.products

    @property
    def wide_bits(self) -> int:
        """Bits of a weight that has a multiplier to itself: 8, or a mantissa of a key or value."""
        return max(8, self.arch.mantissa_bits)

    @property
    def weight_bits(self) -> int:
        """Bits that a multiplier's weights take: one wide one, or as many of 4 as it has lanes."""
        return max(self.wide_bits, NIBBLE * self.arch.products)

    @property
    def largest(self) -> int:
        """Largest mantissa."""
        return int((1 << (self.arch.mantissa_bits - 1)) - 1)

    @property
    def product_bits(self) -> int:
        """Bits of a block's dot product."""
        return width_of((0, self.arch.block * self.largest << (self.wide_bits - 1)))

    @property
    def sum_bits(self) -> int:
        """Bits of the sum of a block's mantissas."""
        return width_of((0, self.arch.block * self.largest))

    @property
    def term_bits(self) -> int:
        """Bits of a block's dot product times a scale."""
        return self.product_bits + NUMBER_BITS - 1

    @property
    def accumulator_bits(self) -> int:
        """Bits of a sum over all blocks that the activation buffer holds; at most 64."""
        return self.term_bits + GUARD + (2 * self.arch.blocks - 1).bit_length()

    @property
    def terms(self) -> list[tuple[int, int, int]]:
        """Terms of a row in a block: lane, way, and 0 for the scale's or 1 for the minimum's."""
        lanes, ways = self.arch.products, self.ways
        return [
            (lane, way, part) for lane in range(lanes) for way in range(ways) for part in (0, 1)
        ]

    @property
    def units(self) -> int:
        """Units of a row that make terms: so many that a block takes no longer than its slices."""
        return -(-len(self.terms) // self.slices)

    @property
    def turns(self) -> int:
        """Cycles in which they make the terms of a block."""
        return -(-len(self.terms) // self.units)
