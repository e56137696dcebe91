"""Sizes of inputs that are known when a program is called: ranges and names.

A shape is written as on a command line: ``1..8,3,H,W`` or ``N=1..8,3,H=32..,W``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dyncc.core.errors import ConfigError, InputError
from dyncc.ir.types import Dim

#: What an example gets where a range does not say otherwise.
EXAMPLE = 4
#: How many sizes above the least are tried of a range without an end.
TRIED = 8

_NAME = r"(?:(?P<name>[A-Za-z]\w*)(?:=|$))?"
_DIM = re.compile(_NAME + r"(?:(?P<low>\d+)(?P<to>\.\.)?(?P<high>\d+)?)?$")
#: Names that sizes inside of a program have.
_TAKEN = re.compile(r"[us]\d+(_|$)")


@dataclass(frozen=True)
class Size:
    """A size from `low` to `high`, or without an upper bound."""

    low: int = 1
    high: int | None = None

    def __str__(self) -> str:
        return f"{self.low}..{'' if self.high is None else self.high}"

    def both(self, other: Size) -> Size:
        """The sizes that are in both ranges."""
        highs = [high for high in (self.high, other.high) if high is not None]
        return Size(max(self.low, other.low), min(highs, default=None))

    def holds(self, extent: int) -> bool:
        """Whether a size is in the range."""
        return self.low <= extent and (self.high is None or extent <= self.high)

    @property
    def example(self) -> int:
        """A size in the middle of things."""
        return max(self.low, EXAMPLE if self.high is None else min(EXAMPLE, self.high))

    def choose(self, chance: random.Random, turn: int) -> int:
        """A size to try: at first the least, then the largest, then others."""
        high = self.low + TRIED if self.high is None else self.high
        return (self.low, high)[turn] if turn < 2 else chance.randint(self.low, high)

    def to_json(self) -> list[int | None]:
        """Both ends."""
        return [self.low, self.high]


Sizes = Mapping[str, Size]


def parse_shape(text: str, place: str) -> tuple[tuple[Dim, ...], dict[str, Size]]:
    """A shape as text: its dimensions, and what is said of those that have names.

    Parameters
    ----------
    text
        Dimensions with commas between: a number, ``LOW..HIGH``, ``LOW..``, ``NAME`` or
        ``NAME=LOW..HIGH``. A range without a name gets one from `place` and its position.
    place
        The argument.

    Raises
    ------
    ConfigError
        If the text is not of this form.
    """
    dims: list[Dim] = []
    sizes: dict[str, Size] = {}
    for position, part in enumerate(item.strip() for item in text.split(",") if item.strip()):
        match = _DIM.match(part)
        if match is None or (match["name"] and "=" in part and not match["to"]):
            raise ConfigError(
                f"{part!r} in the shape of {place} is no size",
                hint="A size is a number, a range 1..8 or 1.., a name H, or a name with a range "
                "H=1..8.",
            )
        if match["name"] and _TAKEN.match(match["name"]):
            raise ConfigError(
                f"the size {match['name']} of {place} is called like sizes inside of programs",
                hint="Give it another name.",
            )
        if match["low"] and not match["to"]:
            dims.append(int(part))
            continue
        argument = re.sub(r"\W+", "_", place).strip("_")
        name = match["name"] or f"{argument}_{position}"
        low = Size().low if match["low"] is None else int(match["low"])
        size = Size(low, None if match["high"] is None else int(match["high"]))
        sizes[name] = combined(name, [size, sizes.get(name, Size(0))])
        dims.append(name)
    return tuple(dims), sizes


def combined(name: str, sizes: Iterable[Size]) -> Size:
    """What several places say of one size; raises ConfigError if no size is left."""
    found = Size(0)
    for size in sizes:
        found = found.both(size)
    if found.high is not None and found.high < found.low:
        raise ConfigError(f"no size {name} is in all of its ranges", hint="Correct its ranges.")
    return found


def merged(tables: Iterable[Mapping[str, Size]]) -> dict[str, Size]:
    """What several shapes say of their sizes; raises ConfigError."""
    found: dict[str, Size] = {}
    for table in tables:
        for name, size in table.items():
            found[name] = combined(name, [size, found.get(name, Size(0))])
    return found


def from_json(table: Any) -> dict[str, Size]:
    """Sizes as a manifest has them."""
    return {name: Size(low, high) for name, (low, high) in dict(table).items()}


def bind(
    name: str, extent: int, where: str, known: dict[str, tuple[int, str]], sizes: Sizes
) -> None:
    """Check a size of an input.

    Parameters
    ----------
    known
        Sizes of this call that were met before, and where; added to.

    Raises
    ------
    InputError
        If it is not in its range, or differs from one of the same name.
    """
    before, place = known.setdefault(name, (extent, where))
    if before != extent:
        raise InputError(
            f"the size {name} is {extent} here and {before} in {place}",
            where=where,
            hint="Sizes of one name are equal.",
        )
    size = sizes.get(name, Size(0))
    if not size.holds(extent):
        raise InputError(
            f"the size {name} is {extent}, and the network was compiled for {size}",
            where=where,
            hint="Compile it again for a wider range.",
        )
