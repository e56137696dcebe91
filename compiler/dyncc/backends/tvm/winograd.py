"""Convolution 3x3 by Winograd's minimal filtering: fewer multiplications for a tile of results.

A tile of m x m results needs (m + 2)^2 multiplications for each pair of channels instead of 9 m^2:
S. Winograd, "Arithmetic Complexity of Computations", SIAM 1980; A. Lavin, S. Gray, "Fast Algorithms
for Convolutional Neural Networks", CVPR 2016. The image is transformed tile by tile, each of the
(m + 2)^2 places is a product of matrices, and the results are transformed back. Weights are
transformed once, when a region is bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy
from tvm import te, tirx, topi

from dyncc.backends.tvm.knobs import pick
from dyncc.backends.tvm.recipes import Recipe
from dyncc.backends.tvm.schedules.shapes import (
    OPERATOR,
    PAD,
    PHASES,
    WINOGRAD,
    WINOGRAD_STEPS,
    ConvShape,
    accumulators,
    largest_divisor,
    round_up,
)
from dyncc.backends.tvm.target import Cpu

#: Where the polynomials of the algorithm are evaluated, by m, besides infinity. Those for m = 4 are
#: each other's inverses, which keeps the numbers of all three transforms near 1.
_POINTS = {
    2: (0.0, 1.0, -1.0),
    4: (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2)),
}

#: What a transform costs for each place of a tile and each row of its matrix, in multiplications
#: of the products: measured, with all that it reads and writes.
_TRANSFORM = 5

#: The part of a plain convolution's multiplications below which this one is faster for sure.
_GAIN = 0.85

#: Output channels that a tile of products must have.
_LEAST_BLOCK = 4


def grid(conv: ConvShape, size: int, lanes: int) -> tuple[int, int]:
    """Return how many rows and columns of tiles are computed.

    Columns divide a vector or are whole vectors, and all tiles together are whole vectors.
    """
    wide = -(-conv.width // size)
    while wide % lanes and lanes % wide:
        wide += 1
    return round_up(-(-conv.height // size) * wide, lanes) // wide, wide


def channels(conv: ConvShape, size: int, cpu: Cpu) -> int:
    """Return how many output channels a tile of products has."""
    rows, wide = grid(conv, size, cpu.lanes)
    vectors = largest_divisor(rows * wide // cpu.lanes, 2)
    return largest_divisor(conv.outputs, accumulators(cpu) // vectors)


def tile_size(conv: ConvShape, cpu: Cpu) -> int:
    """Return the extent of the tiles of results that repay best, 0 if none does."""
    if conv.kernel != (3, 3) or conv.stride != (1, 1):
        return 0
    costs = {0: _GAIN * 9 * conv.height * conv.width}
    for size in _POINTS:
        if channels(conv, size, cpu) >= _LEAST_BLOCK:
            places = size + 2
            transforms = _TRANSFORM * places * (1 / conv.inputs + 1 / conv.outputs)
            rows, wide = grid(conv, size, cpu.lanes)
            costs[size] = places**2 * rows * wide * (1 + transforms)
    return pick("winograd", min(costs, key=costs.__getitem__), costs)


def matrices(size: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return the transforms for tiles of `size` results, by the construction of Toom and Cook.

    Parameters
    ----------
    size
        2 or 4.

    Returns
    -------
    tuple of numpy.ndarray
        float64: of results (size, size + 2), of weights (size + 2, 3) and of the image
        (size + 2, size + 2). With them, ``results @ ((weights @ w) * (image @ x))`` is the
        correlation of x (size + 2) with w (3).
    """
    points = numpy.array(_POINTS[size])
    places = len(points) + 1
    results = numpy.zeros((size, places))
    results[:, :-1] = points ** numpy.arange(size)[:, None]
    results[-1, -1] = 1
    weights = numpy.zeros((places, 3))
    image = numpy.zeros((places, places))
    for place, point in enumerate(points):
        others = numpy.delete(points, place)
        weights[place] = point ** numpy.arange(3) / numpy.prod(point - others)
        image[place, :-1] = numpy.poly(others)[::-1]
    weights[-1, -1] = 1
    image[-1] = numpy.poly(points)[::-1]
    # Roots of the same polynomial cancel to what should be 0.
    image[abs(image) < 1e-12] = 0
    return results, weights, image


def layout_of_tiles(recipe: Recipe, conv: ConvShape, size: int, cpu: Cpu) -> Recipe:
    """Return the recipe of transformed weights, (size + 2, size + 2, O / block, I, block)."""
    _, forth, _ = matrices(size)
    places, block = size + 2, channels(conv, size, cpu)
    outputs, inputs = recipe.shape[:2]
    transformed = recipe.then(
        "windows", tuple(map(tuple, forth.tolist())), (places, places, outputs, inputs)
    )
    blocks = transformed.then("astype", "float32", transformed.shape).reshape(
        places, places, outputs // block, block, inputs
    )
    return blocks.transpose(0, 1, 2, 4, 3)


