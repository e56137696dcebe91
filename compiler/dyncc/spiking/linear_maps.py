"""Linear nodes of NIR as matrices: convolutions and pooling are unrolled.

A matrix has shape (input size, output size) and acts on flat signals, whose last axis varies
fastest. Equations are those of `torch.nn.functional`.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import nir
import numpy

from dyncc.core.errors import ModelError
from dyncc.spiking.connectors import Reals

Shape = tuple[int, ...]
#: Largest matrix: 2^26 entries are half a gigabyte.
_MOST = 1 << 26

KINDS = (
    nir.Linear, nir.Affine, nir.Scale, nir.Flatten, nir.Conv1d, nir.Conv2d, nir.SumPool2d,
    nir.AvgPool2d,
)  # fmt: skip


def output_shape(name: str, node: nir.NIRNode, shape: Shape) -> Shape:
    """Shape of what a linear node gives for an input of a shape.

    Raises
    ------
    ModelError
        If the shape does not fit the node.
    """
    if isinstance(node, nir.Flatten):
        return _flattened(node, shape)
    if isinstance(node, nir.Scale):
        if node.scale.size not in (1, _size(shape)):
            raise _misfit(name, node.scale.shape, shape)
        return shape
    if isinstance(node, nir.Linear | nir.Affine):
        if node.weight.ndim != 2:
            raise ModelError(f"the weight of {name!r} has {node.weight.ndim} axes instead of 2")
        if node.weight.shape[1] != _size(shape):
            raise _misfit(name, node.weight.shape[1:], shape)
        return (int(node.weight.shape[0]),)
    if isinstance(node, nir.Conv1d | nir.Conv2d):
        channels, axes = node.weight.shape[1] * node.groups, node.weight.ndim - 2
        if len(shape) != axes + 1 or shape[0] != channels:
            raise _misfit(name, (channels, *("any",) * axes), shape)
        return (int(node.weight.shape[0]), *_counts(name, _Window.of(node), shape[1:]))
    if len(shape) != 3:
        raise _misfit(name, ("any",) * 3, shape)
    return (shape[0], *_counts(name, _Window.of(node), shape[1:]))


def matrix(name: str, node: nir.NIRNode, shape: Shape) -> tuple[Reals, Reals | None]:
    """Matrix and bias (or None) of a linear node, for an input of a shape.

    Raises
    ------
    ModelError
        If the shape does not fit, or the matrix would be too large.
    """
    after = output_shape(name, node, shape)
    if _size(shape) * _size(after) > _MOST:
        raise ModelError(
            f"{name!r} as a matrix has {_size(shape)} x {_size(after)} entries, more than {_MOST}"
        )
    if isinstance(node, nir.Flatten):
        return numpy.eye(_size(shape)), None
    if isinstance(node, nir.Scale):
        scale = numpy.asarray(node.scale, numpy.float64).ravel()
        return numpy.diag(numpy.broadcast_to(scale, (_size(shape),))), None
    if isinstance(node, nir.Linear | nir.Affine):
        bias = getattr(node, "bias", None)
        return numpy.asarray(node.weight, numpy.float64).T, _bias(name, bias, after, 1)
    window = _Window.of(node)
    if isinstance(node, nir.Conv1d | nir.Conv2d):
        weight = numpy.asarray(node.weight, numpy.float64)
        found = _unrolled(weight, int(node.groups), window, shape, after)
        return found, _bias(name, node.bias, after, _size(after[1:]))
    value = 1.0 / _size(window.kernel) if isinstance(node, nir.AvgPool2d) else 1.0
    weight = numpy.full((shape[0], 1, *window.kernel), value)
    return _unrolled(weight, shape[0], window, shape, after), None


class _Window:
    """Kernel, stride, dilation and padding (before, after) of each spatial axis."""

    def __init__(self, kernel: Shape, stride: Any, dilation: Any, padding: Any) -> None:
        axes = len(kernel)
        self.kernel = kernel
        self.stride = _each(stride, axes)
        self.dilation = _each(dilation, axes)
        spans = [d * (k - 1) for d, k in zip(self.dilation, kernel, strict=True)]
        if isinstance(padding, str):
            # torch puts the odd one of "same" behind.
            self.padding = [(s // 2, s - s // 2) if padding == "same" else (0, 0) for s in spans]
        else:
            self.padding = [(p, p) for p in _each(padding, axes)]

    @staticmethod
    def of(node: Any) -> _Window:
        if isinstance(node, nir.Conv1d | nir.Conv2d):
            kernel = tuple(int(k) for k in node.weight.shape[2:])
            return _Window(kernel, node.stride, node.dilation, node.padding)
        return _Window(tuple(_each(node.kernel_size, 2)), node.stride, 1, node.padding)


def _unrolled(weight: Reals, groups: int, window: _Window, before: Shape, after: Shape) -> Reals:
    """Matrix of a convolution; `weight` has shape (out, in / groups, ...kernel)."""
    found = numpy.zeros((_size(before), _size(after)))
    places = numpy.arange(_size(after[1:]))
    position = numpy.unravel_index(places, after[1:])
    inner, outer = weight.shape[1], weight.shape[0] // groups
    for offset in product(*(range(k) for k in window.kernel)):
        at = [
            p * stride + o * dilation - padding[0]
            for p, o, stride, dilation, padding in zip(
                position, offset, window.stride, window.dilation, window.padding, strict=True
            )
        ]
        valid = numpy.all([(a >= 0) & (a < n) for a, n in zip(at, before[1:], strict=True)], axis=0)
        rows = numpy.ravel_multi_index([a[valid] for a in at], before[1:])
        for channel, source in product(range(weight.shape[0]), range(inner)):
            first = (channel // outer * inner + source) * _size(before[1:])
            column = channel * _size(after[1:])
            found[first + rows, column + places[valid]] += weight[(channel, source, *offset)]
    return found


def _counts(name: str, window: _Window, shape: Shape) -> Shape:
    """Places of a kernel along each spatial axis."""
    found = tuple(
        (n + before + behind - d * (k - 1) - 1) // s + 1
        for n, k, s, d, (before, behind) in zip(
            shape, window.kernel, window.stride, window.dilation, window.padding, strict=True
        )
    )
    if min(found) < 1:
        raise ModelError(f"the kernel of {name!r} is larger than its input of shape {shape}")
    return found


def _bias(name: str, bias: Any, after: Shape, repeats: int) -> Reals | None:
    if bias is None or not numpy.any(bias):
        return None
    found = numpy.repeat(numpy.asarray(bias, numpy.float64).ravel(), repeats)
    if found.size != _size(after):
        raise _misfit(name, numpy.shape(bias), after)
    return found


def _flattened(node: nir.Flatten, shape: Shape) -> Shape:
    axes = len(shape)
    start = node.start_dim + axes if node.start_dim < 0 else node.start_dim
    end = node.end_dim + axes if node.end_dim < 0 else node.end_dim
    if not start < end:
        return shape
    return (*shape[:start], _size(shape[start : end + 1]), *shape[end + 1 :])


def _each(value: Any, axes: int) -> list[int]:
    found: list[int] = numpy.ravel(value).astype(int).tolist()
    return found * axes if len(found) == 1 else found


def _size(shape: Shape) -> int:
    return int(numpy.prod(shape))


def _misfit(name: str, wanted: Any, shape: Any) -> ModelError:
    return ModelError(f"{name!r} takes signals of shape {tuple(wanted)}, and gets {tuple(shape)}")
