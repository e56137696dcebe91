"""The fixed-point rules of `dyncc.arch.fixed` as Amaranth expressions."""

from typing import Any

from amaranth import Cat, Const, Mux, Shape, Value, signed, unsigned
from amaranth.lib import data

from dyncc.arch.neurocorex import Field


def round_shift(value: Any, bits: int, plus: Any = 0) -> Value:
    """``value / 2**bits`` rounded to the nearest integer, halves up, and `plus` added to it.

    One adder does both: the bit below the result counts as one half more.
    """
    plus = Value.cast(plus)
    doubled = Cat(Const(1, 1), plus)
    doubled = doubled.as_signed() if plus.shape().signed else doubled
    return (doubled + value.shift_right(bits - 1)).shift_right(1)


def saturate(value: Any, bits: int) -> Value:
    """`value` limited to a signed integer of `bits` bits.

    It fits if the bits from the sign of the result on are equal, which takes no comparison.
    """
    value = Value.cast(value)
    if not value.shape().signed:
        value = Cat(value, Const(0)).as_signed()
    if len(value) <= bits:
        return value
    sign = value[-1]
    fits = value[bits - 1 : -1] == sign.replicate(len(value) - bits)
    return Mux(fits, value[:bits], Cat((~sign).replicate(bits - 1), sign)).as_signed()


def layout_of(fields: tuple[Field, ...]) -> data.StructLayout:
    """Amaranth's layout of a memory word, lowest bits first."""

    def shape(item: Field) -> Shape:
        return signed(item.bits) if item.signed else unsigned(item.bits)

    return data.StructLayout({item.name: shape(item) for item in fields})


def clip(value: Any, low: Any, high: Any) -> Value:
    """`value` between two signals, in the width of `high`; `low` is not above `high`."""
    limited = Mux(value > high, high, Mux(value < low, low, value))
    return limited[: len(high)].as_signed()
