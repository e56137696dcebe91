r"""Numbers of SkipOPU: floats of the vector engines, block floating point, weights, KV slots.

Everything is an integer. `dyncc_models.skipopu.numerics` computes with these formats exactly as the
hardware does; the rules that both follow are these:

- **F25** is a float of one sign, 8 exponent and 16 fraction bits: the upper 25 bits of an IEEE
  binary32 whose other fraction bits are zero. No infinities, no NaN and no subnormals: results
  round to nearest, halves to even; what is too large becomes the largest finite number, what is
  below the smallest normal becomes zero. A significand is 17 bits, so that products fit one 18-bit
  multiplier.
- **BFP** (block floating point): a block of elements shares an exponent :math:`e`; an element is
  :math:`m\,2^{e}` with a signed mantissa :math:`m` of `bits` bits. From floats: :math:`e` is the
  smallest with :math:`|x| < 2^{e + bits - 1}` for all of the block; mantissas round to nearest,
  halves to even, and saturate at :math:`\pm(2^{bits-1} - 1)`. A block of zeros has the exponent
  `ZERO`.
- **Dot products** (:math:`x` in BFP, weights in groups as long as a block) accumulate as integers.
  With :math:`P_b = \sum q x` over a block, :math:`S_b = \sum x`, scales and minima as binary16
  :math:`D\,2^{e_D}`, :math:`M\,2^{e_M}` (integers of 11 bits and a sign):

  .. math:: acc = \sum_b rs(D_b P_b, E - e_{D,b} - e_b) + rs(M_b S_b, E - e_{M,b} - e_b)

  where :math:`E` is chosen before the sum: the larger of the matrix's largest :math:`e_D` and
  :math:`e_M`, which stand in its header, plus the largest :math:`e_b` of the vector, less `GUARD`.
  ``rs`` shifts right and rounds to nearest, halves up; a negative amount, of `GUARD` at most,
  shifts left. So the sum does not depend on the order of its terms, and fits 64 bits. It becomes an
  F25 once, at the end.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from dyncc.arch.fields import Code, Field

EXPONENT_BITS, FRACTION_BITS = 8, 16
#: Exponent of a block whose elements are all zero, and of absent terms: below every other.
ZERO = -512
#: Bits that a term may be shifted left before it is added.
GUARD = 8
#: Width of accumulators.
ACCUMULATOR_BITS = 64
#: Fraction bits of powers of two and of probabilities before they become BFP.
PROBABILITY_BITS = 16


#: A matrix in memory: its header, then its rows one after the other.
MATRIX_HEADER = (
    Field("scale_exponent", 16, True, "largest exponent of a scale"),
    Field("minimum_exponent", 16, True, "largest exponent of a minimum, or ZERO"),
    Field("reserved", 96, False, "0"),
)


class WeightType(Code):
    """How a matrix is stored; a group is a block of inputs of one output."""

    Q4_1 = 0, "w = d q + m: binary16 d and m, then 32 unsigned 4-bit q (GGUF's type 3)"
    Q8_0 = 1, "w = d q: binary16 d, then 32 signed 8-bit q (GGUF's type 8)"
    Q4_0G = 2, "w = d q: binary16 d, then a block of signed 4-bit q"
    BFP16 = 3, "w = m 2^e: 16-bit e, then a block of signed 16-bit m (routers)"


class KvType(Code):
    """How keys and values are stored."""

    BFP8 = 0, "blocks of 32: 8-bit mantissas, a signed 8-bit exponent each"
    F16 = 1, "binary16, turned into BFP when it is read"


@dataclass(frozen=True)
class GroupLayout:
    """Bytes of a group of weights.

    Attributes
    ----------
    header_bytes
        Scale, and minimum or exponent.
    weight_bits
        Bits of a weight, lowest first; for `WeightType.Q4_1` in GGUF's order: byte i holds weight i
        in its low half and weight i + 16 in its high half.
    """

    header_bytes: int
    weight_bits: int

    def bytes(self, group: int) -> int:
        """Bytes of a group of so many weights."""
        return self.header_bytes + group * self.weight_bits // 8


GROUPS = {
    WeightType.Q4_1: GroupLayout(4, 4),
    WeightType.Q8_0: GroupLayout(2, 8),
    WeightType.Q4_0G: GroupLayout(2, 4),
    WeightType.BFP16: GroupLayout(2, 16),
}


def kv_slot_bytes(kind: KvType, kv_heads: int, head_size: int) -> int:
    """Bytes of one token's keys and values in one layer: all keys, then all values."""
    numbers = 2 * kv_heads * head_size
    return numbers * 2 if kind == KvType.F16 else numbers + numbers // 32


def f25_code(value: float) -> int:
    """The F25 code of a positive number, rounded to nearest."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    kept, rest = bits >> 7, bits & 127
    return int(kept + (rest > 64 or (rest == 64 and kept & 1 == 1)))


def score_scale(head_size: int) -> int:
    """log2(e) / sqrt(head_size) as an F25 code: what attention multiplies scores by."""
    return f25_code(math.log2(math.e) / math.sqrt(head_size))
