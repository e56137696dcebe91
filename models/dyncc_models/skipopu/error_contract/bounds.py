r"""Bounds of errors, each in one place: the published table and the tests read them here.

With :math:`u = 2^{-17}`, half of an F25's last place: rounding once is an error of at most
:math:`u`, relative. Tables of functions add half of that (`dyncc.arch.skipopu.tables`). Bounds add
up what each step may lose; where a factor is a little above a whole number, it covers products of
errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from dyncc.arch.skipopu.formats import FRACTION_BITS, PROBABILITY_BITS
from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc_models.skipopu.numerics.norms import WIDE_BITS

U = 2.0 ** -(FRACTION_BITS + 1)


@dataclass(frozen=True)
class Bound:
    """What an error is at most.

    Attributes
    ----------
    formula
        For people, with u = 2^-17.
    of
        What the error is relative to, or its unit.
    value
        The number, from what the formula names.
    """

    formula: str
    of: str
    value: Callable[..., Any]


EXACT = Bound("0", "result", lambda: 0.0)
ROUNDED = Bound("u", "result", lambda: U)
TABLE = Bound("1.5 u", "result", lambda: 1.5 * U)
HALF_FLOAT = Bound("2^-11", "result", lambda: 2.0**-11)
PROBABILITY = Bound("0.75 2^-16", "1", lambda: 0.75 * 2.0**-PROBABILITY_BITS)

#: The exponent is x log2(e), whose two roundings shift it by 2 |x| u ln 2 / ln 2 in all, and fixed
#: point by 2^-17; then come the power, the sum, the reciprocal and two products.
SWIGLU = Bound("(2 \\|x\\| + 7) u", "result", lambda x: (2 * numpy.abs(x) + 7) * U)

#: Cosine, product and sum of each part; the parts add up to at most the length (Cauchy-Schwarz).
ROPE = Bound("3.1 u", "length of the pair", lambda: 3.1 * U)

#: Half a unit; a number that would round up to 2^(bits - 1) units loses at most one.
BFP = Bound("2^(1 - bits)", "largest of the block", lambda bits: 2.0 ** (1 - bits))

#: Each rounded term loses half of the accumulator's lowest bit.
ACCUMULATOR = Bound("terms / 2", "lowest bit of the accumulator", lambda terms: terms / 2)

#: The accumulator becomes an F25, is scaled, and what was before is added.
RECONSTRUCTION = Bound("3.01 u", "scaled accumulator and what was before", lambda: 3.01 * U)

#: Each number is off by the largest of its block times 2^(1 - bits), the accumulator by its terms,
#: the result by its rounding. `reach`: sum over blocks of max|x| times sum|w|.
DOT = Bound(
    "2^(1 - bits) max\\|x\\| sum\\|w\\|, terms, u",
    "1",
    lambda bits, reach, terms, unit, result: (
        BFP.value(bits) * reach
        + ACCUMULATOR.value(terms) * unit * (1 + U)
        + U * (numpy.abs(result) + BFP.value(bits) * reach)
    ),
)

#: A block's squares are off by 2 |x| max|x| 2^-15, of which the root keeps half; by Cauchy-Schwarz
#: max|x| sum|x| is at most sqrt(block) times the sum of squares. The rest: mean, eps and root.
RMS = Bound(
    f"1.001 sqrt(block) 2^{1 - WIDE_BITS} + 4 u",
    "result",
    lambda block: 1.001 * math.sqrt(block) * 2.0 ** (1 - WIDE_BITS) + 4 * U,
)

#: Powers of two, products and the sum.
MERGE = Bound("3.6 u", "sum of the magnitudes", lambda: 3.6 * U)


def _attention(bits: int, tiles: int, score: float, lost: float) -> float:
    shift = math.log(2) * 1.01 * (3.1 * U * score + U + lost) + 1.5 * U
    shares = 2 * (shift + ATTENTION_TILE * 2.0**-PROBABILITY_BITS)
    return ATTENTION_TILE * 2.0 ** (2 - bits) + shares + 8 * U * (tiles + 1)


#: Probabilities as blocks lose half a unit each, of which the largest has 2^(bits - 2) at least,
#: and mantissas of values with the same exponent may be twice as large as those with the largest.
#: Scores, in powers of two, are off by 3.1 u of themselves, by fixed point, and by what their
#: accumulators lose.
ATTENTION = Bound(
    f"{ATTENTION_TILE} 2^(2 - bits) + 2 (scores + {ATTENTION_TILE} 2^-{PROBABILITY_BITS}) "
    "+ 8 u (tiles + 1)",
    "largest value",
    _attention,
)
