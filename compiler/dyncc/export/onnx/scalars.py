"""What host operations on numbers and on lists are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from dyncc.export.literals import Unexportable
from dyncc.export.onnx.graphs import Graph, Kind, Val
from dyncc.ir.hcfg import Operand
from dyncc.ir.types import FLOAT, INT

#: Gives the value of an operand.
Reader: TypeAlias = Callable[[Operand], Val]

#: Results of this size may need more than 64 bits.
LARGE = float(2**63 - 1024)
#: What fails then.
LONG = "OverflowError: an int of more than 64 bits"


def cast(graph: Graph, value: Val, dtype: str) -> Val:
    """A tensor of another dtype."""
    if value.kind.dtype == dtype:
        return value
    kind = Kind(dtype)
    return graph.op("Cast", value, dtype=dtype, shape=value.kind.shape, to=kind.element)


def checked(graph: Graph, value: Val, bad: Val, text: str) -> Val:
    """A scalar as it is; where `bad`, a node called `text` fails."""
    dtype = value.kind.dtype
    row = graph.op("Unsqueeze", value, graph.constant([0], "i64"), dtype=dtype, shape=(1,))
    found = graph.op("Gather", row, cast(graph, bad, "i64"), dtype=dtype, label=text)
    graph.check(found)
    return found


def bounded(graph: Graph, value: Val, size: Val) -> Val:
    """An int as it is; fails where its size, as a float, is beyond 64 bits."""
    bad = graph.op("GreaterOrEqual", size, graph.literal(LARGE), dtype="bool")
    return checked(graph, value, bad, LONG)


def chosen(graph: Graph, test: Val, yes: Val, no: Val) -> Val:
    """One of two scalars."""
    dtype = yes.kind.dtype
    if dtype != "f64":
        return graph.op("Where", test, yes, no, dtype=dtype)
    # ONNX Runtime's Where gives 0.0 for -0.0.
    axis = graph.constant([0], "i64")
    rows = [graph.op("Unsqueeze", value, axis, dtype=dtype, shape=(1,)) for value in (no, yes)]
    both = graph.op("Concat", *rows, dtype=dtype, shape=(2,), axis=0)
    return graph.op("Gather", both, cast(graph, test, "i64"), dtype=dtype)


def position(graph: Graph, index: Val, length: Val) -> Val:
    """A position from the front, of one that may be counted from the back; fails out of range."""
    behind = graph.op("GreaterOrEqual", index, length, dtype="bool")
    before = graph.op("Less", index, graph.op("Neg", length, dtype="i64"), dtype="bool")
    bad = graph.op("Or", behind, before, dtype="bool")
    other = graph.op("Add", index, length, dtype="i64")
    negative = graph.op("Less", index, graph.literal(0), dtype="bool")
    found = graph.op("Where", negative, other, index, dtype="i64")
    return checked(graph, found, bad, "IndexError")


def as_tensor(graph: Graph, number: Val, kind: object, dtype: str) -> Val:
    """What `torch.tensor` makes of a number, or of a list of numbers; raises Unexportable."""
    floating = dtype.startswith(("f", "bf"))
    if dtype.startswith("c"):
        raise Unexportable("ONNX Runtime computes with no complex numbers")
    if kind == FLOAT and not floating:
        raise Unexportable("how a float becomes another number is left to PyTorch")
    if kind == INT and not (floating or dtype in ("i64", "bool")):
        raise Unexportable(f"whether an int fits into {dtype} is seen by PyTorch only")
    return cast(graph, number, dtype)
