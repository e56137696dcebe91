"""Exponential functions without branches or calls, which LLVM can vectorise.

The C library's `expf` takes one value at a time. These are polynomials of the usual kind (the
coefficients are those of S. Moshier's Cephes library, functions `expf` and `tanhf`); their error
stays within a few units in the last place of float32.
"""

from __future__ import annotations

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

#: Above, float32 overflows; below, the result is no normal number any more and becomes 0.
_HIGHEST, _LOWEST = 88.722831, -87.336544

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
        inside = tirx.max(tirx.min(x, _float(_HIGHEST)), _float(_LOWEST))

        def with_exponent(n: tirx.Expr) -> tirx.Expr:
            rest = inside - n * _float(_LN2_HIGH) - n * _float(_LN2_LOW)

            def with_rest(r: tirx.Expr) -> tirx.Expr:
                fraction = _polynomial(_EXP, r) * r * r + r + _float(1)
                # Two factors, since the largest exponent alone would already be infinity.
                half = (n * _float(0.5)).astype("int32")
                other = n.astype("int32") - half
                return fraction * _power_of_two(half) * _power_of_two(other)

            return _let("rest", rest, with_rest)

        value = _let(
            "n", tirx.floor(inside * _float(math.log2(math.e)) + _float(0.5)), with_exponent
        )
        value = tirx.Select(x > _float(_HIGHEST), _float(math.inf), value)
        value = tirx.Select(x < _float(_LOWEST), _float(0.0), value)
        return tirx.Select(tirx.isnan(x), x, value)

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


def _elementwise(
    function: Callable[[tirx.Expr], tirx.Expr], name: str
) -> Callable[..., relax.Expr]:
    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        def compute(x: te.Tensor) -> te.Tensor:
            return te.compute(x.shape, lambda *at: function(x(*at)), name=name)

        return builder.call_te(compute, call.args[0], primfunc_name_hint=name)

    return legalize


def _softmax(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    rank = len(call.args[0].ty.shape)
    axis = int(call.attrs.axis) % rank

    def compute(x: te.Tensor) -> te.Tensor:
        rest = [extent for place, extent in enumerate(x.shape) if place != axis]

        def whole(at: tuple[tirx.Expr, ...], k: tirx.Expr) -> tuple[tirx.Expr, ...]:
            return (*at[:axis], k, *at[axis:])

        def others(at: tuple[tirx.Expr, ...]) -> tuple[tirx.Expr, ...]:
            return (*at[:axis], *at[axis + 1 :])

        k = te.reduce_axis((0, x.shape[axis]), "k")
        highest = te.compute(rest, lambda *at: te.max(x(*whole(at, k)), axis=k), name="highest")
        powers = te.compute(x.shape, lambda *at: exp(x(*at) - highest(*others(at))), name="powers")
        j = te.reduce_axis((0, x.shape[axis]), "j")
        total = te.compute(rest, lambda *at: te.sum(powers(*whole(at, j)), axis=j), name="total")
        return te.compute(x.shape, lambda *at: powers(*at) / total(*others(at)), name="softmax")

    return builder.call_te(compute, call.args[0], primfunc_name_hint="softmax")


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
        ("relax.nn.softmax", _softmax),
    )
}
