"""Items for the units of floats and the packed multipliers, and what the twins make of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from dyncc.arch.skipopu.packing import MANTISSAS, SCHEMES, MantissaPacking, Packing
from dyncc_hw.skipopu.arithmetic import units
from dyncc_hw.skipopu.arithmetic.packed import MantissaMultiplier, PackedMultiplier
from dyncc_models.skipopu.numerics import dot, f25
from dyncc_sim.pins import random_integers
from dyncc_sim.skipopu.bench.rig import Cases, Maker

COUNT = 600


def random_codes(draw: numpy.random.Generator, size: int, zeros: float = 0.05) -> Any:
    """F25 codes: most near 1, others anywhere; many fractions and exponents at their ends."""
    stored = numpy.where(
        draw.random(size) < 0.7, draw.integers(117, 138, size), draw.integers(1, 255, size)
    )
    stored = numpy.where(draw.random(size) < 0.1, draw.choice([1, 2, 253, 254], size), stored)
    fraction = numpy.where(
        draw.random(size) < 0.25,
        draw.choice([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF], size),
        draw.integers(0, 1 << 16, size),
    )
    codes = draw.integers(0, 2, size) << 24 | stored << 16 | fraction
    return numpy.where(draw.random(size) < zeros, 0, codes)


def note(cases: Cases, code: int) -> None:
    """Count what a result is."""
    size = code & (f25.SIGN - 1)
    cases.coverage["zero"] += size == 0
    cases.coverage["largest"] += size == f25.LARGEST
    cases.coverage["smallest exponent"] += size >> 16 == 1
    cases.coverage["negative"] += code >> 24


LIMITS = ("zero", "largest", "smallest exponent", "negative")


def two(make: Callable[[], Any], twin: Callable[[int, int], int], draw: Any) -> Cases:
    """A unit of two numbers, with pairs that are equal, opposite, and near."""
    cases = Cases(make(), required=(*LIMITS, "opposite"))
    a, b = random_codes(draw, COUNT), random_codes(draw, COUNT)
    kind = draw.integers(0, 8, COUNT)
    b = numpy.where((kind == 0) & (a != 0), a ^ f25.SIGN, b)
    near = numpy.clip((a & (f25.SIGN - 1)) + draw.integers(-3, 4, COUNT), 1 << 16, f25.LARGEST)
    b = numpy.where((kind == 1) & (a != 0), near | (~a & f25.SIGN), b)
    apart = numpy.clip((a >> 16 & 255) - draw.integers(14, 24, COUNT), 1, 254)
    b = numpy.where(kind == 2, (b & (f25.SIGN | 0xFFFF)) | apart << 16, b)
    b = numpy.where((kind == 2) & (draw.random(COUNT) < 0.5), b & ~0xFFFF, b)
    # Sums of the largest numbers.
    b = numpy.where((kind == 4) & (a != 0), (a & f25.SIGN) | f25.LARGEST, b)
    a = numpy.where((kind == 4) & (a != 0), a | 0xFE << 16, a)
    # Products at the smallest number.
    edge = numpy.clip(127 - (a >> 16 & 255) + draw.integers(-1, 3, COUNT), 1, 254)
    b = numpy.where(kind == 3, (b & (f25.SIGN | 0xFFFF)) | edge << 16, b)
    for one, other in zip(a.tolist(), b.tolist(), strict=True):
        cases.give(a=one, b=other)
        cases.coverage["opposite"] += one != 0 and one ^ other == f25.SIGN
        found = twin(one, other)
        note(cases, found)
        cases.want(result=found)
    return cases


def multiply_add(draw: Any) -> Cases:
    """Sums of two products."""
    cases = Cases(units.MultiplyAdder(), required=LIMITS)
    codes = random_codes(draw, 4 * COUNT).reshape(-1, 4)
    # Products at the smallest number, added to nothing.
    codes[::8, 1] = (codes[::8, 1] & 0xFFFF) | 50 << 16
    codes[::8, 0] = (codes[::8, 0] & 0x100FFFF) | draw.integers(76, 80, len(codes[::8])) << 16
    codes[::8, 2] = 0
    for a, b, c, d in codes.tolist():
        cases.give(a=a, b=b, c=c, d=d)
        found = f25.add(f25.multiply(a, b), f25.multiply(c, d))
        note(cases, found)
        cases.want(result=found)
    return cases


def compare(draw: Any) -> Cases:
    """Comparisons."""
    cases = Cases(units.Comparer(), required=("equal", "greater", "less"))
    codes = random_codes(draw, 2 * COUNT, 0.2).reshape(-1, 2)
    codes[::10, 1] = codes[::10, 0]
    for a, b in codes.tolist():
        one, other = f25.order(a), f25.order(b)
        cases.coverage["equal" if one == other else "greater" if one > other else "less"] += 1
        cases.give(a=a, b=b)
        cases.want(greater=one > other, largest=a if one > other else b)
    return cases


def from_half(draw: Any) -> Cases:
    """Binary16, a third of them subnormal."""
    cases = Cases(units.FromHalf(), required=("subnormal", "zero", "infinite", "not a number"))
    bits = draw.integers(0, 1 << 16, COUNT)
    bits = numpy.where(draw.random(COUNT) < 0.3, bits & 0x83FF, bits)
    bits[:6] = [0, 0x8000, 0x7C00, 0xFC00, 0x7C01, 0x0001]
    for half in bits.tolist():
        cases.give(half=half)
        cases.coverage["subnormal"] += half & 0x7C00 == 0 and half & 0x3FF != 0
        cases.coverage["zero"] += half & 0x7FFF == 0
        cases.coverage["infinite"] += half & 0x7FFF == 0x7C00
        cases.coverage["not a number"] += half & 0x7FFF > 0x7C00
        cases.want(result=f25.from_half(half))
    return cases


def from_single(draw: Any) -> Cases:
    """Finite binary32."""
    cases = Cases(units.FromSingle(), required=(*LIMITS, "half", "rounds up to the smallest"))
    bits = draw.integers(0, 255, COUNT) << 23 | draw.integers(0, 1 << 23, COUNT)
    bits = numpy.where(draw.random(COUNT) < 0.3, bits & ~0x7F | 0x40, bits)
    bits = numpy.where(draw.random(COUNT) < 0.1, bits & 0x7FFFFF | 0x7FFF00, bits)
    bits[:4] = [0, 0x7F7FFFFF, 0x7FFFFF, 0x7FFFC0]
    bits |= draw.integers(0, 2, COUNT) << 31
    found = f25.from_float(bits.astype(numpy.uint32).view(numpy.float32))
    for single, code in zip(bits.tolist(), found.tolist(), strict=True):
        cases.give(single=single)
        note(cases, code)
        cases.coverage["half"] += single & 0x7F == 0x40
        cases.coverage["rounds up to the smallest"] += (
            single >> 23 & 255 == 0 and code & (f25.SIGN - 1) != 0
        )
        cases.want(result=code)
    return cases


def reconstruct(bits: int, draw: Any) -> Cases:
    """Accumulators of all magnitudes; many are not scaled, or not added to."""
    cases = Cases(units.Reconstructor(bits), required=(*LIMITS, "at a limit"))
    accumulators = random_integers(draw, bits, True, COUNT)
    # The twin negates in 64 bits, which has no room for the least number.
    accumulators = numpy.maximum(accumulators, -(1 << (bits - 1)) + 1)
    bases = numpy.where(
        draw.random(COUNT) < 0.7, draw.integers(-60, 20, COUNT), draw.integers(-300, 200, COUNT)
    )
    scalars = numpy.where(draw.random(COUNT) < 0.5, f25.ONE, random_codes(draw, COUNT))
    before = numpy.where(draw.random(COUNT) < 0.5, 0, random_codes(draw, COUNT))
    # Sums at the smallest number, not scaled.
    edge = draw.random(COUNT) < 0.1
    sizes = numpy.floor(numpy.log2(numpy.maximum(abs(accumulators), 1))).astype(numpy.int64)
    bases = numpy.where(edge, -126 - sizes + draw.integers(-1, 2, COUNT), bases)
    scalars, before = numpy.where(edge, f25.ONE, scalars), numpy.where(edge, 0, before)
    for number, base, scalar, code in zip(
        accumulators.tolist(), bases.tolist(), scalars.tolist(), before.tolist(), strict=True
    ):
        cases.give(accumulator=number, base=base, scalar=scalar, before=code)
        found = dot.reconstruct(
            numpy.array([[number]]), numpy.array([base]),
            numpy.array([scalar] if scalar != f25.ONE else [], numpy.int64),
            numpy.full((1, 1) if code else (0, 0), code, numpy.int64),
        )[0, 0]  # fmt: skip
        cases.coverage["at a limit"] += abs(number) == (1 << (bits - 1)) - 1
        note(cases, int(found))
        cases.want(result=found)
    return cases


def multiplier(scheme: Packing, draw: Any) -> Cases:
    """Sums of 1 to as many terms as the scheme allows, many of the largest products."""
    cases = Cases(PackedMultiplier(scheme), required=("most terms", "lowest", "highest"))
    sums = [0] * scheme.products
    terms = left = 0
    for _ in range(COUNT + 2 * scheme.terms):
        first = left == 0
        if first:
            sums, terms = [0] * scheme.products, 0
            extreme = draw.random() < 0.5
            left = scheme.terms if extreme else int(draw.integers(1, scheme.terms + 1))
            edges = draw.integers(0, 2, 2)
        left -= 1
        terms += 1

        def pick(limits: tuple[int, int], count: int, edge: int, extreme: bool = extreme) -> Any:
            found = draw.integers(limits[0], limits[1] + 1, count)
            return [limits[edge]] * count if extreme and draw.random() < 0.98 else found.tolist()

        weights = pick(scheme.weight_range, len(scheme.weight_offsets), edges[0])
        activations = pick(scheme.activation_range, len(scheme.activation_offsets), edges[1])
        cases.give(weights=weights, activations=activations, first=first)
        products = [w * x for x in activations for w in weights]
        sums = [total + product for total, product in zip(sums, products, strict=True)]
        cases.coverage["most terms"] += terms == scheme.terms
        cases.coverage["lowest"] += weights[0] == scheme.weight_range[0]
        cases.coverage["highest"] += weights[0] == scheme.weight_range[1]
        cases.want(sums=sums)
    return cases


def mantissas(scheme: MantissaPacking, draw: Any) -> Cases:
    """Pairs of products of mantissas."""
    cases = Cases(MantissaMultiplier(scheme), required=("all largest", "a zero"))
    top = (1 << scheme.bits) - 1
    numbers = random_integers(draw, scheme.bits, False, 3 * COUNT).reshape(-1, 3)
    numbers[0] = top
    for first, second, other in numbers.tolist():
        cases.give(first=first, second=second, other=other)
        cases.coverage["all largest"] += first == second == other == top
        cases.coverage["a zero"] += 0 in (first, second, other)
        cases.want(products=[first * other, second * other])
    return cases


FLOATS: dict[str, Maker] = {
    "multiply": partial(two, units.Multiplier, f25.multiply),
    "add": partial(two, units.Adder, f25.add),
    "multiply_add": multiply_add,
    "compare": compare,
    "from_half": from_half,
    "from_single": from_single,
    "reconstruct_56": partial(reconstruct, 56),
    "reconstruct_30": partial(reconstruct, 30),
}
PACKED: dict[str, Maker] = {
    **{name: partial(multiplier, scheme) for name, scheme in SCHEMES.items()},
    **{name: partial(mantissas, scheme) for name, scheme in MANTISSAS.items()},
}
