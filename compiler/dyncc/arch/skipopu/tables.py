r"""Piecewise-linear functions of the vector engine: the numbers in their tables.

A function of a fraction :math:`x = (256 i + d) / 2^{16}` in [0, 1) is
:math:`base_i + rs(slope_i\, d, 8)` in units of :math:`2^{-20}`, with ``rs`` as in
`dyncc.arch.skipopu.formats`. The chord of each of the 256 segments is lowered or raised by half of
its distance from the curve, so that the error is the same at both ends and in the middle. Tables
are exact: they are computed with 40 decimal digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache

SEGMENT_BITS = 8
#: Bits of a fraction, those below a segment, and fraction bits of the result.
INPUT_BITS, STEP_BITS, OUTPUT_BITS = 16, 8, 20


@dataclass(frozen=True)
class Table:
    """Bases and slopes of a function, 256 of each.

    Attributes
    ----------
    bases
        The function at the segment's start, in 2^-20.
    slopes
        Its change over the segment, in 2^-20; negative where the function falls.
    """

    bases: tuple[int, ...]
    slopes: tuple[int, ...]


def _exp2(x: Decimal) -> Decimal:
    return Decimal(2) ** x


def _reciprocal(x: Decimal) -> Decimal:
    return 1 / (1 + x)


def _rsqrt(x: Decimal) -> Decimal:
    return 1 / (1 + x).sqrt()


def _rsqrt_double(x: Decimal) -> Decimal:
    return 1 / (2 * (1 + x)).sqrt()


#: 2^x, 1/(1 + x), 1/sqrt(1 + x) and 1/sqrt(2 (1 + x)) for x in [0, 1).
FUNCTIONS = {
    "exp2": _exp2,
    "reciprocal": _reciprocal,
    "rsqrt": _rsqrt,
    "rsqrt_double": _rsqrt_double,
}


@cache
def table(name: str) -> Table:
    """The table of one of `FUNCTIONS`."""
    function = FUNCTIONS[name]
    count, one = 1 << SEGMENT_BITS, 1 << OUTPUT_BITS
    with localcontext() as context:
        context.prec = 40
        points = [function(Decimal(i) / count) for i in range(count + 1)]
        middles = [function((Decimal(i) + Decimal("0.5")) / count) for i in range(count)]
        bases, slopes = [], []
        for first, last, middle in zip(points, points[1:], middles, strict=False):
            bow = (first + last) / 2 - middle
            bases.append(int(((first - bow / 2) * one).to_integral_value()))
            slopes.append(int(((last - first) * one).to_integral_value()))
    return Table(tuple(bases), tuple(slopes))
