"""Pooling in two steps: along columns, where neighbours are read as vectors, then along rows.

A window of 3x3 takes 6 reads for each result instead of 9, and only the second step has strides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import tvm
from tvm import relax, te, tirx

from dyncc.backends.tvm.packing import OUT_ELEMENTWISE_FUSABLE, static_shape
from dyncc.backends.tvm.schedules.shapes import PAD, POOL, POOL_COLUMNS

#: Rows or columns of a window; its elements are written one by one.
_MOST = 8


def _pool(
    image: te.Tensor, kernel: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int], result: tuple[int, ...], greatest: bool,
) -> te.Tensor:  # fmt: skip
    """Pool an NCHW image to the shape `result`; `padding` is that above and to the left."""
    height, width = int(image.shape[2]), int(image.shape[3])
    (down, right), (top, left) = stride, padding
    batch, channels, rows, columns = result
    beyond = (columns - 1) * right + kernel[1]
    nothing = tirx.const(float("-inf") if greatest else 0.0, "float32")
    join = tirx.max if greatest else lambda x, y: x + y

    def in_column(n: tirx.Expr, c: tirx.Expr, h: tirx.Expr, x: tirx.Expr) -> tirx.Expr:
        found = []
        for place in range(kernel[0]):
            row = h * down + (place - top)
            low, high = place - top, (rows - 1) * down + place - top
            if greatest and (low < 0 or high >= height):
                # The nearest row of the image is in the window as well.
                row = tirx.max(tirx.min(row, height - 1), 0)
            value = image[n, c, row, x]
            if not greatest and (low < 0 or high >= height):
                value = tirx.if_then_else(tirx.all(row >= 0, row < height), value, nothing)
            found.append(value)
        return reduce(join, found)

    heads = te.compute((batch, channels, rows, width), in_column, name=POOL_COLUMNS)
    if left > 0 or beyond - left > width:
        heads_of, first = heads, left
        heads = te.compute(
            (batch, channels, rows, beyond),
            lambda n, c, h, x: tirx.if_then_else(
                tirx.all(x >= first, x < first + width), heads_of[n, c, h, x - first], nothing
            ),
            name=PAD,
        )

    def in_row(n: tirx.Expr, c: tirx.Expr, h: tirx.Expr, w: tirx.Expr) -> tirx.Expr:
        found = reduce(join, [heads[n, c, h, w * right + place] for place in range(kernel[1])])
        return found if greatest else found * (1.0 / (kernel[0] * kernel[1]))

    return te.compute(result, in_row, name=POOL)


def _pair(extents: Sequence[Any]) -> tuple[int, int]:
    down, right = extents
    return int(down), int(right)


def _legalized(operation: str, greatest: bool) -> Callable[..., relax.Expr]:
    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        attrs, image = call.attrs, call.args[0]
        shape, result = static_shape(image), static_shape(call)
        top, left, bottom, right = (int(amount) for amount in attrs.padding)
        kernel, stride = _pair(attrs.pool_size), _pair(attrs.strides)
        padded = any((top, left, bottom, right))
        if (
            shape is None
            or result is None
            or (attrs.layout, attrs.out_layout) != ("NCHW", "NCHW")
            or str(image.ty.dtype) != "float32"
            or any(int(step) != 1 for step in attrs.dilation)
            or max(kernel) > _MOST
            or 0 in (*shape, *result)
            or top >= kernel[0]
            or left >= kernel[1]
            # Windows that begin beyond the image, or whose padding does not count.
            or (result[2] - 1) * stride[0] - top >= shape[2]
            or (result[3] - 1) * stride[1] - left >= shape[3]
            or not (greatest or (not attrs.ceil_mode and (attrs.count_include_pad or not padded)))
        ):
            return tvm.ir.Op.get(operation).get_attr("FLegalize")(builder, call)
        return builder.call_te(
            lambda x: _pool(x, kernel, stride, (top, left), result, greatest),
            image,
            primfunc_name_hint="pool",
            primfunc_attrs={"op_pattern": OUT_ELEMENTWISE_FUSABLE},
        )

    return legalize


#: For `relax.transform.LegalizeOps`.
LEGALIZATIONS = {
    name: _legalized(name, greatest)
    for name, greatest in (("relax.nn.max_pool2d", True), ("relax.nn.avg_pool2d", False))
}
