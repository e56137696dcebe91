"""Functions of the vector engine: powers of two, reciprocals, roots, SwiGLU, rotations.

Twins: `dyncc_models.skipopu.numerics.functions`. Functions add their stages to a `Pipe`; a table is
a block memory of 256 words, that of roots of 512.
"""

from typing import Any

from amaranth import Cat, Const, Mux, signed
from amaranth.lib import data

from dyncc.arch.skipopu.formats import EXPONENT_BITS, FRACTION_BITS, PROBABILITY_BITS
from dyncc.arch.skipopu.tables import INPUT_BITS, OUTPUT_BITS, SEGMENT_BITS, STEP_BITS, table
from dyncc_hw.skipopu.arithmetic.f25 import (
    ADD,
    BIAS,
    CODE_BITS,
    LARGEST,
    MULTIPLY,
    add,
    at_most,
    compose,
    fit,
    is_negative,
    multiply,
    negate,
    round_even,
    shift_right_sticky,
    significand,
    stored,
)
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit

ONE = BIAS << FRACTION_BITS
#: log2(e), to the nearest F25.
LOG2_E = (BIAS << FRACTION_BITS) + round(0.4426950408889634 * (1 << FRACTION_BITS))
MANTISSA_BITS = OUTPUT_BITS + 2
#: Stages.
TO_FIXED, INTERPOLATE = 2, 3
POWER, RECIPROCAL, INVERSE_ROOT, PROBABILITY = 5, 5, 5, 5
#: A power of two beyond this is beyond the range of F25.
_BEYOND = 200
_WORD = data.StructLayout({"base": MANTISSA_BITS, "slope": signed(14)})
_WEIGHT_BITS = 10


def interpolate(pipe: Pipe, names: tuple[str, ...], fraction: Timed, which: Timed) -> Timed:
    """A table's function of a 16-bit fraction, in 2^-20; `INTERPOLATE` stages.

    Parameters
    ----------
    names, which
        One or two tables, and the number of the one that is wanted.
    """
    tables = [table(name) for name in names]
    words = [
        {"base": base, "slope": slope}
        for found in tables
        for base, slope in zip(found.bases, found.slopes, strict=True)
    ]
    address = pipe.now(
        lambda part, number: Cat(part[STEP_BITS:], number)[: SEGMENT_BITS + len(names) - 1],
        fraction, which,
    )  # fmt: skip
    word = pipe.look_up(_WORD, words, address)
    step = Timed(fraction.value[:STEP_BITS], fraction.time)

    def rise(word: Any, step: Any) -> Any:
        return word.base, fit(word.slope * step, 14 + STEP_BITS)

    def total(base: Any, rise: Any) -> Any:
        return (base + ((rise + (1 << (STEP_BITS - 1))) >> STEP_BITS))[:MANTISSA_BITS]

    found: Timed = pipe.stage(total, *pipe.stage(rise, word, step))
    return found


def to_fixed(pipe: Pipe, code: Timed, fraction_bits: int, bits: int) -> Timed:
    """The nearest integer to a number times ``2**fraction_bits``, saturating; `TO_FIXED` stages."""
    room = bits - (FRACTION_BITS + 2)

    def shift(code: Any) -> Any:
        down = pipe.wire((bits + BIAS - 2 - fraction_bits) - stored(code))
        amount = at_most(pipe, down, 6)
        value = shift_right_sticky(pipe, Cat(Const(0, room), significand(code)), amount)
        return value, down < 0, is_negative(code)

    def finish(value: Any, large: Any, negative: Any) -> Any:
        size = pipe.wire(Mux(large, (1 << (bits - 1)) - 1, round_even(value)))
        return fit(Mux(negative, -size, size), bits)

    found: Timed = pipe.stage(finish, *pipe.stage(shift, code))
    return found


def power_of_two(pipe: Pipe, fixed: Timed) -> Timed:
    """2^x for a signed x with 16 fraction bits, as F25; `POWER` stages."""

    def whole(fixed: Any) -> Any:
        value = pipe.wire(fixed >> INPUT_BITS)
        limited = Mux(value > _BEYOND, _BEYOND, Mux(value < -_BEYOND, -_BEYOND, value))
        return fit(limited - OUTPUT_BITS, _WEIGHT_BITS)

    fraction = Timed(fixed.value[:INPUT_BITS], fixed.time)
    mantissa = interpolate(pipe, ("exp2",), fraction, _FIRST)
    return compose(pipe, _POSITIVE, mantissa, pipe.stage(whole, fixed))


def probability(pipe: Pipe, fixed: Timed) -> Timed:
    """2^x for x <= 0, both with 16 fraction bits, 17 bits wide; `PROBABILITY` stages."""

    def amount(fixed: Any) -> Any:
        # One less than what is dropped, so that the bit below decides.
        down = pipe.wire((OUTPUT_BITS - PROBABILITY_BITS - 1) - (fixed >> INPUT_BITS))
        return at_most(pipe, down, 5)

    fraction = Timed(fixed.value[:INPUT_BITS], fixed.time)
    mantissa = interpolate(pipe, ("exp2",), fraction, _FIRST)
    shifted = pipe.stage(lambda m, down: m >> down, mantissa, pipe.stage(amount, fixed))
    found: Timed = pipe.stage(lambda value: ((value + 1) >> 1)[: PROBABILITY_BITS + 1], shifted)
    return found


