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
from torch import Tensor, fx
from tvm import relax, te, tirx

#: An `fx.Node`; torch types its arguments as a union of nearly everything.
Node: TypeAlias = Any

#: Translates a node; the importer holds the values of earlier nodes and the block builder.
Converter: TypeAlias = Callable[[Node, Any], relax.Expr]

_Op: TypeAlias = Callable[..., relax.Expr]


def dtype_name(dtype: torch.dtype) -> str:
    """Return TVM's name of a torch dtype."""
    return str(dtype).removeprefix("torch.")


def _result_dtype(node: Node) -> str:
    return dtype_name(node.meta["val"].dtype)


def _result_shape(node: Node) -> list[int]:
    return [int(extent) for extent in node.meta["val"].shape]


def _argument(node: Node, position: int, name: str, default: Any = None) -> Any:
    """Return an argument given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _read(argument: Any, importer: Any, dtype: str) -> relax.Expr:
    """Return an argument as a tensor expression of a given dtype."""
    if isinstance(argument, fx.Node):
        argument = importer.env[argument]
    if not isinstance(argument, relax.Expr):
        return relax.const(argument, dtype)
    return _cast(argument, importer, dtype)


def _cast(value: relax.Expr, importer: Any, dtype: str) -> relax.Expr:
    if str(value.ty.dtype) == dtype:
        return value
    if dtype == "bool":
        zero = relax.const(0, str(value.ty.dtype))
        return importer.block_builder.emit(relax.op.not_equal(value, zero))
    return importer.block_builder.emit(relax.op.astype(value, dtype))


def _meta(argument: Any) -> Any:
    return argument.meta["val"] if isinstance(argument, fx.Node) else argument


def _arithmetic(op: _Op, on_bool: _Op | None = None, alpha: bool = False) -> Converter:
    """Both operands in the result's dtype; `on_bool` is what the operation is on booleans."""

    def convert(node: Node, importer: Any) -> relax.Expr:
        dtype = _result_dtype(node)
        left, right = (_read(argument, importer, dtype) for argument in node.args[:2])
        factor = _argument(node, 2, "alpha", 1) if alpha else 1
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
    dtype = _result_dtype(node)
    taken, base = (_read(argument, importer, dtype) for argument in node.args[:2])
    factor = _argument(node, 2, "alpha", 1)
    if factor != 1:
        taken = importer.block_builder.emit(relax.op.multiply(taken, relax.const(factor, dtype)))
    return importer.block_builder.emit(relax.op.subtract(base, taken))


def _comparison(op: _Op) -> Converter:
    def convert(node: Node, importer: Any) -> relax.Expr:
        common = dtype_name(torch.result_type(*map(_meta, node.args[:2])))
        # LLVM has no comparison for the one-bit type of TVM's booleans.
        left, right = (
            _cast(_read(argument, importer, common), importer, "int32")
            if common == "bool"
            else _read(argument, importer, common)
            for argument in node.args[:2]
        )
        return importer.block_builder.emit(op(left, right))

    return convert


def _logical(op: _Op) -> Converter:
    def convert(node: Node, importer: Any) -> relax.Expr:
        return importer.block_builder.emit(
            op(*(_read(argument, importer, "bool") for argument in node.args))
        )

    return convert


def _divide_with_mode(node: Node, importer: Any) -> relax.Expr:
    dtype = _result_dtype(node)
    mode = _argument(node, 2, "rounding_mode")
    left, right = (_read(argument, importer, dtype) for argument in node.args[:2])
    emit = importer.block_builder.emit
    if mode == "floor":
        return emit(relax.op.floor_divide(left, right))
    quotient = emit(relax.op.divide(left, right))
    # An integer division in TVM truncates already.
    return emit(relax.op.trunc(quotient)) if mode == "trunc" and "float" in dtype else quotient


def _clamp(low: tuple[int, str] | None, high: tuple[int, str] | None) -> Converter:
    def convert(node: Node, importer: Any) -> relax.Expr:
        dtype = _result_dtype(node)
        value = _read(node.args[0], importer, dtype)
        for place, op in ((low, relax.op.maximum), (high, relax.op.minimum)):
            bound = None if place is None else _argument(node, *place)
            if bound is not None and not (isinstance(bound, float) and math.isinf(bound)):
                value = importer.block_builder.emit(op(value, _read(bound, importer, dtype)))
        return value

    return convert


