"""Conversions from ATen to Relax that TVM's front end lacks, or has with another meaning.

TVM's front end takes the dtype of a scalar from the tensor beside it, ignores ``alpha``, reads
negative indices as they are, and computes every product in float32. The conversions here take the
dtypes from torch's own description of each result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from tvm import relax

from dyncc.backends.tvm import indexing
from dyncc.backends.tvm.nodes import (
    Converter,
    Node,
    argument_of,
    cast,
    dtype_name,
    meta_of,
    read,
    result_dtype,
)

_Op: TypeAlias = Callable[..., relax.Expr]


def _arithmetic(op: _Op, on_bool: _Op | None = None, alpha: bool = False) -> Converter:
    """Both operands in the result's dtype; `on_bool` is what the operation is on booleans."""

    def convert(node: Node, importer: Any) -> relax.Expr:
        dtype = result_dtype(node)
        left, right = (read(argument, importer, dtype) for argument in node.args[:2])
        factor = argument_of(node, 2, "alpha", 1) if alpha else 1
        if factor != 1:
            right = importer.block_builder.emit(
                relax.op.multiply(right, relax.const(factor, dtype))
            )
        if dtype == "bool":
            if on_bool is None:
                raise TypeError(f"{node.target} has no meaning on booleans here")
            return importer.block_builder.emit(on_bool(left, right))
        return importer.block_builder.emit(op(left, right))

    return convert


def _reversed_subtraction(node: Node, importer: Any) -> relax.Expr:
    dtype = result_dtype(node)
    taken, base = (read(argument, importer, dtype) for argument in node.args[:2])
    factor = argument_of(node, 2, "alpha", 1)
    if factor != 1:
        taken = importer.block_builder.emit(relax.op.multiply(taken, relax.const(factor, dtype)))
    return importer.block_builder.emit(relax.op.subtract(base, taken))


def _comparison(op: _Op) -> Converter:
    def convert(node: Node, importer: Any) -> relax.Expr:
        common = dtype_name(torch.result_type(*map(meta_of, node.args[:2])))
        # LLVM has no comparison for the one-bit type of TVM's booleans.
        left, right = (
            cast(read(argument, importer, common), importer, "int32")
            if common == "bool"
            else read(argument, importer, common)
            for argument in node.args[:2]
        )
        return importer.block_builder.emit(op(left, right))

    return convert


def _logical(op: _Op) -> Converter:
    def convert(node: Node, importer: Any) -> relax.Expr:
        return importer.block_builder.emit(
            op(*(read(argument, importer, "bool") for argument in node.args))
        )

    return convert


def _divide_with_mode(node: Node, importer: Any) -> relax.Expr:
    dtype = result_dtype(node)
    mode = argument_of(node, 2, "rounding_mode")
    left, right = (read(argument, importer, dtype) for argument in node.args[:2])
    emit = importer.block_builder.emit
    if mode == "floor":
        return emit(relax.op.floor_divide(left, right))
    quotient = emit(relax.op.divide(left, right))
    # An integer division in TVM truncates already.
    return emit(relax.op.trunc(quotient)) if mode == "trunc" and "float" in dtype else quotient


def _clamp(low: tuple[int, str] | None, high: tuple[int, str] | None) -> Converter:
    def convert(node: Node, importer: Any) -> relax.Expr:
        dtype = result_dtype(node)
        value = read(node.args[0], importer, dtype)
        for place, op in ((low, relax.op.maximum), (high, relax.op.minimum)):
            bound = None if place is None else argument_of(node, *place)
            if bound is not None and not (isinstance(bound, float) and math.isinf(bound)):
                value = importer.block_builder.emit(op(value, read(bound, importer, dtype)))
        return value

    return convert


def _axes(axes: Any) -> list[int] | None:
    """Return axes as a list; None and the empty list both mean all."""
    if isinstance(axes, int):
        return [axes]
    return list(axes) if axes else None


def _reduction(op: _Op, through: str | None = None) -> Converter:
    """A reduction over axes; `through` is the dtype that booleans take on the way."""

    def convert(node: Node, importer: Any) -> relax.Expr:
        dtype = result_dtype(node)
        value = importer.env[node.args[0]]
        if through is not None:
            value = cast(cast(value, importer, "bool"), importer, through)
        elif op is not relax.op.max and op is not relax.op.min:
            value = cast(value, importer, dtype)
        keep = bool(argument_of(node, 2, "keepdim", False))
        axes = _axes(argument_of(node, 1, "dim"))
        result = importer.block_builder.emit(op(value, axes, keep))
        return cast(result, importer, dtype)

    return convert


