"""F25 arithmetic as parts of pipelines: each function adds its stages to a `Pipe`.

An F25 is its 25-bit code (`dyncc.arch.skipopu.formats`): fraction, exponent, sign from the lowest
bit. Codes of the exponent 0 other than zero itself, and of the exponent 255, do not occur.
Functions round once, at their end, as the twin `dyncc_models.skipopu.numerics.f25` does; where the
twin shifts an integer without loss, the hardware keeps a sticky bit, which rounds the same.
"""

from functools import partial
from typing import Any

from amaranth import Cat, Const, Mux, Value, signed

from dyncc.arch.skipopu.formats import EXPONENT_BITS, FRACTION_BITS
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed

CODE_BITS = 1 + EXPONENT_BITS + FRACTION_BITS
SIGNIFICAND_BITS = FRACTION_BITS + 1
BIAS = (1 << (EXPONENT_BITS - 1)) - 1
TOP = (1 << EXPONENT_BITS) - 2
#: The largest magnitude.
LARGEST = (TOP << FRACTION_BITS) | ((1 << FRACTION_BITS) - 1)
#: Stages of the functions below.
MULTIPLY, ADD = 2, 5


def magnitude(code: Any) -> Value:
    """All but the sign; compares as the magnitudes do."""
    return code[:-1]


def is_negative(code: Any) -> Value:
    """The sign."""
    return code[-1]


def stored(code: Any) -> Value:
    """The exponent with its bias; 0 of zero."""
    return code[FRACTION_BITS:-1]


def significand(code: Any) -> Value:
    """The 17 bits of the magnitude; 0 of zero."""
    return Cat(code[:FRACTION_BITS], stored(code).any())


def exponent(code: Any) -> Value:
    """Weight of the significand's lowest bit."""
    return fit(stored(code) - (BIAS + FRACTION_BITS), EXPONENT_BITS + 1)


def order(code: Any) -> Value:
    """A signed number that compares as the number does, and of which it is the `order` again."""
    # There is no negative zero, so magnitudes of negative numbers need not be negated.
    return Cat(magnitude(code) ^ is_negative(code).replicate(CODE_BITS - 1), code[-1]).as_signed()


def negate(code: Any) -> Value:
    """Minus a number; zero stays, as there is no negative zero."""
    return Cat(magnitude(code), ~is_negative(code) & stored(code).any())


def fit(value: Any, bits: int) -> Value:
    """The lowest bits of a value as a signed number."""
    value = Value.cast(value)
    # A constant or a narrow value is extended first.
    wide = value if len(value) >= bits else (value | Const(0, signed(bits)))
    return wide[:bits].as_signed()


def sign_and_size(value: Any) -> tuple[Value, Value]:
    """Sign and magnitude of a signed integer."""
    return value[-1], Mux(value[-1], -value, value)[: len(value)]


def at_most(pipe: Pipe, value: Any, bits: int) -> Value:
    """An unsigned value, or the largest of so many bits if it has more."""
    value = pipe.wire(value)
    over = value[bits:].any()
    return Cat(bit | over for bit in value[:bits])


def shift_right_sticky(pipe: Pipe, value: Any, amount: Any) -> Value:
    """``value >> amount`` with two more bits below: the next one, and whether any below is set."""
    found, lost = Cat(Const(0, 1), value), []
    # Large steps first: their bits that are lost are many, and wait for no other step.
    for step, bit in reversed(list(enumerate(pipe.wire(amount)))):
        size = min(1 << step, len(found))
        lost.append(bit & found[:size].any())
        found = pipe.wire(Mux(bit, found[size:], found)[: len(found)])
    return Cat(Cat(lost).any(), found)


def round_even(value: Any) -> Value:
    """A number with two bits more, see `shift_right_sticky`, to nearest, halves to even."""
    return value[2:] + (value[1] & (value[0] | value[2]))


def normalise(pipe: Pipe, value: Any, steps: Any) -> tuple[Value, Value]:
    """A value without leading zeros as far as these steps reach, and what it was shifted by.

    Parameters
    ----------
    steps
        Powers of two of the shifts that are tried, falling by one.
    """
    steps, size = list(steps), len(value)
    # Whether there are bits in what may be the highest part by then, for all shifts before: so a
    # step does not wait for what the steps before it have shifted.
    parts = {
        step: [
            value[max(0, size - begin - (1 << step)) : max(0, size - begin)].any()
            for begin in range(0, 1 << (steps[0] + 1), 2 << step)
        ]
        for step in steps
    }
    shifts: list[Any] = []
    for step in steps:
        zeros = pipe.wire(~parts[step][0])
        value = pipe.wire(Mux(zeros, (value << (1 << step))[:size], value))
        shifts.insert(0, zeros)
        for later in steps[len(shifts) :]:
            half = len(parts[later]) // 2
            parts[later] = [
                Mux(zeros, low, high)
                for high, low in zip(parts[later][:half], parts[later][half:], strict=True)
            ]
    return value, Cat(shifts)


