"""The fixed-point rules of `dyncc.arch.fixed` as Amaranth expressions."""

from typing import Any

from amaranth import Mux, Shape, Value, signed, unsigned
from amaranth.lib import data

from dyncc.arch.neurocorex import Field


def round_shift(value: Any, bits: int) -> Value:
    """``value / 2**bits`` rounded to the nearest integer, halves up."""
    return (value + (1 << (bits - 1))).shift_right(bits)


def saturate(value: Any, bits: int) -> Value:
    """`value` limited to a signed integer of `bits` bits."""
    high = (1 << (bits - 1)) - 1
    limited = Mux(value > high, high, Mux(value < -high - 1, -high - 1, value))
    return limited[:bits].as_signed()


def layout_of(fields: tuple[Field, ...]) -> data.StructLayout:
    """Amaranth's layout of a memory word, lowest bits first."""

    def shape(item: Field) -> Shape:
        return signed(item.bits) if item.signed else unsigned(item.bits)

    return data.StructLayout({item.name: shape(item) for item in fields})


def clip(value: Any, low: Any, high: Any) -> Value:
    """`value` between two signals, in the width of `high`; `low` is not above `high`."""
    limited = Mux(value > high, high, Mux(value < low, low, value))
    return limited[: len(high)].as_signed()