def _sum(coefficients: Sequence[float], values: Sequence[tirx.Expr]) -> tirx.Expr | None:
    total = None
    for coefficient, value in zip(coefficients, values, strict=True):
        if coefficient:
            scaled = value if coefficient == 1 else value * tirx.FloatImm("float32", coefficient)
            total = scaled if total is None else total + scaled
    return total


def _row(coefficients: Sequence[float], values: Sequence[tirx.Expr]) -> tirx.Expr:
    """Return a sum of products, from even and odd places.

    Two rows of points that differ in their sign have these two sums in common.
    """
    parts = []
    for parity in (0, 1):
        chosen = [float(number) for number in coefficients[parity::2]]
        first = next((number for number in chosen if number), 1.0)
        sign = math.copysign(1, first)
        parts.append((sign, _sum([sign * number for number in chosen], values[parity::2])))
    (even_sign, even), (odd_sign, odd) = parts
    if even is None or odd is None:
        sign, only = parts[0] if odd is None else parts[1]
        return only if sign > 0 else tirx.FloatImm("float32", 0) - only
    if even_sign > 0:
        return even + odd if odd_sign > 0 else even - odd
    return odd - even if odd_sign > 0 else tirx.FloatImm("float32", 0) - (even + odd)


def _by_row(matrix: numpy.ndarray, row: tirx.Expr, value: Callable[[int], tirx.Expr]) -> tirx.Expr:
    """Return a row of ``matrix @ values``; once the loop over rows is unrolled, nothing is left of
    the choice.
    """
    values = [value(place) for place in range(matrix.shape[1])]
    *rest, last = (_row(coefficients, values) for coefficients in matrix)
    for index, expression in reversed(list(enumerate(rest))):
        last = tirx.Select(row == index, expression, last)
    return last


def convolution_by_winograd(
    image: te.Tensor, weights: te.Tensor, conv: ConvShape, size: int, lanes: int
) -> te.Tensor:
    """Convolve with weights (size + 2, size + 2, O / block, I, block); the result is NCHW.

    Tiles are numbered row by row. As many are computed as fill vectors; those beyond the image are
    dropped. Columns of the image are apart by their place in a tile, so that neighbours are those
    of neighbouring tiles.
    """
    back, _, forth = matrices(size)
    places, block = size + 2, int(weights.shape[-1])
    rows, wide = grid(conv, size, lanes)
    tiles = rows * wide
    pitch = round_up(wide + -(-2 // size), max(1, lanes // size))
    top, left, _, _ = conv.padding
    bottom = rows * size + 2 - int(image.shape[2]) - top
    right = pitch * size - int(image.shape[3]) - left
    padded = topi.nn.pad(image, [0, 0, top, left], [0, 0, bottom, right], name=PAD)
    apart = te.compute(
        (conv.batch, conv.inputs, rows * size + 2, size, pitch),
        lambda n, c, y, phase, x: padded[n, c, y, x * size + phase],
        name=PHASES,
    )
    columns = te.compute(
        (conv.batch, conv.inputs, rows, places, size, pitch),
        lambda n, c, y, i, phase, x: _by_row(
            forth, i, lambda k: apart[n, c, y * size + k, phase, x]
        ),
        name=WINOGRAD_STEPS[0],
    )
    transformed = te.compute(
        (conv.batch, places, places, conv.inputs, rows, wide),
        lambda n, i, j, c, y, x: _by_row(
            forth, j, lambda k: columns[n, c, y, i, k % size, x + k // size]
        ),
        name=WINOGRAD_STEPS[1],
    )
    ic = te.reduce_axis((0, conv.inputs), "ic")
    products = te.compute(
        (conv.batch, places, places, conv.outputs, tiles),
        lambda n, i, j, o, p: te.sum(
            transformed[n, i, j, ic, p // wide, p % wide]
            * weights[i, j, o // block, ic, o % block],
            axis=ic,
        ),
        name=WINOGRAD,
        attrs={OPERATOR: conv.operator},
    )
    half = te.compute(
        (conv.batch, conv.outputs, places, size, tiles),
        lambda n, o, j, a, p: _by_row(back, a, lambda i: products[n, i, j, o, p]),
        name=WINOGRAD_STEPS[2],
    )
    whole = te.compute(
        (conv.batch, conv.outputs, size * size, tiles),
        lambda n, o, at, p: _by_row(back, at % size, lambda j: half[n, o, j, at // size, p]),
        name=WINOGRAD_STEPS[3],
    )
    return te.compute(
        (conv.batch, conv.outputs, conv.height, conv.width),
        lambda n, o, h, w: whole[n, o, h % size * size + w % size, h // size * wide + w // size],
        name="unpack",
    )
