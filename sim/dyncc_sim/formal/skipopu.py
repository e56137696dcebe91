"""Properties of the arithmetic of SkipOPU."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, signed

from dyncc.arch.skipopu.formats import EXPONENT_BITS
from dyncc.arch.skipopu.packing import SCHEMES, Packing
from dyncc_hw.skipopu.arithmetic import f25, normaliser, packed
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.prover import replaced, stateless

#: Widths for which rounding is compared with its definition.
VALUE_BITS, AMOUNT_BITS = 7, 4


def lanes(design: Design) -> None:
    """Sums of products, packed and taken apart, for every scheme and its most terms."""
    for scheme in SCHEMES.values():
        high = scheme.weight_range[0] * -scheme.activation_range[1] * scheme.terms
        bits = packed.lane_bits(scheme, scheme.terms)
        sums = [
            design.input(signed(bits), f"{scheme.name}_{lane}") for lane in range(scheme.products)
        ]
        for value in sums:
            design.assume((value <= high) & (value >= -high))
        total = sum(
            (value << offset for value, offset in zip(sums, scheme.lanes, strict=True)), Const(0)
        )
        found = packed.lanes_of(scheme, total, scheme.terms)
        for value, wanted in zip(found, sums, strict=True):
            design.claim(value == wanted, f"{scheme.name}: a lane is its sum")
        design.reaches((sums[0] < 0) & (sums[1] > 0), "a negative lane below a positive one")


def _cut(scheme: Packing, result: Any, terms: int) -> tuple[Any, ...]:
    """Lanes without what the lower ones borrow."""
    bits = packed.lane_bits(scheme, terms)
    return tuple(f25.fit(result >> offset, bits) for offset in scheme.lanes)


def rounding(design: Design) -> None:
    """`shift_right_sticky` and `round_even` against the definition of rounding."""
    value = design.input(VALUE_BITS, "value")
    amount = design.input(AMOUNT_BITS, "amount")
    found = f25.round_even(f25.shift_right_sticky(Pipe(design.m, Const(1)), value, amount))
    # Twice the distance, in units of the value's lowest bit.
    unit = Const(1) << amount
    apart = ((found << amount) << 1) - (value << 1)
    design.claim((apart <= unit) & (apart >= -unit), "the nearest integer")
    tie = (apart == unit) | (apart == -unit)
    design.claim(~tie | (amount == 0) | ~found[0], "halves to even")
    design.reaches(tie & (amount > 1), "a half")
    design.reaches((amount > VALUE_BITS + 1) & (value != 0), "nothing is left")


def mantissas(design: Design) -> None:
    """A number of a block, with mantissas of all widths in use."""
    pipe = Pipe(design.m, Const(1))
    code = design.input(f25.CODE_BITS, "code")
    largest = design.input(EXPONENT_BITS, "largest")
    stored = f25.stored(code)
    design.assume((stored <= largest) & (stored.any() | (code == 0)))
    amount = normaliser.apart(pipe, code, largest)
    shifted = f25.shift_right_sticky(pipe, f25.significand(code), amount)
    for bits in (8, 12, 16):
        found = normaliser.mantissa(pipe, bits, shifted, code[-1])
        limit = (1 << (bits - 1)) - 1
        size = f25.sign_and_size(found)[1]
        design.claim(size <= limit, "a mantissa is within its symmetric range")
        design.claim((size == 0) | (found[-1] == code[-1]), "it has the number's sign")
        # The largest number of a block has at least half of the range.
        design.claim((stored != largest) | ~stored.any() | (size > limit >> 1), "none is wasted")
        design.reaches((size == limit) & (stored == largest), f"{bits} bits: the largest")
        design.reaches((size == 0) & stored.any(), f"{bits} bits: nothing is left")


PROPERTIES = [
    stateless(
        "skipopu_lanes",
        "Every lane of a multiplier that is taken apart is the sum of its own products.",
        "all schemes, with as many terms as each allows",
        lanes,
        faults={
            "nothing is borrowed": replaced("dyncc_hw.skipopu.arithmetic.packed.lanes_of", _cut)
        },
    ),
    stateless(
        "skipopu_rounding",
        "A shift with a sticky bit rounds to nearest, halves to even, as if no bit were lost.",
        f"values of {VALUE_BITS} bits, shifts of {AMOUNT_BITS}",
        rounding,
        faults={
            "there is no sticky bit": replaced(
                "dyncc_hw.skipopu.arithmetic.f25.shift_right_sticky",
                lambda pipe, value, amount: Cat(Const(0, 2), value) >> amount,
            )
        },
    ),
    stateless(
        "skipopu_mantissas",
        "A mantissa of a block never leaves its symmetric range, nor changes its sign.",
        "mantissas of 8, 12 and 16 bits, all numbers",
        mantissas,
        faults={
            "it does not saturate": replaced(
                "dyncc_hw.skipopu.arithmetic.normaliser.limited", lambda size, limit: size
            )
        },
    ),
]
