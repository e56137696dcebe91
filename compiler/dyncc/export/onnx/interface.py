"""Inputs and outputs of a model: arguments and results with the names of their places."""

from __future__ import annotations

from collections.abc import Iterator

from dyncc.export.onnx.graphs import Kind, kind_of
from dyncc.ir.hcfg import (
    Each,
    Hcfg,
    Leaf,
    Literal,
    Operand,
    Record,
    Return,
    Series,
    Struct,
    Tree,
    Value,
    argument_leaves,
)
from dyncc.ir.hostops import operand_type
from dyncc.ir.types import TensorType

#: What the names of outputs begin with.
RESULT = "output"


def inputs(program: Hcfg) -> Iterator[tuple[str, Value]]:
    """Name and value of each input, in order."""
    for place, value in argument_leaves(program.signature):
        yield place.lstrip("*"), value


def input_kind(value: Value) -> Kind:
    """The kind of an input, with names of sizes that calls decide; raises Unexportable."""
    if isinstance(value.type, TensorType):
        return Kind(value.type.dtype, value.type.shape)
    return kind_of(value.type)


def leaves(tree: Tree, where: str = RESULT) -> Iterator[tuple[str, Operand]]:
    """The place and the content of everything in a result, in order."""
    match tree:
        case Leaf(value):
            yield where, value
        case Literal(value):
            yield where, value
        case Series(_, items):
            for index, item in enumerate(items):
                yield from leaves(item, f"{where}[{index}]")
        case Record(pairs):
            for key, item in pairs:
                yield from leaves(item, f"{where}[{key!r}]")
        case Struct(_, _, pairs):
            for key, item in pairs:
                yield from leaves(item, f"{where}.{key}")
        case Each(Leaf(value)):
            yield where, value
        case Each(element):
            yield from leaves(element, f"{where}[:]")


def outputs(tree: Tree) -> list[tuple[str, Operand]]:
    """Name and content of each output; None and strings are none."""
    return [(place, item) for place, item in leaves(tree) if not isinstance(item, str | None)]


def output_kinds(end: Return) -> list[Kind]:
    """The kind of each output at an exit; raises Unexportable."""
    return [kind_of(operand_type(item)) for _, item in outputs(end.result)]


def structure(end: Return) -> list[tuple[str, object]]:
    """What has to be the same at each exit; raises Unexportable.

    Each place of the result, and its kind but for sizes, or the constant that is no output.
    """
    kinds = iter(output_kinds(end))
    found: list[tuple[str, object]] = []
    for place, item in leaves(end.result):
        if isinstance(item, str | None):
            found.append((place, item))
            continue
        kind = next(kinds)
        found.append((place, (kind.dtype, kind.sequence, len(kind.shape or ()))))
    return found
