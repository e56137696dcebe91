"""Items for the normaliser and the nonlinear units, and what the twins make of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from dyncc.arch.skipopu.formats import ZERO
from dyncc_hw.skipopu.arithmetic import functions as hardware
from dyncc_hw.skipopu.arithmetic.normaliser import Normaliser
from dyncc_models.skipopu.numerics import bfp, f25, functions
from dyncc_sim.pins import random_integers
from dyncc_sim.skipopu.bench.block_cases import COUNT, note, random_codes
from dyncc_sim.skipopu.bench.rig import Cases, Maker, steady


def normalise(block: int, bits: int, lanes: int, draw: Any) -> Cases:
    """Vectors of one to four blocks, of all kinds."""
    cases = Cases(
        Normaliser(block, bits, lanes),
        required=("zeros", "saturates", "far smaller", "smallest numbers", "several blocks"),
    )
    limit = (1 << (bits - 1)) - 1
    for turn in range(24):
        count = int(draw.integers(1, 5))
        codes = random_codes(draw, count * block).reshape(count, block)
        if turn % 3 == 0:
            codes[0] = 0
        if turn % 3 == 1:
            codes[-1, -1] = draw.integers(1, 256) << 16 | 0xFFFF
            codes[-1] = numpy.minimum(codes[-1] & 0xFFFFFF, codes[-1, -1])
        if turn % 3 == 2:
            # So near to each other that every bit counts.
            codes[:] = (codes & 0x100FFFF) | draw.integers(1, 9, codes.shape) << 16
        codes = numpy.where(codes & 0xFFFFFF > f25.LARGEST, f25.LARGEST, codes)
        mantissas, exponents = bfp.to_bfp(codes.reshape(-1), block, bits)
        runs = codes.reshape(-1, lanes)
        for number, run in enumerate(runs):
            cases.give(codes=run.tolist(), last=number == len(runs) - 1)
        for number, run in enumerate(mantissas.reshape(-1, lanes)):
            first = (number + 1) * lanes
            cases.want(
                mantissas=run.tolist(), exponent=exponents[number * lanes // block],
                ends=first % block == 0, last=number == len(runs) - 1,
            )  # fmt: skip
        cases.coverage["zeros"] += int((exponents == ZERO).sum())
        cases.coverage["saturates"] += int((abs(mantissas) == limit).sum())
        small = (mantissas.reshape(-1) == 0) & (codes.reshape(-1) != 0)
        cases.coverage["far smaller"] += int(small.sum())
        cases.coverage["smallest numbers"] += int((codes >> 16 & 255 == 1).sum())
        cases.coverage["several blocks"] += count > 1
    return cases


def one(
    make: Callable[[], Any], twin: Callable[[int], int], required: tuple[str, ...], draw: Any
) -> Cases:
    """A function of one F25."""
    cases = Cases(make(), required=required)
    codes = random_codes(draw, COUNT)
    codes[:8] = [0, 1 << 16, 1 << 24 | 1 << 16, f25.LARGEST, 1 << 24 | f25.LARGEST, f25.ONE,
                 f25.ONE | 0xFFFF, 2 << 16]  # fmt: skip
    for code in codes.tolist():
        cases.give(a=code)
        found = int(twin(code))
        note(cases, found & 0x1FFFFFF)
        cases.want(result=found)
    return cases


def power(draw: Any) -> Cases:
    """Powers of two, within and beyond the range."""
    cases = Cases(hardware.PowerOfTwo(), required=("zero", "largest", "smallest exponent"))
    numbers = random_integers(draw, 33, True, COUNT)
    usual = draw.integers(-(200 << 16), 200 << 16, COUNT)
    numbers = numpy.where(draw.random(COUNT) < 0.6, usual, numbers)
    edges = [-126 << 16, (-126 << 16) - 1, (128 << 16) - 1, 128 << 16, 0, -1, 1]
    numbers[: len(edges)] = edges
    for fixed in numbers.tolist():
        cases.give(fixed=fixed)
        found = functions.power_of_two(fixed)
        note(cases, found)
        cases.want(result=found)
    return cases


def fixed(bits: int, draw: Any) -> Cases:
    """Fixed-point numbers, many at their limits and at halves."""
    cases = Cases(hardware.ToFixed(bits), required=("saturates", "half", "nothing left"))
    codes = random_codes(draw, COUNT)
    near = draw.integers(105, 127 + bits - 14, COUNT) << 16
    codes = numpy.where(draw.random(COUNT) < 0.7, (codes & 0x100FFFF) | near, codes)
    codes = numpy.where(draw.random(COUNT) < 0.2, (codes & ~0xFFFF) | 0x8000, codes)
    for code in codes.tolist():
        cases.give(a=code)
        found = functions.to_fixed(code, 16, bits)
        exact = float(f25.to_float(numpy.array([code]))[0]) * 65536
        cases.coverage["saturates"] += abs(found) == (1 << (bits - 1)) - 1
        cases.coverage["half"] += exact % 1 == 0.5
        cases.coverage["nothing left"] += found == 0 and code != 0
        cases.want(result=found)
    return cases


def swiglu(draw: Any) -> Cases:
    """Gates of usual sizes, and of others."""
    cases = Cases(hardware.SwiGlu(), required=("zero", "largest", "negative"))
    a, b = random_codes(draw, COUNT), random_codes(draw, COUNT)
    for gate, value in zip(a.tolist(), b.tolist(), strict=True):
        cases.give(a=gate, b=value)
        found = int(f25.multiply(functions.silu(gate), value))
        note(cases, found)
        cases.want(result=found)
    return cases


def rotate(draw: Any) -> Cases:
    """Pairs, turned by angles."""
    cases = Cases(hardware.Rotator(), required=("zero", "negative"))
    angles = draw.uniform(-4, 4, COUNT)
    angles[:4] = [0, numpy.pi / 2, numpy.pi, -numpy.pi / 2]
    cosines, sines = f25.from_float(numpy.cos(angles)), f25.from_float(numpy.sin(angles))
    pairs = random_codes(draw, 2 * COUNT).reshape(1, COUNT, 2)
    found = functions.rope(pairs.reshape(1, -1), cosines, sines).reshape(COUNT, 2)
    for pair, cosine, sine, turned in zip(pairs[0], cosines, sines, found, strict=True):
        cases.give(even=pair[0], odd=pair[1], cosine=cosine, sine=sine)
        cases.want(even=turned[0], odd=turned[1])
        note(cases, int(turned[0]))
        note(cases, int(turned[1]))
    return cases


FUNCTIONS: dict[str, Maker] = {
    "normalise_8": partial(normalise, 32, 8, 1),
    "normalise_12_by_4": partial(normalise, 128, 12, 4),
    "normalise_16": partial(normalise, 32, 16, 1),
    "normalise_16_steady": partial(steady, partial(normalise, 32, 16, 1)),
    "power_of_two": power,
    "reciprocal": partial(one, hardware.Reciprocal, functions.reciprocal, ("zero", "largest")),
    "inverse_root": partial(one, hardware.InverseRoot, functions.inverse_root, ("largest",)),
    "to_fixed_28": partial(fixed, 28),
    "to_fixed_32": partial(fixed, 32),
    "swiglu": swiglu,
    "rotate": rotate,
}
