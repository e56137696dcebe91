"""Properties of the fixed-point rules of the hardware, for all widths in use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from amaranth import Shape, Value
from amaranth.hdl import Fragment

from dyncc.arch.neurocorex import CoreSpec
from dyncc_hw import fixed
from dyncc_hw.neurocorex.core import Core
from dyncc_hw.neurocorex.implementation import Implementation
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import replaced, stateless

#: Cores whose uses are collected: the ends of all ranges that widths follow from.
SPECS = [
    CoreSpec(
        neurons, neurons, weight_bits, state_bits, lanes=1, learning=True, classes=1, max_delay=2
    )
    for neurons in (1, 3)
    for weight_bits in (2, 8, 16)
    for state_bits in (18, 24, 32)
]
IMPLEMENTATIONS = [Implementation(), Implementation("shared", "single")]
_OF = "widths in cores of 1 and 3 neurons, 2, 8 and 16 weight bits, 18, 24 and 32 state bits"


@contextmanager
def recorded(name: str) -> Iterator[list[tuple[Any, ...]]]:
    """Arguments of the calls of a function of `dyncc_hw.fixed`, from wherever it is imported."""
    real = getattr(fixed, name)
    calls: list[tuple[Any, ...]] = []

    def recording(*arguments: Any) -> Any:
        calls.append(arguments)
        return real(*arguments)

    users = [
        module
        for key, module in list(sys.modules.items())
        if key.startswith("dyncc_hw.") and getattr(module, name, None) is real
    ]
    with ExitStack() as stack:
        for module in users:
            stack.enter_context(patch.object(module, name, recording))
        yield calls


@lru_cache
def uses(name: str) -> list[tuple[Any, ...]]:
    """Arguments with which cores call a function of `dyncc_hw.fixed`, each combination once.

    A value is given as its width and whether it is signed.
    """
    with recorded(name) as calls:
        for spec in SPECS:
            for implementation in IMPLEMENTATIONS:
                Fragment.get(Core(spec, implementation), None)

    def shape(argument: Any) -> Any:
        if isinstance(argument, int):
            return argument
        found: Shape = Value.cast(argument).shape()
        return (found.width, found.signed)

    return sorted({tuple(shape(argument) for argument in call) for call in calls})


def saturation(design: Design) -> None:
    """`fixed.saturate` of values of all shapes in use."""
    for (width, is_signed), bits in uses("saturate"):
        value = design.input(Shape(width, is_signed), f"value_{width}_{is_signed}_{bits}")
        found = fixed.saturate(value, bits)
        high = (1 << (bits - 1)) - 1
        low = -high - 1
        design.claim((value > high) | (value < low) | (found == value), "what fits stays")
        design.claim((value <= high) | (found == high), "what is too large becomes the largest")
        design.claim((value >= low) | (found == low), "what is too small becomes the smallest")
        design.reaches((value > high) if width > bits else (value == high), "large")


def rounding(design: Design) -> None:
    """`fixed.round_shift` of values of all shapes in use, with and without what is added."""
    for number, ((width, is_signed), bits, *added) in enumerate(uses("round_shift")):
        value = design.input(Shape(width, is_signed), f"value_{number}")
        plus = [design.input(Shape(*shape), f"plus_{number}") for shape in added]
        found, half = fixed.round_shift(value, bits, *plus), 1 << (bits - 1)
        rest = value + half - ((found - sum(plus)) << bits)
        design.claim((rest >= 0) & (rest < 1 << bits), "the nearest integer, halves up")
        design.reaches(rest == 0, "a half")


def clipping(design: Design) -> None:
    """`fixed.clip` of values and bounds of all shapes in use."""
    for shapes in uses("clip"):
        value, low, high = (
            design.input(Shape(width, is_signed), f"{name}_{width}_of_{shapes[0][0]}")
            for name, (width, is_signed) in zip(("value", "low", "high"), shapes, strict=True)
        )
        found = fixed.clip(value, low, high)
        bounded = low <= high
        design.claim(~bounded | ((found >= low) & (found <= high)), "the result is within bounds")
        inside = (value >= low) & (value <= high)
        design.claim(~inside | (found == value), "what is within bounds stays")
        design.claim(~bounded | (value <= high) | (found == high), "too large becomes the upper")
        design.claim(~bounded | (value >= low) | (found == low), "too small becomes the lower")
        design.reaches(bounded & (value > high), "too large")
        design.reaches(bounded & (value < low), "too small")


def _cut(value: Any, *limits: Any) -> Any:
    """What a limit would be that wraps."""
    bits = limits[-1] if isinstance(limits[-1], int) else len(limits[-1])
    return Value.cast(value)[:bits].as_signed()


PROPERTIES = [
    stateless(
        "saturate",
        "A sum that is limited to a width never wraps, for every pair of widths in use.",
        _OF,
        saturation,
        faults={"it cuts": replaced("dyncc_hw.fixed.saturate", _cut)},
    ),
    stateless(
        "round_shift",
        "Bits are dropped to the nearest integer, halves up, without loss, for all widths in use.",
        _OF,
        rounding,
        faults={
            "it rounds down": replaced(
                "dyncc_hw.fixed.round_shift",
                lambda value, bits, plus=0: value.shift_right(bits) + plus,
            )
        },
    ),
    stateless(
        "clip",
        "A value that is limited to two bounds never leaves them, for all widths in use.",
        _OF,
        clipping,
        faults={"it cuts": replaced("dyncc_hw.fixed.clip", _cut)},
    ),
]