def _select(node: Node, importer: Any) -> relax.Expr:
    value = importer.env[node.args[0]]
    axis, index = (int(argument) for argument in node.args[1:3])
    shape = node.args[0].meta["val"].shape
    axis %= len(shape)
    start = index if index >= 0 else int(shape[axis]) + index
    emit = importer.block_builder.emit
    part = emit(relax.op.strided_slice(value, [axis], [start], [start + 1], assume_inbound=True))
    return emit(relax.op.squeeze(part, [axis]))


def _take(node: Node, importer: Any) -> relax.Expr:
    """``table[:, indices]`` along an axis, the indices kept inside the table."""
    if node.target is torch.ops.aten.embedding.default:
        table, indices, axis = node.args[0], node.args[1], 0
    else:
        table, axis, indices = node.args[0], int(node.args[1]), node.args[2]
    return _gather(table, {axis % table.meta["val"].dim(): indices}, node, importer)


def _index(node: Node, importer: Any) -> relax.Expr:
    places = {axis: index for axis, index in enumerate(node.args[1]) if index is not None}
    return _gather(node.args[0], places, node, importer)


def _gather(table: Node, places: dict[int, Node], node: Node, importer: Any) -> relax.Expr:
    """Index some axes of a table by tensors that are broadcast against each other."""
    if any(index.meta["val"].dtype == torch.bool for index in places.values()):
        raise TypeError("a boolean mask as an index gives a shape that depends on data")
    source = table.meta["val"]
    common = torch.broadcast_shapes(*(index.meta["val"].shape for index in places.values()))
    axes = sorted(places)
    adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
    # As in NumPy: the common axes stand in the place of adjacent ones, and else come first.
    front = axes[0] if adjacent else 0

    def compute(values: te.Tensor, *indices: te.Tensor) -> te.Tensor:
        def element(*at: tirx.Expr) -> tirx.Expr:
            chosen = at[front : front + len(common)]
            rest = iter((*at[:front], *at[front + len(common) :]))
            position = []
            for axis in range(source.dim()):
                if axis not in places:
                    position.append(next(rest))
                    continue
                index = indices[axes.index(axis)]
                own = chosen[len(common) - len(index.shape) :]
                found = index(
                    *(
                        0 if _is_one(extent) else i
                        for i, extent in zip(own, index.shape, strict=True)
                    )
                )
                limit = tirx.IntImm(index.dtype, int(source.shape[axis]))
                found = tirx.Select(found < 0, found + limit, found)
                # Out of range torch raises; compiled code must at least not leave the table.
                zero = tirx.IntImm(index.dtype, 0)
                found = tirx.max(zero, tirx.min(found, limit - 1))
                position.append(found.astype("int64"))
            return values(*position)

        return te.compute(_result_shape(node), element, name="gather")

    return importer.block_builder.emit_te(
        compute,
        importer.env[table],
        *(importer.env[places[axis]] for axis in axes),
        primfunc_name_hint="gather",
    )


def _is_one(extent: Any) -> bool:
    return isinstance(extent, (int, tirx.IntImm)) and int(extent) == 1


def _index_put(node: Node, importer: Any) -> relax.Expr:
    table, indices, values = node.args[:3]
    count = len(indices)
    if any(index is None or index.meta["val"].dtype == torch.bool for index in indices):
        raise TypeError("index_put takes integer indices of the leading axes only")
    emit = importer.block_builder.emit
    source = table.meta["val"]
    common = torch.broadcast_shapes(*(index.meta["val"].shape for index in indices))
    columns = []
    for axis, index in enumerate(indices):
        flat = _read(index, importer, "int64")
        extent = relax.const(int(source.shape[axis]), "int64")
        flat = emit(relax.op.floor_mod(flat, extent))
        flat = emit(relax.op.broadcast_to(flat, list(common)))
        columns.append(emit(relax.op.expand_dims(flat, len(common))))
    places = emit(relax.op.concat(columns, len(common)))
    shape = [*common, *source.shape[count:]]
    updates = emit(relax.op.broadcast_to(_read(values, importer, _result_dtype(node)), shape))
    accumulate = bool(_argument(node, 3, "accumulate", False))
    reduction = "add" if accumulate else "update"
    return emit(relax.op.scatter_nd(importer.env[table], places, updates, reduction))


def _scatter_add(node: Node, importer: Any) -> relax.Expr:
    table, axis, index, source = node.args
    return importer.block_builder.emit(
        relax.op.scatter_elements(
            importer.env[table], importer.env[index], importer.env[source], int(axis), "add"
        )
    )


def _axes(axes: Any) -> list[int] | None:
    """Return axes as a list; None and the empty list both mean all."""
    if isinstance(axes, int):
        return [axes]
    return list(axes) if axes else None


