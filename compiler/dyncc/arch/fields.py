"""Words made of fields: the one way in which memories, registers and packets are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Self


@dataclass(frozen=True)
class Field:
    """A field of a memory word or packet, or a register: name, width, whether signed, meaning."""

    name: str
    bits: int
    signed: bool
    meaning: str


class Code(IntEnum):
    """Numbers with a meaning: ``NAME = number, "meaning"``."""

    meaning: str

    def __new__(cls, number: int, meaning: str = "") -> Self:
        """A member that is equal to its number."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member


def width(layout: tuple[Field, ...]) -> int:
    """Bits of a word."""
    return sum(item.bits for item in layout)


def pack(layout: tuple[Field, ...], values: Mapping[str, int]) -> int:
    """A word from the values of its fields, the first field lowest."""
    word = shift = 0
    for item in layout:
        word |= (int(values[item.name]) & ((1 << item.bits) - 1)) << shift
        shift += item.bits
    return word


def unpack(layout: tuple[Field, ...], word: int) -> dict[str, int]:
    """The values of the fields of a word."""
    found = {}
    for item in layout:
        value = word & ((1 << item.bits) - 1)
        if item.signed and value >> (item.bits - 1):
            value -= 1 << item.bits
        found[item.name] = value
        word >>= item.bits
    return found
