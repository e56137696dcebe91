"""The computations whose schedules are dyncc's own, on packed weights."""

from __future__ import annotations

from collections.abc import Callable

from tvm import te, tirx, topi

from dyncc.backends.tvm.schedules.shapes import (
    BATCHED,
    CONV_CHANNELS,
    CONV_ROWS,
    DEPTHWISE,
    DEPTHWISE_ROWS,
    MATMUL,
    OPERATOR,
    PAD,
    PANELS,
    PHASES,
    ConvShape,
    MatmulShape,
    round_up,
)


def _padded_image(image: te.Tensor, conv: ConvShape, rows: int = 0, columns: int = 0) -> te.Tensor:
    """Pad; with `rows` and `columns` to these extents, by zeros below and to the right."""
    top, left, bottom, right = conv.padding
    bottom = max(bottom, rows - top - int(image.shape[2]))
    right = max(right, columns - left - int(image.shape[3]))
    if not any((top, left, bottom, right)):
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
    ic, kh, kw = _axes(conv)
    down, right = conv.stride
    _, left, _, beyond = conv.padding
    padded = _padded_image(image, conv, 0, round_up(int(image.shape[3]) + left + beyond, right))
    if right > 1:
        # Columns apart by phase: neighbours of a result then read neighbours.
        batch, inputs, height, width = padded.shape
        phases = te.compute(
            (batch, inputs, right, height, width // right),
            lambda n, c, phase, h, w: padded[n, c, h, w * right + phase],
            name=PHASES,
        )

        def read(n: tirx.Expr, h: tirx.Expr, w: tirx.Expr) -> tirx.Expr:
            return phases[n, ic, kw % right, h, w + kw // right]
    else:

        def read(n: tirx.Expr, h: tirx.Expr, w: tirx.Expr) -> tirx.Expr:
            return padded[n, ic, h, w + kw]

    return te.compute(
        (conv.batch, conv.outputs, conv.height, conv.width),
        lambda n, o, h, w: te.sum(
            read(n, h * down + kh, w) * weights[o // block, ic, kh, kw, o % block],
            axis=[ic, kh, kw],
        ),
        name=CONV_ROWS,
        attrs={OPERATOR: conv.operator},
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
        attrs={OPERATOR: conv.operator},
    )
    return te.compute(
        (conv.batch, conv.outputs, conv.height, conv.width),
        lambda n, o, h, w: tiles[n, o // block, h, w, o % block],
        name="unpack",
    )


def _within(row: tirx.Expr, rows: int, padded: int) -> tirx.Expr:
    """A row that exists: what comes behind the last one is computed and dropped."""
    return row if rows == padded else tirx.min(row, rows - 1)


def product(
    left: te.Tensor, weights: te.Tensor, matmul: MatmulShape, block: int, tile: int
) -> te.Tensor:
    """Multiply (rows, inner) by weights (columns / block, inner, block), `tile` rows at a time."""
    k = te.reduce_axis((0, matmul.inner), "k")
    blocks = round_up(matmul.columns, block) // block
    padded = round_up(matmul.rows, tile)
    tiles = te.compute(
        (padded, blocks, block),
        lambda i, jo, ji: te.sum(
            left[_within(i, matmul.rows, padded), k] * weights[jo, k, ji], axis=k
        ),
        name=MATMUL,
        attrs={OPERATOR: matmul.operator},
    )
    return te.compute(
        (matmul.rows, matmul.columns),
        lambda i, j: tiles[i, j // block, j % block],
        name="unpack",
    )


def depthwise(image: te.Tensor, weights: te.Tensor, conv: ConvShape, lanes: int) -> te.Tensor:
    """Convolve each channel with weights (C, 1, KH, KW) of its own.

    The results of a channel are computed in one sequence whose rows are as long as the padded
    image's, so that vectors run across the ends of rows; what lies between the rows is dropped.
    Rows and columns are apart by phase where there is a stride.
    """
    down, right = conv.stride
    top, left, _, _ = conv.padding
    high, wide = conv.kernel
    pitch = max(conv.width + (wide - 1) // right, -(-(int(image.shape[3]) + left) // right))
    length = round_up((conv.height - 1) * pitch + conv.width, lanes)
    last = length - 1 + (high - 1) // down * pitch + (wide - 1) // right
    rows = max(last // pitch + 1, -(-(int(image.shape[2]) + top) // down))
    read = _windows(image, conv, rows, pitch)
    kh, kw = te.reduce_axis((0, high), "kh"), te.reduce_axis((0, wide), "kw")

    def entry(n: tirx.Expr, c: tirx.Expr, vector: tirx.Expr, lane: tirx.Expr) -> tirx.Expr:
        place = vector * lanes + lane + kw // right
        value = read(n, c, kh % down, kw % right, place // pitch + kh // down, place % pitch)
        return te.sum(value * weights[c, 0, kh, kw], axis=[kh, kw])

    shape = (conv.batch, conv.outputs, length // lanes, lanes)
    tiles = te.compute(shape, entry, name=DEPTHWISE)
    return te.compute(
        (conv.batch, conv.outputs, conv.height, conv.width),
        lambda n, c, h, w: tiles[n, c, (h * pitch + w) // lanes, (h * pitch + w) % lanes],
        name="unpack",
    )


def depthwise_by_rows(
    image: te.Tensor, weights: te.Tensor, conv: ConvShape, lanes: int
) -> te.Tensor:
    """As `depthwise`, with rows of whole vectors: what lies behind the end of each is dropped."""
    down, right = conv.stride
    high, wide = conv.kernel
    vectors = round_up(conv.width, lanes) // lanes
    rows, columns = conv.height + (high - 1) // down, vectors * lanes + (wide - 1) // right
    read = _windows(image, conv, rows, columns)
    kh, kw = te.reduce_axis((0, high), "kh"), te.reduce_axis((0, wide), "kw")

    def entry(
        n: tirx.Expr, c: tirx.Expr, h: tirx.Expr, vector: tirx.Expr, lane: tirx.Expr
    ) -> tirx.Expr:
        column = vector * lanes + lane + kw // right
        value = read(n, c, kh % down, kw % right, h + kh // down, column)
        return te.sum(value * weights[c, 0, kh, kw], axis=[kh, kw])

    shape = (conv.batch, conv.outputs, conv.height, vectors, lanes)
    tiles = te.compute(shape, entry, name=DEPTHWISE_ROWS)
    return te.compute(
        (conv.batch, conv.outputs, conv.height, conv.width),
        lambda n, c, h, w: tiles[n, c, h, w // lanes, w % lanes],
        name="unpack",
    )


def _windows(
    image: te.Tensor, conv: ConvShape, rows: int, columns: int
) -> Callable[..., tirx.Expr]:
    """Return what reads (n, c, phase of a row, phase of a column, row, column) of a padded image.

    Without a stride there is one phase; with one the phases are tensors of their own.
    """
    down, right = conv.stride
    padded = _padded_image(image, conv, rows * down, columns * right)
    if (down, right) == (1, 1):
        return lambda n, c, i, j, h, w: padded[n, c, h, w]
    phases = te.compute(
        (conv.batch, conv.outputs, down, right, rows, columns),
        lambda n, c, i, j, h, w: padded[n, c, h * down + i, w * right + j],
        name=PHASES,
    )
    return lambda *at: phases[at]


def batched_product(
    left: te.Tensor, right: te.Tensor, block: int, tile: int, *, transposed: bool
) -> te.Tensor:
    """Multiply (..., rows, inner) by (..., inner, columns), which is first laid out in panels.

    With `transposed` the second is given as (..., columns, inner). Panels are padded to `block`
    columns by zeros, and tiles to `tile` rows by the last row.
    """
    *batch, rows, inner = left.shape
    columns = int(right.shape[-2 if transposed else -1])
    count = -(-columns // block)

    def panel(*at: tirx.Expr) -> tirx.Expr:
        *b, jo, k, ji = at
        j = jo * block + ji
        value = right[(*b, j, k)] if transposed else right[(*b, k, j)]
        return value if columns % block == 0 else tirx.if_then_else(j < columns, value, 0.0)

    panels = te.compute((*batch, count, inner, block), panel, name=PANELS)
    k = te.reduce_axis((0, inner), "k")
    padded = round_up(int(rows), tile)

    def entry(*at: tirx.Expr) -> tirx.Expr:
        *b, i, jo, ji = at
        row = _within(i, int(rows), padded)
        return te.sum(left[(*b, row, k)] * panels[(*b, jo, k, ji)], axis=k)

    tiles = te.compute((*batch, padded, count, block), entry, name=BATCHED)
    return te.compute(
        (*batch, rows, columns),
        lambda *at: tiles[(*at[:-1], at[-1] // block, at[-1] % block)],
        name="unpack",
    )


def dot_products(left: te.Tensor, right: te.Tensor) -> te.Tensor:
    """Multiply (..., rows, inner) by the transposition of (..., columns, inner)."""
    *batch, rows, inner = left.shape
    k = te.reduce_axis((0, inner), "k")

    def entry(*at: tirx.Expr) -> tirx.Expr:
        *b, i, j = at
        return te.sum(left[(*b, i, k)] * right[(*b, j, k)], axis=k)

    return te.compute((*batch, rows, right.shape[-2]), entry, name="dot_products")
