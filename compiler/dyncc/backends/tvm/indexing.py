"""Conversions of indexing: negative indices count from the end, and none leaves its table."""

from __future__ import annotations

from typing import Any

import torch
from tvm import relax, te, tirx

from dyncc.backends.tvm.nodes import Node, argument_of, read, result_dtype, result_shape

#: Indices of these types say for each element whether it is meant.
_MASKS = (torch.bool, torch.uint8)


def _broadcast(*shapes: torch.Size) -> tuple[int, ...]:
    """Return the shape that all shapes broadcast to."""
    rank = max(map(len, shapes))
    aligned = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(
        next((extent for extent in extents if extent != 1), 1)
        for extents in zip(*aligned, strict=True)
    )


def select(node: Node, importer: Any) -> relax.Expr:
    """One index of an axis, counted from the end if negative."""
    value = importer.env[node.args[0]]
    axis, index = (int(argument) for argument in node.args[1:3])
    shape = node.args[0].meta["val"].shape
    axis %= len(shape)
    start = index if index >= 0 else int(shape[axis]) + index
    emit = importer.block_builder.emit
    part = emit(relax.op.strided_slice(value, [axis], [start], [start + 1], assume_inbound=True))
    return emit(relax.op.squeeze(part, [axis]))


def take(node: Node, importer: Any) -> relax.Expr:
    """``table[:, indices]`` along an axis, the indices kept inside the table."""
    if node.target is torch.ops.aten.embedding.default:
        table, indices, axis = node.args[0], node.args[1], 0
    else:
        table, axis, indices = node.args[0], int(node.args[1]), node.args[2]
    return _gather(table, {axis % table.meta["val"].dim(): indices}, node, importer)


def index(node: Node, importer: Any) -> relax.Expr:
    """Some axes indexed by tensors."""
    places = {axis: index for axis, index in enumerate(node.args[1]) if index is not None}
    return _gather(node.args[0], places, node, importer)


def _gather(table: Node, places: dict[int, Node], node: Node, importer: Any) -> relax.Expr:
    """Index some axes of a table by tensors that are broadcast against each other."""
    if any(index.meta["val"].dtype in _MASKS for index in places.values()):
        raise TypeError("a boolean mask as an index gives a shape that depends on data")
    source = table.meta["val"]
    common = _broadcast(*(index.meta["val"].shape for index in places.values()))
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

        return te.compute(result_shape(node), element, name="gather")

    return importer.block_builder.emit_te(
        compute,
        importer.env[table],
        *(importer.env[places[axis]] for axis in axes),
        primfunc_name_hint="gather",
    )


def _is_one(extent: Any) -> bool:
    return isinstance(extent, (int, tirx.IntImm)) and int(extent) == 1


def index_put(node: Node, importer: Any) -> relax.Expr:
    """A table with values put (or added) at some places of its leading axes, or under a mask."""
    table, indices, values = node.args[:3]
    count = len(indices)
    given = [index for index in indices if index is not None]
    if len(given) == 1 and given[0].meta["val"].dtype in _MASKS:
        return _put_under_mask(node, importer, count - 1, given[0])
    if len(given) < count or any(index.meta["val"].dtype in _MASKS for index in given):
        raise TypeError("index_put takes integers for the leading axes, or one mask")
    emit = importer.block_builder.emit
    source = table.meta["val"]
    common = _broadcast(*(index.meta["val"].shape for index in indices))
    columns = []
    for axis, index in enumerate(indices):
        flat = read(index, importer, "int64")
        extent = relax.const(int(source.shape[axis]), "int64")
        flat = emit(relax.op.floor_mod(flat, extent))
        flat = emit(relax.op.broadcast_to(flat, list(common)))
        columns.append(emit(relax.op.expand_dims(flat, len(common))))
    places = emit(relax.op.concat(columns, len(common)))
    shape = [*common, *source.shape[count:]]
    updates = emit(relax.op.broadcast_to(read(values, importer, result_dtype(node)), shape))
    accumulate = bool(argument_of(node, 3, "accumulate", False))
    reduction = "add" if accumulate else "update"
    return emit(relax.op.scatter_nd(importer.env[table], places, updates, reduction))


def _put_under_mask(node: Node, importer: Any, axis: int, mask: Node) -> relax.Expr:
    """A table with the same values put (or added) wherever a mask of axes from `axis` on holds."""
    table, _, values = node.args[:3]
    dtype, shape = result_dtype(node), result_shape(node)
    behind = len(shape) - axis - mask.meta["val"].dim()
    content = values.meta["val"].shape
    # The places under the mask are one axis of the values, which may be left out.
    if len(content) > behind and content[-1 - behind] != 1:
        raise TypeError("index_put under a mask takes values that are the same at each place")
    emit = importer.block_builder.emit
    updates = read(values, importer, dtype)
    if len(content) > behind:
        before = list(content[: -1 - behind])
        after = list(content[len(content) - behind :])
        updates = emit(relax.op.reshape(updates, [*before, *[1] * mask.meta["val"].dim(), *after]))
    if argument_of(node, 3, "accumulate", False):
        updates = emit(relax.op.add(importer.env[table], updates))
    where = emit(
        relax.op.reshape(read(mask, importer, "bool"), [*mask.meta["val"].shape, *[1] * behind])
    )
    return emit(relax.op.where(where, updates, importer.env[table]))


def scatter_add(node: Node, importer: Any) -> relax.Expr:
    """A table with values added at places along an axis."""
    table, axis, index, source = node.args
    return importer.block_builder.emit(
        relax.op.scatter_elements(
            importer.env[table], importer.env[index], importer.env[source], int(axis), "add"
        )
    )
