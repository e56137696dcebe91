"""What conversions from ATen to Relax share: arguments, dtypes, and a check of the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from tvm import relax, tirx

#: An `fx.Node`; torch types its arguments as a union of nearly everything.
Node: TypeAlias = Any

#: Translates a node; the importer holds the values of earlier nodes and the block builder.
Converter: TypeAlias = Callable[[Node, Any], relax.Expr]


def dtype_name(dtype: torch.dtype) -> str:
    """Return TVM's name of a torch dtype."""
    return str(dtype).removeprefix("torch.")


def result_dtype(node: Node) -> str:
    """Return TVM's name of the dtype that torch gives a node's result."""
    return dtype_name(node.meta["val"].dtype)


def result_shape(node: Node) -> list[int]:
    """Return the shape that torch gives a node's result, which must be known."""
    return [int(extent) for extent in node.meta["val"].shape]


def argument_of(node: Node, position: int, name: str, default: Any = None) -> Any:
    """Return an argument given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def read(argument: Any, importer: Any, dtype: str) -> relax.Expr:
    """Return an argument as a tensor expression of a given dtype."""
    if isinstance(argument, fx.Node):
        argument = importer.env[argument]
    if not isinstance(argument, relax.Expr):
        return relax.const(argument, dtype)
    return cast(argument, importer, dtype)


def cast(value: relax.Expr, importer: Any, dtype: str) -> relax.Expr:
    """Return a value in another dtype; to a boolean as torch does it."""
    if str(value.ty.dtype) == dtype:
        return value
    if dtype == "bool":
        zero = relax.const(0, str(value.ty.dtype))
        return importer.block_builder.emit(relax.op.not_equal(value, zero))
    return importer.block_builder.emit(relax.op.astype(value, dtype))


def meta_of(argument: Any) -> Any:
    """Return what torch knows of an argument: a fake tensor, or the scalar itself."""
    return argument.meta["val"] if isinstance(argument, fx.Node) else argument


def check_result(node: Node, result: Any) -> None:
    """Compare a translated node's type with torch's.

    Raises
    ------
    TypeError
        If they differ: the translation would be wrong without anyone noticing.
    """
    expected = node.meta.get("val")
    if not (isinstance(expected, Tensor) and isinstance(result, relax.Expr)):
        return
    kind = result.ty
    if not isinstance(kind, relax.TensorType):
        return
    wanted = dtype_name(expected.dtype)
    same = str(kind.dtype) == wanted
    if isinstance(kind.shape, relax.ShapeExpr):
        extents = tuple(kind.shape)
        same = same and len(extents) == expected.dim()
        sizes: Sequence[Any] = expected.shape  # torch's types leave symbolic extents out
        for extent, size in zip(extents, sizes, strict=False):
            if isinstance(size, int) and isinstance(extent, (int, tirx.IntImm)):
                same = same and int(extent) == size
    if not same:
        raise TypeError(
            f"TVM's front end makes {kind} of {node.target}, where torch makes "
            f"{wanted}{list(expected.shape)}"
        )