def _cumulative_sum(node: Node, importer: Any) -> relax.Expr:
    dtype = result_dtype(node)
    value = read(node.args[0], importer, dtype)
    return importer.block_builder.emit(relax.op.cumsum(value, int(node.args[1]), dtype))


def _stable_sort(node: Node, importer: Any) -> relax.Expr:
    """Values and places, equal values in their order: so does TVM's sort on the CPU."""
    dim = argument_of(node, 2, "dim", -1)
    descending = argument_of(node, 3, "descending", False)
    values = importer.env[node.args[0]]
    places = importer.block_builder.emit(relax.op.argsort(values, dim, descending, "int64"))
    ordered = importer.block_builder.emit(relax.op.gather_elements(values, places, axis=dim))
    return importer.block_builder.emit(relax.Tuple([ordered, places]))


def _extremum_along(values: _Op, places: _Op) -> Converter:
    def convert(node: Node, importer: Any) -> relax.Expr:
        value = importer.env[node.args[0]]
        axis, keep = int(node.args[1]), bool(argument_of(node, 2, "keepdim", False))
        emit = importer.block_builder.emit
        return emit(relax.Tuple([emit(values(value, axis, keep)), emit(places(value, axis, keep))]))

    return convert


def _variance(with_mean: bool) -> Converter:
    def convert(node: Node, importer: Any) -> relax.Expr:
        value = importer.env[node.args[0]]
        shape = node.args[0].meta["val"].shape
        axes = _axes(argument_of(node, 1, "dim")) or list(range(len(shape)))
        correction = argument_of(node, 2, "correction", 1)
        keep = bool(argument_of(node, 3, "keepdim", False))
        count = math.prod(int(shape[axis]) for axis in axes)
        emit = importer.block_builder.emit
        dtype = str(value.ty.dtype)
        centred = emit(relax.op.subtract(value, emit(relax.op.mean(value, axes, True))))
        squares = emit(relax.op.sum(emit(relax.op.multiply(centred, centred)), axes, keep))
        freedom = count - (1 if correction is None else correction)
        scale = 1 / freedom if freedom > 0 else math.inf
        variance = emit(relax.op.multiply(squares, relax.const(scale, dtype)))
        if not with_mean:
            return variance
        return emit(relax.Tuple([variance, emit(relax.op.mean(value, axes, keep))]))

    return convert


def _matmul(node: Node, importer: Any) -> relax.Expr:
    dtype = result_dtype(node)
    return importer.block_builder.emit(
        relax.op.matmul(*(read(argument, importer, dtype) for argument in node.args[:2]))
    )


def _add_matmul(node: Node, importer: Any) -> relax.Expr:
    """``beta * input + alpha * (a @ b)``."""
    dtype = result_dtype(node)
    emit = importer.block_builder.emit
    offset, left, right = (read(argument, importer, dtype) for argument in node.args[:3])
    product = emit(relax.op.matmul(left, right))
    alpha, beta = node.kwargs.get("alpha", 1), node.kwargs.get("beta", 1)
    if alpha != 1:
        product = emit(relax.op.multiply(product, relax.const(alpha, dtype)))
    if beta == 0:
        return product
    if beta != 1:
        offset = emit(relax.op.multiply(offset, relax.const(beta, dtype)))
    return emit(relax.op.add(product, offset))


def _exp2(node: Node, importer: Any) -> relax.Expr:
    dtype = result_dtype(node)
    value = read(node.args[0], importer, dtype)
    return importer.block_builder.emit(relax.op.power(relax.const(2, dtype), value))


def _hypotenuse(node: Node, importer: Any) -> relax.Expr:
    dtype = result_dtype(node)
    emit = importer.block_builder.emit
    squares = [emit(relax.op.square(read(argument, importer, dtype))) for argument in node.args[:2]]
    return emit(relax.op.sqrt(emit(relax.op.add(*squares))))