def rounded(pipe: Pipe, negative: Any, value: Any, biased: Any) -> Value:
    """The code of a value without leading zeros.

    Parameters
    ----------
    value
        At least `SIGNIFICAND_BITS` wide; a value whose highest bit is 0 counts as zero.
    biased
        Signed exponent of the highest bit, with the bias.
    """
    rest = len(value) - SIGNIFICAND_BITS
    kept = value[rest:]
    up = Const(0, 1)
    if rest:
        up = value[rest - 1] & (value[: rest - 1].any() | kept[0])
    total = pipe.wire((kept + up)[: SIGNIFICAND_BITS + 1])
    # A significand that is rounded up to 2 carries into the exponent.
    field = pipe.wire(biased + total[-1])
    limited = Mux(field > TOP, LARGEST, Cat(total[:FRACTION_BITS], field[:EXPONENT_BITS]))
    nothing = ~value[-1] | (field < 1)
    return Mux(nothing, 0, Cat(limited[: CODE_BITS - 1], negative))


def compose_stages(bits: int) -> int:
    """Stages of `compose` for a magnitude of so many bits."""
    return 2 if bits <= 32 else 3


def compose(pipe: Pipe, negative: Timed, value: Timed, weight: Timed) -> Timed:
    """The F25 nearest to ``value * 2**weight``, in `compose_stages`.

    Parameters
    ----------
    negative
        The sign.
    value
        Magnitude, unsigned.
    weight
        Signed.
    """
    given = len(value.value)
    wide = max(given, SIGNIFICAND_BITS)
    biased_bits = max(len(weight.value), EXPONENT_BITS + 2) + 1

    def less(part: list[int], power: Any, count: Any) -> Value:
        return fit(power - (count << part[-1]), biased_bits)

    steps = list(reversed(range((wide - 1).bit_length())))
    first, *others = _parts(steps, compose_stages(given) - 1)
    value = pipe.now(lambda value: Cat(value, Const(0, wide - given)), value)
    shifted, count = pipe.stage(lambda value: normalise(pipe, value, first), value)
    # From the weight of the lowest bit to that of the highest.
    power = pipe.stage(lambda power: fit(power + (wide - 1 + BIAS), biased_bits), weight)
    for part in others:
        power = pipe.stage(partial(less, first), power, count)
        shifted, count = pipe.stage(lambda value, part=part: normalise(pipe, value, part), shifted)
        first = part

    def result(negative: Any, value: Any, power: Any, count: Any) -> Value:
        # What the last shift takes from the exponent is known late, so it is taken here.
        return rounded(pipe, negative, value, pipe.wire(less(first, power, count)))

    found: Timed = pipe.stage(result, negative, shifted, power, count)
    return found


def _parts(steps: list[int], count: int) -> list[list[int]]:
    size = -(-len(steps) // count)
    return [steps[first : first + size] for first in range(0, len(steps), size)]


def multiply(pipe: Pipe, a: Timed, b: Timed) -> Timed:
    """The product, in `MULTIPLY` stages."""

    def product(a: Any, b: Any) -> Any:
        biased = fit(stored(a) + stored(b) - BIAS, EXPONENT_BITS + 2)
        some = stored(a).any() & stored(b).any()
        # Zeros are multiplied as if they had the hidden bit, which takes time to know.
        whole = Cat(a[:FRACTION_BITS], Const(1, 1)) * Cat(b[:FRACTION_BITS], Const(1, 1))
        return is_negative(a) ^ is_negative(b), whole, biased, some

    def result(negative: Any, product: Any, biased: Any, some: Any) -> Any:
        # The product of two significands is in [1, 4).
        high = product[-1]
        value = pipe.wire(Mux(high, product, Cat(Const(0, 1), product[:-1])))
        return rounded(pipe, negative, Cat(value[:-1], some), biased + high)

    found: Timed = pipe.stage(result, *pipe.stage(product, a, b))
    return found


def add(pipe: Pipe, a: Timed, b: Timed) -> Timed:
    """The sum, in `ADD` stages."""

    def sort(a: Any, b: Any) -> Any:
        turned = pipe.wire(magnitude(a) < magnitude(b))
        large, small = pipe.wire(Mux(turned, b, a)), pipe.wire(Mux(turned, a, b))
        apart = pipe.wire(stored(large) - stored(small))
        # Beyond 31 the smaller one is nothing but sticky.
        shift = at_most(pipe, apart[:EXPONENT_BITS], 5)
        return large, significand(small), shift, is_negative(a) ^ is_negative(b)

    def line_up(large: Any, small: Any, shift: Any, differ: Any) -> Any:
        return large, shift_right_sticky(pipe, Cat(Const(0, 1), small), shift), differ

    def total(large: Any, small: Any, differ: Any) -> Any:
        whole = Cat(Const(0, 3), significand(large))
        found = Mux(differ, whole - small, whole + small)[: SIGNIFICAND_BITS + 4]
        return is_negative(large), found, fit(exponent(large) - 3, EXPONENT_BITS + 2)

    return compose(pipe, *pipe.stage(total, *pipe.stage(line_up, *pipe.stage(sort, a, b))))
