"""The computations whose schedules are dyncc's own, on packed weights."""

from __future__ import annotations

from tvm import te, topi

from dyncc.backends.tvm.schedules.shapes import (
    CONV_CHANNELS,
    CONV_ROWS,
    MATMUL,
    PAD,
    ConvShape,
    MatmulShape,
    round_up,
)


def _padded_image(image: te.Tensor, conv: ConvShape) -> te.Tensor:
    top, left, bottom, right = conv.padding
    if not any(conv.padding):
        return image
    return topi.nn.pad(image, [0, 0, top, left], [0, 0, bottom, right], name=PAD)


def _axes(conv: ConvShape) -> tuple[te.IterVar, te.IterVar, te.IterVar]:
    return (
        te.reduce_axis((0, conv.inputs), "ic"),
        te.reduce_axis((0, conv.kernel[0]), "kh"),
        te.reduce_axis((0, conv.kernel[1]), "kw"),
    )


def convolution_by_rows(
    image: te.Tensor, weights: te.Tensor, conv: ConvShape, block: int
) -> te.Tensor:
    """Convolve with weights (O / block, I, KH, KW, block); the result is NCHW."""
    padded = _padded_image(image, conv)
    ic, kh, kw = _axes(conv)
    down, right = conv.stride
    return te.compute(
        (conv.batch, conv.outputs, conv.height, conv.width),
        lambda n, o, h, w: te.sum(
            padded[n, ic, h * down + kh, w * right + kw]
            * weights[o // block, ic, kh, kw, o % block],
            axis=[ic, kh, kw],
        ),
        name=CONV_ROWS,
    )


def convolution_by_channels(
    image: te.Tensor, weights: te.Tensor, conv: ConvShape, block: int
) -> te.Tensor:
    """As `convolution_by_rows`, through tiles whose last axis is a block of channels."""
    padded = _padded_image(image, conv)
    ic, kh, kw = _axes(conv)
    down, right = conv.stride
    blocks = round_up(conv.outputs, block) // block
    tiles = te.compute(
        (conv.batch, blocks, conv.height, conv.width, block),
        lambda n, oo, h, w, oi: te.sum(
            padded[n, ic, h * down + kh, w * right + kw] * weights[oo, ic, kh, kw, oi],
            axis=[ic, kh, kw],
        ),
        name=CONV_CHANNELS,
    )
    return te.compute(
        (conv.batch, conv.outputs, conv.height, conv.width),
        lambda n, o, h, w: tiles[n, o // block, h, w, o % block],
        name="unpack",
    )


def product(left: te.Tensor, weights: te.Tensor, matmul: MatmulShape, block: int) -> te.Tensor:
    """Multiply (rows, inner) by weights (columns / block, inner, block)."""
    k = te.reduce_axis((0, matmul.inner), "k")
    blocks = round_up(matmul.columns, block) // block
    tiles = te.compute(
        (matmul.rows, blocks, block),
        lambda i, jo, ji: te.sum(left[i, k] * weights[jo, k, ji], axis=k),
        name=MATMUL,
    )
    return te.compute(
        (matmul.rows, matmul.columns),
        lambda i, j: tiles[i, j // block, j % block],
        name="unpack",
    )