def _elu(node: Node, importer: Any) -> relax.Expr:
    """``scale * (max(x, 0) + alpha * (exp(input_scale * min(x, 0)) - 1))``, also for selu."""
    dtype = result_dtype(node)
    emit = importer.block_builder.emit
    value = read(node.args[0], importer, dtype)
    alpha, scale, input_scale = (
        relax.const(float(argument_of(node, place, name, 1.0)), dtype)
        for place, name in ((1, "alpha"), (2, "scale"), (3, "input_scale"))
    )
    zero, one = relax.const(0, dtype), relax.const(1, dtype)
    below = emit(relax.op.multiply(emit(relax.op.minimum(value, zero)), input_scale))
    curve = emit(relax.op.subtract(emit(relax.op.exp(below)), one))
    curve = emit(relax.op.multiply(curve, alpha))
    whole = emit(relax.op.add(emit(relax.op.maximum(value, zero)), curve))
    return emit(relax.op.multiply(whole, scale))


def _each(names: Sequence[str], converter: Converter) -> dict[str, Converter]:
    return dict.fromkeys(names, converter)


def _both(name: str, converter: Converter) -> dict[str, Converter]:
    return _each((f"{name}.Tensor", f"{name}.Scalar"), converter)


#: By the front end's name of an operation (ATen's without the namespace).
CONVERTERS: dict[str, Converter] = {
    **_both("add", _arithmetic(relax.op.add, relax.op.logical_or, alpha=True)),
    **_both("sub", _arithmetic(relax.op.subtract, alpha=True)),
    **_both("mul", _arithmetic(relax.op.multiply, relax.op.logical_and)),
    **_both("div", _arithmetic(relax.op.divide)),
    **_each(("div.Tensor_mode", "div.Scalar_mode"), _divide_with_mode),
    **_each(("floor_divide.default", "floor_divide.Scalar"), _arithmetic(relax.op.floor_divide)),
    **_both("remainder", _arithmetic(relax.op.floor_mod)),
    **_both("rsub", _reversed_subtraction),
    **_each(("maximum.default", "max.other"), _arithmetic(relax.op.maximum, relax.op.logical_or)),
    **_each(("minimum.default", "min.other"), _arithmetic(relax.op.minimum, relax.op.logical_and)),
    **_both("bitwise_left_shift", _arithmetic(relax.op.left_shift)),
    **_both("bitwise_right_shift", _arithmetic(relax.op.right_shift)),
    **_both("__lshift__", _arithmetic(relax.op.left_shift)),
    **_both("__rshift__", _arithmetic(relax.op.right_shift)),
    **_both("eq", _comparison(relax.op.equal)),
    **_both("ne", _comparison(relax.op.not_equal)),
    **_both("lt", _comparison(relax.op.less)),
    **_both("le", _comparison(relax.op.less_equal)),
    **_both("gt", _comparison(relax.op.greater)),
    **_both("ge", _comparison(relax.op.greater_equal)),
    "logical_and.default": _logical(relax.op.logical_and),
    "logical_or.default": _logical(relax.op.logical_or),
    "logical_xor.default": _logical(relax.op.logical_xor),
    "logical_not.default": _logical(relax.op.logical_not),
    **_each(("clamp.default", "clamp.Tensor"), _clamp((1, "min"), (2, "max"))),
    **_each(("clamp_min.default", "clamp_min.Tensor"), _clamp((1, "min"), None)),
    **_each(("clamp_max.default", "clamp_max.Tensor"), _clamp(None, (1, "max"))),
    "select.int": indexing.select,
    **_each(("embedding.default", "index_select.default"), indexing.take),
    "index.Tensor": indexing.index,
    **_each(("index_put.default", "_unsafe_index_put.default"), indexing.index_put),
    "scatter_add.default": indexing.scatter_add,
    **_each(("any.default", "any.dim", "any.dims"), _reduction(relax.op.max, "int32")),
    **_each(("all.default", "all.dim", "all.dims"), _reduction(relax.op.min, "int32")),
    "amax.default": _reduction(relax.op.max),
    "amin.default": _reduction(relax.op.min),
    **_each(("prod.default", "prod.dim_int"), _reduction(relax.op.prod)),
    "cumsum.default": _cumulative_sum,
    "sort.stable": _stable_sort,
    "max.dim": _extremum_along(relax.op.max, relax.op.argmax),
    "min.dim": _extremum_along(relax.op.min, relax.op.argmin),
    "var.correction": _variance(with_mean=False),
    "var_mean.correction": _variance(with_mean=True),
    **_each(("mm.default", "bmm.default", "matmul.default"), _matmul),
    **_each(("addmm.default", "baddbmm.default"), _add_matmul),
    "exp2.default": _exp2,
    "hypot.default": _hypotenuse,
    **_each(("elu.default",), _elu),
}
