"""Exponential functions without branches or calls, which LLVM can vectorise.

The C library's `expf` takes one value at a time. These are polynomials of the usual kind (the
coefficients are those of S. Moshier's Cephes library, functions `expf` and `tanhf`; those of `erf`
were fitted by least squares on Chebyshev nodes). Each stays within 4 units in the last place of
float32, which `tests/backends/test_tvm_kernels.py` checks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import tvm
from tvm import relax, te, tirx

_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
_TANH = (
    -5.70498872745e-3,
    2.06390887954e-2,
    -5.37397155531e-2,
    1.33314422036e-1,
    -3.33332819422e-1,
)

#: erf(x) / x for x below 1, in the square of x.
_ERF_NEAR = (
    7.8472591e-5,
    -8.00818932e-4,
    5.18809889e-3,
    -2.68536911e-2,
    1.12835822e-1,
    -3.76126256e-1,
    1.12837917,
)
#: The logarithm of 1 - erf(x) for x in 1..4, negated. At 4, erf is 1 in float32.
_ERF_FAR = (
    -3.25598973e-7,
    4.77045172e-6,
    -8.44748266e-6,
    -3.33851686e-4,
    3.96674069e-3,
    -2.48713532e-2,
    1.08115327e-1,
    6.33384936e-1,
    1.1295304,
    -1.82682155e-4,
)

#: From here on the result is infinity; below, it is less than 1.7e-38 and becomes 0.
_HIGHEST, _LOWEST = 89.0, -86.9

#: ln 2 as a short number, whose multiples are exact, and the rest.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4

#: Bits of float32's fraction, and the bias of its exponent.
_FRACTION, _BIAS = 23, 127


def _float(value: float) -> tirx.Expr:
    return tirx.FloatImm("float32", value)


def _polynomial(coefficients: tuple[float, ...], x: tirx.Expr) -> tirx.Expr:
    result = _float(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + _float(coefficient)
    return result


def _let(name: str, value: tirx.Expr, body: Callable[[tirx.Expr], tirx.Expr]) -> tirx.Expr:
    # Bound, not copied: each use in a formula would otherwise compute its operand again.
    var = tirx.Var(name, "float32")
    return tirx.Let(var, value, body(var))


def exp(x: tirx.Expr) -> tirx.Expr:
    """Return e to the power of a float32 expression; infinities and NaN as IEEE wants them."""

    def with_argument(x: tirx.Expr) -> tirx.Expr:
        # In this order of operands NaN passes both.
        inside = tirx.max(_float(_LOWEST), tirx.min(_float(_HIGHEST), x))

        def with_exponent(n: tirx.Expr) -> tirx.Expr:
            rest = inside - n * _float(_LN2_HIGH) - n * _float(_LN2_LOW)

            def with_rest(r: tirx.Expr) -> tirx.Expr:
                fraction = _polynomial(_EXP, r) * r * r + r + _float(1)
                # The largest power alone would already be infinity.
                half = _power_of_two(n.astype("int32") - tirx.IntImm("int32", 1))
                return (fraction + fraction) * half

            return _let("rest", rest, with_rest)

        value = _let(
            "n", tirx.floor(inside * _float(math.log2(math.e)) + _float(0.5)), with_exponent
        )
        return tirx.Select(x < _float(_LOWEST), _float(0.0), value)

    return _let("x", x, with_argument)


def _power_of_two(n: tirx.Expr) -> tirx.Expr:
    shifted = (n + tirx.IntImm("int32", _BIAS)) << tirx.IntImm("int32", _FRACTION)
    return tirx.reinterpret("float32", shifted)


def sigmoid(x: tirx.Expr) -> tirx.Expr:
    """Return the logistic function of a float32 expression."""
    return _float(1) / (_float(1) + exp(_float(0) - x))


def tanh(x: tirx.Expr) -> tirx.Expr:
    """Return the hyperbolic tangent of a float32 expression."""

    def with_argument(x: tirx.Expr) -> tirx.Expr:
        square = x * x
        near = _polynomial(_TANH, square) * square * x + x
        far = _float(1) - _float(2) / (exp(x + x) + _float(1))
        # Near 0 the second form would cancel.
        return tirx.Select(tirx.abs(x) < _float(0.625), near, far)

    return _let("x", x, with_argument)


def erf(x: tirx.Expr) -> tirx.Expr:
    """Return the error function of a float32 expression."""

    def with_argument(x: tirx.Expr) -> tirx.Expr:
        near = x * _polynomial(_ERF_NEAR, x * x)
        size = tirx.min(_float(4), tirx.abs(x))
        far = _float(1) - exp(_float(0) - _polynomial(_ERF_FAR, size))
        signed = tirx.Select(x < _float(0), _float(0) - far, far)
        return tirx.Select(tirx.abs(x) < _float(1), near, signed)

    return _let("x", x, with_argument)


def gelu(x: tirx.Expr) -> tirx.Expr:
    """Return the Gaussian error linear unit of a float32 expression."""
    return x * (_float(0.5) + _float(0.5) * erf(x * _float(math.sqrt(0.5))))


def _elementwise(
    function: Callable[[tirx.Expr], tirx.Expr], name: str
) -> Callable[..., relax.Expr]:
    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        def compute(x: te.Tensor) -> te.Tensor:
            return te.compute(x.shape, lambda *at: function(x(*at)), name=name)

        return builder.call_te(compute, call.args[0], primfunc_name_hint=name)

    return legalize


#: A row without a divisor between these is padded to a multiple of the second for its reductions.
_LEAST, _MOST = 4, 32


def _row_of_vectors(length: tirx.Expr) -> tirx.Expr | int:
    """The length of a row with padding, if it could not be reduced in vectors without."""
    if not isinstance(length, int | tirx.IntImm) or int(length) < _MOST:
        return length
    if any(int(length) % number == 0 for number in range(_LEAST, _MOST + 1)):
        return length
    return -(-int(length) // _MOST) * _MOST


def _softmax(
    builder: relax.BlockBuilder, call: relax.Call, logarithmic: bool = False
) -> relax.Expr:
    rank = len(call.args[0].ty.shape)
    axis = int(call.attrs.axis) % rank

    def compute(x: te.Tensor) -> te.Tensor:
        rest = [extent for place, extent in enumerate(x.shape) if place != axis]

        def whole(at: tuple[tirx.Expr, ...], k: tirx.Expr) -> tuple[tirx.Expr, ...]:
            return (*at[:axis], k, *at[axis:])

        def others(at: tuple[tirx.Expr, ...]) -> tuple[tirx.Expr, ...]:
            return (*at[:axis], *at[axis + 1 :])

        length, padded = x.shape[axis], _row_of_vectors(x.shape[axis])

        def within(k: tirx.Expr, value: tirx.Expr, otherwise: float) -> tirx.Expr:
            """Behind the end of a row there is what changes nothing."""
            if padded is length:
                return value
            return tirx.if_then_else(k < length, value, _float(otherwise))

        k = te.reduce_axis((0, padded), "k")
        highest = te.compute(
            rest,
            lambda *at: te.max(within(k, x(*whole(at, k)), float("-inf")), axis=k),
            name="highest",
        )
        powers = te.compute(x.shape, lambda *at: exp(x(*at) - highest(*others(at))), name="powers")
        j = te.reduce_axis((0, padded), "j")
        total = te.compute(
            rest,
            lambda *at: te.sum(within(j, powers(*whole(at, j)), 0.0), axis=j),
            name="total",
        )
        if logarithmic:
            shift = te.compute(rest, lambda *at: te.log(total(*at)), name="shift")
            return te.compute(
                x.shape,
                lambda *at: x(*at) - highest(*others(at)) - shift(*others(at)),
                name="log_softmax",
            )
        # One division a row.
        scale = te.compute(rest, lambda *at: _float(1) / total(*at), name="scale")
        return te.compute(x.shape, lambda *at: powers(*at) * scale(*others(at)), name="softmax")

    name = "log_softmax" if logarithmic else "softmax"
    return builder.call_te(compute, call.args[0], primfunc_name_hint=name)


def _for_float32(
    operation: str, ours: Callable[..., relax.Expr]
) -> Callable[[relax.BlockBuilder, relax.Call], relax.Expr]:
    """Use `ours` for float32, and TVM's own legalisation for other dtypes."""

    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        if str(call.args[0].ty.dtype) == "float32" and len(call.args[0].ty.shape) > 0:
            return ours(builder, call)
        return tvm.ir.Op.get(operation).get_attr("FLegalize")(builder, call)

    return legalize


#: For `relax.transform.LegalizeOps`.
LEGALIZATIONS = {
    name: _for_float32(name, ours)
    for name, ours in (
        ("relax.exp", _elementwise(exp, "exp")),
        ("relax.sigmoid", _elementwise(sigmoid, "sigmoid")),
        ("relax.tanh", _elementwise(tanh, "tanh")),
        ("relax.nn.silu", _elementwise(lambda x: x * sigmoid(x), "silu")),
        ("relax.erf", _elementwise(erf, "erf")),
        ("relax.nn.gelu", _elementwise(gelu, "gelu")),
        ("relax.nn.softmax", _softmax),
        ("relax.nn.log_softmax", functools.partial(_softmax, logarithmic=True)),
    )
}