def _reduction(op: _Op, through: str | None = None) -> Converter:
    """A reduction over axes; `through` is the dtype that booleans take on the way."""

    def convert(node: Node, importer: Any) -> relax.Expr:
        dtype = _result_dtype(node)
        value = importer.env[node.args[0]]
        if through is not None:
            value = _cast(_cast(value, importer, "bool"), importer, through)
        elif op is not relax.op.max and op is not relax.op.min:
            value = _cast(value, importer, dtype)
        keep = bool(_argument(node, 2, "keepdim", False))
        axes = _axes(_argument(node, 1, "dim"))
        result = importer.block_builder.emit(op(value, axes, keep))
        return _cast(result, importer, dtype)

    return convert


def _extremum_along(values: _Op, places: _Op) -> Converter:
    def convert(node: Node, importer: Any) -> relax.Expr:
        value = importer.env[node.args[0]]
        axis, keep = int(node.args[1]), bool(_argument(node, 2, "keepdim", False))
        emit = importer.block_builder.emit
        return emit(relax.Tuple([emit(values(value, axis, keep)), emit(places(value, axis, keep))]))

    return convert


def _variance(with_mean: bool) -> Converter:
    def convert(node: Node, importer: Any) -> relax.Expr:
        value = importer.env[node.args[0]]
        shape = node.args[0].meta["val"].shape
        axes = _axes(_argument(node, 1, "dim")) or list(range(len(shape)))
        correction = _argument(node, 2, "correction", 1)
        keep = bool(_argument(node, 3, "keepdim", False))
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
    dtype = _result_dtype(node)
    return importer.block_builder.emit(
        relax.op.matmul(*(_read(argument, importer, dtype) for argument in node.args[:2]))
    )


def _add_matmul(node: Node, importer: Any) -> relax.Expr:
    """``beta * input + alpha * (a @ b)``."""
    dtype = _result_dtype(node)
    emit = importer.block_builder.emit
    offset, left, right = (_read(argument, importer, dtype) for argument in node.args[:3])
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
    dtype = _result_dtype(node)
    value = _read(node.args[0], importer, dtype)
    return importer.block_builder.emit(relax.op.power(relax.const(2, dtype), value))


def _hypotenuse(node: Node, importer: Any) -> relax.Expr:
    dtype = _result_dtype(node)
    emit = importer.block_builder.emit
    squares = [
        emit(relax.op.square(_read(argument, importer, dtype))) for argument in node.args[:2]
    ]
    return emit(relax.op.sqrt(emit(relax.op.add(*squares))))


def _elu(node: Node, importer: Any) -> relax.Expr:
    """``scale * (max(x, 0) + alpha * (exp(input_scale * min(x, 0)) - 1))``, also for selu."""
    dtype = _result_dtype(node)
    emit = importer.block_builder.emit
    value = _read(node.args[0], importer, dtype)
    alpha, scale, input_scale = (
        relax.const(float(_argument(node, place, name, 1.0)), dtype)
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
    "select.int": _select,
    **_each(("embedding.default", "index_select.default"), _take),
    "index.Tensor": _index,
    **_each(("index_put.default", "_unsafe_index_put.default"), _index_put),
    "scatter_add.default": _scatter_add,
    **_each(("any.default", "any.dim", "any.dims"), _reduction(relax.op.max, "int32")),
    **_each(("all.default", "all.dim", "all.dims"), _reduction(relax.op.min, "int32")),
    "amax.default": _reduction(relax.op.max),
    "amin.default": _reduction(relax.op.min),
    **_each(("prod.default", "prod.dim_int"), _reduction(relax.op.prod)),
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


def check_result(node: Node, result: Any) -> None:
    """Compare a translated node's type with torch's.

    Raises
    ------
    TypeError
        If they differ: the translation would be wrong without anyone noticing.
    """
    expected = node.meta.get("val")
    if not isinstance(expected, Tensor) or not isinstance(result, relax.Expr):
        return
    kind = result.ty
    if not isinstance(kind, relax.TensorType):
        return
    wanted = dtype_name(expected.dtype)
    same = str(kind.dtype) == wanted
    if isinstance(kind.shape, relax.ShapeExpr):
        extents = tuple(kind.shape)
        same &= len(extents) == expected.dim()
        for extent, size in zip(extents, expected.shape, strict=False):
            if isinstance(size, int) and isinstance(extent, (int, tirx.IntImm)):
                same &= int(extent) == size
    if not same:
        raise TypeError(
            f"TVM's front end makes {kind} of {node.target}, where torch makes "
            f"{wanted}{list(expected.shape)}"
        )