def reciprocal(pipe: Pipe, code: Timed) -> Timed:
    """1 / x, the largest number for 0; `RECIPROCAL` stages."""

    def prepare(code: Any) -> Any:
        weight = fit((BIAS - OUTPUT_BITS) - stored(code), _WEIGHT_BITS)
        return is_negative(code), weight, ~stored(code).any()

    fraction = Timed(code.value[:FRACTION_BITS], code.time)
    mantissa = interpolate(pipe, ("reciprocal",), fraction, _FIRST)
    negative, weight, none = pipe.stage(prepare, code)
    found = compose(pipe, negative, mantissa, weight)
    return pipe.now(lambda found, none: Mux(none, LARGEST, found), found, none)


def inverse_root(pipe: Pipe, code: Timed) -> Timed:
    """1 / sqrt(x), the largest number for 0 and below; `INVERSE_ROOT` stages."""

    def prepare(code: Any) -> Any:
        half = fit(stored(code) - BIAS, EXPONENT_BITS + 1) >> 1
        return fit(-half - OUTPUT_BITS, _WEIGHT_BITS), ~stored(code).any() | is_negative(code)

    # An exponent that is stored as an even number is odd.
    odd = Timed(~stored(code.value)[0], code.time)
    fraction = Timed(code.value[:FRACTION_BITS], code.time)
    mantissa = interpolate(pipe, ("rsqrt", "rsqrt_double"), fraction, odd)
    weight, none = pipe.stage(prepare, code)
    found = compose(pipe, _POSITIVE, mantissa, weight)
    return pipe.now(lambda found, none: Mux(none, LARGEST, found), found, none)


def silu(pipe: Pipe, code: Timed) -> Timed:
    """X / (1 + 2^(-x log2 e))."""
    turned = pipe.now(negate, code)
    power = multiply(pipe, turned, Timed(Const(LOG2_E, CODE_BITS), code.time))
    fixed = to_fixed(pipe, power, INPUT_BITS, 28)
    below = add(pipe, Timed(Const(ONE, CODE_BITS), code.time), power_of_two(pipe, fixed))
    return multiply(pipe, code, reciprocal(pipe, below))


_POSITIVE = Timed(Const(0, 1))
_FIRST = Timed(Const(0, 1))


class PowerOfTwo(Unit):
    """``result = 2**fixed``, in 5 cycles; `fixed` is signed, with 16 fraction bits."""

    BITS = 33

    def __init__(self) -> None:
        super().__init__({"fixed": signed(self.BITS)}, {"result": CODE_BITS}, POWER)

    def compute(self, pipe: Pipe, fixed: Timed) -> dict[str, Timed]:
        """A table, then a float."""
        return {"result": power_of_two(pipe, fixed)}


class Reciprocal(Unit):
    """``result = 1 / a``, in 5 cycles."""

    def __init__(self) -> None:
        super().__init__({"a": CODE_BITS}, {"result": CODE_BITS}, RECIPROCAL)

    def compute(self, pipe: Pipe, a: Timed) -> dict[str, Timed]:
        """A table, then a float."""
        return {"result": reciprocal(pipe, a)}


class InverseRoot(Unit):
    """``result = 1 / sqrt(a)``, in 5 cycles."""

    def __init__(self) -> None:
        super().__init__({"a": CODE_BITS}, {"result": CODE_BITS}, INVERSE_ROOT)

    def compute(self, pipe: Pipe, a: Timed) -> dict[str, Timed]:
        """Two tables, by whether the exponent is odd."""
        return {"result": inverse_root(pipe, a)}


class ToFixed(Unit):
    """``result = round(a * 2**16)``, signed and saturating, in 2 cycles.

    Parameters
    ----------
    bits
        Of the result.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__({"a": CODE_BITS}, {"result": signed(bits)}, TO_FIXED)

    def compute(self, pipe: Pipe, a: Timed) -> dict[str, Timed]:
        """Shift, round, saturate."""
        return {"result": to_fixed(pipe, a, INPUT_BITS, self.bits)}


class SwiGlu(Unit):
    """``result = silu(a) * b``, in 23 cycles."""

    def __init__(self) -> None:
        stages = MULTIPLY + TO_FIXED + POWER + ADD + RECIPROCAL + 2 * MULTIPLY
        super().__init__({"a": CODE_BITS, "b": CODE_BITS}, {"result": CODE_BITS}, stages)

    def compute(self, pipe: Pipe, a: Timed, b: Timed) -> dict[str, Timed]:
        """Four multipliers and two tables."""
        return {"result": multiply(pipe, silu(pipe, a), b)}


class Rotator(Unit):
    """Turns a pair by an angle, in 7 cycles: two elements of a rotary embedding a cycle.

    Members
    -------
    input
        `even`, `odd`; `cosine`, `sine`.
    output
        `even`, `odd`.
    """

    def __init__(self) -> None:
        takes = dict.fromkeys(("even", "odd", "cosine", "sine"), CODE_BITS)
        gives = dict.fromkeys(("even", "odd"), CODE_BITS)
        super().__init__(takes, gives, MULTIPLY + ADD)

    def compute(
        self, pipe: Pipe, even: Timed, odd: Timed, cosine: Timed, sine: Timed
    ) -> dict[str, Timed]:
        """Four multipliers, two adders."""
        other = pipe.now(negate, multiply(pipe, odd, sine))
        return {
            "even": add(pipe, multiply(pipe, even, cosine), other),
            "odd": add(pipe, multiply(pipe, even, sine), multiply(pipe, odd, cosine)),
        }
