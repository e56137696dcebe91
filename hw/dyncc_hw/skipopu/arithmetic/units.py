"""Units of F25 numbers, each a pipeline between streams: an item a cycle.

Twins: the functions of the same names in `dyncc_models.skipopu.numerics.f25`.
"""

from functools import partial
from typing import Any

from amaranth import Cat, Const, Mux, signed

from dyncc.arch.skipopu.formats import EXPONENT_BITS, FRACTION_BITS
from dyncc_hw.skipopu.arithmetic.f25 import (
    ADD,
    BIAS,
    CODE_BITS,
    LARGEST,
    MULTIPLY,
    add,
    compose,
    compose_stages,
    multiply,
    normalise,
    order,
    sign_and_size,
)
from dyncc_hw.skipopu.arithmetic.pipeline import Pipe, Timed, Unit

#: Bits of exponents of accumulators and blocks.
BASE_BITS = 11
HALF_FRACTION, HALF_BIAS = 10, 15
SINGLE_FRACTION = 23


class Multiplier(Unit):
    """``result = a * b``, in 2 cycles."""

    def __init__(self) -> None:
        super().__init__({"a": CODE_BITS, "b": CODE_BITS}, {"result": CODE_BITS}, MULTIPLY)

    def compute(self, pipe: Pipe, a: Timed, b: Timed) -> dict[str, Timed]:
        """One 17 x 17 multiplication."""
        return {"result": multiply(pipe, a, b)}


class Adder(Unit):
    """``result = a + b``, in 5 cycles."""

    def __init__(self) -> None:
        super().__init__({"a": CODE_BITS, "b": CODE_BITS}, {"result": CODE_BITS}, ADD)

    def compute(self, pipe: Pipe, a: Timed, b: Timed) -> dict[str, Timed]:
        """Line up, add, normalise, round."""
        return {"result": add(pipe, a, b)}


class MultiplyAdder(Unit):
    """``result = a * b + c * d``, in 7 cycles: both products are rounded, then the sum is."""

    def __init__(self) -> None:
        takes = dict.fromkeys(("a", "b", "c", "d"), CODE_BITS)
        super().__init__(takes, {"result": CODE_BITS}, MULTIPLY + ADD)

    def compute(self, pipe: Pipe, a: Timed, b: Timed, c: Timed, d: Timed) -> dict[str, Timed]:
        """Two multipliers and an adder."""
        return {"result": add(pipe, multiply(pipe, a, b), multiply(pipe, c, d))}


class Comparer(Unit):
    """The larger of two numbers, and whether ``a > b``, in 1 cycle."""

    def __init__(self) -> None:
        super().__init__({"a": CODE_BITS, "b": CODE_BITS}, {"greater": 1, "largest": CODE_BITS}, 1)

    def compute(self, pipe: Pipe, a: Timed, b: Timed) -> dict[str, Timed]:
        """Compare."""

        def choose(a: Any, b: Any) -> Any:
            greater = order(a) > order(b)
            return greater, Mux(greater, a, b)

        greater, largest = pipe.stage(choose, a, b)
        return {"greater": greater, "largest": largest}


class FromHalf(Unit):
    """An F25 of a binary16, exactly, in 1 cycle; what is not finite becomes the largest number."""

    def __init__(self) -> None:
        super().__init__({"half": 16}, {"result": CODE_BITS}, 1)

    def compute(self, pipe: Pipe, half: Timed) -> dict[str, Timed]:
        """Subnormal numbers of binary16 are normal ones of F25."""
        return {"result": pipe.stage(partial(from_half, pipe), half)}


def from_half(pipe: Pipe, bits: Any) -> Any:
    """The code of a binary16."""
    fraction, kind, sign = bits[:HALF_FRACTION], bits[HALF_FRACTION:-1], bits[-1]
    small, count = normalise(pipe, fraction, reversed(range(4)))
    more = FRACTION_BITS - HALF_FRACTION
    # The highest bit of what is normalised stands for the hidden one.
    lowest = Cat(Const(0, more + 1), small[:-1], (BIAS - HALF_BIAS - count)[:EXPONENT_BITS])
    usual = Cat(Const(0, more), fraction, (kind + (BIAS - HALF_BIAS))[:EXPONENT_BITS])
    size = Mux(kind.all(), LARGEST, Mux(kind.any(), usual, lowest))[: CODE_BITS - 1]
    return Mux(bits[:-1].any(), Cat(size, sign), 0)


class FromSingle(Unit):
    """The F25 nearest to a binary32, in 1 cycle; what is not finite becomes the largest number."""

    def __init__(self) -> None:
        super().__init__({"single": 32}, {"result": CODE_BITS}, 1)

    def compute(self, pipe: Pipe, single: Timed) -> dict[str, Timed]:
        """Round the fraction; subnormal numbers become 0 unless they round up."""
        return {"result": pipe.stage(partial(from_single, pipe), single)}


def from_single(pipe: Pipe, bits: Any) -> Any:
    """The code nearest to a binary32."""
    drop = SINGLE_FRACTION - FRACTION_BITS
    size = bits[drop:-1] + (bits[drop - 1] & (bits[: drop - 1].any() | bits[drop]))
    size = pipe.wire(size)
    limited = Mux(size > LARGEST, LARGEST, size)[: CODE_BITS - 1]
    limited = pipe.wire(limited)
    return Mux(limited[FRACTION_BITS:].any(), Cat(limited, bits[-1]), 0)


class Reconstructor(Unit):
    """An F25 of an accumulator, times a scalar, plus what was there before; `latency` is 10 or 11.

    Twin: `dyncc_models.skipopu.numerics.dot.reconstruct`. To multiply by 1 or to add 0 changes
    nothing, so that is what those get that have no scalar, or are not added to.

    Parameters
    ----------
    bits
        Width of accumulators.

    Members
    -------
    input
        `accumulator`; `base`, the exponent of its lowest bit; `scalar`, `before`.
    output
        `result`.
    """

    def __init__(self, bits: int) -> None:
        super().__init__(
            {
                "accumulator": signed(bits), "base": signed(BASE_BITS),
                "scalar": CODE_BITS, "before": CODE_BITS,
            },
            {"result": CODE_BITS},
            1 + compose_stages(bits) + MULTIPLY + ADD,
        )  # fmt: skip

    def compute(
        self, pipe: Pipe, accumulator: Timed, base: Timed, scalar: Timed, before: Timed
    ) -> dict[str, Timed]:
        """Three roundings, as in the twin."""
        negative, size = pipe.stage(sign_and_size, accumulator)
        code = compose(pipe, negative, size, base)
        return {"result": add(pipe, before, multiply(pipe, code, scalar))}
