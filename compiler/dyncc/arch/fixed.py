"""Fixed-point rules that integer models and hardware share.

A number in *Qm.n* is an integer that stands for ``integer / 2**n``. Every rule here is exact
integer arithmetic on NumPy arrays of int64, whose results fit by construction: the widest product
in use is that of a 32-bit state and a 32-bit gain.
"""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

Integers = NDArray[numpy.int64]


def round_shift(value: Integers, bits: int) -> Integers:
    """``value / 2**bits`` rounded to the nearest integer, halves up (towards plus infinity).

    In hardware: add half of the step, then drop the low bits.
    """
    if bits == 0:
        return value
    return (value + (1 << (bits - 1))) >> bits


def limit(value: Integers, low: int, high: int) -> Integers:
    """`value` limited to low..high; on small arrays several times as fast as `numpy.clip`."""
    found: Integers = numpy.minimum(numpy.maximum(value, low), high)
    return found


def saturate(value: Integers, bits: int) -> Integers:
    """`value` limited to the range of a signed integer of `bits` bits; never wraps."""
    high = (1 << (bits - 1)) - 1
    return limit(value, -high - 1, high)


def quantise(value: Any, fraction_bits: int) -> Integers:
    """Nearest Qm.n integers of real numbers, halves to even.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    real = numpy.asarray(value, dtype=numpy.float64)
    if not numpy.isfinite(real).all():
        raise ValueError("only finite numbers can be quantised")
    return numpy.rint(real * (1 << fraction_bits)).astype(numpy.int64)
